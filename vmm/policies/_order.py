"""From an end state to a sequence of moves, every one legal when its turn comes.

The best move first, so that a plan that is broken off has gained most of what it can. When no move left is
legal (hosts that are full exchange guests), a guest goes by way of a third host: one more move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vmm.policies._descent import Move
from vmm.policies._problem import Floats, Ints, Problem
from vmm.policies._state import INF, State
from vmm.policies.constraints import SLACK


def moves_between(problem: Problem, counts: Ints, known: Sequence[Move] = ()) -> list[Move]:
    """Moves that lead from the start to these counts, in no order; `known` ones are taken first."""
    surplus = problem.counts - counts
    moves: list[Move] = []
    for kind, source, target in known:
        if surplus[kind, source] > 0 and surplus[kind, target] < 0:
            surplus[kind, source] -= 1
            surplus[kind, target] += 1
            moves.append((kind, source, target))
    for kind in np.flatnonzero(surplus.any(axis=1)).tolist():
        row = surplus[kind]
        sources = np.repeat(np.arange(len(row)), np.maximum(row, 0))
        targets = np.repeat(np.arange(len(row)), np.maximum(-row, 0))
        moves += [(kind, s, d) for s, d in zip(sources.tolist(), targets.tolist(), strict=True)]
    return moves


def ordered(problem: Problem, moves: Sequence[Move]) -> list[Move] | None:
    """The moves in a legal order, best first, with by-ways where needed; None if there is none."""
    if not moves:
        return []
    state = State(problem)
    kinds, sources, targets = (np.array(x, dtype=np.int64) for x in zip(*moves, strict=True))
    pending = np.ones(len(kinds), dtype=np.bool_)
    detoured = np.zeros(len(kinds), dtype=np.bool_)
    out: list[Move] = []
    while pending.any():
        left = np.flatnonzero(pending)
        change = state.deltas(kinds[left], sources[left], targets[left])
        best = int(change.argmin())
        if change[best] < INF:
            i = int(left[best])
            move = (int(kinds[i]), int(sources[i]), int(targets[i]))
            pending[i] = False
        else:
            detour = _detour(state, kinds, sources, targets, left[~detoured[left]])
            if detour is None:
                return None
            i, via = detour
            move = (int(kinds[i]), int(sources[i]), via)
            detoured[i] = True
            sources[i] = via
        state.move(*move)
        out.append(move)
    return out


def _detour(state: State, kinds: Ints, sources: Ints, targets: Ints, left: Ints) -> tuple[int, int] | None:
    """A blocked move and a third host to go by: one that lets another blocked move through, if any."""
    p = state.problem
    fallback = None
    for i in left.tolist():
        kind, source = int(kinds[i]), int(sources[i])
        via = state.arrive[kind] + 0.0
        via[[source, int(targets[i])]] = INF
        if not np.isfinite(via).any():
            continue
        slack = np.where(np.isfinite(via), (state.room - p.need[:, kind, None])[0], -INF)
        choice = (i, int(slack.argmax()))
        room = state.room[:, source] + p.need[:, kind]
        waiting = left[targets[left] == source]
        if any((p.need[:, kinds[j]] <= room + SLACK).all() for j in waiting.tolist()):
            return choice
        fallback = fallback or choice
    return fallback


def replay(problem: Problem, moves: Sequence[Move]) -> list[float] | None:
    """Score after each move, or None when one is not legal at its turn."""
    return _replay_plain(problem, moves) if problem.plain else _replay_all(problem, moves)


def _replay_all(problem: Problem, moves: Sequence[Move]) -> list[float] | None:
    state = State(problem)
    scores = []
    for kind, source, target in moves:
        if not (state.leave[kind, source] < INF and state.arrive[kind, target] < INF):
            return None
        state.move(kind, source, target)
        scores.append(state.score())
    return scores


def _replay_plain(problem: Problem, moves: Sequence[Move]) -> list[float] | None:
    """The same by plain numbers, when only deviations and prices count: a few microseconds a move."""
    p = problem
    n = max(float(p.online.sum()), 1.0)
    mean = p.value.sum(axis=1) / n
    centred: Floats = (p.value - mean[:, None]) * p.online
    values = centred.tolist()
    amounts, scales, weights = p.amount.tolist(), p.scale.tolist(), p.weight.tolist()
    sums = [0.0] * len(values)
    squares = (centred * centred).sum(axis=1).tolist()
    needs, rooms = p.need.T.tolist(), p.room.T.tolist()
    counts: dict[tuple[int, int], int] = {}
    prices = p.constant + float((p.price * p.counts).sum())
    scores = []
    for kind, source, target in moves:
        have = counts.get((kind, source), int(p.counts[kind, source]))
        if have < 1 or not p.reach[kind, target]:
            return None
        counts[kind, source] = have - 1
        counts[kind, target] = counts.get((kind, target), int(p.counts[kind, target])) + 1
        for r, need in enumerate(needs[kind]):
            if need > max(rooms[target][r], 0.0) + SLACK:
                return None
            rooms[target][r] -= need
            rooms[source][r] += need
        prices += float(p.price[kind, target] - p.price[kind, source])
        score = prices
        for k, row in enumerate(values):
            a = amounts[k][kind]
            out, into = a * scales[k][source], a * scales[k][target]
            x, y = row[source], row[target]
            row[source], row[target] = x - out, y + into
            squares[k] += out * (out - 2 * x) + into * (into + 2 * y)
            sums[k] += into - out
            score += weights[k] * math.sqrt(max(squares[k] / n - (sums[k] / n) ** 2, 0.0))
        scores.append(score)
    return scores
