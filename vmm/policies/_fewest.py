"""Which hosts stay on when as few as possible shall, and the moves that empty the others.

Numbers of hosts are tried from the lower bound up. For each, sets of hosts in order of how few guests they
leave outside, until one can be packed and reached by moves that are legal one after another. Where none of
these can, sets with room to spare are packed, and narrowed down again to what needs fewer migrations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from vmm.policies._descent import Move
from vmm.policies._keep import fewest, host_sets, roomiest, swaps
from vmm.policies._order import moves_between, ordered
from vmm.policies._packing import packed
from vmm.policies._problem import Bools, Floats, Ints, Problem
from vmm.policies.constraints import SLACK

_REPAIR_WORK = 1_000_000
"""Exchanges that repair looks at for each set of hosts that best fit cannot fill."""
_REPAIR_SETS, _REPAIR_STEPS = 4, 300
_FAILURES = 8
"""Swaps of a kept host that may fail on end before the search for fewer migrations stops."""
_ROOMIEST, _LEAST_SETS, _ROOMY_WORK = 12, 8, 4_000_000
"""The roomiest sets tried, and the fewest of them where places of guests times hosts are many."""
_SLACKS, _SETS_EACH = (0.8, 0.6, 0.45, 0.3, 0.2, 0.1), 6
"""Parts of the roomiest set's slack that other sets have to have, and how many of these are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What a choice of hosts has to cover. R resources with limits, N hosts."""

    problem: Problem
    on: Bools
    takes: Bools  # hosts that some guest may come to
    must: Bools  # hosts that cannot be emptied
    guests: Ints  # movable guests per host
    capacity: Floats  # R x N, for movable guests; 0 where none may go
    needed: Floats  # R
    seed: int


class Way(NamedTuple):
    """Hosts that stay on, and legal moves that empty the others."""

    keep: Bools
    moves: list[Move]


def task_of(p: Problem, on: Bools, stay: Bools, seed: int) -> Task:
    capacity = np.maximum(p.room + p.need @ p.counts, 0.0)
    takes = p.reach.any(axis=0) & on
    must = on & (stay | (p.fixed_counts > 0))
    for kind in np.flatnonzero(p.reach.sum(axis=1) <= 1).tolist():
        here = p.counts[kind] > 0
        if not (p.reach[kind] & ~here).any():
            must |= on & here
    needed = p.need @ p.counts.sum(axis=1)
    capacity = _whole_units(np.where(takes, capacity, 0.0), p.need)
    return Task(p, on, takes, must, p.counts.sum(axis=0), capacity, needed, seed)


def _whole_units(capacity: Floats, need: Floats) -> Floats:
    """Capacities cut to what can be used at all: whole multiples of the needs' greatest common divisor."""
    out = capacity.copy()
    for r, row in enumerate(need):
        if row.size and row.any() and np.equal(row, np.floor(row)).all():
            unit = math.gcd(*row.astype(np.int64).tolist())
            out[r] = np.floor((capacity[r] + SLACK) / unit) * unit
    return out


def best(task: Task, spare: int) -> Way:
    """Hosts to keep, as few as can be found and `spare` more, and legal moves that empty the others."""
    all_on = int(task.on.sum())
    lower = max(fewest(task.capacity, task.needed, task.must), int(task.must.sum()), _apart(task.problem), 1)
    for size in range(lower, all_on):
        found = _of_size(task, size) or _roomy(task, size)
        if found is not None and spare:
            size += spare
            found = (_of_size(task, size) or _roomy(task, size)) if size < all_on else None
            break
        if found is not None:
            return found
    else:
        found = None
    return found or Way(task.on, [])


def _apart(p: Problem) -> int:
    """Hosts that the guests with one exclusion tag need, unless they clash already."""
    tags = p.apart.member.T.astype(np.int64) @ p.counts
    return 0 if (tags + p.apart.fixed > 1).any() else int(tags.sum(axis=1).max(initial=0))


