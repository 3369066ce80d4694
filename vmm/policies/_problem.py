"""A cluster and an objective as arrays: what every planner computes on.

Guests that no constraint and no metric tells apart form one *kind*. Planners move units of a kind
between hosts; names come back in only when a plan is written.
Shapes: K metrics, R resources, T kinds, N hosts, G guests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.policies._check import NOWHERE
from vmm.policies._reach import reachable
from vmm.policies.errors import BadCluster
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import APART_PRICE, MISPLACED_PRICE, OFFLINE_PRICE, Metric, Objective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BOUNDLESS = 1e15
"""Stands for a resource without limit: finite, so that it can be weighed."""


@dataclass(frozen=True, slots=True, eq=False)
class Tags:
    """One family of tags (anti-affinity, affinity or spread), as far as movable kinds carry them."""

    member: Bools  # T x tags
    fixed: Ints  # tags x N: guests that may not move


@dataclass(frozen=True, slots=True, eq=False)
class Cap:
    """A Ceiling of the objective as arrays."""

    amount: Floats  # T
    scale: Floats  # N
    value: Floats  # N, at the start
    limit: float
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Constant arrays of one planning problem (see the module's text for the letters)."""

    cluster: Cluster
    objective: Objective
    kind_of: Ints  # G: kind of each guest, NOWHERE for guests that may not move
    samples: tuple[Guest, ...]  # T: one guest of each kind
    counts: Ints  # T x N: movable guests
    fixed_counts: Ints  # N: immovable guests
    amount: Floats  # K x T
    scale: Floats  # K x N, 0 on offline hosts
    value: Floats  # K x N: the metric at the start, 0 on offline hosts
    weight: Floats  # K
    constant: float  # part of the score that no move changes
    need: Floats  # R x T
    room: Floats  # R x N: free after the reserve, at the start
    free_mib: Floats  # N: memory free without the reserve, at the start
    reach: Bools  # T x N: hosts that take guests and could run this kind
    online: Floats  # N: 1.0 or 0.0
    price: Floats  # T x N: what a unit of a kind costs on a host (power, offline host)
    apart: Tags
    near: Tags
    wide: Tags
    rack: Ints  # N
    caps: tuple[Cap, ...]

    @property
    def plain(self) -> bool:
        """Is the score made of deviations and fixed prices only, and no host overfull at the start?"""
        tagged = any(len(tags.fixed) for tags in (self.apart, self.near, self.wide))
        overfull = bool(((self.free_mib < 0) & (self.online > 0)).any())
        return not tagged and not self.caps and not overfull

    @property
    def kinds(self) -> int:
        return len(self.samples)

    @property
    def hosts(self) -> int:
        return len(self.online)


def compile_problem(cluster: Cluster, objective: Objective) -> Problem:
    """Arrays in which every guest that may move and runs somewhere has a kind."""
    place = cluster.columns.host
    kind_of, samples = _kinds(
        [None if g.immovable or g.host is None else g for g in cluster.guests], _reads_load(objective)
    )
    n = len(cluster.hosts)
    there = kind_of >= 0
    flat = kind_of[there] * n + place[there]
    counts = np.bincount(flat, minlength=len(samples) * n).reshape(len(samples), n).astype(np.int64)
    fixed = ~there & (place >= 0)
    stuck = np.flatnonzero(fixed).tolist()
    return _compile(cluster, cluster.hosts, place, objective, kind_of, samples, counts, fixed, stuck)


def compile_arrivals(
    cluster: Cluster,
    objective: Objective,
    arrivals: Sequence[Guest],
    *,
    hosts: Sequence[Host] | None = None,
    gone: Sequence[int] = (),
) -> Problem:
    """Arrays in which only the arrivals have kinds (`kind_of` is theirs); all others stay where they are.

    `hosts` replace the cluster's (same names, other states); guests whose index is in `gone` count nowhere.
    """
    kind_of, samples = _kinds(arrivals, _reads_load(objective))
    counts = np.zeros((len(samples), len(cluster.hosts)), dtype=np.int64)
    soft = objective.affinity_price > 0 or objective.spread_price > 0
    tagged = soft or any(g.anti_affinity for g in samples)
    away = set(gone)
    stuck = [i for i in range(len(cluster.guests)) if i not in away] if tagged else []
    place = cluster.columns.host
    if gone:
        place = place.copy()
        place[list(gone)] = NOWHERE
    on = tuple(hosts or cluster.hosts)
    return _compile(cluster, on, place, objective, kind_of, samples, counts, place >= 0, stuck)


def _reads_load(objective: Objective) -> bool:
    metrics = [d.metric for d in objective.deviations] + [c.metric for c in objective.ceilings]
    return any(metric.reads_load for metric in metrics)


