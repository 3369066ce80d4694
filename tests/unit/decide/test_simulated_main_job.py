"""The main job in simulation: a job waits, a guest is born, and goes when it is no longer needed."""

from __future__ import annotations

import pytest

from vmm.simulate import Faults, SimJob, Simulation


def job(name: str, queue: str, submit_s: float = 5.0, runtime_s: float = 10.0) -> SimJob:
    return SimJob(name, queue, submit_s, runtime_s)


def no_trace(sim: Simulation) -> bool:
    empty_hosts = all(not host.guests for host in sim.hosts.values())
    return empty_hosts and not sim.batch.nodes and not sim.core.state.guests


def created(sim: Simulation) -> int:
    return sim.core.state.totals.get("guests created", 0)


def test_a_waiting_job_gets_a_guest_and_the_guest_goes_when_idle(bench) -> None:
    sim = bench.make([job("1", "groupA")])
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 60)
    assert created(sim) == 1
    assert sim.run_until(lambda: no_trace(sim), 120)
    assert created(sim) == 1
    assert not sim.batch.killed


def test_an_idle_guest_of_another_share_makes_room(bench) -> None:
    a, b = job("a", "groupA", 5, 10), job("b", "groupB", 30, 10)
    sim = bench.make([a, b])
    assert sim.run_until(lambda: b.ended_s is not None, 120)
    assert any("makes room for groupB (idle)" in text for text in sim.texts())
    assert not sim.batch.killed


def test_a_busy_guest_is_never_taken(bench) -> None:
    a, b = job("a", "groupA", 5, 200), job("b", "groupB", 20, 10)
    sim = bench.make([a, b])
    assert sim.run_until(lambda: b.ended_s is not None, 400)
    assert a.ended_s is not None
    assert b.started_s is not None
    assert b.started_s > a.ended_s
    assert not sim.batch.killed


def test_a_backlog_of_one_share_does_not_starve_the_guaranteed_other(bench) -> None:
    backlog = [job(f"a{n}", "groupA", 5, 30) for n in range(20)]
    b = job("b", "groupB", 60, 10)
    sim = bench.make([*backlog, b], hosts=2)
    assert sim.run_until(lambda: b.ended_s is not None, 300)
    assert any(j.started_s is None for j in backlog), "A still has a backlog when B is served"
    assert not sim.batch.killed


@pytest.mark.parametrize("after_s", [0.6, 1.0, 2.0, 3.0, 5.0, 8.0])
def test_a_manager_killed_at_any_moment_is_followed_by_one_that_finishes(bench, after_s: float) -> None:
    sim = bench.make([job("1", "groupA")])
    assert sim.run_until(lambda: created(sim) == 1, 60)
    sim.run(sim.now_s + after_s)
    sim.kill_manager()
    sim.run(sim.now_s + 7)
    sim.start_manager()
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 90)
    assert created(sim) == 1, "no second guest"
    assert sim.run_until(lambda: no_trace(sim), 120)


def test_a_broken_template_is_retried_with_growing_delay_then_given_up(bench) -> None:
    a, b = job("a", "groupA"), job("b", "groupB", 8)
    sim = bench.make([a, b], hosts=2, faults=Faults(broken_templates={"groupA.qcow2"}))
    assert sim.run_until(lambda: sim.core.state.luck.get("groupA") is not None, 120)
    assert sim.run_until(lambda: sim.core.state.luck["groupA"].gave_up, 600)
    sim.run(sim.now_s + 300)
    assert created(sim) == 4, "three for A, one for B"
    errors = [text for text in sim.texts("error") if "gave up" in text]
    assert len(errors) == 1
    assert "groupA.qcow2" in errors[0]
    assert "console" in errors[0]
    delays = [text for text in sim.texts("warning") if "of 3 in" in text]
    assert [text.rpartition(" in ")[2] for text in delays] == ["10 s", "20 s"]
    assert b.ended_s is not None, "other shares go on"
    assert a.ended_s is None
    assert no_trace(sim)


def test_a_missing_template_leaves_nothing(bench) -> None:
    sim = bench.make([job("a", "groupA")], faults=Faults(missing_templates={"groupA.qcow2"}))
    assert sim.run_until(
        lambda: "groupA" in sim.core.state.luck and sim.core.state.luck["groupA"].gave_up, 600
    )
    sim.run(sim.now_s + 10)
    assert any("no-template" in text for text in sim.texts("error"))
    assert no_trace(sim)


def test_lost_answers_are_asked_for_again_and_nothing_is_done_twice(bench) -> None:
    sim = bench.make([job("1", "groupA")], faults=Faults(lose_every_nth_result=2))
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 120)
    assert sim.run_until(lambda: no_trace(sim), 300)
    assert created(sim) == 1


def test_a_guest_that_dies_is_cleaned_up_and_its_job_served_by_a_new_one(bench) -> None:
    sim = bench.make([job("1", "groupA", runtime_s=40)])
    assert sim.run_until(lambda: sim.batch.jobs[0].started_s is not None, 60)
    sim.kill_guest(sim.batch.jobs[0].node)
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 200)
    assert created(sim) == 2
    assert sim.run_until(lambda: no_trace(sim), 120)


def test_a_batch_system_that_is_down_holds_everything_and_loses_nothing(bench) -> None:
    sim = bench.make([job("1", "groupA")])
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 60)
    sim.faults.batch_down = True
    sim.run(sim.now_s + 100)
    assert len(sim.core.state.guests) == 1
    sim.faults.batch_down = False
    assert sim.run_until(lambda: no_trace(sim), 200)


def test_the_same_seed_gives_the_same_stream_and_digest(bench) -> None:
    def run() -> tuple[int, bytes]:
        sim = bench.make([job(f"{n}", "groupA" if n % 2 else "groupB", 5 + n) for n in range(6)], hosts=3)
        sim.run(200)
        return len(sim.entries), sim.core.state.digest

    assert run() == run()


def test_a_replay_of_the_stream_gives_the_same_state_bytes(bench) -> None:
    from vmm.decide.core import Core

    sim = bench.make([job(f"{n}", "groupA" if n % 2 else "groupB", 5 + n) for n in range(6)], hosts=3)
    sim.run(200)
    again = Core()
    again.replay(sim.entries)
    assert again.snapshot() == sim.core.snapshot()
    half = len(sim.entries) // 2
    first = Core()
    first.replay(sim.entries[:half])
    second = Core.from_snapshot(first.snapshot())
    second.replay(sim.entries[half:])
    assert second.snapshot() == sim.core.snapshot()
