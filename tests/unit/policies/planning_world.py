"""Clusters for planning tests, and a second, naive implementation of score and legality."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from hypothesis import strategies as st

from vmm.policies.model import Cluster, Guest, Host, HostState, Load
from vmm.policies.objective import COUNT, GANETI, STATIC, Objective, weighted
from vmm.policies.plan import Kind, Plan

DATA = Path(__file__).parent / "data"

SOFT = weighted(
    {"memory": 1.0, "vcpus": 0.5, "guests": 0.1}, affinity_price=0.3, spread_price=0.2, power_price=0.001
)
ALL_OBJECTIVES = (GANETI, STATIC, COUNT, SOFT)


def naive_score(cluster: Cluster, objective: Objective) -> float:
    """The objective's score by its definition, with no array and no closed form."""
    on = [h for h in cluster.hosts if h.state is not HostState.OFFLINE]
    there = {h.name: [g for g in cluster.guests if g.host == h.name] for h in cluster.hosts}
    total = 0.0
    for term in objective.deviations:
        m = term.metric
        values = [m.scale(h) * (m.base(h) + sum(m.amount(g) for g in there[h.name])) for h in on]
        total += term.weight * (statistics.pstdev(values) if values else 0.0)
    for cap in objective.ceilings:
        m = cap.metric
        for h in on:
            value = m.scale(h) * (m.base(h) + sum(m.amount(g) for g in there[h.name]))
            total += cap.weight * max(0.0, value - cap.limit(cluster))
    for h in cluster.hosts:
        used = h.memory_own_mib + sum(g.memory_mib for g in there[h.name])
        if h.state is HostState.OFFLINE:
            total += 20 * len(there[h.name])
        elif used > h.memory_mib:
            total += len(there[h.name])
        if h.state is not HostState.OFFLINE:
            total += 2 * sum(
                h.state is HostState.DRAINING
                or not g.networks <= h.networks
                or not g.storages <= h.storages
                or (g.cpu_model != "" and g.cpu_model not in h.cpu_models)
                or (bool(g.pinned) and h.name not in g.pinned)
                for g in there[h.name]
            )
            tags = Counter(tag for g in there[h.name] for tag in g.anti_affinity)
            total += 2 * sum(number - 1 for number in tags.values())
            total += objective.standby_price * h.standby_mib / h.memory_mib
        total += objective.power_price * sum(h.power_w * g.memory_mib / h.memory_mib for g in there[h.name])
    placed = [g for g in cluster.guests if g.host is not None]
    racks = {h.name: h.rack or f"alone {h.name}" for h in cluster.hosts}
    for a, b in combinations(placed, 2):
        if a.host != b.host:
            total += objective.affinity_price * len(a.affinity & b.affinity)
        if racks[a.host or ""] == racks[b.host or ""]:
            total += objective.spread_price * len(a.spread & b.spread)
    return total


def arrival_is_legal(cluster: Cluster, guest: Guest, target: str) -> bool:
    """May this guest come to this host now? Every hard constraint, one by one."""
    host = cluster.host_by_name[target]
    others = [g for g in cluster.guests if g.host == target and g.name != guest.name]
    everybody = [*others, guest]
    return (
        host.state is HostState.UP
        and guest.networks <= host.networks
        and guest.storages <= host.storages
        and (not guest.cpu_model or guest.cpu_model in host.cpu_models)
        and (not guest.pinned or target in guest.pinned)
        and sum(g.memory_mib for g in everybody)
        <= host.memory_mib - host.memory_own_mib - host.memory_reserve_mib + 1e-6
        and sum(g.vcpus for g in everybody) <= host.vcpu_ratio * host.cpus - host.vcpus_own + 1e-6
        and (
            not guest.disk_local
            or sum(g.disk_mib for g in everybody if g.disk_local)
            <= host.disk_mib - host.disk_own_mib - host.disk_reserve_mib + 1e-6
        )
        and (not guest.network_mbit or sum(g.network_mbit for g in everybody) <= host.network_mbit + 1e-6)
        and not any(g.anti_affinity & guest.anti_affinity for g in others)
    )


def replayed(cluster: Cluster, plan: Plan) -> Cluster:
    """The cluster after the plan; fails at the first step that breaks a hard constraint."""
    for number, action in enumerate(plan.actions, 1):
        if action.kind is Kind.POWER_OFF:
            assert not [g for g in cluster.guests if g.host == action.source], (
                f"step {number}: host not empty"
            )
            continue
        guest = cluster.guest_by_name[action.guest]
        assert (guest.host or "") == action.source, f"step {number}: {guest.name} is on {guest.host}"
        assert not (action.kind is Kind.MIGRATE and guest.immovable), (
            f"step {number}: {guest.name} may not move"
        )
        assert action.source != action.target, f"step {number} goes nowhere"
        assert arrival_is_legal(cluster, guest, action.target), f"step {number}: {action} is not legal"
        cluster = cluster.moved({guest.name: action.target})
    return cluster


