"""Scaling guests by load, on two levels: shares and caps inside a host first, migration between hosts second.

Level one gives each guest the vCPUs and memory that its load asks for, within its profile; where a host
cannot give all, physical CPU time is shared by weight (max-min fair) as `cpu_weight` and `cpu_cap`, and
memory grows only as far as there is room. Level two moves guests away from hosts that have too little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vmm.policies.constraints import SLACK, why_not
from vmm.policies.errors import BadRequest
from vmm.policies.model import Cluster, Guest, Host
from vmm.policies.plan import Action, Kind, Limits, Plan, migration_seconds

_MEMORY_STEP_MIB = 256
_ROUNDS = 4
_LEAST_CAP = 0.01
"""CPUs: what the kernel's bandwidth control gives at least."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a guest uses, and what its profile allows. CPU in vCPUs, memory in MiB; smoothed by the caller."""

    guest: str
    cpu_used: float
    memory_used_mib: float
    vcpus_min: int = 1
    vcpus_max: int = 64
    memory_min_mib: float = 256
    memory_max_mib: float = 1 << 20
    weight: float = 1.0
    """Its share of a host's CPU time when there is not enough for all."""
    weight_now: float = 1.0
    cap_now: float = 0.0
    """The weight and cap it has; a cap of 0 is none."""

    def __post_init__(self) -> None:
        for name in ("cpu_used", "memory_used_mib", "vcpus_min", "memory_min_mib"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadRequest(
                    f"guest {self.guest!r}: {name} is {getattr(self, name)}", next_step="give a number >= 0"
                )
        if not 0 < self.weight < math.inf:
            raise BadRequest(f"guest {self.guest!r}: weight is {self.weight}", next_step="give a number > 0")
        if not (self.vcpus_min <= self.vcpus_max and self.memory_min_mib <= self.memory_max_mib):
            raise BadRequest(
                f"guest {self.guest!r}: {self.vcpus_min} to {self.vcpus_max} vCPUs and"
                f" {self.memory_min_mib} to {self.memory_max_mib} MiB are no ranges",
                next_step="correct its profile",
            )


@dataclass(frozen=True, slots=True)
class Bands:
    """Between `low` and `high` use nothing changes; outside, sizes are set so that use is `aim`."""

    low: float = 0.3
    aim: float = 0.6
    high: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.aim < self.high:
            raise BadRequest(
                f"bands {self.low}, {self.aim}, {self.high} are not in order",
                next_step="give 0 <= low < aim < high",
            )


def scale(
    cluster: Cluster, demands: Iterable[Demand], *, bands: Bands | None = None, limits: Limits | None = None
) -> Plan:
    """Plan of RESIZE actions, and of migrations where a host has too little for its guests.

    The score is the memory and CPU asked for that guests do not get, as parts of what their hosts have.
    A guest that may not be moved now (a job runs in it) is never made smaller.
    """
    bands, limits = bands or Bands(), limits or Limits()
    wanted = {d.guest: d for d in demands}
    unknown = [name for name in wanted if name not in cluster.guest_by_name]
    if unknown:
        raise BadRequest(
            f"guest {unknown[0]!r} to scale is not in the cluster", next_step="take a guest of the cluster"
        )
    world = _World(cluster, wanted, bands)
    before = world.unmet()
    actions: list[Action] = []
    for _ in range(_ROUNDS):
        given = _given(world, limits)
        while given:  # what leaves or shrinks makes room for another to come, and all that for what grows
            actions += given
            given = _given(world, limits)
        for host in cluster.hosts:
            for action in _resized(world, host):
                _append(actions, action)
        if not (given := _given(world, limits)):  # a size that is within the bands now may be less than liked
            break
        actions += given
    numbered = tuple(replace(a, group=i + 1) for i, a in enumerate(actions))
    why = "" if actions else "every guest uses what it has within the bands, or nobody may be changed"
    return Plan(
        "scale", "unmet demand", before, world.unmet(), numbered, why_empty=why, reasons=world.reasons
    )


def _given(world: _World, limits: Limits) -> list[Action]:
    """Guests that leave hosts which have too little, and what guests give up."""
    hosts = list(world.hosts.values())
    moved = [a for h in hosts if h.takes_guests for a in _relieved(world, h, limits)]
    return moved + [a for h in hosts for a in _shrunk(world, h)]


def _shrunk(world: _World, host: Host) -> list[Action]:
    """What guests give up; nothing needs room for that."""
    actions = []
    for guest in list(world.there[host.name]):
        vcpus, memory = world.liked(guest)
        sizes: dict[str, float] = {"vcpus": vcpus} if vcpus < guest.vcpus else {}
        if sizes := sizes | ({"memory_mib": memory} if memory < guest.memory_mib else {}):
            actions.append(_resize(world, guest, host, sizes))
    return actions


def _resized(world: _World, host: Host) -> list[Action]:
    """What guests get, as far as there is room, and their weights and caps."""
    return [
        _resize(world, guest, host, sizes)
        for guest in list(world.there[host.name])
        if guest.name in world.wanted and (sizes := world.sizes(guest, host))
    ]


def _resize(world: _World, guest: Guest, host: Host, sizes: Mapping[str, float]) -> Action:
    world.resize(guest, sizes)
    return Action(Kind.RESIZE, guest.name, host.name, host.name, score_after=world.unmet(), sizes=sizes)


def _append(actions: list[Action], action: Action) -> None:
    """Add a resize; a weight and cap alone go with the guest's last one, if there was one."""
    if not action.sizes.keys() & {"vcpus", "memory_mib"}:
        for i, old in enumerate(actions):
            if old.guest == action.guest and old.kind is Kind.RESIZE and old.target == action.target:
                actions[i] = replace(old, sizes={**old.sizes, **action.sizes})
                return
    actions.append(action)


def fair_caps(capacity: float, demands: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Max-min fair parts of a capacity: nobody gets more than asked for, what is left goes by weight."""
    caps = [0.0] * len(demands)
    open_ = [i for i, demand in enumerate(demands) if demand > 0]
    left = capacity
    while open_:
        unit = left / sum(weights[i] for i in open_)
        full = [i for i in open_ if demands[i] <= unit * weights[i] + 1e-12]
        if not full:
            for i in open_:
                caps[i] = unit * weights[i]
            return caps
        for i in full:
            caps[i] = demands[i]
            left -= demands[i]
        open_ = [i for i in open_ if i not in set(full)]
    return caps


class _World:
    """Guests at their present sizes and hosts, as the plan goes on; what each would like to have."""

    def __init__(self, cluster: Cluster, wanted: Mapping[str, Demand], bands: Bands) -> None:
        self.wanted, self.bands = wanted, bands
        self.hosts = {h.name: h for h in cluster.hosts}
        self.there: dict[str, list[Guest]] = {h.name: [] for h in cluster.hosts}
        self.reasons: dict[str, str] = {}
        for guest in cluster.guests:
            if guest.host is not None:
                self.there[guest.host].append(guest)
            elif guest.name in wanted:
                self.reasons[guest.name] = "it runs nowhere"

    def liked(self, guest: Guest) -> tuple[float, float]:
        """vCPUs and MiB that the guest's load asks for, within its profile."""
        d = self.wanted.get(guest.name)
        if d is None:
            return guest.vcpus, guest.memory_mib
        vcpus = _banded(guest.vcpus, d.cpu_used, self.bands)
        memory = _banded(guest.memory_mib, d.memory_used_mib, self.bands)
        vcpus = min(max(math.ceil(vcpus - 1e-9), d.vcpus_min), d.vcpus_max)
        memory = math.ceil((memory - 1e-9) / _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB
        memory = min(max(memory, d.memory_min_mib), d.memory_max_mib)
        if guest.immovable:  # never smaller under a job
            if vcpus < guest.vcpus or memory < guest.memory_mib:
                self.reasons.setdefault(guest.name, f"it may not be made smaller now: {guest.immovable}")
            return max(vcpus, guest.vcpus), max(memory, guest.memory_mib)
        return vcpus, memory

    def lacking(self, host: Host) -> tuple[float, float]:
        """vCPUs and MiB that the host's guests would like and the host has not got."""
        liked = [self.liked(g) for g in self.there[host.name]]
        vcpus = sum(v for v, _ in liked) - (host.vcpu_ratio * host.cpus - host.vcpus_own)
        memory = sum(m for _, m in liked) - (host.memory_mib - host.memory_own_mib - host.memory_reserve_mib)
        return max(0.0, vcpus), max(0.0, memory)

    def unmet(self) -> float:
        """Sum over hosts of what is lacking, as parts of what they have."""
        total = 0.0
        for host in self.hosts.values():
            vcpus, memory = self.lacking(host)
            total += vcpus / (host.vcpu_ratio * host.cpus) + memory / host.memory_mib
        return total

    def sizes(self, guest: Guest, host: Host) -> dict[str, float]:
        """What of the guest to change on this host now: as near to its liking as there is room for."""
        vcpus, memory = self.liked(guest)
        others = [g for g in self.there[host.name] if g.name != guest.name]
        free_mib = (
            host.memory_mib
            - host.memory_own_mib
            - host.memory_reserve_mib
            - sum(g.memory_mib for g in others)
        )
        free_vcpus = host.vcpu_ratio * host.cpus - host.vcpus_own - sum(g.vcpus for g in others)
        if memory > guest.memory_mib:
            memory = max(guest.memory_mib, min(memory, free_mib // _MEMORY_STEP_MIB * _MEMORY_STEP_MIB))
        if vcpus > guest.vcpus:
            vcpus = max(guest.vcpus, min(vcpus, math.floor(free_vcpus + SLACK)))
        if (vcpus, memory) != self.liked(guest):
            self.reasons[guest.name] = f"{host.name} has no room for all that it needs"
        out: dict[str, float] = {}
        if vcpus != guest.vcpus:
            out["vcpus"] = vcpus
        if memory != guest.memory_mib:
            out["memory_mib"] = memory
        return out | self._caps(guest, host)

    def _caps(self, guest: Guest, host: Host) -> dict[str, float]:
        """CPU weight and cap, when the host's guests together use more CPU than it has; else none, as far as
        that is not so already."""
        known = [self.wanted[g.name] for g in self.there[host.name] if g.name in self.wanted]
        used = sum(d.cpu_used for d in known)
        demand = self.wanted.get(guest.name)
        if demand is None:
            return {}
        if used <= host.cpus - host.vcpus_own:
            return {"cpu_cap": 0.0} if demand.cap_now else {}
        caps = fair_caps(host.cpus - host.vcpus_own, [d.cpu_used for d in known], [d.weight for d in known])
        i = [d.guest for d in known].index(guest.name)
        cap = round(max(caps[i], _LEAST_CAP), 3)
        out = {} if demand.weight == demand.weight_now else {"cpu_weight": demand.weight}
        return out if cap == demand.cap_now else out | {"cpu_cap": cap}

    def resize(self, guest: Guest, sizes: Mapping[str, float]) -> None:
        here = self.there[guest.host or ""]
        new = replace(
            guest, vcpus=sizes.get("vcpus", guest.vcpus), memory_mib=sizes.get("memory_mib", guest.memory_mib)
        )
        here[here.index(guest)] = new

    def move(self, guest: Guest, target: str) -> None:
        self.there[guest.host or ""].remove(guest)
        self.there[target].append(replace(guest, host=target))


def _banded(size: float, used: float, bands: Bands) -> float:
    use = used / size if size else math.inf
    return size if bands.low <= use <= bands.high else used / bands.aim


def _relieved(world: _World, host: Host, limits: Limits) -> list[Action]:
    """Migrations away from a host that lacks something: the cheapest that help, while there are any."""
    actions: list[Action] = []
    while any(world.lacking(host)):
        now = world.unmet()
        best: tuple[float, float, Guest, str] | None = None
        for guest in world.there[host.name]:
            if guest.immovable:
                continue
            vcpus, memory = world.liked(guest)
            liked = replace(guest, vcpus=max(vcpus, guest.vcpus), memory_mib=max(memory, guest.memory_mib))
            for target in world.hosts.values():
                if target.name == host.name or why_not(liked, target, world.there[target.name]):
                    continue
                if any(world.lacking(target)):
                    continue
                world.move(guest, target.name)
                after = world.unmet()
                moved = world.there[target.name][-1]
                world.move(moved, host.name)
                choice = (round(after, 9), guest.memory_mib, guest, target.name)
                if after < now - SLACK and (best is None or choice[:2] < best[:2]):
                    best = choice
        if best is None:
            break
        _, memory_mib, guest, name = best
        world.move(world.there[host.name][[g.name for g in world.there[host.name]].index(guest.name)], name)
        data_mib = memory_mib + (guest.disk_mib if guest.disk_local else 0.0)
        actions.append(
            Action(
                Kind.MIGRATE,
                guest.name,
                host.name,
                name,
                data_mib,
                migration_seconds(data_mib, limits),
                score_after=world.unmet(),
                reason=f"{host.name} has too little for what its guests need",
            )
        )
    return actions
