"""The planners' view of the live cluster: hosts, guests, and why a guest may not be moved now.

What vmm did not make, and what was promised to shares, is the host's own. A host that is silent, gone or in
maintenance gives guests away and takes none: silence proves no death, so only a host of which somebody said
that it is dead is called offline. Its lost guests are what a recovery starts elsewhere.
"""

from __future__ import annotations

from vmm.cluster.model import Guest, Host
from vmm.cluster.states import ALIVE
from vmm.decide.placement import asked_for
from vmm.decide.rulebook import Rules
from vmm.decide.sizes import may_have_a_job
from vmm.decide.state import State
from vmm.messages.guest import bounds_of
from vmm.policies.model import Cluster, HostState, Load
from vmm.policies.model import Guest as PlannedGuest
from vmm.policies.model import Host as PlannedHost
from vmm.policies.scale import Demand

CPU, MEMORY = "cpu_used", "ram_free"
"""Properties that guests report, as properties.ini ships them: in %, and in MiB."""

UNMEASURED = Load(cpu=1.0, memory=1.0)
"""What a guest is taken for that has not said what it uses."""


def cluster_of(state: State, rules: Rules) -> Cluster:
    """Hosts that have reported, with the guests that vmm knows on them. Raises BadCluster for nonsense.

    A guest's load is in units of the whole guest: processor and memory, 1 where the measure is missing or
    too old. Disks and network are in counters, of which one look says nothing: see traffic.py.
    """
    hosts = [_host(state, state.hosts[name]) for name in sorted(state.hosts) if state.hosts[name].seen_s >= 0]
    known = {host.name for host in hosts}
    guests = [
        _guest(state, rules, guest)
        for guest in state.guests.values()
        if guest.host in known and _counts(state, guest)
    ]
    return Cluster(hosts, sorted(guests, key=lambda guest: guest.name))


def _counts(state: State, guest: Guest) -> bool:
    """What is on a dead host and not lost was leaving it, or may have left it."""
    return guest.state == "lost" or (guest.state in ALIVE and not state.hosts[guest.host].dead)


def loads_of(state: State) -> dict[str, Load]:
    """What guests said lately that they use, in units of the whole guest; those that did not are left out."""
    found = {}
    for guest in state.guests.values():
        cpu, free_mib = _measured(state, guest, CPU), _measured(state, guest, MEMORY)
        if cpu is not None or free_mib is not None:
            found[guest.name] = _load(guest, cpu, free_mib)
    return found


def demands_of(state: State) -> list[Demand]:
    """What ready guests use, with the bounds they were made with; those without a measure are left out.

    One that may have a job is not to become smaller. Processor use that a cap holds back counts as use.
    """
    found = []
    for guest in sorted(state.guests.values(), key=lambda guest: guest.name):
        spec, cpu, free_mib = guest.spec, _measured(state, guest, CPU), _measured(state, guest, MEMORY)
        if guest.state != "ready" or guest.resize or cpu is None or free_mib is None:
            continue
        bounds, busy = bounds_of(spec), may_have_a_job(state, guest)
        found.append(
            Demand(
                guest.name,
                cpu / 100.0 * spec.vcpus,
                max(0.0, spec.memory_mib - free_mib),
                spec.vcpus if busy else bounds.min_vcpus,
                bounds.max_vcpus,
                float(spec.memory_mib if busy else bounds.min_memory_mib),
                float(bounds.max_memory_mib),
                weight_now=spec.cpu_weight,
                cap_now=spec.cpu_cap,
            )
        )
    return found


def why_immovable(state: State, rules: Rules, guest: Guest) -> str:
    """Why the guest cannot be moved to any other host now; empty when it can."""
    if guest.state == "migrating":
        return f"it is on its way to {guest.target}"
    if guest.state == "lost":
        return f"its host {guest.host} is dead"
    if guest.state != "ready":
        return f"it is {guest.state}"
    if guest.resize is not None:
        return "it is being resized"
    profile = rules.entitlements.profiles.get(guest.spec.profile)
    if profile is not None and not profile.migratable:
        return f"its profile {profile.name} says migratable = no"
    client = state.clients.get(guest.host)
    if client is None or client.state != "up":
        return f"the client of {guest.host} is {client.state if client else 'unknown'}"
    return ""


def _host(state: State, host: Host) -> PlannedHost:
    client = state.clients.get(host.name)
    takes = client is not None and client.state == "up" and not host.maintenance
    foreign = [row for name, row in host.guests.items() if row[2] != "off" and name not in state.guests]
    promised = [p for p in state.promises if p.host == host.name]
    # Room kept for guests that arrive: a plan made now must not count on it.
    arriving = [g.spec for g in state.guests.values() if g.target == host.name]
    sizes = [(row[0], row[1]) for row in foreign]
    sizes += [(p.memory_mib, p.vcpus) for p in promised] + [(s.memory_mib, s.vcpus) for s in arriving]
    memory_mib, vcpus = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
    return PlannedHost(
        host.name,
        memory_mib=float(host.memory_mib),
        cpus=float(host.cpus),
        memory_own_mib=float(min(memory_mib, max(0, host.memory_mib - host.reserved_mib))),
        memory_reserve_mib=float(host.reserved_mib),
        vcpus_own=float(vcpus),
        vcpu_ratio=state.settings.vcpus_per_cpu,
        state=HostState.UP if takes else HostState.OFFLINE if host.dead else HostState.DRAINING,
    )


def _guest(state: State, rules: Rules, guest: Guest) -> PlannedGuest:
    row = state.hosts[guest.host].guests.get(guest.name)
    share = rules.entitlements.shares.get(guest.spec.share)
    return PlannedGuest(
        guest.name,
        memory_mib=float(max(asked_for(guest)[0], row[0] if row else 0)),
        vcpus=float(max(asked_for(guest)[1], row[1] if row else 0)),
        host=guest.host,
        load=_load(guest, _measured(state, guest, CPU), _measured(state, guest, MEMORY)),
        immovable=why_immovable(state, rules, guest),
        priority=share.priority if share else 0,
        share=guest.spec.share,
    )


def _load(guest: Guest, cpu: float | None, free_mib: float | None) -> Load:
    memory_mib = guest.spec.memory_mib
    used = None if free_mib is None else max(0.0, memory_mib - free_mib) / max(memory_mib, 1)
    return Load(UNMEASURED.cpu if cpu is None else cpu / 100.0, UNMEASURED.memory if used is None else used)


def _measured(state: State, guest: Guest, name: str) -> float | None:
    reading = state.world.clients.get(guest.name, name) if guest.name in state.world.clients else None
    if reading is not None and reading.time_s <= guest.resized_s:
        return None  # of another size
    if reading is None or isinstance(reading.value, bool) or not isinstance(reading.value, int | float):
        return None
    return float(reading.value) if reading.value >= 0 else None
