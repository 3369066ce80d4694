"""Clusters out of a seed, to compare planners on: as text (`ganeti.format_cluster`) or as a Cluster.

The same arguments give the same cluster with the same NumPy: only integers and uniform numbers of its
default generator are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vmm.policies.errors import BadRequest
from vmm.policies.model import Cluster, Guest, Host, Load

Pattern = Literal["skewed", "packed", "new-hosts", "uneven", "lopsided"]
PATTERNS: tuple[Pattern, ...] = ("skewed", "packed", "new-hosts", "uneven", "lopsided")

_MEMORY_MIB = (1024, 2048, 4096, 8192, 16384)
_MEMORY_ODDS = (0.2, 0.3, 0.3, 0.15, 0.05)
_VCPUS = (1, 2, 4, 8)
_VCPU_ODDS = (0.3, 0.4, 0.2, 0.1)
_FILL = {"skewed": 0.6, "packed": 0.35, "new-hosts": 0.55, "uneven": 0.7, "lopsided": 0.25}
_STEPS: dict[Pattern, tuple[float, ...]] = {
    "uneven": (0.5, 0.75, 1.0, 1.5, 2.0),
    "lopsided": (0.25, 0.5, 1.0, 2.0),
}
_FEW_STEPS = (0.75, 1.0, 1.0, 1.25)
_KEEP_FREE = 0.05
_TRIES = 200
_CLOSED = -1.0
"""Stands for the room of a host that may not take a guest."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What to generate.

    skewed: few hosts have many guests. packed: evenly at a low fill, for consolidation. new-hosts: skewed,
    but a tenth of the hosts is empty. uneven: hosts of very different sizes, guests of any size, fuller.
    lopsided: hosts with much memory and few CPUs, and the reverse; mostly empty, for consolidation.
    Hosts and guests are dealt to `groups` in turn. `tagged`: part of the guests that carry an exclusion tag.
    """

    hosts: int
    guests: int
    seed: int = 1
    pattern: Pattern = "skewed"
    vcpu_ratio: float = 4.0
    groups: int = 1
    tagged: float = 0.0

    def __post_init__(self) -> None:
        if self.hosts < 1 or self.guests < 0:
            raise BadRequest(
                f"{self.hosts} hosts and {self.guests} guests make no cluster", next_step="ask for more"
            )
        if self.pattern not in PATTERNS:
            raise BadRequest(
                f"unknown pattern {self.pattern!r}", next_step=f"use one of {', '.join(PATTERNS)}"
            )
        if self.seed < 0:
            raise BadRequest(f"seed is {self.seed}", next_step="give a whole number >= 0")
        if not 0 < self.vcpu_ratio < math.inf:
            raise BadRequest(f"vcpu_ratio is {self.vcpu_ratio}", next_step="give a finite number > 0")
        if not 1 <= self.groups <= self.hosts:
            raise BadRequest(
                f"{self.hosts} hosts make no {self.groups} groups", next_step="give 1 to as many as hosts"
            )
        if not 0 <= self.tagged <= 1:
            raise BadRequest(f"tagged is {self.tagged}", next_step="give a part from 0 to 1")


def generate(shape: Shape) -> Cluster:
    """A cluster on shared storage in which every guest has a host and every host is within its limits."""
    rng = np.random.default_rng(shape.seed)
    guests = [_guest(i, rng, shape) for i in range(shape.guests)]
    hosts = _hosts(shape, guests, rng)
    odds = _odds(shape, rng)
    free = np.array([h.memory_mib - h.memory_own_mib for h in hosts])
    cpus = np.array([h.vcpu_ratio * h.cpus for h in hosts])
    keep = np.array([_KEEP_FREE * h.memory_mib for h in hosts])
    if shape.tagged:
        guests = _tagged(guests, shape, rng)
    of_group = {h.networks: np.array([h.networks == other.networks for other in hosts]) for h in hosts}
    closed: dict[str, NDArray[np.bool_]] = {}
    placed: dict[str, str] = {}
    for guest in sorted(guests, key=lambda g: -g.memory_mib):
        free_here = np.where(of_group[guest.networks], free - keep, _CLOSED)
        for tag in guest.anti_affinity:
            free_here[closed.setdefault(tag, np.zeros(len(hosts), dtype=np.bool_))] = _CLOSED
        host = _pick(guest, odds, free_here, cpus, rng)
        if host is None and shape.groups > 1:  # small groups may be of small hosts
            host = _pick(guest, odds, np.where(free_here == _CLOSED, _CLOSED, free), cpus, rng)
        if host is None:
            raise BadRequest(
                f"guest {guest.name} ({guest.memory_mib:g} MiB) fits on no generated host",
                next_step="ask for more hosts or fewer guests",
            )
        free[host] -= guest.memory_mib
        cpus[host] -= guest.vcpus
        for tag in guest.anti_affinity:
            closed[tag][host] = True
        placed[guest.name] = hosts[host].name
    return Cluster(hosts, guests).moved(dict(placed))


def _tagged(guests: list[Guest], shape: Shape, rng: np.random.Generator) -> list[Guest]:
    """Some guests get a tag; no tag has more guests than half the hosts of a group."""
    chosen = np.flatnonzero(rng.random(len(guests)) < shape.tagged).tolist()
    tags = math.ceil(len(chosen) / max(shape.hosts // shape.groups // 2, 1))
    out = list(guests)
    for i, at in enumerate(chosen):
        out[at] = replace(out[at], anti_affinity=frozenset({f"role:{i % tags}"}))
    return out


def _guest(number: int, rng: np.random.Generator, shape: Shape) -> Guest:
    if shape.pattern == "lopsided":
        memory = 128 * int(rng.integers(4, 65))
        vcpus = (1, 1, 2, 4)[int(rng.integers(4))]
    elif shape.pattern == "uneven":
        memory = 256 * int(rng.integers(1, 80))
        vcpus = int(rng.integers(1, 13))
    else:
        memory = _MEMORY_MIB[_draw(rng, _MEMORY_ODDS)]
        vcpus = _VCPUS[_draw(rng, _VCPU_ODDS)]
    # A skewed load between 0 and 1 without transcendental functions of the random stream.
    cpu = round(float(rng.random()) * float(rng.random()) * float(rng.random()) + 0.02, 4)
    load = Load(
        cpu, round(cpu * (0.3 + 0.4 * float(rng.random())), 4), round(cpu * 0.3, 4), round(cpu * 0.2, 4)
    )
    return Guest(f"v{number:05d}", memory, vcpus, disk_mib=10240, load=load, networks=_network(number, shape))


def _network(number: int, shape: Shape) -> frozenset[str]:
    return frozenset({f"uuid-g{number % shape.groups}"})


def _hosts(shape: Shape, guests: list[Guest], rng: np.random.Generator) -> list[Host]:
    sizes = [
        _mean_size([g for g in guests if g.networks == _network(i, shape)], shape)
        for i in range(shape.groups)
    ]
    largest_gib = max((g.memory_mib for g in guests), default=0) / 1024
    most_vcpus = max((g.vcpus for g in guests), default=0)
    steps = _STEPS.get(shape.pattern, _FEW_STEPS)
    lopsided = shape.pattern == "lopsided"
    out = []
    for i in range(shape.hosts):
        size = steps[int(rng.integers(len(steps)))]
        memory, vcpus = sizes[i % shape.groups]
        gib = max(32, math.ceil(memory * size), math.ceil(largest_gib * 1.2) + 2)
        if lopsided:
            gib, size = max(8, math.ceil(memory * size)), steps[int(rng.integers(len(steps)))]
        cpus = max(8, math.ceil(vcpus * size), math.ceil(most_vcpus / shape.vcpu_ratio))
        out.append(
            Host(
                f"n{i:04d}",
                gib * 1024,
                cpus,
                memory_own_mib=1024,
                memory_reserve_mib=1,
                vcpu_ratio=shape.vcpu_ratio,
                networks=_network(i, shape),
                group=f"g{i % shape.groups}",
            )
        )
    return out


def _mean_size(guests: list[Guest], shape: Shape) -> tuple[float, float]:
    """Memory in GiB and CPUs of a host of the usual size, for the guests of one group."""
    hosts = shape.hosts / shape.groups
    memory = sum(g.memory_mib for g in guests) / hosts / _FILL[shape.pattern] / 1024
    return memory, sum(g.vcpus for g in guests) / hosts / shape.vcpu_ratio / 0.5


def _odds(shape: Shape, rng: np.random.Generator) -> NDArray[np.float64]:
    odds = np.ones(shape.hosts)
    if shape.pattern not in ("packed", "lopsided"):
        filled = shape.hosts - max(1, shape.hosts // 10) if shape.pattern == "new-hosts" else shape.hosts
        odds[:] = 0.0
        ranks = rng.permutation(max(filled, 1))
        odds[: len(ranks)] = 1 / (ranks + 1.0)
    return np.asarray(odds / odds.sum())


def _pick(
    guest: Guest,
    odds: NDArray[np.float64],
    free: NDArray[np.float64],
    cpus: NDArray[np.float64],
    rng: np.random.Generator,
) -> int | None:
    sums = np.cumsum(odds)
    for _ in range(_TRIES):
        host = min(int(np.searchsorted(sums, rng.random(), side="right")), len(odds) - 1)
        if guest.memory_mib <= free[host] and guest.vcpus <= cpus[host]:
            return host
    fits = np.flatnonzero((guest.memory_mib <= free) & (guest.vcpus <= cpus))
    return int(fits[free[fits].argmax()]) if len(fits) else None


def _draw(rng: np.random.Generator, odds: tuple[float, ...]) -> int:
    number = float(rng.random())
    for i, part in enumerate(odds):
        number -= part
        if number < 0:
            return i
    return len(odds) - 1
