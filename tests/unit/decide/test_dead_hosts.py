"""Hosts that die, and come back: their guests are started elsewhere at somebody's word, and never twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dead_hosts import fact, guest_state, only, places, wish, with_a_job, with_a_lost_guest
from decide_bench import Bench

from vmm.decide.core import Core
from vmm.decide.modelling import cluster_of
from vmm.policies.model import HostState
from vmm.policies.recover import recover
from vmm.simulate import Faults, SimJob, Simulation


def test_silence_proves_nothing(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, host, _ = only(sim)
    sim.kill_host(host)
    sim.batch.lose(name)
    sim.run(sim.now_s + 600)
    assert (fact(sim, host), guest_state(sim), places(sim, name)) == ("gone", "ready", [])
    assert sim.core.state.totals["guests created"] == 1


def test_the_word_makes_guests_lost_and_gives_their_jobs_back(bench: Bench) -> None:
    sim = with_a_job(bench)
    wish(sim, "pause")
    host = only(sim)[1]
    sim.kill_host(host)
    assert sim.batch.jobs[0].started_s is not None, "the batch system has not seen it"
    assert wish(sim, "fence_host", host=host) == []
    assert (fact(sim, host), guest_state(sim)) == ("dead", "lost")
    sim.run(sim.now_s + 5)
    assert sim.batch.nodes == {}
    assert sim.batch.jobs[0].started_s is None, "its job waits again"
    guests = sim.core.state.world.shares.get("groupA", "guests")
    assert guests is not None
    assert guests.value == 0, "it does not count any more"


def test_a_lost_guest_is_restarted_elsewhere_and_its_job_runs_there(bench: Bench) -> None:
    sim = with_a_lost_guest(bench)
    name, host, other = only(sim)
    spec = sim.core.state.guests[name].spec
    assert wish(sim, "restart_guest", guest=name, host=other, source=host) == []
    assert guest_state(sim) == "creating"
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)
    assert (only(sim), places(sim, name)) == ((name, other, host), [other])
    again = sim.core.state.guests[name].spec
    assert (again.name, again.uuid, again.mac, again.address) == (
        spec.name,
        spec.uuid,
        spec.mac,
        spec.address,
    )
    assert (spec.identity.get("life"), again.identity["life"]) == (None, "1")
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 90)
    assert sim.batch.jobs[0].node == name
    wish(sim, "resume")
    assert sim.run_until(lambda: not sim.core.state.guests, 90), "and it goes like any other"


def test_rules_replace_a_guest_that_nobody_restarts(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, host, other = only(sim)
    sim.kill_host(host)
    wish(sim, "fence_host", host=host)
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 120)
    assert sim.core.state.totals["guests created"] == 2
    assert sim.core.state.guests[name].state == "lost"
    refused = wish(sim, "restart_guest", guest=name, host=other)
    assert "has its 1 guests" in refused[0]
    assert wish(sim, "destroy_guest", guest=name) == []
    sim.run(sim.now_s + 5)
    assert name not in sim.core.state.guests


def reports_again(sim: Simulation, name: str, host: str, other: str) -> None:
    sim.return_host(host)


def runs_on_a_third(sim: Simulation, name: str, host: str, other: str) -> None:
    third = sim.hosts[other]
    third.guests[name] = third.create(sim.core.state.guests[name].spec, sim.now_s)  # type: ignore[assignment]
    sim.run(sim.now_s + 3)


def speaks_itself(sim: Simulation, name: str, host: str, other: str) -> None:
    sim._join(name)


def target_dies(sim: Simulation, name: str, host: str, other: str) -> None:
    sim.kill_host(other)


def is_restarted(sim: Simulation, name: str, host: str, other: str) -> None:
    wish(sim, "restart_guest", guest=name, host=other)


@pytest.mark.parametrize(
    ("happens", "args", "why"),
    [
        (None, {"source": "OTHER"}, "not on"),
        (None, {"host": "nowhere"}, "there is no host 'nowhere'"),
        (None, {"host": "HOST"}, "it is dead"),
        (reports_again, {}, "it is cleaning on"),
        (runs_on_a_third, {}, "reports a guest of that name"),
        (speaks_itself, {}, "its own client is up"),
        (target_dies, {}, "its client is gone"),
        (is_restarted, {}, "it is creating on"),
    ],
)
def test_a_restart_is_refused(
    bench: Bench,
    happens: Callable[[Simulation, str, str, str], None] | None,
    args: dict[str, str],
    why: str,
) -> None:
    sim = with_a_lost_guest(bench)
    name, host, other = only(sim)
    if happens is not None:
        happens(sim, name, host, other)
    words = {"HOST": host, "OTHER": other}
    given_args = {"guest": name, "host": other, **{k: words.get(v, v) for k, v in args.items()}}
    (refused,) = wish(sim, "restart_guest", **given_args)
    assert why in refused


def test_a_restart_of_a_guest_whose_host_nobody_called_dead_is_refused(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, host, other = only(sim)
    for _ in range(2):
        (refused,) = wish(sim, "restart_guest", guest=name, host=other)
        assert "nobody said that" in refused
        sim.kill_host(host)
        sim.run(sim.now_s + 60)


def test_the_batch_node_goes_before_the_guest_comes(bench: Bench) -> None:
    sim = with_a_job(bench)
    wish(sim, "pause")
    name, host, other = only(sim)
    sim.faults.batch_down = True
    sim.kill_host(host)
    wish(sim, "fence_host", host=host)
    sim.run(sim.now_s + 20)
    (refused,) = wish(sim, "restart_guest", guest=name, host=other)
    assert "batch node is not deleted yet" in refused
    sim.faults.batch_down = False
    assert sim.run_until(lambda: sim.core.state.guests[name].drained_s >= 0, 90)
    assert wish(sim, "restart_guest", guest=name, host=other) == []
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)


def test_the_word_is_not_taken_while_anything_is_heard(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, host, _ = only(sim)
    (refused,) = wish(sim, "fence_host", host=host)
    assert "is up, so it is not dead" in refused
    sim._leave(host)
    sim.hosts[host].up = False
    sim._join(name)
    (refused,) = wish(sim, "fence_host", host=host)
    assert f"guest {name} on it was heard" in refused
    sim.run(sim.now_s + 60)
    assert wish(sim, "fence_host", host=host) == [], "silent for long enough"
    (refused,) = wish(sim, "fence_host", host=host)
    assert "dead already" in refused
    (refused,) = wish(sim, "fence_host", host="nowhere")
    assert "no host" in refused
    (refused,) = wish(sim, "unfence_host", host=host)
    assert "is not there" in refused


def test_a_dead_host_is_offline_to_planners_and_takes_nothing(bench: Bench) -> None:
    sim = with_a_lost_guest(bench)
    name, host, other = only(sim)
    cluster = cluster_of(sim.core.state, sim.core.rules)
    assert cluster.host_by_name[host].state is HostState.OFFLINE
    plan = recover(cluster, keep_reserve=False)
    assert [(a.guest, a.source, a.target) for a in plan.actions] == [(name, host, other)]
    sim.return_host(host)
    cluster = cluster_of(sim.core.state, sim.core.rules)
    assert cluster.host_by_name[host].state is HostState.DRAINING


def test_a_host_that_comes_back_with_the_old_copy(bench: Bench) -> None:
    """The word was wrong: the host lived, cut off. The old copy is destroyed before the host is of use."""
    sim = with_a_job(bench)
    wish(sim, "pause")
    name, host, other = only(sim)
    sim.cut_host(host)
    assert wish(sim, "fence_host", host=host) == []
    assert sim.run_until(lambda: sim.core.state.guests[name].drained_s >= 0, 30)
    assert wish(sim, "restart_guest", guest=name, host=other) == []
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)
    assert places(sim, name) == ["host0", "host1"], "what may never happen, and nobody could see it"
    sim.return_host(host)
    assert (fact(sim, host), only(sim)[1]) == ("maintenance", other)
    assert any("old copy (life 0, now 1)" in text for text in sim.texts("error"))
    assert (
        "may still be on" in wish(sim, "unfence_host", host=host)[0] or sim.core.state.hosts[host].leftovers
    )
    sim.run(sim.now_s + 10)
    assert any(f"its old copy is still on {host}" in text for text in sim.texts("error"))
    assert places(sim, name) == [other]
    assert (guest_state(sim), sim.core.state.guests[name].host) == ("ready", other)
    assert wish(sim, "end_maintenance", host=host) == []
    assert fact(sim, host) == "up"
    assert sim.core.state.totals["old copies destroyed"] == 1


def test_a_host_that_comes_back_with_a_lost_guest(bench: Bench) -> None:
    """Nobody restarted it: its jobs were given back, so it is removed like any other."""
    sim = with_a_job(bench)
    wish(sim, "pause")
    name, host, _ = only(sim)
    sim.cut_host(host)
    wish(sim, "fence_host", host=host)
    sim.run(sim.now_s + 10)
    sim.return_host(host)
    sim.run(sim.now_s + 10)
    assert (sim.core.state.guests, places(sim, name)) == ({}, [])
    assert wish(sim, "unfence_host", host=host) == []


def test_a_guest_given_up_is_destroyed_when_its_host_is_back(bench: Bench) -> None:
    sim = with_a_job(bench)
    wish(sim, "pause")
    name, host, _ = only(sim)
    sim.cut_host(host)
    wish(sim, "fence_host", host=host)
    assert wish(sim, "destroy_guest", guest=name) == []
    sim.run(sim.now_s + 10)
    assert sim.core.state.guests == {}
    sim.return_host(host)
    sim.run(sim.now_s + 15)
    assert places(sim, name) == []
    assert wish(sim, "unfence_host", host=host) == []


@pytest.mark.parametrize("state", ["creating", "booting", "draining"])
def test_a_host_dies_at_any_age_of_a_guest(bench: Bench, state: str) -> None:
    sim = bench.make([SimJob("1", "groupA", 5.0, 60.0)], hosts=2)
    assert sim.run_until(lambda: guest_state(sim) == ("ready" if state == "draining" else state), 60)
    name, host, _ = only(sim)
    wish(sim, "pause")
    if state == "draining":
        wish(sim, "retire_guest", guest=name)
    assert guest_state(sim) == state
    sim.kill_host(host)
    assert wish(sim, "fence_host", host=host) == []
    sim.run(sim.now_s + 20)
    assert guest_state(sim) == ("" if state == "draining" else "lost")
    assert sim.batch.nodes == {}


@pytest.mark.parametrize("arrived", [True, False])
def test_the_source_of_a_move_dies(bench: Bench, arrived: bool) -> None:
    sim = with_a_job(bench)
    wish(sim, "pause")
    name, host, other = only(sim)
    wish(sim, "migrate_guest", guest=name, host=other)
    sim.run(sim.now_s + 1)
    if arrived:
        sim.hosts[other].guests[name] = sim.hosts[host].guests.pop(name)
    sim.kill_host(host)
    assert wish(sim, "fence_host", host=host) == []
    assert guest_state(sim) == "migrating", "nobody knows yet"
    sim.run(sim.now_s + 10)
    assert guest_state(sim) == ("ready" if arrived else "lost")
    assert only(sim)[1] == (other if arrived else host)
    if not arrived:
        assert wish(sim, "restart_guest", guest=name, host=other) == []
        assert sim.run_until(lambda: guest_state(sim) == "ready", 60)


def test_the_target_of_a_move_dies(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, host, other = only(sim)
    wish(sim, "migrate_guest", guest=name, host=other)
    sim.run(sim.now_s + 1)
    sim.kill_host(other)
    assert wish(sim, "fence_host", host=other) == []
    assert sim.run_until(lambda: guest_state(sim) == "ready", 30)
    assert (only(sim)[1], sim.batch.killed) == (host, [])


def test_a_new_host_that_cannot_make_it_leaves_it_lost(bench: Bench) -> None:
    sim = with_a_lost_guest(bench, faults=Faults())
    name, host, other = only(sim)
    sim.faults.missing_templates.add("groupA.qcow2")
    assert wish(sim, "restart_guest", guest=name, host=other) == []
    sim.run(sim.now_s + 5)
    assert (guest_state(sim), only(sim)[1]) == ("lost", host)
    assert any("could not be started anew: [no-template]" in text for text in sim.texts("warning"))
    sim.faults.missing_templates.clear()
    sim.run(sim.now_s + 5)
    assert wish(sim, "restart_guest", guest=name) == []
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)
    assert sim.core.state.guests[name].life == 2


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6, 3.0])
def test_a_manager_killed_in_between_is_followed_by_one_that_knows(bench: Bench, after_s: float) -> None:
    sim = with_a_lost_guest(bench)
    name, _, other = only(sim)
    wish(sim, "restart_guest", guest=name, host=other)
    sim.run(sim.now_s + after_s)
    sim.kill_manager()
    sim.run(sim.now_s + 3)
    digest = sim.core.state.digest
    again = Core()
    again.replay(sim.entries)
    assert again.state.digest == digest
    sim.start_manager()
    assert sim.run_until(lambda: guest_state(sim) == "ready", 90)
    assert (places(sim, name), only(sim)[1]) == ([other], other)