def groups_are_legal(cluster: Cluster, plan: Plan, per_host: int, total: int) -> bool:
    """Do the parallel groups keep the limits, and fit while departures still take room?"""
    groups: dict[int, list[Mapping[str, str]]] = {}
    for action in plan.actions:
        if action.kind in (Kind.MIGRATE, Kind.START):
            groups.setdefault(action.group, []).append({"guest": action.guest, "to": action.target})
    for number in sorted(groups):
        rows = groups[number]
        busy: Counter[str] = Counter()
        crowded = cluster
        for row in rows:
            guest = cluster.guest_by_name[row["guest"]]
            busy.update([h for h in (guest.host, row["to"]) if h])
            if not arrival_is_legal(crowded, guest, row["to"]):
                return False
            copy = Guest(**{**_fields(guest), "name": f"copy of {guest.name}", "host": row["to"]})
            crowded = crowded.with_guests([copy])
        if len(rows) > total or max(busy.values()) > per_host:
            return False
        cluster = cluster.moved({row["guest"]: row["to"] for row in rows})
    return True


def _fields(guest: Guest) -> dict[str, object]:
    return {name: getattr(guest, name) for name in Guest.__slots__}


def simple(
    *loads: tuple[int, ...], memory: float = 100.0, cpus: float = 100.0, state: HostState = HostState.UP
) -> Cluster:
    """One host per tuple, with a guest of that memory (and as many vCPUs) for each number in it."""
    hosts = [Host(f"h{i}", memory, cpus, vcpu_ratio=1.0, state=state) for i in range(len(loads))]
    guests = [
        Guest(f"g{i}{chr(97 + j)}", size, size, host=f"h{i}")
        for i, row in enumerate(loads)
        for j, size in enumerate(row)
    ]
    return Cluster(hosts, guests)


_TAGS = st.frozensets(st.sampled_from(["red", "blue"]), max_size=1)
_NETS = st.frozensets(st.sampled_from(["net1", "net2"]), max_size=1)


@st.composite
def clusters(draw: st.DrawFn, *, plain: bool = False, most_guests: int = 9) -> Cluster:
    """Small clusters of every kind: states, tags, pins, racks, overfull hosts; `plain` has none of that."""
    n = draw(st.integers(1, 4))
    hosts = []
    for i in range(n):
        memory = draw(st.sampled_from([64, 96, 128]))
        hosts.append(
            Host(
                f"h{i}",
                memory,
                draw(st.sampled_from([4, 8])),
                memory_own_mib=draw(st.sampled_from([0, 4])),
                memory_reserve_mib=draw(st.sampled_from([0, 1])),
                disk_mib=draw(st.sampled_from([0, 50])),
                network_mbit=draw(st.sampled_from([100.0, float("inf")])),
                state=HostState.UP if plain else draw(st.sampled_from([HostState.UP] * 4 + list(HostState))),
                networks=frozenset({"net1", "net2"}) if plain else draw(_NETS) | {"net1"},
                cpu_models=frozenset() if plain else draw(st.frozensets(st.just("new"))),
                rack="" if plain else draw(st.sampled_from(["", "r1", "r2"])),
                power_w=0.0 if plain else draw(st.sampled_from([100.0, 300.0])),
            )
        )
    guests = []
    for i in range(draw(st.integers(0, most_guests))):
        cpu = draw(st.sampled_from([0.1, 0.5, 1.0]))
        host = f"h{draw(st.integers(0, n - 1))}"
        local = not plain and draw(st.integers(0, 5)) == 0
        apart = frozenset() if plain else draw(_TAGS)
        guests.append(
            Guest(
                f"g{i}",
                draw(st.sampled_from([4, 8, 16, 24])),
                draw(st.sampled_from([1, 2, 4])),
                host=host if plain or draw(st.integers(0, 9)) else None,
                disk_mib=10,
                disk_local=local,
                network_mbit=draw(st.sampled_from([0.0, 0.0, 20.0])),
                load=Load(cpu, cpu / 2, 0.1, 0.1),
                networks=frozenset() if plain else draw(_NETS),
                cpu_model="" if plain else draw(st.sampled_from(["", "", "", "new"])),
                anti_affinity=apart,
                affinity=frozenset() if plain else draw(_TAGS) - apart,
                spread=frozenset() if plain else draw(_TAGS),
                immovable="" if plain or draw(st.integers(0, 6)) else "job 7 runs",
                priority=draw(st.integers(0, 2)),
            )
        )
    return Cluster(hosts, guests)
