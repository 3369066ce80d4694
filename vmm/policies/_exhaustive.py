"""Every end state of a very small cluster at once: the proven best for each number of moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vmm.policies._problem import Floats, Ints, Problem
from vmm.policies.constraints import SLACK

_MOST = 150_000
"""States kept at most, and distributions of one kind."""
_WORK = 40_000_000
"""Numbers looked at, at most, for all states and kinds."""


@dataclass(frozen=True, slots=True, eq=False)
class EndStates:
    """All legal end states within a number of moves, without those that another beats in both respects."""

    counts: Ints  # states x T x N
    moved: Ints
    score: Floats  # without what no move changes


def end_states(problem: Problem, limit: int | None) -> EndStates | None:
    """The best end states by number of moves, fewest moves first; None when there are too many to try.

    Only for problems whose score is deviations and fixed prices (no tags, no ceilings).
    """
    p = problem
    guests = int(p.counts.sum())
    limit = guests if limit is None else min(limit, guests)
    if _estimate(p, guests, limit) * p.kinds * p.hosts * max(len(p.weight), 1) > _WORK:
        return None
    states = np.zeros((1, 0), dtype=np.int64)  # index of each kind's distribution
    moved = np.zeros(1, dtype=np.int64)
    value = p.value[None]
    room = p.room[None]
    price = np.zeros(1)
    options: list[Ints] = []
    for kind in range(p.kinds):
        choice = _distributions(
            int(p.counts[kind].sum()), np.flatnonzero(p.reach[kind]), p.counts[kind], limit
        )
        if choice is None or len(choice) * len(states) > _MOST * 8:
            return None
        options.append(choice)
        shift = choice - p.counts[kind]
        cost = np.maximum(-shift, 0).sum(axis=1)
        left, right = np.nonzero(moved[:, None] + cost[None, :] <= limit)
        if len(left) > _MOST:
            return None
        states = np.concatenate([states[left], right[:, None]], axis=1)
        moved = moved[left] + cost[right]
        value = value[left] + (p.amount[:, kind, None] * p.scale)[None] * shift[right][:, None, :]
        room = room[left] - p.need[:, kind, None][None] * shift[right][:, None, :]
        price = price[left] + (choice * p.price[kind]).sum(axis=1)[right]
    # A host that was overfull at the start may stay so, but not get worse.
    fits = (room >= np.minimum(p.room, 0.0) - SLACK).all(axis=(1, 2))
    states, moved, value, price = states[fits], moved[fits], value[fits], price[fits]
    on = p.online > 0
    deviation = np.std(value[:, :, on], axis=2) if on.any() else np.zeros((len(value), len(p.weight)))
    score = deviation @ p.weight + price
    keep = []
    best = np.inf
    for i in np.lexsort((score, moved)).tolist():
        if score[i] < best - 1e-12:
            best = float(score[i])
            keep.append(i)
    chosen = np.array(keep, dtype=np.int64)
    counts = np.stack([options[k][states[chosen, k]] for k in range(p.kinds)], axis=1)
    return EndStates(counts, moved[chosen], score[chosen])


def _estimate(p: Problem, guests: int, limit: int) -> int:
    """Upper bound on the end states: by kinds, or by which guests move where, whichever is less."""
    units = p.counts.sum(axis=1).tolist()
    by_kind = math.prod(math.comb(u + p.hosts - 1, p.hosts - 1) for u in units)
    by_move = sum(math.comb(guests, j) * (p.hosts - 1) ** j for j in range(min(limit, 8) + 1))
    return by_kind if limit > 8 else min(by_kind, by_move)


def _distributions(units: int, hosts: Ints, now: Ints, limit: int) -> Ints | None:
    """Every way to have `units` on hosts where they may be (or are), at most `limit` of them moved."""
    n = len(now)
    open_ = np.zeros(n, dtype=np.bool_)
    open_[hosts] = True
    rows = np.zeros((1, 0), dtype=np.int64)
    left = np.full(1, units)
    for host in range(n):
        most = units if open_[host] else int(now[host])
        i, x = np.nonzero(np.arange(most + 1)[None, :] <= left[:, None])
        if len(i) > _MOST:
            return None
        rows = np.concatenate([rows[i], x[:, None]], axis=1)
        left = left[i] - x
    rows = rows[left == 0]
    away = np.maximum(now - rows, 0).sum(axis=1)
    return np.asarray(rows[away <= limit])
