"""Exchanges within a limit on moves, so that more moves or more time never give a worse plan.

A search for at most N moves looks only at plans that are found the same way for every larger N too: it works
on a ladder of fixed limits, *rungs*, those up to N; and from each rung on, the limit grows level by level
to the next rung, the best plan within each level being kept. Time adds rounds: each repeats the ladder
with twice the steps of the one before, and none is repeated when more time follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vmm.policies._anneal import Over, anneal, nominal_steps, polish
from vmm.policies._descent import Move, Stop, descend
from vmm.policies._exchange import Exchange
from vmm.policies._order import moves_between, ordered, replay
from vmm.policies._problem import Ints, Problem
from vmm.policies._state import State

_ROUND_S = 1 / 32
"""Nominal time of the first round; each takes twice as long as the one before."""
_RUNGS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Limits, as parts of the moves that descent makes down to its bottom; the last one only ends the ladder."""
_STARTS = (0.5, 0.8, 0.65)
"""Parts of the descent to a rung's limit from which the first rounds of annealing start."""
_REHEAT = 0.6
"""Temperature, as part of the first rounds', when a round starts from the best that those before found."""
_ANNEALED = 0.75
"""Part of a rung's steps for annealing at its limit; the rest is for the levels above it."""
_LEVELS = 48
_LEAST_STEPS = 1.0
"""Steps per host below which annealing is not worth the start."""
_FINE, _FINE_FROM = 1.2, 4
"""Ratio of the limits from which exchanges without temperature are tried; they begin with one for so many
hosts. Neither depends on the limit of the search."""
_KEPT = 0.8
_FEW_PARTNERS = 24
_EQUAL = 1e-12


class Best:
    """The best plan offered so far that keeps the limit."""

    def __init__(self, problem: Problem, limit: int | None, score: float) -> None:
        self.problem = problem
        self.limit = limit
        self.moves: list[Move] = []
        self.score = score

    def offer(self, moves: Sequence[Move]) -> bool:
        """Take the best part, from the first move on, that keeps the limit. Does the whole keep it?"""
        scores = replay(self.problem, moves)
        if not scores:
            return False
        fits = scores[: self.limit]
        if fits and (least := min(fits)) < self.score - _EQUAL:
            self.score = least
            self.moves = list(moves[: fits.index(least) + 1])
        return len(fits) == len(scores)


def sequence(problem: Problem, counts: Ints, known: Sequence[Move]) -> list[Move] | None:
    """A legal sequence to an end state: the known moves in their order if that will do, else best first."""
    moves = moves_between(problem, counts, known)
    return moves if replay(problem, moves) is not None else ordered(problem, moves)


def after(problem: Problem, moves: Sequence[Move]) -> State:
    """The state that moves lead to."""
    counts = problem.counts.copy()
    for kind, source, target in moves:
        counts[kind, source] -= 1
        counts[kind, target] += 1
    return State(problem, counts)


@dataclass(frozen=True, slots=True)
class _Entry:
    score: float
    length: int  # of the exchange's log
    level: int


class Ladder:
    """The search of one problem; `descent` leads by single moves to the bottom, whatever the limit."""

    def __init__(self, problem: Problem, descent: Sequence[Move], best: Best, seed: int, over: Over) -> None:
        self._problem, self._descent, self._best = problem, descent, best
        self._seed, self._over = seed, over
        self._most = math.inf if best.limit is None else best.limit
        self._found: dict[int, tuple[float, Ints]] = {}
        """Score and counts of the best end state of each rung."""
        self._unit = max(len(descent), problem.hosts // 2, 4)

    def rounds(self, budget_s: float) -> None:
        """Anneal on the ladder again and again, as long as the nominal time of a round is left."""
        number, left = 0, budget_s
        while number == 0 or left >= _ROUND_S * 2**number:
            self.round(number)
            if self._over():
                return
            left -= _ROUND_S * 2**number
            number += 1

    def round(self, number: int) -> None:
        """One round: anneal at each rung, and go up from there."""
        rungs = [max(1, math.ceil(part * self._unit)) for part in _RUNGS]
        for low, high in pairwise(rungs):
            if low > self._most or self._over():
                break
            if low == high:
                continue
            budget_s = _ROUND_S * 2**number * math.sqrt(low) / sum(map(math.sqrt, rungs[:-1]))
            self._segment(low, high, budget_s, number)

    def _segment(self, low: int, high: int, budget_s: float, number: int) -> None:
        found, heat = self._found.get(low), 1.0
        if found is None or number < len(_STARTS):
            start = after(self._problem, self._descent[: int(_STARTS[number % len(_STARTS)] * low)])
        else:  # again from the best of this rung
            start, heat = State(self._problem, found[1]), _REHEAT
        exchange = Exchange(start, low, 0.0, self._seed + 7919 * number)
        steps = nominal_steps(exchange, budget_s)
        if steps * _ANNEALED < _LEAST_STEPS * len(exchange.hosts):
            return
        anneal(exchange, int(steps * _ANNEALED), self._over, heat)
        if found is None or exchange.score() < found[0]:
            self._found[low] = (exchange.score(), exchange.counts.copy())
        entries = [_Entry(exchange.score(), len(exchange.log), low)]
        stride = max(1, math.ceil((high - low) / _LEVELS))
        levels = range(low + stride, high, stride)
        each = max(1, int(steps * (1 - _ANNEALED) / max(len(levels), 1)))
        for level in levels:
            if level > self._most or self._over():
                break
            exchange.limit = level
            polish(exchange, self._over, each)
            if exchange.score() < entries[-1].score - _EQUAL:
                entries.append(_Entry(exchange.score(), len(exchange.log), level))
        for entry in reversed(entries):
            exchange.rewind(entry.length)
            moves = sequence(self._problem, exchange.counts, self._descent)
            if moves is not None and self._best.offer(moves):
                break

    def fine(self) -> None:
        """From parts of the descent, exchanges for the worst hosts without temperature; then single moves."""
        scores = replay(self._problem, self._descent) or [0.0]
        limit = max(1, self._problem.hosts // _FINE_FROM)
        while limit <= self._most and limit <= 2 * self._unit and not self._over():
            above = max(limit + 1, math.ceil(limit * _FINE))
            exchange = improved(
                self._problem,
                self._descent[:limit],
                _KEPT,
                scores[:limit][-1],
                limit,
                self._seed,
                self._over,
            )
            moves = sequence(self._problem, exchange.counts, self._descent)
            if moves is not None:
                end = State(self._problem, exchange.counts)
                self._best.offer(moves + descend(end, Stop(above - len(moves)), self._over))
            limit = above


def improved(
    problem: Problem,
    descent: Sequence[Move],
    part: float,
    reference: float,
    limit: int,
    seed: int,
    over: Over,
) -> Exchange:
    """Exchanges from a part of a descent, which leads to a score of `reference`.

    A further move must gain what the rest of the descent gain on average.
    """
    start = after(problem, descent[: int(part * len(descent))])
    gain = start.score() - reference
    exchange = Exchange(start, limit, 0.0, seed, _FEW_PARTNERS)
    exchange.move_price = gain / max(len(descent) - exchange.moved, 1)
    polish(exchange, over)
    return exchange
