"""Where a new guest goes, and who could make room for it. Pure looks at the state."""

from __future__ import annotations

from collections.abc import Mapping

from vmm.cluster.model import Guest, Host
from vmm.cluster.profiles import Profile, Share
from vmm.cluster.states import ALIVE, LEAVING
from vmm.decide.rulebook import Rules
from vmm.decide.state import Free, State
from vmm.messages.guest import GuestSize, GuestSpec
from vmm.policies.model import Cluster
from vmm.policies.model import Guest as PlannedGuest
from vmm.policies.model import Host as PlannedHost
from vmm.policies.place import place


def free_on(state: State, host: Host, share: str = "") -> Free:
    """Free room, with the promises made to other shares than `share` taken off.

    A guest counts once, by the larger of what the host reports and what we asked for (also while it is being
    resized); one that is being moved counts on both hosts.
    """
    ours = [g for g in state.guests.values() if host.name in (g.host, g.target) and g.state in ALIVE]
    return unpromised(state, host.name, share, free_beside(state, host, ours))


def free_beside(state: State, host: Host, ours: list[Guest]) -> Free:
    """Free room, promised or not. `ours` are all guests of ours that count on it."""
    memory, vcpus = {}, {}
    for name, (memory_mib, cpus, is_in) in host.guests.items():
        if is_in != "off":
            memory[name], vcpus[name] = memory_mib, cpus
    for guest in ours:
        memory_mib, cpus = guest.spec.memory_mib, guest.spec.vcpus
        if guest.resize is not None:
            memory_mib, cpus = asked_for(guest)
        memory[guest.name] = max(memory.get(guest.name, 0), memory_mib)
        vcpus[guest.name] = max(vcpus.get(guest.name, 0), cpus)
    free_mib = host.memory_mib - host.reserved_mib - sum(memory.values())
    free_vcpus = int(host.cpus * state.settings.vcpus_per_cpu) - sum(vcpus.values())
    return Free(free_mib, free_vcpus)


def unpromised(state: State, host: str, share: str, free: Free) -> Free:
    """What is left of a host's free room when the promises to other shares are kept."""
    free_mib, free_vcpus = free
    for promise in state.promises:
        if promise.host == host and promise.share != share:
            free_mib -= promise.memory_mib
            free_vcpus -= promise.vcpus
    return Free(free_mib, free_vcpus)


def ours_on(state: State) -> dict[str, list[Guest]]:
    """The guests of ours that count on each host which has any."""
    out: dict[str, list[Guest]] = {}
    for guest in state.guests.values():
        if guest.state in ALIVE:
            for host in {guest.host, guest.target}:
                out.setdefault(host, []).append(guest)
    return out


def asked_for(guest: Guest) -> tuple[int, int]:
    """Memory in MiB and vCPUs that a guest has, or is to have if that is more."""
    spec, wanted = guest.spec, guest.resize.wanted if guest.resize else guest.spec
    return max(spec.memory_mib, wanted.memory_mib), max(spec.vcpus, wanted.vcpus)


def no_room_to_grow(state: State, host: Host, guest: Guest, wanted: GuestSize) -> str:
    """Why its host cannot give the guest that size; empty when it can. Promised room is not given."""
    free = free_on(state, host)
    reported = host.guests.get(guest.name, (0, 0, "off"))
    more_mib = wanted.memory_mib - max(guest.spec.memory_mib, reported[0])
    more_vcpus = wanted.vcpus - max(guest.spec.vcpus, reported[1])
    if more_mib > max(free.memory_mib, 0):
        return f"{free.memory_mib} MiB free, {more_mib} more wanted"
    if more_vcpus > max(free.vcpus, 0):
        return f"{free.vcpus} vCPUs free, {more_vcpus} more wanted"
    return ""


def refusal(state: State, host: Host, profile: Profile | GuestSpec, share: str) -> str:
    """Why this host cannot take a guest of this profile (or this very guest) now; empty when it can."""
    closed = why_closed(state, host)
    if closed:
        return closed
    free = free_on(state, host, share)
    if free.memory_mib < profile.memory_mib:
        return f"{free.memory_mib} MiB free, {profile.memory_mib} wanted"
    if free.vcpus < profile.vcpus:
        return f"{free.vcpus} vCPUs free, {profile.vcpus} wanted"
    return ""


