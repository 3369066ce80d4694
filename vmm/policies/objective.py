"""What a plan should make smaller: a weighted sum of terms over hosts, guests and racks.

    score = sum of weight * (population standard deviation over hosts that are not offline of a Metric)
          + sum of weight * (units of a Metric above a limit, summed over hosts)        [Ceiling]
          + price of guests of one affinity tag apart, of one spread tag in one rack, of power
          + 20 per guest on an offline host + 1 per guest on a host with less than no memory free
          + 2 per guest that breaks a constraint where it is: on a draining host, out of reach of its network
            or storage, off its pins, or on one host with others that it is to be apart from

A Metric is linear: on a host it is scale * (base + sum over its guests of amount). All that planners
do rests on that: a move changes two hosts' values, so the new deviation follows in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vmm.policies._check import Columns
from vmm.policies.errors import BadRequest
from vmm.policies.model import Cluster, Guest, Host

GuestNumber = Callable[[Guest], float]
HostNumber = Callable[[Host], float]

OFFLINE_PRICE = 20.0
"""Score of one guest on an offline host (16 + 4 in Ganeti's)."""
OVERFULL_PRICE = 1.0
"""Score of one guest on a host with less memory than its guests use."""
APART_PRICE = 2.0
"""Score of each guest but one that share an anti-affinity tag on a host that is not offline, as in Ganeti."""
MISPLACED_PRICE = 2.0
"""Score of one guest on a host that is draining, or that its network, storage, CPU model or pins forbid."""


def _zero(_: Host) -> float:
    return 0.0


def _one(_: Host) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A linear quantity of a host: `scale(host) * (base(host) + sum of amount(guest))`."""

    name: str
    amount: GuestNumber
    scale: HostNumber
    base: HostNumber
    reads_load: bool = True
    """False lets guests that differ only in measured load be planned as one kind, which is much faster.
    `amount` may read everything of a guest but its name and host."""
    column: Callable[[Columns], NDArray[np.float64]] | None = None
    """All guests' amounts from the cluster's columns; must equal `amount`, only faster."""

    def host_numbers(self, hosts: Sequence[Host]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and base of each host."""
        numbers = []
        for number in (self.scale, self.base):
            if number is _one or number is _zero:  # most loads: no need to ask a thousand hosts
                numbers.append(np.full(len(hosts), 1.0 if number is _one else 0.0))
            else:
                numbers.append(np.array([number(h) for h in hosts], dtype=np.float64))
        return numbers[0], numbers[1]

    def amounts(self, cluster: Cluster) -> NDArray[np.float64]:
        """Amount of each guest of a cluster."""
        if self.column is not None:
            return self.column(cluster.columns)
        return np.array([self.amount(g) for g in cluster.guests], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Deviation:
    """Weight times the population standard deviation of a metric over the hosts."""

    metric: Metric
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Weight times what the hosts have of a metric above a limit that depends on the cluster."""

    metric: Metric
    limit: Callable[[Cluster], float]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Objective:
    """A selectable objective; lower is better. Affinity and spread have a price per pair of guests."""

    name: str
    deviations: tuple[Deviation, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    affinity_price: float = 0.0
    spread_price: float = 0.0
    power_price: float = 0.0
    """Per W of host power and per part of the host's memory that a guest takes."""
    standby_price: float = 0.0
    """Per part of a host's memory that is kept for guests with their secondary there."""

    def __post_init__(self) -> None:
        prices = {d.metric.name: d.weight for d in self.deviations}
        prices |= {c.metric.name: c.weight for c in self.ceilings}
        prices["standby"] = self.standby_price
        prices |= {"affinity": self.affinity_price, "spread": self.spread_price, "power": self.power_price}
        for name, weight in prices.items():
            if not 0 <= weight < math.inf:
                raise BadRequest(
                    f"objective {self.name!r}: weight of {name} is {weight}",
                    next_step="give a finite number >= 0",
                )


MEMORY = Metric(
    "memory",
    lambda g: g.memory_mib,
    lambda h: 1 / h.memory_mib,
    lambda h: h.memory_own_mib,
    False,
    lambda c: c.memory_mib,
)
"""Used part of memory. Its deviation equals that of the free part, which Ganeti names."""
VCPUS = Metric(
    "vcpus",
    lambda g: g.vcpus,
    lambda h: 1 / (h.cpus * h.cpu_speed),
    lambda h: h.vcpus_own,
    False,
    lambda c: c.vcpus,
)
"""vCPUs per physical CPU, corrected by its speed."""
DISK = Metric(
    "disk",
    lambda g: g.disk_mib if g.disk_local else 0.0,
    lambda h: 1 / h.disk_mib if h.disk_mib else 0.0,
    lambda h: h.disk_own_mib,
    False,
    lambda c: c.disk_local_mib,
)
"""Used part of the local disk; a host without one counts as empty."""
CPU_LOAD = Metric("cpu_load", lambda g: g.load.cpu, _one, _zero, True, lambda c: c.load[0])
MEMORY_LOAD = Metric("memory_load", lambda g: g.load.memory, _one, _zero, True, lambda c: c.load[1])
DISK_LOAD = Metric("disk_load", lambda g: g.load.disk, _one, _zero, True, lambda c: c.load[2])
NETWORK_LOAD = Metric("network_load", lambda g: g.load.network, _one, _zero, True, lambda c: c.load[3])
GUESTS = Metric("guests", lambda _: 1.0, _one, _zero, False, lambda c: np.ones(len(c.host)))
"""Number of guests."""
SPINDLES = Metric(
    "spindles", lambda _: 0.0, _one, lambda h: h.spindles_used, False, lambda c: np.zeros(len(c.host))
)
"""Spindles kept busy by guests on local disks; no move changes it."""
STANDBY = Metric(
    "standby",
    lambda _: 0.0,
    lambda h: 1 / h.memory_mib,
    lambda h: h.standby_mib,
    False,
    lambda c: np.zeros(len(c.host)),
)
"""Part of memory kept for guests with their secondary there; no move changes it."""

METRICS: Mapping[str, Metric] = {
    m.name: m for m in (MEMORY, VCPUS, DISK, CPU_LOAD, MEMORY_LOAD, DISK_LOAD, NETWORK_LOAD, GUESTS)
}

_CAPACITY = tuple(Deviation(m) for m in (MEMORY, VCPUS, DISK))
_FIXED = (Deviation(SPINDLES), Deviation(STANDBY))
_LOADS = tuple(Deviation(m) for m in (CPU_LOAD, MEMORY_LOAD, DISK_LOAD, NETWORK_LOAD))

GANETI = Objective("ganeti", _CAPACITY + _LOADS + _FIXED, standby_price=0.25)
"""The score of Ganeti's htools 3.0."""
STATIC = Objective("ganeti-static", _CAPACITY + _FIXED, standby_price=0.25)
"""The same without measured load (`hbal --ignore-dynu`)."""


def fair_count(cluster: Cluster) -> float:
    """X = D/N + 1 in whole guests: at most so many of D guests on each of N hosts that take guests."""
    hosts = sum(h.takes_guests for h in cluster.hosts)
    return len(cluster.guests) // max(hosts, 1) + 1


COUNT = Objective("count", ceilings=(Ceiling(GUESTS, fair_count),))
"""XCM's policy: hosts with more than D/N + 1 guests give some away."""

OBJECTIVES: Mapping[str, Objective] = {o.name: o for o in (GANETI, STATIC, COUNT)}


def without_load(objective: Objective) -> Objective:
    """The same objective without measured loads; of `ganeti` that is `ganeti-static`."""
    loads = {term.metric.name for term in _LOADS}
    kept = tuple(term for term in objective.deviations if term.metric.name not in loads)
    caps = tuple(cap for cap in objective.ceilings if cap.metric.name not in loads)
    if len(kept) == len(objective.deviations) and len(caps) == len(objective.ceilings):
        return objective
    return replace(objective, name=f"{objective.name}-static", deviations=kept, ceilings=caps)


def weighted(
    weights: Mapping[str, float],
    *,
    affinity_price: float = 0.0,
    spread_price: float = 0.0,
    power_price: float = 0.0,
    name: str = "weighted",
) -> Objective:
    """Objective from the administrator's weights per metric name (`etc/policies.ini`)."""
    for metric in weights:
        if metric not in METRICS:
            raise BadRequest(
                f"unknown metric {metric!r}", next_step=f"use one of {', '.join(sorted(METRICS))}"
            )
    deviations = tuple(Deviation(METRICS[m], w) for m, w in weights.items() if w != 0)
    return Objective(
        name, deviations, affinity_price=affinity_price, spread_price=spread_price, power_price=power_price
    )
