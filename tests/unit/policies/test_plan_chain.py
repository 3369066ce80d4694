"""Evacuation makes room by moving a third guest, where nothing else does."""

from __future__ import annotations

import pytest
from planning_world import naive_score, replayed

from vmm.policies.evacuate import evacuate
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import STATIC


def host(name: str, memory_mib: float = 8192, **more: object) -> Host:
    return Host(name, memory_mib, 32, **more)  # type: ignore[arg-type]


def guest(name: str, on: str, memory_mib: float, **more: object) -> Guest:
    return Guest(name, memory_mib, 1, on, **more)  # type: ignore[arg-type]


HOSTS = [host("h0"), host("h1"), host("h2", 16384)]
FULL = [guest("a", "h0", 6144), guest("b", "h1", 4096), guest("c", "h2", 12288)]


def test_a_third_guest_makes_room() -> None:
    cluster = Cluster(HOSTS, FULL)
    plan = evacuate(cluster, ["h0"], STATIC)
    assert [(a.guest, a.source, a.target) for a in plan.actions] == [("b", "h1", "h2"), ("a", "h0", "h1")]
    assert not plan.unplaced
    after = replayed(cluster, plan).with_hosts({"h0": HostState.OFFLINE})
    assert plan.score_after == pytest.approx(naive_score(after, STATIC))
    first, second = plan.actions
    assert first.group < second.group
    on_the_way = cluster.moved({"b": "h2"}).with_hosts({"h0": HostState.OFFLINE})
    assert first.score_after == pytest.approx(naive_score(on_the_way, STATIC))


@pytest.mark.parametrize(
    "guests",
    [
        pytest.param([FULL[0], guest("b", "h1", 4096, immovable="a job"), FULL[2]], id="may not move"),
        pytest.param([FULL[0], guest("b", "h1", 4096, pinned=frozenset({"h1"})), FULL[2]], id="pinned"),
        pytest.param([FULL[0], FULL[1], guest("c", "h2", 14336)], id="no third host"),
    ],
)
def test_where_none_can_the_reason_is_given(guests: list[Guest]) -> None:
    plan = evacuate(Cluster(HOSTS, guests), ["h0"], STATIC)
    assert not plan.actions
    assert "too little memory" in plan.unplaced["a"]
    assert plan.why_empty
