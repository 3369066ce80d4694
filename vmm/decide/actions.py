"""The operations `sender.NAME(...)` of rules and people: each checks, then acts or says why not."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

from vmm.cluster.model import Guest
from vmm.cluster.profiles import Profile, Share
from vmm.decide import commands, fencing, guests, migration, placement, resizing, sizes
from vmm.decide.outputs import Ask
from vmm.decide.rulebook import Rules
from vmm.decide.state import State
from vmm.errors import Refused
from vmm.messages.guest import GuestSpec
from vmm.messages.structs import Query, Reason

_NAMESPACE = uuid.UUID("6f1c9a52-5d0b-5b86-9d35-0b1f2f1f7a11")


def perform(
    state: State, rules: Rules, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any], why: Reason
) -> None:
    """Run one operation. Raises Refused with the reason when it makes no sense now."""
    try:
        action = OPERATIONS[operation]
    except KeyError:
        raise Refused(f"there is no operation {operation!r}.") from None
    action(state, rules, [why], *args, **kwargs)


def send_get_property(state: State, rules: Rules, trail: list[Reason], *names: str) -> None:
    """Ask all clients for properties (all of them when none is named)."""
    state.serial += 1
    state.outputs.append(Ask(Query(f"{state.epoch}-q{state.serial}", list(names))))


def create_guest(
    state: State, rules: Rules, trail: list[Reason], share: str, host: str | None = None
) -> None:
    """A new guest of the share's profile, on `host` or where it fits best."""
    entitled, profile = _share(rules, share)
    if host is None:
        chosen, reasons = placement.choose_host(state, profile, share)
        if not chosen:
            told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "no host is known"
            raise Refused(f"no host has room for a guest of profile {profile.name} ({told}).")
    else:
        if host not in state.hosts:
            raise Refused(f"there is no host {host!r}.")
        why = placement.refusal(state, state.hosts[host], profile, share)
        if why:
            raise Refused(f"host {host} cannot take it: {why}.")
        chosen = host
    guests.begin(state, _spec(state, entitled, profile), chosen, trail)


def make_room(state: State, rules: Rules, trail: list[Reason], share: str) -> None:
    """Ask one guest of another share to leave, so that a guest of `share` fits afterwards."""
    entitled, _ = _share(rules, share)
    found = placement.victims(state, rules, entitled)
    if not found:
        raise Refused(f"no guest of another share can be asked to leave for {share}.")
    guest = found[0]
    kind = "idle" if guest.node_state == "idle" else "busy, its job will end first"
    reason = state.reason(trail[-1].source, f"makes room for {share} ({kind})")
    guest.trail = [*guest.trail, *trail][-20:]
    guests.retire(state, guest, reason, for_share=share)


def retire_guest(state: State, rules: Rules, trail: list[Reason], guest: str) -> None:
    """Drain, let jobs end, remove."""
    found = _guest(state, guest)
    if found.state != "ready":
        raise Refused(f"guest {guest} is {found.state}, only a ready guest can be retired.")
    guests.retire(state, found, trail[-1])


def destroy_guest(
    state: State, rules: Rules, trail: list[Reason], guest: str, even_if_busy: bool = False
) -> None:
    """Remove a guest at once; refused while it may have a job, unless `even_if_busy` says so."""
    found = _guest(state, guest)
    if found.state == "migrating":
        raise Refused(
            f"guest {guest} is on its way from {found.host} to {found.target}; wait for its arrival."
        )
    if found.state not in ("creating", "booting", "ready", "draining", "lost"):
        raise Refused(f"guest {guest} is {found.state} already.")
    if (
        not even_if_busy
        and found.state != "lost"
        and (found.jobs or found.node_state not in ("", "drained", "down"))
    ):
        raise Refused(
            f"guest {guest} may have a job ({found.node_state}, {found.jobs} jobs); retire it, or say "
            "even_if_busy=True."
        )
    guests.destroy_now(state, found, trail[-1])


