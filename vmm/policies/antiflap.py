"""When to leave things alone: memory of a balancing policy between its rounds, as values.

Loads are smoothed by an exponential mean; an imbalance must hold for several rounds; a guest that has moved
rests; a plan must gain more than it costs; after some plans that did not help, planning rests too.
Nothing here reads a clock: `now_s` are seconds on any clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vmm.policies.errors import BadRequest
from vmm.policies.model import Cluster, Load
from vmm.policies.plan import Plan

_MIB_PER_GIB = 1024.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Section [antiflap] of `etc/policies.ini`."""

    half_life_s: float = 120.0
    rounds: int = 3
    rest_s: float = 900.0
    price_per_gib: float = 0.0
    give_up_after: int = 3
    give_up_s: float = 3600.0
    every_s: float = 60.0
    """Time between two rounds, where they are looked for in a recorded stream."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.give_up_after < 1:
            raise BadRequest("rounds and give_up_after must be at least 1", next_step="correct [antiflap]")
        if not self.every_s > 0:
            raise BadRequest(f"every_s is {self.every_s}", next_step="give a number > 0")
        for name in ("half_life_s", "rest_s", "price_per_gib", "give_up_s"):
            if not getattr(self, name) >= 0:
                raise BadRequest(f"{name} is {getattr(self, name)}", next_step="give a number >= 0")


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from round to round. Part of whoever's state drives the policy; plain values."""

    loads: Mapping[str, Load] = field(default_factory=dict)
    measured_s: float | None = None
    rounds: int = 0
    """Rounds in a row in which a plan was worth making."""
    moved_s: Mapping[str, float] = field(default_factory=dict)
    """When each guest was moved last."""
    before: float | None = None
    """Score before the plan that is being judged."""
    failures: int = 0
    quiet_until_s: float = 0.0


def measured(memory: Memory, settings: Settings, loads: Mapping[str, Load], now_s: float) -> Memory:
    """Take in new measurements: each guest's load is an exponential mean with the half-life set."""
    gap_s = 0.0 if memory.measured_s is None else max(now_s - memory.measured_s, 0.0)
    keep = 0.5 ** (gap_s / settings.half_life_s) if settings.half_life_s > 0 else 0.0
    mixed = {name: _mixed(memory.loads.get(name), load, keep) for name, load in loads.items()}
    return replace(memory, loads=mixed, measured_s=now_s)


def _mixed(old: Load | None, new: Load, keep: float) -> Load:
    if old is None:
        return new
    return Load(
        keep * old.cpu + (1 - keep) * new.cpu,
        keep * old.memory + (1 - keep) * new.memory,
        keep * old.disk + (1 - keep) * new.disk,
        keep * old.network + (1 - keep) * new.network,
    )


def calmed(memory: Memory, settings: Settings, cluster: Cluster, now_s: float) -> Cluster:
    """The cluster to plan on: smoothed loads, and guests that rest marked as not to be moved."""
    guests = []
    for guest in cluster.guests:
        load = memory.loads.get(guest.name, guest.load)
        left_s = memory.moved_s.get(guest.name, -settings.rest_s) + settings.rest_s - now_s
        why = guest.immovable or (
            f"it moved lately and rests for another {left_s:.0f} s" if left_s > 0 else ""
        )
        guests.append(replace(guest, load=load, immovable=why))
    return Cluster(cluster.hosts, guests)


def judged(memory: Memory, settings: Settings, plan: Plan, now_s: float) -> tuple[Memory, str]:
    """One round: may this plan, made on `calmed`, be carried out? '' if so, else why not.

    Call it once a round, with an empty plan too. The score before the plan also tells whether the last
    plan helped.
    """
    memory = looked_back(memory, settings, plan.score_before, now_s)
    if now_s < memory.quiet_until_s:
        left_s = memory.quiet_until_s - now_s
        return (
            replace(memory, rounds=0),
            f"gave up for another {left_s:.0f} s: {settings.give_up_after} plans did not help",
        )
    if not plan.actions:
        return replace(memory, rounds=0), plan.why_empty or "there is nothing to do"
    gain = plan.score_before - plan.score_after
    cost = settings.price_per_gib * plan.data_mib / _MIB_PER_GIB
    if gain <= cost:
        return (
            replace(memory, rounds=0),
            f"the plan gains {gain:.6f} and costs {cost:.6f} ({plan.data_mib / _MIB_PER_GIB:.1f} GiB)",
        )
    held = memory.rounds + 1
    if held < settings.rounds:
        return replace(memory, rounds=held), f"the imbalance has held for {held} of {settings.rounds} rounds"
    return replace(memory, rounds=0, before=plan.score_before), ""


def carried_out(memory: Memory, guests: Iterable[str], now_s: float) -> Memory:
    """These guests have been moved: they rest from now on."""
    return replace(memory, moved_s={**memory.moved_s, **dict.fromkeys(guests, now_s)})


def expecting(memory: Memory, score: float) -> Memory:
    """Moves begin, on a cluster of this score: they will be judged by `looked_back`."""
    return memory if memory.before is not None else replace(memory, before=score)


def looked_back(memory: Memory, settings: Settings, score: float, now_s: float) -> Memory:
    """The moves are over: did they help? After some in a row that did not, planning rests."""
    if memory.before is None:
        return memory
    failures = 0 if score < memory.before else memory.failures + 1
    if failures < settings.give_up_after:
        return replace(memory, before=None, failures=failures)
    return replace(memory, before=None, failures=0, quiet_until_s=now_s + settings.give_up_s)
