"""Hosts that are dead by an administrator's word, what becomes of their guests, and hosts that come back.

Nothing here concludes a death from silence: somebody says it, and answers for it (the power is off, the host
is fenced). From then on its guests are lost. A lost guest may be started anew on another host, once: its disk
went with its host, so it is made from its template again, with its name, address and size. A host that comes
back gets no guest before all that still is there from before is gone.
"""

from __future__ import annotations

import msgspec

from vmm.cluster.model import CommandRecord, Guest, Host
from vmm.decide import clients, commands, guests, placement
from vmm.decide.rulebook import Rules
from vmm.decide.state import State, extend_trail
from vmm.errors import Refused
from vmm.messages.guest import spec_to_args
from vmm.messages.structs import Reason

LEAVING = ("draining", "removing", "stopping")
ASK_AGAIN_S = 10.0
"""An old guest that is still reported so long after its end was asked for is asked for again."""


def fence(state: State, host: str, why: Reason) -> None:
    """Somebody gives his word that a host is dead: its guests are lost. Refused at any sign of life."""
    found = _host(state, host)
    client = state.clients.get(host)
    if found.dead:
        raise Refused(f"host {host} is dead already: {found.fenced_why}")
    if client is not None and client.state == "up":
        raise Refused(
            f"the client of host {host} is up, so it is not dead. To empty a living one: `vmm plan "
            f"evacuate`, or `vmm host drain {host}`."
        )
    for guest in state.guests.values():
        inside = state.clients.get(guest.name) if guest.state != "migrating" else None
        if guest.host == host and inside is not None and inside.state == "up":
            raise Refused(
                f"guest {guest.name} on it was heard {state.now_s - inside.heard_s:.0f} s ago: {host} may "
                "live and only its client be down. Switch it off, and say it again when they are silent."
            )
    found.fenced_s, found.fenced_why, found.returned = state.now_s, f"{why.source}: {why.reason}", False
    found.maintenance = True
    found.guests, found.guests_seen_s = {}, -1.0
    state.note("host", host, f"dead, says {why.source}: {why.reason}", level="warning", trail=[why])
    state.count("hosts fenced")
    if client is not None:
        clients.declare_gone(state, client, f"its host {host} is dead")
    for record in commands.withdraw_all(state, host, f"{host} is dead"):
        owner = state.guests.get(record.owner)
        if owner is not None and owner.command == record.id:
            owner.command = ""
    for guest in list(state.guests.values()):
        if guest.host == host:
            guest.trail = extend_trail(guest.trail, why)
            guests.step(state, guest)
        elif guest.target == host:
            _leave_behind(guest, found)


def unfence(state: State, host: str, why: Reason) -> None:
    """The host may take guests again; refused until it is back and all that was there is gone."""
    found = _host(state, host)
    if found.fenced_s < 0:
        raise Refused(f"nobody said that host {host} is dead.")
    client = state.clients.get(host)
    if client is None or client.state != "up":
        raise Refused(f"the client of host {host} is not there ({client.state if client else 'never was'}).")
    if found.guests_seen_s < 0:
        raise Refused(f"host {host} has not reported yet what runs there; try again in a moment.")
    still = sorted({*found.leftovers, *(g.name for g in state.guests.values() if g.host == host)})
    if still:
        raise Refused(f"{', '.join(still)} of before may still be on host {host}; they are being removed.")
    found.fenced_s, found.fenced_why, found.returned = -1.0, "", False
    found.maintenance = found.emptied = False
    state.note("host", host, f"alive again, says {why.source}: {why.reason}", trail=[why])


def overtaken(state: State, guest: Guest) -> None:
    """What the death of its host does to a guest in any state but lost."""
    host = state.hosts.get(guest.host)
    if host is None or host.fenced_s < 0:
        return
    if guest.state in ("creating", "booting", "ready"):
        _lose(state, guest, host, f"{host.name} is dead ({host.fenced_why})")
    elif guest.state in LEAVING:
        _leave_behind(guest, host)
        guests.move(state, guest, "cleaning", f"{host.name} is dead", level="warning")
        guests.act(state, guest)
    elif guest.state == "cleaning" and guest.name not in host.leftovers:
        _leave_behind(guest, host)