def migrate_guest(
    state: State, rules: Rules, trail: list[Reason], guest: str, host: str, source: str = ""
) -> None:
    """Move a ready guest, with the jobs in it, to `host`; refused when it is not on `source` any more."""
    found = _guest(state, guest)
    if found.state != "ready":
        raise Refused(f"guest {guest} is {found.state}, only a ready guest can be moved.")
    if source and found.host != source:
        raise Refused(f"guest {guest} is on {found.host}, not on {source}.")
    if host == found.host:
        raise Refused(f"guest {guest} is on {host} already.")
    target = state.hosts.get(host)
    if target is None:
        raise Refused(f"there is no host {host!r}.")
    profile = rules.entitlements.profiles.get(found.spec.profile)
    if profile is not None and not profile.migratable:
        raise Refused(f"guest {guest} may not be moved: its profile {profile.name} says `migratable = no`.")
    _require_up(state, found)
    if found.resize is not None:
        raise Refused(f"guest {guest} is being resized; move it when that has ended.")
    why = placement.refusal(state, target, found.spec, found.spec.share)
    if why:
        raise Refused(f"host {host} cannot take {guest}: {why}.")
    migration.begin(state, found, host, trail[-1])


def restart_guest(
    state: State, rules: Rules, trail: list[Reason], guest: str, host: str | None = None, source: str = ""
) -> None:
    """Start a guest of a dead host on `host` or where it fits best; only if it was on `source`, when said."""
    fencing.restart(state, rules, _guest(state, guest), host, source, trail)


def resize_guest(
    state: State,
    rules: Rules,
    trail: list[Reason],
    guest: str,
    memory_mib: int | None = None,
    vcpus: int | None = None,
    cpu_weight: float | None = None,
    cpu_cap: float | None = None,
    host: str = "",
    even_if_busy: bool = False,
) -> None:
    """Another size for a ready guest, within what it was made for; refused when it is not on `host` any more.

    It is never made smaller under a job, unless `even_if_busy` says so.
    """
    found = _guest(state, guest)
    asked = {"memory_mib": memory_mib, "vcpus": vcpus, "cpu_weight": cpu_weight, "cpu_cap": cpu_cap}
    asked = {key: value for key, value in asked.items() if value is not None}
    wanted = sizes.wanted(found, asked)
    if found.state != "ready":
        raise Refused(f"guest {guest} is {found.state}, only a ready guest can be resized.")
    if found.resize is not None:
        raise Refused(f"guest {guest} is being resized already, to {found.resize.wanted}.")
    if host and found.host != host:
        raise Refused(f"guest {guest} is on {found.host}, not on {host}.")
    if sizes.may_have_a_job(state, found) and not even_if_busy and sizes.smaller(found, wanted):
        raise Refused(
            f"guest {guest} may have a job ({found.node_state}, {found.jobs} jobs) that needs what it has; "
            "wait for its end, or say even_if_busy=True."
        )
    _require_up(state, found)
    if not sizes.differs(found, wanted, state.hosts[found.host]):
        raise Refused(f"guest {guest} has {wanted} already.")
    why = placement.no_room_to_grow(state, state.hosts[found.host], found, wanted)
    if why:
        raise Refused(f"host {found.host} cannot give it {wanted}: {why}.")
    resizing.begin(state, found, wanted, sorted(asked), trail[-1])


def hold_host(state: State, rules: Rules, trail: list[Reason], host: str) -> None:
    """Maintenance that leaves the guests alone: nothing new comes, what is there runs on or is moved away."""
    found = state.hosts.get(host)
    if found is None:
        raise Refused(f"there is no host {host!r}.")
    if found.maintenance:
        raise Refused(f"host {host} is in maintenance already.")
    found.maintenance = True
    state.note("host", host, "maintenance: no new guests, present ones run on", trail=trail)


def drain_host(state: State, rules: Rules, trail: list[Reason], host: str) -> None:
    """Maintenance: nothing new is placed there, and its guests are retired, booting ones once they are up."""
    found = state.hosts.get(host)
    if found is None:
        raise Refused(f"there is no host {host!r}.")
    found.maintenance = found.emptied = True
    coming = [
        g.name
        for g in state.guests.values()
        if g.target == host or (g.host == host and g.state in ("creating", "booting"))
    ]
    more = f"; retired once they are here: {', '.join(coming)}" if coming else ""
    state.note("host", host, f"maintenance: no new guests, present ones are retired{more}", trail=trail)
    for guest in list(state.guests.values()):
        if guest.host == host and guest.state == "ready":
            guests.retire(state, guest, trail[-1])