def why_closed(state: State, host: Host) -> str:
    """Why this host takes no guest at all now; empty when it does."""
    client = state.clients.get(host.name)
    if client is None or client.state != "up":
        return "it is dead" if host.dead else f"its client is {client.state if client else 'unknown'}"
    if host.maintenance:
        return "it is in maintenance"
    return "it has not reported yet" if host.seen_s < 0 else ""


def choose_host(state: State, profile: Profile, share: str) -> tuple[str, dict[str, str]]:
    """(host, why not the others): what the placement plan says, on room promised to the share first."""
    reasons = {}
    open_hosts = []
    for name in sorted(state.hosts):
        why = refusal(state, state.hosts[name], profile, share)
        if why:
            reasons[name] = why
        else:
            open_hosts.append(state.hosts[name])
    promised = {promise.host for promise in state.promises if promise.share == share}
    candidates = [host for host in open_hosts if host.name in promised] or open_hosts
    if not candidates:
        return "", reasons
    cluster = Cluster(_modelled(state, host, share) for host in candidates)
    plan = place(cluster, PlannedGuest("new", float(profile.memory_mib), float(profile.vcpus), share=share))
    if not plan.actions:
        return "", {**reasons, **plan.unplaced}
    return plan.actions[0].target, reasons


def _modelled(state: State, host: Host, share: str) -> PlannedHost:
    """The planner's view of a host: what is taken or promised is the host's own."""
    free = free_on(state, host, share)
    ratio = state.settings.vcpus_per_cpu
    return PlannedHost(
        host.name,
        memory_mib=float(host.memory_mib),
        cpus=float(host.cpus),
        memory_own_mib=float(host.memory_mib - free.memory_mib),
        vcpus_own=host.cpus * ratio - free.vcpus,
        vcpu_ratio=ratio,
    )


def room(
    state: State, free: Mapping[Free, int], promised: Mapping[str, Free], profile: Profile, share: str
) -> int:
    """How many more guests of this profile fit now.

    `free` counts the hosts that take guests by their free room; `promised` has those with promises by name,
    with their room before these.
    """
    total = 0
    for left, hosts in free.items():
        total += hosts * _fitting(left, profile)
    for host, left in promised.items():
        total += _fitting(unpromised(state, host, share, left), profile)
    return total


def _fitting(free: Free, profile: Profile) -> int:
    return max(0, min(free.memory_mib // profile.memory_mib, free.vcpus // profile.vcpus))


def victims(state: State, rules: Rules, share: Share) -> list[Guest]:
    """Guests of other shares that may be asked to leave for `share`, the one to ask first, first.

    Idle guests of shares with nothing waiting; and, when `share` has less than it is guaranteed, guests of
    shares above their guarantee: idle ones first, else a busy one is drained, which lets its job end.
    """
    shares = rules.entitlements.shares
    have: dict[str, int] = {}
    for guest in state.guests.values():
        if guest.state in ALIVE and guest.state not in LEAVING:
            have[guest.spec.share] = have.get(guest.spec.share, 0) + 1
    waiting = jobs_waiting(state)
    poor = have.get(share.name, 0) < share.guaranteed
    ranked = []
    for guest in state.guests.values():
        owner = shares.get(guest.spec.share)
        if guest.state != "ready" or guest.spec.share == share.name:
            continue
        if not makes_room(state, rules, guest, share):
            continue
        idle = guest.node_state == "idle"
        surplus = have.get(guest.spec.share, 0) - (owner.guaranteed if owner else 0)
        wanted = owner is not None and waiting.get(owner.queue, 0) > 0
        if (idle and not wanted) or (poor and surplus > 0):
            ranked.append(((not idle, wanted, -surplus, guest.since_s, guest.name), guest))
    return [guest for _, guest in sorted(ranked, key=lambda pair: pair[0])]


def makes_room(state: State, rules: Rules, guest: Guest, share: Share) -> bool:
    """Would a guest of `share` fit on this guest's host once it is gone?"""
    host = state.hosts.get(guest.host)
    profile = rules.entitlements.profiles[share.profile]
    if host is None:
        return False
    free = free_on(state, host, share.name)
    return (
        free.memory_mib + guest.spec.memory_mib >= profile.memory_mib
        and free.vcpus + guest.spec.vcpus >= profile.vcpus
    )


def jobs_waiting(state: State) -> dict[str, int]:
    """Queue -> number of pending jobs."""
    waiting: dict[str, int] = {}
    for _, queue, job_state, _, _ in state.batch_jobs:
        if job_state == "pending":
            waiting[queue] = waiting.get(queue, 0) + 1
    return waiting
