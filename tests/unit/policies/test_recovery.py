"""Recovery: the reserve asks only for what is possible, refuses one guest at a time, and packs anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_world import replayed

from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import GANETI, STATIC
from vmm.policies.recover import recover, survives_loss


def hosts(dead: float, *up: float) -> list[Host]:
    """A dead host `d` and hosts h1, h2, ... of these memory sizes, with vCPUs for everybody."""
    rest = [Host(f"h{i}", memory, 32) for i, memory in enumerate(up, 1)]
    return [Host("d", dead, 32, state=HostState.OFFLINE), *rest]


ON_H1 = frozenset({"h1"})
RESERVE = "room kept for the loss of one more host"


@pytest.mark.parametrize(
    ("why", "cluster", "started", "refused"),
    [
        (
            "an active/passive pair: with one host up there is no reserve",
            Cluster(hosts(8192, 8192), [Guest("a", 1024, 1, "d")]),
            ["a"],
            {},
        ),
        (
            "the same with a guest on the survivor",
            Cluster(hosts(8192, 8192), [Guest("a", 1024, 1, "d"), Guest("x", 1024, 1, "h1")]),
            ["a"],
            {},
        ),
        (
            "half of a pair that is kept apart: there is room, though no fourth host",
            Cluster(
                hosts(8192, 8192, 8192),
                [
                    Guest("a", 1024, 1, "d", anti_affinity=frozenset({"web"})),
                    Guest("b", 1024, 1, "h1", anti_affinity=frozenset({"web"})),
                ],
            ),
            ["a"],
            {},
        ),
        (
            "a pinned guest is lost with its host anyway, and holds nobody back",
            Cluster(
                hosts(8192, 8192, 8192),
                [
                    Guest("pin", 1024, 1, "d", priority=9, pinned=ON_H1),
                    Guest("b", 512, 1, "d"),
                    Guest("c", 512, 1, "d"),
                ],
            ),
            ["pin", "b", "c"],
            {},
        ),
        (
            "a disk on the survivor cannot be restarted elsewhere",
            Cluster(
                [replace(h, disk_mib=100) for h in hosts(8192, 8192, 8192)],
                [Guest("a", 512, 1, "d"), Guest("x", 1024, 1, "h1", disk_mib=10, disk_local=True)],
            ),
            ["a"],
            {},
        ),
        (
            "the guest that breaks the reserve is skipped, a smaller one behind it is not",
            Cluster(
                hosts(8192, 8192, 8192),
                [
                    Guest("mid", 4096, 1, "d", priority=3),
                    Guest("small", 512, 1, "d", priority=1),
                    Guest("x", 3072, 1, "h1"),
                    Guest("y", 3072, 1, "h2"),
                ],
            ),
            ["small"],
            {"mid": RESERVE},
        ),
        (
            "the reserve is kept for what can be started elsewhere",
            Cluster(
                hosts(8192, 8192, 8192),
                [
                    Guest("lo", 4096, 1, "d"),
                    Guest("hi", 2048, 1, "d", priority=5),
                    Guest("x", 2048, 1, "h1"),
                    Guest("y", 2048, 1, "h2"),
                ],
            ),
            ["hi"],
            {"lo": RESERVE},
        ),
    ],
)
def test_within_the_reserve(why: str, cluster: Cluster, started: list[str], refused: dict[str, str]) -> None:
    plan = recover(cluster, STATIC)
    assert [a.guest for a in plan.actions] == started, why
    assert set(plan.unplaced) == set(refused)
    for name, words in refused.items():
        assert words in plan.unplaced[name]
    assert survives_loss(replayed(cluster, plan))


@pytest.mark.parametrize("objective", [STATIC, GANETI])
def test_a_small_important_guest_leaves_the_large_host_to_a_large_one(objective: object) -> None:
    guests = [Guest("hi", 2048, 1, "d", priority=3), Guest("lo", 6144, 1, "d", priority=1)]
    cluster = Cluster(hosts(8192, 4096, 6144), guests)
    plan = recover(cluster, STATIC, keep_reserve=False)
    assert [(a.guest, a.target) for a in plan.actions] == [("hi", "h1"), ("lo", "h2")]
    replayed(cluster, plan)


def test_packing_anew_takes_no_start_from_the_more_important() -> None:
    guests = [Guest(f"hi{i}", 3000, 1, "d", priority=3) for i in range(2)] + [Guest("lo", 5000, 1, "d")]
    cluster = Cluster(hosts(16384, 4096, 6144), guests)
    plan = recover(cluster, STATIC, keep_reserve=False)
    assert {a.guest for a in plan.actions} == {"hi0", "hi1"}
    assert "lo" in plan.unplaced


def test_many_refusals_take_few_looks() -> None:
    """Every second guest of two sizes is too large for the reserve."""
    sizes = [900, 100] * 10
    lost = [Guest(f"g{i}", size, 1, "d", priority=50 - i) for i, size in enumerate(sizes)]
    cluster = Cluster(hosts(99999, 2000, 2000, 2000), [*lost, Guest("x", 1500, 1, "h1")])
    plan = recover(cluster, STATIC)
    after = replayed(cluster, plan)
    assert survives_loss(after)
    assert plan.unplaced
    for guest in lost:
        if guest.name in plan.unplaced:
            more = after.moved({guest.name: "h2"})
            assert not survives_loss(more), f"{guest.name} would have fitted"
