"""Hosts that a plan switches off have the score after each of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import ALL_OBJECTIVES, clusters, naive_score

from vmm.policies.consolidate import consolidate
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import STATIC, Objective
from vmm.policies.plan import Kind


@settings(max_examples=15, deadline=None)
@given(clusters(), st.sampled_from(ALL_OBJECTIVES))
def test_the_score_after_each_step_is_that_of_the_definition(cluster: Cluster, objective: Objective) -> None:
    plan = consolidate(cluster, objective)
    for action in plan.actions:
        if action.kind is Kind.POWER_OFF:
            cluster = cluster.with_hosts({action.source: HostState.OFFLINE})
        else:
            cluster = cluster.moved({action.guest: action.target})
        assert action.score_after == pytest.approx(naive_score(cluster, objective), abs=1e-6)


def test_of_several_groups_it_is_the_sum() -> None:
    hosts = [Host(f"{g}{i}", 64, 8, group=g, networks=frozenset({g})) for g in "ab" for i in range(3)]
    guests = [
        Guest(f"{h.name}g{j}", 8 + 4 * j, 1, h.name, networks=h.networks) for h in hosts for j in range(2)
    ]
    cluster = Cluster(hosts, guests)
    plan = consolidate(cluster, STATIC)
    offs = [a for a in plan.actions if a.kind is Kind.POWER_OFF]
    assert {a.source[0] for a in offs} == {"a", "b"}
    assert offs[-1].score_after == pytest.approx(plan.score_after)
