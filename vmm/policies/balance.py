"""Balancing: fewer and better moves than steepest descent finds.

The search has three depths. A very small cluster is solved exactly for each number of moves. Otherwise the
descent by single moves comes first; then exchanges look for a plan that moves fewer guests and scores
no worse. With `swaps` the exchanges anneal for as long as the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vmm.policies._anneal import Over
from vmm.policies._beam import DEEPEST, beam
from vmm.policies._broken import still_broken
from vmm.policies._deeper import Best, Ladder, improved, sequence
from vmm.policies._descent import Move, Stop, descend
from vmm.policies._exchange import exchangeable
from vmm.policies._exhaustive import end_states
from vmm.policies._grouped import balanced
from vmm.policies._order import moves_between, ordered, replay
from vmm.policies._problem import Ints, Problem, compile_problem
from vmm.policies._state import State
from vmm.policies._write import migrations
from vmm.policies.errors import BadRequest
from vmm.policies.groups import split
from vmm.policies.model import Cluster
from vmm.policies.objective import GANETI, Objective
from vmm.policies.plan import Limits, Plan

Clock = Callable[[], float]

GANETI_LIMIT, GANETI_LIMIT_GAIN = 0.1, 0.01
"""A cluster with a score up to this is balanced: only moves that gain so much are still made."""
WORTH = 0.01
"""Part of the score that a plan must gain when no minimum is given."""
_DEEP_S = 1.0
"""Budget of a deep search when none is given."""
MOST_BUDGET_S = 3600
_PARTS = ((0.8, 1.0), (0.65, 1.0), (0.5, 0.85), (0.5, 0.7), (0.9, 1.0), (1.0, 1.0))
"""Parts of the descent from which exchanges start, and parts of its moves that they may make; what single
moves are worth making then has to fit into the rest. The most promising first."""
_EQUAL = 1e-12
_SMALL, _SMALL_S = 14, 0.03
"""Hosts up to which a search within a limit on moves anneals even without `swaps`, and its nominal time."""
_TRIED = 8
"""Moves up to which it is tried whether all end states can be looked at, when they cannot for the limit."""
_GANETI_STOP = Stop(None, limit=GANETI_LIMIT, limit_gain=GANETI_LIMIT_GAIN)


@dataclass(frozen=True, slots=True)
class Search:
    """Arguments of `balance` that say how far to look."""

    max_moves: int | None = None
    min_gain: float | None = None
    """Score that the whole plan must gain; None: a hundredth of the score."""
    swaps: bool = False
    """Look for exchanges of guests too, until the budget is used up."""
    budget_s: float | None = None
    seed: int = 0
    clock: Clock | None = None
    """Monotonic seconds; ends the search when the budget is over. Without it only work is counted."""

    def __post_init__(self) -> None:
        if self.max_moves is not None and self.max_moves < 0:
            raise BadRequest(f"max_moves is {self.max_moves}", next_step="give a number >= 0, or none")
        if self.min_gain is not None and not self.min_gain >= 0:
            raise BadRequest(f"min_gain is {self.min_gain}", next_step="give a number >= 0")
        if self.budget_s is not None and not 0 < self.budget_s <= MOST_BUDGET_S:
            raise BadRequest(
                f"budget_s is {self.budget_s}", next_step=f"give seconds > 0, at most {MOST_BUDGET_S}"
            )
        if self.seed < 0:
            raise BadRequest(f"seed is {self.seed}", next_step="give a whole number >= 0")


def balance(
    cluster: Cluster,
    objective: Objective = GANETI,
    search: Search | None = None,
    *,
    limits: Limits | None = None,
) -> Plan:
    """Plan of migrations that lowers the objective; empty, with the reason, when none is worth it.

    Each group of hosts is balanced by its own deviations; the score is the sum of the groups' scores.
    """
    search, limits = search or Search(), limits or Limits()
    parts = split(cluster)
    if len(parts) > 1:
        return balanced(cluster, parts, search, limits, lambda part, s: _balance(part, objective, s, limits))
    return _balance(cluster, objective, search, limits)


def _balance(cluster: Cluster, objective: Objective, search: Search, limits: Limits) -> Plan:
    problem = compile_problem(cluster, objective)
    before = State(problem).score()
    plan = Plan("balance", objective.name, before, before, seed=search.seed)
    if why := _nothing_to_do(cluster, problem, search):
        return replace(plan, why_empty=why + still_broken(cluster))
    watch = _Watch(search)
    moves = _search(problem, before, search, watch)
    scores = replay(problem, moves)
    worth = before * WORTH if search.min_gain is None else search.min_gain
    if not moves or not scores or before - scores[-1] < max(worth, 1e-9):
        best = before - scores[-1] if moves and scores else 0.0
        why = (
            f"the best plan found gains {best:.6f}, less than {worth:.6f}"
            if best > 1e-9
            else "no move gains anything"
        )
        why += f" (score {before:.6f}){still_broken(cluster)}"
        return replace(plan, why_empty=why, cut_by_clock=watch.cut)
    actions = migrations(problem, moves, limits)
    return replace(plan, actions=actions, score_after=actions[-1].score_after or 0.0, cut_by_clock=watch.cut)


def _nothing_to_do(cluster: Cluster, problem: Problem, search: Search) -> str:
    if not cluster.hosts:
        return "the cluster has no host"
    if not cluster.guests:
        return "the cluster has no guest"
    if not problem.kinds:
        return "no guest may be moved"
    if not any(h.takes_guests for h in cluster.hosts):
        return "no host takes guests"
    if search.max_moves == 0:
        return "no move is allowed (max_moves is 0)"
    return ""


class _Watch:
    """Whether the caller's clock says that the budget is over."""

    def __init__(self, search: Search) -> None:
        self._clock = search.clock if search.budget_s is not None else None
        self._end = self._clock() + (search.budget_s or 0.0) if self._clock else 0.0
        self.cut = False

    def over(self) -> bool:
        if self._clock is not None and not self.cut and self._clock() >= self._end:
            self.cut = True
        return self.cut