def run(state: State, rules: Rules, trail: list[Reason], client: str, command: str, **args: Any) -> None:
    """Any command plugin, on any client."""
    if client not in state.clients:
        raise Refused(f"there is no client {client!r}.")
    rule = trail[-1].source.removeprefix("rule ")
    commands.issue(state, client, command, args, trail, rule=rule)


def notify(state: State, rules: Rules, trail: list[Reason], text: object) -> None:
    """A line in the decision log, for people."""
    state.note("notice", trail[-1].source, str(text)[:500], trail=trail)


OPERATIONS: dict[str, Callable[..., None]] = {
    "send_get_property": send_get_property,
    "create_guest": create_guest,
    "make_room": make_room,
    "retire_guest": retire_guest,
    "destroy_guest": destroy_guest,
    "migrate_guest": migrate_guest,
    "restart_guest": restart_guest,
    "resize_guest": resize_guest,
    "hold_host": hold_host,
    "drain_host": drain_host,
    "run": run,
    "notify": notify,
}


def _share(rules: Rules, name: str) -> tuple[Share, Profile]:
    share = rules.entitlements.shares.get(name)
    if share is None:
        raise Refused(f"there is no share {name!r}.")
    return share, rules.entitlements.profiles[share.profile]


def _guest(state: State, name: str) -> Guest:
    guest = state.guests.get(name)
    if guest is None:
        raise Refused(f"there is no guest {name!r}.")
    return guest


def _require_up(state: State, guest: Guest) -> None:
    client = state.clients.get(guest.host)
    if client is None or client.state != "up":
        raise Refused(f"the client of its host {guest.host} is {client.state if client else 'unknown'}.")


def _spec(state: State, share: Share, profile: Profile) -> GuestSpec:
    """Name, uuid, MAC and address follow from the journal's id and a serial number: no randomness."""
    taken = set(state.guests) | {n for host in state.hosts.values() for n in host.guests} | set(state.clients)
    while True:
        state.serial += 1
        name = f"{re.sub('[^a-z0-9]+', '-', share.name.lower()).strip('-')}-{state.serial}"
        if name not in taken:
            break
    identity = uuid.uuid5(_NAMESPACE, f"{state.epoch}/{name}")
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in identity.bytes[:3])
    address = _free_address(state, profile)
    return GuestSpec(
        name=name,
        uuid=str(identity),
        mac=mac,
        share=share.name,
        profile=profile.name,
        template=profile.template,
        vcpus=profile.vcpus,
        memory_mib=profile.memory_mib,
        network=profile.network,
        address=f"{address}/{profile.prefix}" if address else "",
        gateway=profile.gateway,
        kernel=profile.kernel,
        initrd=profile.initrd,
        cmdline=profile.cmdline,
        features=list(profile.features),
        identity=_identity(name, share, profile, address),
        max_memory_mib=profile.max_memory_mib,
        max_vcpus=profile.max_vcpus,
        min_memory_mib=profile.min_memory_mib,
        min_vcpus=profile.min_vcpus,
    )


def _identity(name: str, share: Share, profile: Profile, address: str) -> dict[str, str]:
    """What the guest is told when it starts. The Sender adds where the bus is and the one-time token."""
    words = {
        "name": name,
        "share": share.name,
        "ip": f"{address}/{profile.prefix}" if address else "",
        "gw": profile.gateway,
        "features": ",".join(profile.features),
    }
    return {word: value for word, value in words.items() if value}


def _free_address(state: State, profile: Profile) -> str:
    if not profile.first_address:
        return ""
    used = {guest.spec.address.partition("/")[0] for guest in state.guests.values()}
    first, last = (
        int(ipaddress.IPv4Address(profile.first_address)),
        int(ipaddress.IPv4Address(profile.last_address)),
    )
    for number in range(first, last + 1):
        address = str(ipaddress.IPv4Address(number))
        if address not in used:
            return address
    raise Refused(
        f"profile {profile.name} has no free address between {profile.first_address} and "
        f"{profile.last_address}; widen `addresses` in profiles.ini."
    )