def _of_size(task: Task, size: int) -> Way | None:
    """The best packing found on so many hosts: best fit on many sets of hosts, repair on the first few."""
    p = task.problem
    best: Way | None = None
    failed: list[tuple[int, Bools]] = []
    for outside, keep in host_sets(task.capacity, task.needed, task.guests, task.must, size):
        if best is not None and outside >= len(best.moves):
            break
        counts = packed(p, keep, 0, task.seed)
        best = _shorter(best, p, keep, counts)
        if counts is None:
            failed.append((outside, keep))
    steps = _repair_steps(p)
    for outside, keep in failed[:_REPAIR_SETS]:
        if best is None or outside < len(best.moves):
            best = _shorter(best, p, keep, packed(p, keep, steps, task.seed))
    return best


def _repair_steps(p: Problem) -> int:
    places = max(int((p.counts > 0).sum()), 1)
    return min(max(_REPAIR_WORK // (places * max(places // max(p.hosts, 1), 1)), 50), _REPAIR_STEPS)


def _roomy(task: Task, size: int) -> Way | None:
    """The same from sets with slack: the roomiest, then those with less slack and fewer guests outside."""
    wide = roomiest(task.capacity, task.needed, task.must, size)
    places = int((task.problem.counts > 0).sum()) * task.problem.hosts
    most = min(max(_ROOMY_WORK // max(places, 1), _LEAST_SETS), _ROOMIEST)
    for anew in (False, True):
        tries = _Tries(task, anew)
        for keep in wide[:most]:
            tries.take(keep)
        if tries.best is not None:
            tries.narrow(wide, size)
            tries.climb()
            return tries.best
    return None


class _Tries:
    """The best of the sets of hosts that were packed with repair; none is packed twice."""

    def __init__(self, task: Task, anew: bool) -> None:
        self.best: Way | None = None
        self._task, self._anew, self._seen = task, anew, set[bytes]()
        self._steps = _repair_steps(task.problem)

    def take(self, keep: Bools) -> bool:
        """Try a set; is it the best so far?"""
        task, before = self._task, self.best
        key = keep.tobytes()
        if key not in self._seen:
            self._seen.add(key)
            counts = packed(task.problem, keep, self._steps, task.seed, anew=self._anew)
            self.best = _shorter(before, task.problem, keep, counts)
        return self.best is not before

    def _fewer(self, outside: int) -> bool:
        return self.best is None or outside < len(self.best.moves)

    def narrow(self, wide: Sequence[Bools], size: int) -> None:
        """From the roomiest sets to those with parts of their slack, which keep more guests at home."""
        task = self._task
        slack = float((task.capacity[:, wide[0]].sum(axis=1) / np.maximum(task.needed, 1e-9)).min())
        for part in _SLACKS:
            asked = task.needed * (1 + part * (slack - 1))
            enough = [k for k in wide if (task.capacity[:, k].sum(axis=1) >= asked - SLACK).all()]
            tried = host_sets(task.capacity, asked, task.guests, task.must, size, enough)
            for outside, keep in islice(tried, _SETS_EACH):
                if not self._fewer(outside):
                    break
                self.take(keep)

    def climb(self) -> None:
        """Keep another host in place of one while that helps, until it failed a few times on end."""
        task, failed, better = self._task, 0, True
        while better and self.best is not None:
            better = False
            for keep in swaps(self.best.keep, task.capacity, task.needed, task.guests, task.must):
                if keep.tobytes() in self._seen or not self._fewer(int(task.guests[~keep].sum())):
                    continue
                better = self.take(keep)
                failed = 0 if better else failed + 1
                if better or failed >= _FAILURES:
                    break


def _shorter(best: Way | None, p: Problem, keep: Bools, counts: Ints | None) -> Way | None:
    if counts is None:
        return best
    plain = moves_between(p, counts)
    if best is not None and len(best.moves) <= len(plain):
        return best
    moves = ordered(p, plain)
    if moves is None or (best is not None and len(best.moves) <= len(moves)):
        return best
    return Way(keep, moves)
