"""A balancing policy's memory of the live cluster, made from the recorded stream: nothing is kept anywhere.

Every `every_s` of stream time it looks, as a policy that runs all the time would: loads are smoothed over
these looks; moves that were made are judged by whether they helped; and a plan made now is compared with
those that would have been made in the rounds before. The same stream gives the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from vmm.decide.core import Core
from vmm.decide.events import Entry
from vmm.decide.modelling import UNMEASURED, cluster_of, loads_of
from vmm.decide.traffic import Rates, counted, rates
from vmm.policies.antiflap import (
    Memory,
    Settings,
    calmed,
    carried_out,
    expecting,
    judged,
    looked_back,
    measured,
)
from vmm.policies.model import Cluster, Load
from vmm.policies.objective import Objective
from vmm.policies.plan import Plan
from vmm.policies.score import score_of

SMOOTHING_HALF_LIVES = 10.0
"""Older measures weigh less than a thousandth."""

LOOKS_A_HALF_LIFE = 8.0
"""How often loads are looked at, but once a round at least."""
NO_TRAFFIC = Rates(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Advice:
    """A plan on smoothed loads, and why it should not be carried out now (empty: it may)."""

    plan: Plan
    withheld: str
    cluster: Cluster
    planning_s: float


def reach_s(settings: Settings) -> tuple[float, float]:
    """How far back it is worth looking, and how far at least, in s before now."""
    least = settings.rounds * settings.every_s + SMOOTHING_HALF_LIVES * settings.half_life_s
    return least + settings.rest_s + settings.give_up_s, least


class Rounds:
    """Follows a core up to `end_s`, the stream time of the moment for which to plan."""

    def __init__(self, core: Core, settings: Settings, objective: Objective, end_s: float) -> None:
        self.core, self._settings, self._objective, self._end_s = core, settings, objective, end_s
        self._memory = Memory()
        self._recent: list[tuple[float, Cluster]] = []
        self._counted = counted(core.state, core.rules)
        back = max(0.0, end_s - core.state.now_s) // settings.every_s
        self._next_s = end_s - back * settings.every_s
        self._look_s = core.state.now_s
        self._begun, self._places = self._migrations(), self._hosts()
        self._moved_s = -1.0

    def follow(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.core.feed(entry)
            if self._migrations() != self._begun:
                self._look_at_moves()
            now_s = self.core.state.now_s
            if now_s >= self._look_s:
                self._look_s = now_s + self._settings.half_life_s / LOOKS_A_HALF_LIFE
                self._measure(now_s)
            if now_s >= self._next_s:
                self._round(now_s)
                # After a gap in the stream the rounds that nobody could look at are left out.
                missed = (now_s - self._next_s) // self._settings.every_s
                self._next_s += (missed + 1) * self._settings.every_s

    def advise(self, make: Callable[[Cluster], Plan]) -> Advice:
        """The plan for now, after those of the rounds before."""
        now_s = self.core.state.now_s
        self._measure(now_s)
        memory = replace(self._memory, before=None, rounds=0)
        latest = [(at_s, c) for at_s, c in self._recent if at_s < now_s]
        cluster = self._calm(now_s)
        for at_s, past in latest[len(latest) - self._settings.rounds + 1 :]:
            memory, _ = judged(memory, self._settings, make(past), at_s)
        began_s = time.perf_counter()
        plan = make(cluster)
        took_s = time.perf_counter() - began_s
        _, withheld = judged(memory, self._settings, plan, now_s)
        return Advice(plan, withheld if plan.actions else "", cluster, took_s)

    def _round(self, now_s: float) -> None:
        self._measure(now_s)
        memory, settings = self._memory, self._settings
        busy = any(guest.state == "migrating" for guest in self.core.state.guests.values())
        near_s = self._end_s - (settings.rounds + 1) * settings.every_s
        if (memory.before is not None and not busy) or now_s >= near_s:
            cluster = self._calm(now_s)
            if memory.before is not None and not busy and now_s - self._moved_s >= settings.every_s:
                self._memory = looked_back(memory, settings, score_of(cluster, self._objective), now_s)
            if now_s >= near_s:
                self._recent.append((now_s, cluster))

    def _measure(self, now_s: float) -> None:
        core = self.core
        latest = counted(core.state, core.rules)
        found = rates(self._counted, latest)
        self._counted = latest
        loads, said = {}, loads_of(core.state)
        for name in core.state.guests:
            old = self._memory.loads.get(name)
            load = said.get(name, old or UNMEASURED)
            rate = found.get(name) or (Rates(old.disk, old.network) if old else NO_TRAFFIC)
            if name in said or old is not None:
                loads[name] = Load(load.cpu, load.memory, rate.disk, rate.network)
        self._memory = measured(self._memory, self._settings, loads, now_s)

    def _calm(self, now_s: float) -> Cluster:
        return calmed(self._memory, self._settings, cluster_of(self.core.state, self.core.rules), now_s)

    def _look_at_moves(self) -> None:
        """Migrations were begun, or ended: what it was like before, and who rests from now on."""
        now_s = self.core.state.now_s
        begun, places = self._migrations(), self._hosts()
        if begun[0] != self._begun[0]:
            self._memory = expecting(self._memory, score_of(self._calm(now_s), self._objective))
            self._moved_s = now_s
        moved = [name for name, host in places.items() if self._places.get(name, host) != host]
        if moved:
            self._memory = carried_out(self._memory, moved, now_s)
            self._moved_s = now_s
        self._begun, self._places = begun, places

    def _migrations(self) -> tuple[int, int]:
        totals = self.core.state.totals
        return totals.get("migrations begun", 0), totals.get("migrations done", 0)

    def _hosts(self) -> dict[str, str]:
        return {guest.name: guest.host for guest in self.core.state.guests.values()}
