"""When rules want to be looked at whatever changes: at their ticks, and when a gate opens by itself."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from math import inf

from vmm.rules.runner import Runner


class Timers:
    """Of one engine. Nothing is due before `first_s`; what is due then may not be in force any more."""

    def __init__(self) -> None:
        self.first_s = inf
        self._runners: dict[int, Runner] = {}
        self._ticking: list[Runner] = []
        self._wakes: list[tuple[float, int, int]] = []

    def add(self, runner: Runner) -> None:
        """A rule at work, with what it remembers."""
        self._runners[runner.order] = runner
        if runner.next_tick_s is not None:
            self._ticking.append(runner)
            self.first_s = min(self.first_s, runner.next_tick_s)
        self.wake(runner, runner.instances)

    def wake(self, runner: Runner, rows: Iterable[int]) -> None:
        """Instances that were looked at may want to be looked at again."""
        for row in rows:
            instance = runner.instances.get(row)
            if instance is not None and instance.wake_s is not None:
                heapq.heappush(self._wakes, (instance.wake_s, runner.order, row))
                self.first_s = min(self.first_s, instance.wake_s)

    def due(self, now_s: float) -> tuple[set[int], dict[int, list[int]]]:
        """(rules that tick, their orders; order -> rows that wake) up to now. Missed ticks are skipped."""
        ticks: set[int] = set()
        woken: dict[int, list[int]] = {}
        if self.first_s > now_s:
            return ticks, woken
        for runner in self._ticking:
            if _next_tick_s(runner) <= now_s:
                _tick(runner, now_s)
                ticks.add(runner.order)
        while self._wakes and self._wakes[0][0] <= now_s:
            entry = heapq.heappop(self._wakes)
            if self._is_in_force(entry):
                woken.setdefault(entry[1], []).append(entry[2])
        self.first_s = min(self._next_wake_s(), min(map(_next_tick_s, self._ticking), default=inf))
        return ticks, woken

    def _is_in_force(self, entry: tuple[float, int, int]) -> bool:
        due_s, order, row = entry
        instance = self._runners[order].instances.get(row)
        return instance is not None and instance.wake_s == due_s

    def _next_wake_s(self) -> float:
        while self._wakes and not self._is_in_force(self._wakes[0]):
            heapq.heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else inf

    def next_s(self, but_idle: bool = False) -> float:
        """When the next one is due, inf for never; `but_idle`: of those that may find something to do."""
        ticks = (_next_tick_s(runner) for runner in self._ticking if not (but_idle and runner.ticks_idly()))
        return min(self._next_wake_s(), min(ticks, default=inf))

    def pass_idle(self, seen_s: Callable[[float], float | None]) -> None:
        """Nothing that rules look at changes for a while: ticks that find nothing go by.

        `seen_s` says when one that is due at a time would be looked at; None: not in that while.
        """
        for runner in self._ticking:
            if runner.ticks_idly():
                while (now_s := seen_s(_next_tick_s(runner))) is not None:
                    _tick(runner, now_s)


def _next_tick_s(runner: Runner) -> float:
    assert runner.next_tick_s is not None
    return runner.next_tick_s


def _tick(runner: Runner, now_s: float) -> None:
    """It ticks now, and next at the first place of its grid after that."""
    due_s, ticks_s = runner.next_tick_s, runner.rule.ticks_s
    assert due_s is not None
    assert ticks_s is not None
    runner.next_tick_s = due_s + ((now_s - due_s) // ticks_s + 1) * ticks_s
    if runner.next_tick_s <= now_s:
        runner.next_tick_s = now_s + ticks_s
