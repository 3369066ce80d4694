"""Balancing: fewer and better moves than steepest descent finds.

The search has three depths. A very small cluster is solved exactly for each number of moves. Otherwise the
descent by single moves comes first; then exchanges look for a plan that moves fewer guests and scores
no worse. With `swaps` the exchanges anneal for as long as the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vmm.policies._broken import still_broken
from vmm.policies._descent import Move, Stop, descend
from vmm.policies._exchange import PARTNERS, Exchange
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
_WORTH = 0.01
"""Part of the score that a plan must gain when no minimum is given."""
_DEEP_S = 1.0
"""Budget of a deep search when none is given."""
_STEP_S, _CANDIDATE_S = 110e-6, 11e-9
"""Nominal time of one exchange step and of one number in it. Only these turn a budget in s into steps, so
that a plan depends on the budget but not on how fast the machine was today."""
_BUDGET_PART = 0.7
MOST_BUDGET_S = 3600
_PARTS = ((0.8, 1.0), (0.65, 1.0), (0.5, 0.85), (0.5, 0.7), (0.9, 1.0), (1.0, 1.0))
"""Parts of the descent from which exchanges start, and parts of its moves that they may make; what single
moves are worth making then has to fit into the rest. The most promising first."""
_FEW_PARTNERS = 24
_EQUAL = 1e-12
_MOVE_PRICE = 3e-4
"""Part of the score that a move has to gain in a deep search without a limit on moves."""
_SMALL, _SMALL_STEPS = 14, 300
_COOLING = 1 / 30
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
    state = State(problem)
    before = state.score()
    plan = Plan("balance", objective.name, before, before, seed=search.seed)
    if why := _nothing_to_do(cluster, problem, search):
        return replace(plan, why_empty=why + still_broken(cluster))
    watch = _Watch(search)
    moves = _search(problem, state, before, search, watch)
    scores = replay(problem, moves)
    worth = before * _WORTH if search.min_gain is None else search.min_gain
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
        if self._clock is not None and self._clock() >= self._end:
            self.cut = True
        return self.cut


def _search(problem: Problem, state: State, before: float, search: Search, watch: _Watch) -> list[Move]:
    deep = search.swaps or search.max_moves is not None
    stop = Stop(search.max_moves) if deep else _GANETI_STOP
    descent = descend(state, stop)
    after = state.score()
    exchange = Exchange(state, search.max_moves, 0.0, search.seed)
    if not exchange.useful:
        return descent
    if not deep:
        if not descent or (search.min_gain is None and before - after < _WORTH * before):
            return descent
        return _fewer(problem, descent, after, search)
    best = _proven(problem, search.max_moves)
    if best is not None:
        return best
    if not descent and not search.swaps:
        return descent
    if search.swaps:
        exchange.move_price = 0.0 if search.max_moves is not None else _MOVE_PRICE * before
        anneal(exchange, _steps(exchange, search.budget_s or _DEEP_S), watch)
        return _best(problem, exchange.counts, descent, search.max_moves)
    limit = search.max_moves or 0
    found = descent
    for part, _ in _PARTS if problem.hosts <= _SMALL else _PARTS[:1]:
        exchange = _improved(problem, descent, part, after, search, limit)
        end = State(problem, exchange.counts)
        descend(end, Stop(limit - exchange.moved))
        found = _best(problem, end.counts, found, limit)
    return found


def _proven(problem: Problem, limit: int | None) -> list[Move] | None:
    """The best plan of at most `limit` moves when all can be tried; None when they cannot."""
    ends = end_states(problem, limit) if problem.plain else None
    if ends is None:
        return None
    for counts in ends.counts[::-1]:
        moves = ordered(problem, moves_between(problem, counts))
        if moves is not None and (limit is None or len(moves) <= limit):
            return moves
    return None


def _fewer(problem: Problem, descent: list[Move], reference: float, search: Search) -> list[Move]:
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
        limit = max(int(most * len(descent)), 1)
        end = State(problem, _improved(problem, descent, part, reference, search, limit).counts)
        descend(end, _GANETI_STOP)
        if end.score() > reference + _EQUAL:
            continue
        moves = _sequence(problem, end.counts, descent)
        if moves is not None and len(moves) <= len(descent):
            return moves
    return descent


def _improved(
    problem: Problem, descent: list[Move], part: float, reference: float, search: Search, limit: int
) -> Exchange:
    """Exchanges from a part of the descent; a further move must gain what the rest gain on average."""
    start = _after(problem, descent[: int(part * len(descent))])
    gain = start.score() - reference
    exchange = Exchange(start, limit, 0.0, search.seed, _FEW_PARTNERS)
    if problem.hosts > _SMALL:
        exchange.move_price = gain / max(len(descent) - exchange.moved, 1)
    _polish(exchange)
    return exchange


def _settled(problem: Problem, counts: Ints) -> bool:
    """Would planning again from this end state find nothing worth doing?"""
    state = State(problem, counts)
    score = state.score()
    descend(state, _GANETI_STOP)
    return score - state.score() < _WORTH * score


def _after(problem: Problem, moves: Sequence[Move]) -> State:
    counts = problem.counts.copy()
    for kind, source, target in moves:
        counts[kind, source] -= 1
        counts[kind, target] += 1
    return State(problem, counts)


def _sequence(problem: Problem, counts: Ints, known: Sequence[Move]) -> list[Move] | None:
    """A legal sequence to an end state: the known moves in their order if that will do, else best first."""
    moves = moves_between(problem, counts, known)
    return moves if replay(problem, moves) is not None else ordered(problem, moves)


def _best(problem: Problem, counts: Ints, descent: list[Move], limit: int | None) -> list[Move]:
    """The moves to an end state if it can be reached within the limit and beats the descent."""
    moves = _sequence(problem, counts, descent)
    if not moves or (limit is not None and len(moves) > limit):
        return descent
    new, old = replay(problem, moves), replay(problem, descent)
    return moves if new and (not old or new[-1] <= old[-1] + _EQUAL) else descent


def _polish(exchange: Exchange) -> None:
    """Exchanges without a budget: annealing where the cluster is small, else the best for the worst hosts."""
    hosts = len(exchange.hosts)
    if hosts <= _SMALL:
        anneal(exchange, _SMALL_STEPS, None)
        return
    tried: set[int] = set()
    for _ in range(max(20, hosts // 4)):
        worst = exchange.worst()
        worst[list(tried)] = -1.0
        host = int(worst.argmax())
        if worst[host] <= 0:
            break
        if exchange.step(host):
            tried.clear()
        else:
            tried.add(host)


def anneal(exchange: Exchange, steps: int, watch: _Watch | None) -> None:
    """Cool down over so many steps, take up the best end state met, and descend from it to the bottom."""
    hosts = exchange.hosts
    hot = exchange.score() / len(hosts)
    order = exchange.rng.integers(0, len(hosts), size=steps)

    def worth() -> float:
        return exchange.score() + exchange.move_price * exchange.moved

    best, length = worth(), 0
    for i in range(steps):
        if watch is not None and watch.over():
            break
        if exchange.step(int(hosts[order[i]]), hot * _COOLING ** (i / steps)) and worth() < best - _EQUAL:
            best, length = worth(), len(exchange.log)
    exchange.rewind(length)
    idle = 0
    while idle < len(hosts) and not (watch is not None and watch.over()):
        for host in hosts.tolist():
            idle = 0 if exchange.step(host) else idle + 1
            if idle >= len(hosts):
                break


def _steps(exchange: Exchange, budget_s: float) -> int:
    """How many steps a budget is worth, by nominal times."""
    per_host = max(float((exchange.counts > 0).sum()) / max(len(exchange.hosts), 1), 1.0)
    partners = min(len(exchange.hosts) - 1, PARTNERS)
    numbers = (per_host + 1) * (per_host + 1) * partners * len(exchange.problem.weight)
    return max(1, int(_BUDGET_PART * budget_s / (_STEP_S + _CANDIDATE_S * numbers)))