def _kinds(guests: Sequence[Guest | None], loaded: bool) -> tuple[Ints, tuple[Guest, ...]]:
    kinds: dict[Any, int] = {}
    samples: list[Guest] = []
    out = []
    for g in guests:
        if g is None:
            out.append(NOWHERE)
            continue
        load = g.load
        key = (
            g.memory_mib,
            g.vcpus,
            g.disk_mib if g.disk_local else 0.0,
            g.network_mbit,
            (load.cpu, load.memory, load.disk, load.network) if loaded else None,
            g.networks,
            g.storages,
            g.cpu_model,
            g.anti_affinity,
            g.affinity,
            g.spread,
            g.pinned,
            g.priority,
            g.share,
        )
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = len(samples)
            samples.append(g)
        out.append(kind)
    return np.array(out, dtype=np.int64), tuple(samples)


def _compile(
    cluster: Cluster,
    hosts: tuple[Host, ...],
    place: Ints,
    objective: Objective,
    kind_of: Ints,
    samples: tuple[Guest, ...],
    counts: Ints,
    fixed: Bools,
    stuck: Sequence[int],
) -> Problem:
    n = len(hosts)
    totals = _Totals(cluster, hosts, place)
    fixed_counts = totals.of(None).astype(np.int64) - counts.sum(axis=0)
    online = np.array([h.state is not HostState.OFFLINE for h in hosts], dtype=np.float64)
    amount, scale, value, weight, constant = _metrics(totals, objective, samples, online)
    need, room = _resources(totals, samples)
    price: Floats = np.broadcast_to(OFFLINE_PRICE * (1 - online), (len(samples), n))
    reach = reachable(samples, hosts)
    misplaced = (counts > 0) & ~reach & (online > 0)
    if misplaced.any():
        price = price + MISPLACED_PRICE * misplaced
    constant += _broken(cluster, hosts, place, fixed, samples, online)
    if objective.standby_price:
        standby = np.array([h.standby_mib / h.memory_mib for h in hosts], dtype=np.float64)
        constant += objective.standby_price * float(standby @ online)
    constant += OFFLINE_PRICE * float(fixed_counts @ (1 - online))
    if objective.power_price:
        power = np.array([h.power_w / h.memory_mib for h in hosts])
        price = price + objective.power_price * np.outer([g.memory_mib for g in samples], power)
        constant += objective.power_price * float(totals.of(cluster.columns.memory_mib) @ power)
        constant -= objective.power_price * float(np.array([g.memory_mib for g in samples]) @ counts @ power)
    return Problem(
        cluster=cluster,
        objective=objective,
        kind_of=kind_of,
        samples=samples,
        counts=counts,
        fixed_counts=fixed_counts,
        amount=amount,
        scale=scale,
        value=value,
        weight=weight,
        constant=constant,
        need=need,
        room=room,
        free_mib=room[0] + np.array([h.memory_reserve_mib for h in hosts], dtype=np.float64),
        reach=reach,
        online=online,
        price=price,
        apart=_tags(
            cluster,
            [g.anti_affinity for g in samples],
            [(i, cluster.guests[i].anti_affinity) for i in stuck],
            False,
        ),
        near=_soft_tags(cluster, samples, stuck, "affinity", objective.affinity_price),
        wide=_soft_tags(cluster, samples, stuck, "spread", objective.spread_price),
        rack=_racks(hosts),
        caps=tuple(
            Cap(*_metric(totals, c.metric, samples, online), c.limit(cluster), c.weight)
            for c in objective.ceilings
        ),
    )


def _broken(
    cluster: Cluster,
    hosts: Sequence[Host],
    place: Ints,
    fixed: Bools,
    samples: Sequence[Guest],
    online: Floats,
) -> float:
    """Price of the guests that stay and break a constraint where they are, as far as no move changes it."""
    columns = cluster.columns
    total = 0.0
    draining = np.array([h.state is HostState.DRAINING for h in hosts], dtype=np.bool_)
    if columns.misplaced or draining.any():
        bad = np.zeros(len(place), dtype=np.bool_)
        bad[list(columns.misplaced)] = True
        bad |= draining[place]
        total += MISPLACED_PRICE * float((bad & fixed & (online[place] > 0)).sum())
    if columns.apart:
        moving: frozenset[str] = frozenset().union(*(g.anti_affinity for g in samples))
        clash: Counter[tuple[str, int]] = Counter()
        for i in columns.apart:
            if fixed[i] and online[place[i]]:
                clash.update((tag, int(place[i])) for tag in cluster.guests[i].anti_affinity - moving)
        total += APART_PRICE * sum(count - 1 for count in clash.values())
    return total


class _Totals:
    """Sums of guests' numbers per host."""

    def __init__(self, cluster: Cluster, hosts: tuple[Host, ...], place: Ints) -> None:
        self.cluster, self.hosts = cluster, hosts
        self._there = None if (place >= 0).all() else place >= 0
        self._at = place if self._there is None else place[self._there]

    def of(self, amounts: Floats | None) -> Floats:
        """Sum over each host's guests of an amount per guest; their number for None."""
        if amounts is not None and self._there is not None:
            amounts = amounts[self._there]
        return np.bincount(self._at, amounts, minlength=len(self.hosts)).astype(np.float64)


