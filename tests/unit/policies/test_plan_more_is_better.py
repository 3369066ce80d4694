"""More moves, swaps or time never make a plan worse; the budget bounds every search."""

from __future__ import annotations

from itertools import pairwise

import pytest
from planning_world import DATA, replayed

from vmm.policies._problem import compile_problem
from vmm.policies._state import State
from vmm.policies.balance import Search, balance
from vmm.policies.ganeti import parse_cluster
from vmm.policies.generate import Shape, generate
from vmm.policies.model import Cluster
from vmm.policies.objective import GANETI, STATIC, Objective

C10 = parse_cluster((DATA / "c10.data").read_text())
_EQUAL = 1e-9


def score(cluster: Cluster, objective: Objective, **search: object) -> float:
    plan = balance(cluster, objective, Search(min_gain=0.0, **search))  # type: ignore[arg-type]
    return plan.score_after


def never_worse(scores: list[float]) -> bool:
    return all(more <= fewer + _EQUAL for fewer, more in pairwise(scores))


CLUSTERS = [
    pytest.param(C10, STATIC, id="c10"),
    *(
        pytest.param(generate(Shape(hosts, guests, seed, pattern)), objective, id=f"{hosts} {pattern} {seed}")
        for hosts, guests, seed, pattern, objective in (
            (4, 20, 1, "uneven", STATIC),
            (9, 50, 2, "skewed", GANETI),
            (16, 60, 3, "uneven", STATIC),
            (18, 90, 4, "new-hosts", STATIC),
            (16, 70, 5, "skewed", GANETI),
        )
    ),
]


@pytest.mark.parametrize(("cluster", "objective"), CLUSTERS)
def test_more_moves(cluster: Cluster, objective: Objective) -> None:
    alone = balance(cluster, objective)
    limits = sorted({1, 2, 3, 5, 8, 11, 13, 17, 23, 30, len(alone.moves)})
    scores = [score(cluster, objective, max_moves=limit) for limit in limits]
    assert never_worse(scores), list(zip(limits, scores, strict=True))
    assert scores[limits.index(len(alone.moves))] <= alone.score_after + _EQUAL


@pytest.mark.parametrize(("cluster", "objective"), CLUSTERS)
@pytest.mark.parametrize("limit", [6, 25, None])
def test_swaps_and_time(cluster: Cluster, objective: Objective, limit: int | None) -> None:
    scores = [score(cluster, objective, max_moves=limit)]
    scores += [
        score(cluster, objective, max_moves=limit, swaps=True, budget_s=budget_s)
        for budget_s in (0.02, 0.05, 0.11, 0.25)
    ]
    assert never_worse(scores), scores


@pytest.mark.parametrize(("cluster", "objective"), CLUSTERS)
def test_more_moves_with_swaps(cluster: Cluster, objective: Objective) -> None:
    limits = (4, 7, 12, 13, 19, 28, None)
    scores = [score(cluster, objective, max_moves=limit, swaps=True, budget_s=0.1) for limit in limits]
    assert never_worse(scores), list(zip(limits, scores, strict=True))


@pytest.mark.parametrize("swaps", [False, True])
@pytest.mark.parametrize("limit", [None, 12])
@pytest.mark.parametrize("seconds", [1.5, 4.5, 30.5])
def test_any_search_ends_with_its_budget_and_has_a_plan(
    swaps: bool, limit: int | None, seconds: float
) -> None:
    """The clock ticks once a look: at most so many looks are made, and a move is made before the first."""
    cluster = generate(Shape(20, 150, 2, "uneven"))
    looks: list[float] = []

    def clock() -> float:
        looks.append(float(len(looks)))
        return looks[-1]

    plan = balance(cluster, GANETI, Search(max_moves=limit, swaps=swaps, budget_s=seconds, clock=clock))
    assert plan.cut_by_clock
    assert len(looks) <= seconds + 3
    assert plan.moves
    assert plan.score_after < plan.score_before
    replayed(cluster, plan)


def test_a_long_descent_with_many_kinds_ends_where_no_move_gains() -> None:
    """More kinds than are all looked at in each step."""
    cluster = generate(Shape(12, 320, 4))
    assert compile_problem(cluster, GANETI).kinds > 256
    plan = balance(cluster, GANETI, Search(max_moves=400))
    after = replayed(cluster, plan)
    problem = compile_problem(after, GANETI)
    assert plan.score_after == pytest.approx(State(problem).score(), abs=1e-9)
    assert not balance(after, GANETI).actions