def lost_on_its_way(state: State, guest: Guest) -> bool:
    """A guest whose move began on a host that died: has it arrived? True when it is lost (now).

    Only what the other host reported after the death counts. One that is there and does not run was on its
    way: it cannot run any more, and is removed.
    """
    source, target = state.hosts.get(guest.host), state.hosts.get(guest.target)
    if source is None or source.fenced_s < 0:
        return False
    if target is not None and target.fenced_s < 0:
        row = target.guests.get(guest.name)
        waiting = row is not None and row[2] == "paused" and state.now_s < guest.deadline_s
        if target.guests_seen_s <= source.fenced_s or waiting or (row is not None and row[2] == "running"):
            return False
    if target is not None:
        _leave_behind(guest, target)
    guest.target = ""
    _lose(state, guest, source, f"{source.name} died while it moved")
    return True


def step(state: State, guest: Guest) -> None:
    """A lost guest: its batch node is removed, so that its jobs are run again; then it waits for a word."""
    host = state.hosts[guest.host]
    if host.returned:
        guests.move(
            state, guest, "cleaning", f"{host.name} came back; its jobs were given up", level="warning"
        )
        guests.act(state, guest)
    elif guest.command or state.now_s < guest.retry_s:
        return
    elif guest.drained_s < 0:
        guests.forget_node(state, guest)
    elif guest.node_state == "down" and state.nodes_seen_s > guest.drained_s:
        guest.drained_s = -1.0


def on_result(state: State, guest: Guest, record: CommandRecord) -> None:
    """The batch client's answer about a lost guest's node."""
    if record.state == "done" or record.code in guests.NODE_GONE_CODES:
        guest.drained_s, guest.node_state, guest.jobs = state.now_s, "", 0
    else:
        guests.later(state, guest)


def restart(
    state: State, rules: Rules, guest: Guest, host: str | None, source: str, trail: list[Reason]
) -> None:
    """Start a lost guest on another host, made from its template anew."""
    why = why_not_restart(state, rules, guest, source)
    if why:
        raise Refused(f"guest {guest.name} is not started anew: {why}.")
    if host is None:
        profile = rules.entitlements.profiles.get(guest.spec.profile)
        host = placement.choose_host(state, profile, guest.spec.share)[0] if profile else ""
        if not host:
            raise Refused(f"no host has room for guest {guest.name}.")
    target = _host(state, host)
    why = placement.refusal(state, target, guest.spec, guest.spec.share)
    if not why and guest.name in target.leftovers:
        why = "something of it may be there from before"
    if why:
        raise Refused(f"host {host} cannot take {guest.name}: {why}.")
    # What speaks for the old copy, should it be alive after all, is no sign of life of the new one.
    if state.clients.pop(guest.name, None) is not None:
        state.world.clients.remove(guest.name)
    guest.life += 1
    identity = {**guest.spec.identity, "life": str(guest.life)}
    guest.spec = msgspec.structs.replace(guest.spec, identity=identity)
    guest.former, guest.host = guest.host, host
    guest.joined = guest.ever_ready = False
    guest.failure = guest.console = guest.for_share = ""
    guest.drained_s, guest.node_seen_s, guest.missing = -1.0, -1.0, 0
    guest.deadline_s = state.now_s + state.settings.command_deadline_s
    guest.trail = extend_trail(guest.trail, trail[-1])
    guests.move(state, guest, "creating", f"anew on {host}, as {guest.former} is dead: {trail[-1].reason}")
    state.count("guests restarted")
    guests.command(state, guest, host, "create_guest", {"guest": spec_to_args(guest.spec)})