def _search(problem: Problem, before: float, search: Search, watch: _Watch) -> list[Move]:
    """The best plan of all that this search and every cheaper one find."""
    limit = search.max_moves
    if limit is None and not search.swaps:
        return _plain(problem, before, search.seed, watch.over)
    best = Best(problem, limit, before)
    if problem.plain and _proven(problem, best):
        return best.moves
    small = problem.hosts <= _SMALL
    # What is found within a limit does not depend on how far a descent would go beyond it.
    descent = descend(State(problem), Stop(None if small or search.swaps else limit), watch.over)
    best.offer(descent)
    if watch.over():
        return best.moves
    best.offer(_plain(problem, before, search.seed, watch.over))
    if not exchangeable(problem):
        return best.moves
    ladder = Ladder(problem, descent, best, search.seed, watch.over)
    if not small:
        ladder.fine()
    elif problem.plain:
        for moves in beam(problem, DEEPEST if limit is None else limit, watch.over):
            best.offer(moves)
    if search.swaps:
        ladder.rounds(search.budget_s or _DEEP_S)
    elif small:
        ladder.rounds(_SMALL_S)
    return best.moves


def _plain(problem: Problem, before: float, seed: int, over: Over) -> list[Move]:
    """Descent until nothing is worth a move; then the same with fewer moves, if there is a way."""
    state = State(problem)
    descent = descend(state, _GANETI_STOP, over)
    reference = state.score()
    if not exchangeable(problem) or not descent or before - reference < WORTH * before:
        return descent
    return _fewer(problem, descent, reference, seed, over)


def _proven(problem: Problem, best: Best) -> bool:
    """Offer the best plan of as many moves as can all be tried; is that the best within the limit?"""
    guests = int(problem.counts.sum())
    most = guests if best.limit is None else min(best.limit, guests)
    for limit in dict.fromkeys((most, *range(min(most, _TRIED), 1, -1))):
        ends = end_states(problem, limit)
        if ends is None:
            continue
        for counts in ends.counts[::-1]:
            moves = ordered(problem, moves_between(problem, counts))
            if moves is not None and best.offer(moves):
                return bool(limit == most)
        return False
    return False


def _fewer(problem: Problem, descent: list[Move], reference: float, seed: int, over: Over) -> list[Move]:
    """A plan with no more moves than the descent that scores no worse, and after which none is worth making.

    The descent's first moves are its best: from a part of them, exchanges need fewer moves for the rest.
    """
    if problem.plain and (ends := end_states(problem, len(descent))) is not None:
        for counts, score in zip(ends.counts, ends.score, strict=True):
            if score + problem.constant <= reference + _EQUAL and _settled(problem, counts):
                moves = ordered(problem, moves_between(problem, counts))
                if moves is not None and len(moves) <= len(descent):
                    return moves
        return descent
    for part, most in _PARTS:
        if over():
            break
        limit = max(int(most * len(descent)), 1)
        end = State(problem, improved(problem, descent, part, reference, limit, seed, over).counts)
        descend(end, _GANETI_STOP, over)
        if end.score() > reference + _EQUAL:
            continue
        moves = sequence(problem, end.counts, descent)
        if moves is not None and len(moves) <= len(descent):
            return moves
    return descent


def _settled(problem: Problem, counts: Ints) -> bool:
    """Would planning again from this end state find nothing worth doing?"""
    state = State(problem, counts)
    score = state.score()
    descend(state, _GANETI_STOP)
    return score - state.score() < WORTH * score
