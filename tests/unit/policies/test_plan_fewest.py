"""The fewest hosts where hosts differ much: against proven numbers, and by properties of the parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import DATA, clusters, replayed

from vmm.policies._fewest import task_of
from vmm.policies._keep import fewest, host_sets, roomiest
from vmm.policies._packing import packed
from vmm.policies._problem import compile_problem
from vmm.policies.consolidate import consolidate
from vmm.policies.ganeti import parse_cluster
from vmm.policies.generate import Shape, generate
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import STATIC

few = settings(max_examples=25, deadline=None)


def lopsided(hosts: int, guests: int, seed: int, tagged: float = 0.0) -> Cluster:
    return generate(Shape(hosts, guests, seed, "lopsided", tagged=tagged))


# Hosts proven to be the fewest, and the fewest migrations known for so many, by OR-tools' CP-SAT.
@pytest.mark.parametrize(
    ("cluster", "hosts", "migrations"),
    [
        (parse_cluster((DATA / "lopsided28.data").read_text()), 7, 108),
        (parse_cluster((DATA / "lopsided28b.data").read_text()), 6, 54),
        (lopsided(8, 60, 0), 3, 31),
        (lopsided(8, 60, 2), 2, 43),
        (lopsided(12, 100, 1), 6, 39),
        (lopsided(12, 100, 2), 5, 50),
        (lopsided(20, 160, 3), 5, 125),
        (lopsided(8, 60, 0, 0.25), 4, 22),
        (lopsided(8, 60, 1, 0.25), 4, 20),
        (lopsided(12, 100, 1, 0.25), 6, 42),
        (lopsided(12, 100, 3, 0.25), 6, 35),
    ],
    ids=lambda x: f"{len(x.hosts)}x{len(x.guests)}" if isinstance(x, Cluster) else None,
)
def test_proven_numbers_of_hosts(cluster: Cluster, hosts: int, migrations: int) -> None:
    plan = consolidate(cluster, STATIC)
    replayed(cluster, plan)
    assert len(plan.hosts_left) == hosts
    assert len(plan.moves) <= 1.12 * migrations


UP, DRAINING = HostState.UP, HostState.DRAINING


@pytest.mark.parametrize("guests", [[], [Guest("waits", 1, 1)]])
@pytest.mark.parametrize(
    ("hosts", "left"),
    [
        ([("a", 64, UP), ("b", 64, UP), ("c", 32, UP)], "a"),
        ([("a", 32, UP), ("b", 64, UP)], "b"),
        ([("a", 64, DRAINING), ("b", 32, UP)], "b"),
        ([("a", 64, DRAINING), ("b", 64, DRAINING)], "a"),
        ([("a", 64, HostState.OFFLINE), ("b", 32, UP), ("c", 32, UP)], "b"),
    ],
)
def test_without_a_running_guest_one_host_stays_on(
    hosts: list[tuple[str, int, HostState]], left: str, guests: list[Guest]
) -> None:
    cluster = Cluster([Host(name, memory, 8, state=state) for name, memory, state in hosts], guests)
    plan = consolidate(cluster, STATIC)
    assert plan.hosts_left == (left,)
    assert {a.source for a in plan.actions} == {
        n for n, _, s in hosts if n != left and s is not HostState.OFFLINE
    }
    assert "stays on" in plan.reasons[left]


@few
@given(clusters(), st.data())
def test_a_packing_breaks_nothing_and_needs_no_fewer_hosts_than_the_bound(
    cluster: Cluster, data: st.DataObject
) -> None:
    p = compile_problem(cluster, STATIC)
    keep = np.array([h.state is HostState.UP and data.draw(st.booleans()) for h in cluster.hosts])
    counts = packed(p, keep, data.draw(st.sampled_from([0, 60])), 0, anew=data.draw(st.booleans()))
    if counts is None:
        return
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == p.counts.sum(axis=1)).all()
    assert not counts[:, ~keep].any()
    more = counts > p.counts
    assert not (more & ~p.reach).any()
    room = p.room - p.need @ (counts - p.counts)
    assert (room >= np.minimum(p.room, 0) - 1e-6).all()
    member = p.apart.member.T.astype(np.int64)
    before, after = member @ p.counts + p.apart.fixed, member @ counts + p.apart.fixed
    assert (after <= np.maximum(before, 1)).all()
    task = task_of(p, np.ones(p.hosts, dtype=np.bool_), np.zeros(p.hosts, dtype=np.bool_), 0)
    if (room >= 0).all() and keep[task.must].all():
        assert fewest(task.capacity, task.needed, task.must) <= keep.sum()


@few
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=9),
    st.integers(1, 9),
    st.tuples(st.integers(0, 90), st.integers(0, 90)),
    st.data(),
)
def test_sets_of_hosts_cover_the_needs(
    hosts: list[tuple[int, int, int]], size: int, needs: tuple[int, int], data: st.DataObject
) -> None:
    capacity = np.array([h[:2] for h in hosts], dtype=np.float64).T
    guests = np.array([h[2] for h in hosts])
    needed = np.array(needs, dtype=np.float64)
    must = np.array([data.draw(st.integers(0, 5)) == 0 for _ in hosts])
    size = min(max(size, int(must.sum())), len(hosts))
    sets = roomiest(capacity, needed, must, size)
    for keep in [*sets, *(k for _, k in host_sets(capacity, needed, guests, must, size))]:
        assert keep.sum() == size
        assert keep[must].all()
        assert (capacity[:, keep].sum(axis=1) >= needed - 1e-6).all()
    if sets:
        assert fewest(capacity, needed, must) <= size