def why_not_restart(state: State, rules: Rules, guest: Guest, source: str = "") -> str:
    """What forbids to start this guest on another host now, whichever it is; empty when nothing does."""
    if source and guest.host != source:
        return f"it is on {guest.host}, not on {source}"
    host = state.hosts.get(guest.host)
    if host is None or host.fenced_s < 0:
        return f"it is {guest.state} on {guest.host}, and nobody said that {guest.host} is dead"
    if guest.state != "lost":
        return f"it is {guest.state} on {guest.host}"
    if not host.dead:
        return f"the client of {guest.host} has come back"
    inside = state.clients.get(guest.name)
    if inside is not None and inside.state == "up":
        return "its own client is up, so it still runs"
    for name, other in state.hosts.items():
        if guest.name in other.guests:
            return f"{name} reports a guest of that name ({other.guests[guest.name][2]})"
    if guest.drained_s < 0:
        return "its batch node is not deleted yet; see that the batch system answers"
    if guest.node_state in ("idle", "busy"):
        return f"its batch node is {guest.node_state} again, so it may still run"
    share = rules.entitlements.shares.get(guest.spec.share)
    staying = [g for g in state.guests.values() if g.spec.share == guest.spec.share and g.state in _STAYING]
    if share is not None and share.max_guests and len(staying) >= share.max_guests:
        return f"share {share.name} has its {share.max_guests} guests"
    return ""


def failed_to_start(state: State, guest: Guest, failure: str) -> None:
    """The new host said clearly that it could not make it, so it is nowhere: lost as before."""
    host = state.hosts[guest.former]
    guest.host = guest.former
    _lose(state, guest, host, f"it could not be started anew: {failure}")


def sweep(state: State) -> None:
    """Hosts that are back: whatever is there from before is destroyed, running or not."""
    for host in state.hosts.values():
        if not host.leftovers or host.guests_seen_s < 0:
            continue
        client = state.clients.get(host.name)
        if client is None or client.state != "up":
            continue
        for name in list(host.leftovers):
            _sweep_one(state, host, name)


def _sweep_one(state: State, host: Host, name: str) -> None:
    guest, row = state.guests.get(name), host.guests.get(name)
    if row is None:
        del host.leftovers[name]
        state.note("host", host.name, f"nothing is left here of the guest {name} of before")
    elif (guest is not None and host.name in (guest.host, guest.target)) or state.now_s < host.leftovers[
        name
    ]:
        return  # its own clean-up sees to it; or it was asked for just now
    elif not commands.asked(state, host.name, "destroy_guest", name):
        elsewhere = f", and is {guest.state} on {guest.host} now" if guest is not None else ""
        state.note(
            "guest",
            name,
            f"its old copy is still on {host.name} ({row[2]}){elsewhere}: the old copy is destroyed",
            level="error",
        )
        why = state.reason(f"host {host.name}", "it came back with a guest of before")
        args = {"name": name, "grace_s": 0.0, "keep_shared_disk": guest is not None}
        commands.issue(state, host.name, "destroy_guest", args, [why])
        host.leftovers[name] = state.now_s + ASK_AGAIN_S
        state.count("old copies destroyed")


_STAYING = ("creating", "booting", "ready", "migrating")


def _lose(state: State, guest: Guest, host: Host, why: str) -> None:
    _leave_behind(guest, host)
    guest.joined, guest.missing, guest.drained_s, guest.former = False, 0, -1.0, ""
    inside = state.clients.get(guest.name)
    if inside is not None and inside.state != "gone":
        clients.declare_gone(state, inside, f"its host {host.name} is dead")
    guests.move(state, guest, "lost", why, level="warning")
    step(state, guest)


def _leave_behind(guest: Guest, host: Host) -> None:
    host.leftovers.setdefault(guest.name, 0.0)


def _host(state: State, name: str) -> Host:
    found = state.hosts.get(name)
    if found is None:
        raise Refused(f"there is no host {name!r}.")
    return found
