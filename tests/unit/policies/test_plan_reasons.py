"""Reasons fit the planner and are true of the state that the plan leads to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from planning_world import clusters, naive_score, replayed, simple

from vmm.policies.balance import WORTH, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.errors import VmmError
from vmm.policies.evacuate import evacuate
from vmm.policies.explain import explain
from vmm.policies.model import Cluster, Guest, Host, Load
from vmm.policies.objective import STATIC
from vmm.policies.place import place
from vmm.policies.scale import Demand, scale

PLAIN = simple((8, 8, 8, 4), (8, 4), (2,), (30,))


def test_an_evacuated_host_is_no_candidate() -> None:
    plan = evacuate(PLAIN, ["h0"], STATIC)
    why = explain(PLAIN, plan, STATIC, leaving=["h0"])
    assert why["h0"] == "it is being emptied"
    assert why["g3a"] == "its host is not being emptied"
    assert set(why) >= {g.name for g in PLAIN.guests if g.host != "h0"}
    assert not [text for name, text in why.items() if name != "h0" and "to h0" in text]


def test_with_all_hosts_named_none_is_left() -> None:
    plan = evacuate(PLAIN, ["h0", "h1", "h2", "h3"], STATIC)
    assert len(plan.unplaced) == len(PLAIN.guests)
    assert {text.split(":")[0] for text in plan.unplaced.values()} == {"no host is left that takes guests"}


def test_consolidation() -> None:
    plan = consolidate(PLAIN, STATIC)
    why = explain(PLAIN, plan, STATIC)
    off = [a.source for a in plan.actions if not a.guest]
    assert off
    assert {why[name] for name in off} == {"it is to be switched off"}
    stay = [g for g in PLAIN.guests if g.name not in {a.guest for a in plan.actions}]
    assert stay
    for guest in stay:
        assert why[guest.name] == f"its host {guest.host} stays on"


def test_placement() -> None:
    new = Guest("new", 75.0, 1, load=Load())
    plan = place(PLAIN, new, STATIC)
    why = explain(PLAIN, plan, STATIC, new=[new])
    (chosen,) = [a.target for a in plan.actions]
    assert chosen not in why
    assert why["h3"] == "none of the guests that the plan places fits or may run there"
    assert why["g0a"] == "a placement moves no guest"
    assert "other hosts are as good or better" in why["h1"]


def test_scaling() -> None:
    cluster = Cluster(
        [Host("h0", 8192, 8), Host("h1", 8192, 8)], [Guest("a", 1024, 2, "h0"), Guest("b", 1024, 2, "h1")]
    )
    plan = scale(cluster, [Demand("a", 1.9, 600), Demand("b", 1.0, 600)])
    why = explain(cluster, plan, STATIC)
    assert [a.guest for a in plan.actions] == ["a"]
    assert "within the bands" in why["b"]
    assert "a" not in why
    assert "too little" in why["h1"]


@settings(max_examples=20, deadline=None)
@given(clusters())
def test_what_a_move_would_gain_is_so_and_below_the_threshold(cluster: Cluster) -> None:
    try:
        plan = balance(cluster, STATIC)
    except VmmError:
        return
    after = replayed(cluster, plan)
    score = naive_score(after, STATIC)
    for name, text in explain(cluster, plan, STATIC).items():
        if found := re.search(r"to (h\d), would gain only (\S+), and a plan has to gain (\S+)$", text):
            moved = naive_score(after.moved({name: found[1]}), STATIC)
            assert score - moved == pytest.approx(float(found[2]), abs=1e-6)
            assert float(found[2]) <= float(found[3])
            assert float(found[3]) >= WORTH * score - 1e-6