def _metric(
    totals: _Totals, metric: Metric, samples: Sequence[Guest], online: Floats
) -> tuple[Floats, Floats, Floats]:
    amount = np.array([metric.amount(g) for g in samples], dtype=np.float64)
    scale, base = metric.host_numbers(totals.hosts)
    scale = scale * online
    value = scale * (base + totals.of(metric.amounts(totals.cluster)))
    if not (np.isfinite(amount).all() and np.isfinite(value).all()):
        bad = np.flatnonzero(~np.isfinite(value))
        name = (
            totals.hosts[bad[0]].name if len(bad) else samples[np.flatnonzero(~np.isfinite(amount))[0]].name
        )
        raise BadCluster(f"metric {metric.name!r} is not finite for {name!r}", next_step="correct the metric")
    return amount, scale, value


def _metrics(
    totals: _Totals, objective: Objective, samples: Sequence[Guest], online: Floats
) -> tuple[Floats, Floats, Floats, Floats, float]:
    """Metrics that a move can change; those that it cannot go into the constant, equal ones become one."""
    rows: list[tuple[Floats, Floats, Floats, float]] = []
    constant = 0.0
    on = online > 0
    for term in objective.deviations:
        if term.weight == 0:
            continue
        a, c, v = _metric(totals, term.metric, samples, online)
        if not a.any() or not c.any():
            constant += term.weight * (float(np.std(v[on])) if on.any() else 0.0)
            continue
        for i, (a2, c2, v2, w2) in enumerate(rows):
            if np.array_equal(a, a2) and np.array_equal(c, c2) and np.array_equal(v, v2):
                rows[i] = (a2, c2, v2, w2 + term.weight)
                break
        else:
            rows.append((a, c, v, term.weight))
    k, t, n = len(rows), len(samples), len(totals.hosts)
    return (
        np.array([r[0] for r in rows], dtype=np.float64).reshape(k, t),
        np.array([r[1] for r in rows], dtype=np.float64).reshape(k, n),
        np.array([r[2] for r in rows], dtype=np.float64).reshape(k, n),
        np.array([r[3] for r in rows], dtype=np.float64),
        constant,
    )


def _resources(totals: _Totals, samples: Sequence[Guest]) -> tuple[Floats, Floats]:
    hosts, columns = totals.hosts, totals.cluster.columns
    rows: list[tuple[list[float], list[float], Floats]] = [
        (
            [g.memory_mib for g in samples],
            [h.memory_mib - h.memory_own_mib - h.memory_reserve_mib for h in hosts],
            columns.memory_mib,
        ),
        ([g.vcpus for g in samples], [h.vcpu_ratio * h.cpus - h.vcpus_own for h in hosts], columns.vcpus),
    ]
    if any(g.disk_local for g in samples):
        rows.append(
            (
                [g.disk_mib if g.disk_local else 0.0 for g in samples],
                [h.disk_mib - h.disk_own_mib - h.disk_reserve_mib for h in hosts],
                columns.disk_local_mib,
            )
        )
    if any(g.network_mbit for g in samples):
        rows.append(
            ([g.network_mbit for g in samples], [h.network_mbit for h in hosts], columns.network_mbit)
        )
    need = np.array([r[0] for r in rows], dtype=np.float64)
    room = np.array([np.minimum(total, _BOUNDLESS) - totals.of(used) for _, total, used in rows])
    return need, room


def _tags(
    cluster: Cluster,
    of_samples: Sequence[frozenset[str]],
    of_stuck: Sequence[tuple[int, frozenset[str]]],
    counted: bool,
) -> Tags:
    """Tags of the kinds; with `counted` also those that only guests that stay carry, for the score."""
    none: frozenset[str] = frozenset()
    names = sorted(none.union(*of_samples, *((tags for _, tags in of_stuck) if counted else ())))
    index = {name: i for i, name in enumerate(names)}
    member = np.zeros((len(of_samples), len(names)), dtype=np.bool_)
    for t, tags in enumerate(of_samples):
        for tag in tags:
            member[t, index[tag]] = True
    fixed = np.zeros((len(names), len(cluster.hosts)), dtype=np.int64)
    if names:
        for i, tags in of_stuck:
            at = cluster.columns.host[i]
            for tag in tags & index.keys():
                fixed[index[tag], at] += at >= 0
    return Tags(member, fixed)


def _soft_tags(
    cluster: Cluster, samples: Sequence[Guest], stuck: Sequence[int], family: str, price: float
) -> Tags:
    if not price:
        return Tags(
            np.zeros((len(samples), 0), dtype=np.bool_), np.zeros((0, len(cluster.hosts)), dtype=np.int64)
        )
    return _tags(
        cluster,
        [getattr(g, family) for g in samples],
        [(i, getattr(cluster.guests[i], family)) for i in stuck],
        True,
    )


def _racks(hosts: Sequence[Host]) -> Ints:
    """Rack number of each host; a host without a rack is a rack of its own."""
    index: dict[Any, int] = {}
    return np.array(
        [index.setdefault(h.rack or (i,), len(index)) for i, h in enumerate(hosts)], dtype=np.int64
    )
