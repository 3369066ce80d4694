"""The in-memory batch system as a calculation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.batch.interface import NodeFailed
from vmm.batch.memory_engine import Engine
from vmm.batch.swf import Work


def work(
    number: int, submit_s: float = 0.0, runtime_s: float = 10.0, cpus: int = 1, queue: str = "A"
) -> Work:
    return Work(str(number), queue, submit_s, runtime_s, cpus)


def states(engine: Engine) -> dict[str, str]:
    return {job: task.state for job, task in engine.tasks.items()}


def code_of(call: object, *args: object) -> str:
    with pytest.raises(NodeFailed) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


def test_a_job_waits_for_a_node_of_its_queue() -> None:
    engine = Engine([work(1, 5.0), work(2, 6.0, queue="B")])
    engine.advance(4.0)
    assert states(engine) == {}
    engine.advance(20.0)
    engine.register("b1", ["B"], 1)
    assert states(engine) == {"1": "pending", "2": "running"}
    engine.register("a1", ["A", "x"], 1)
    engine.advance(29.9)
    assert states(engine) == {"1": "running", "2": "running"}
    engine.advance(30.0)
    assert states(engine) == {"1": "done", "2": "done"}
    assert engine.finished()
    assert (engine.counts["A"].waited_s, engine.counts["B"].waited_s) == (15.0, 14.0)


def test_first_come_first_served_without_overtaking() -> None:
    engine = Engine([work(1, cpus=1), work(2, cpus=4), work(3, cpus=1)])
    engine.register("a1", ["A"], 2)
    engine.advance(100.0)
    assert states(engine) == {"1": "done", "2": "pending", "3": "pending"}
    engine.register("a2", ["A"], 4)
    engine.advance(200.0)
    assert engine.finished()


def test_the_fullest_node_that_fits_is_taken() -> None:
    engine = Engine([work(1), work(2), work(3, cpus=2)])
    engine.register("a1", ["A"], 2)
    engine.register("a2", ["A"], 2)
    engine.advance(1.0)
    assert [engine.tasks[j].node for j in "123"] == ["a1", "a1", "a2"]


def test_drain_resume_delete() -> None:
    engine = Engine([work(1), work(2)])
    engine.register("a1", ["A"], 1)
    engine.advance(1.0)
    engine.drain("a1", "make room")
    engine.drain("a1", "make room")
    assert code_of(engine.delete, "a1") == "node-busy"
    engine.advance(50.0)
    assert states(engine) == {"1": "done", "2": "pending"}
    engine.resume("a1")
    assert states(engine) == {"1": "done", "2": "running"}
    engine.drain("a1", "again")
    engine.advance(100.0)
    engine.delete("a1")
    engine.delete("a1")
    assert engine.nodes == {}
    assert code_of(engine.drain, "a1", "x") == "no-such-node"
    assert code_of(engine.resume, "a1") == "no-such-node"


def test_a_node_said_to_be_dead_gives_its_jobs_back_and_can_be_deleted() -> None:
    engine = Engine([work(1)])
    engine.register("a1", ["A"], 1)
    engine.advance(1.0)
    engine.down("a1", "its host is dead")
    engine.delete("a1")
    assert states(engine) == {"1": "pending"}
    engine.register("a1", ["A"], 1)
    assert states(engine) == {"1": "running"}
    assert code_of(engine.down, "a2", "x") == "no-such-node"


def test_a_lost_node_loses_its_runs_and_no_job() -> None:
    engine = Engine([work(1), work(2), work(3), work(4, 5.0, queue="B")])
    engine.register("a1", ["A"], 2)
    engine.advance(8.0)
    engine.lose("a1")
    engine.lose("a1")
    assert states(engine) == dict.fromkeys("1234", "pending")
    assert engine.counts["A"].lost == 2
    engine.delete("a1")
    engine.register("a2", ["A"], 1)
    assert engine.tasks["1"].state == "running"  # first come, first served again
    engine.advance(18.0)
    assert states(engine) == {"1": "done", "2": "running", "3": "pending", "4": "pending"}
    assert engine.counts["A"].done == 1
    assert engine.counts["A"].started == 2  # waits are counted to the first start


def test_a_node_that_comes_back_under_its_name() -> None:
    engine = Engine([work(1, runtime_s=10.0)])
    engine.register("a1", ["A"], 1)
    engine.advance(5.0)
    assert code_of(engine.register, "a1", ["A"], 1) == "name-taken"
    engine.lose("a1")
    engine.register("a1", ["A"], 1)
    engine.advance(10.0)  # where the first run would have ended
    assert states(engine) == {"1": "running"}
    engine.advance(15.0)
    assert engine.finished()


def test_a_job_id_twice() -> None:
    engine = Engine([work(1)])
    with pytest.raises(ValueError, match="job 1"):
        engine.add(work(1))


_works = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(1, 3), st.sampled_from("AB")), max_size=25
)
_happenings = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["register", "lose", "drain", "resume", "delete"]),
        st.sampled_from(["n1", "n2", "n3"]),
        st.sampled_from([("A",), ("B",), ("A", "B")]),
        st.integers(1, 4),
    ),
    max_size=25,
)


def play(works: list[Work], happenings: list[tuple], looks: int) -> tuple[Engine, list[str]]:  # type: ignore[type-arg]
    """Run a scenario, looking `looks` times a second; returns the engine and what was refused."""
    engine, refused = Engine(works), []

    def look(until: float) -> None:
        engine.advance(until)
        for node in engine.nodes.values():
            used = sum(engine.tasks[job].work.cpus for job in node.tasks)
            assert used + node.free == node.cpus
            assert node.free >= 0
            assert node.up or not node.tasks
        for task in engine.tasks.values():
            assert (task.state == "running") == bool(task.node and task.work.id in _tasks(engine, task.node))

    now = 0.0
    for at, what, name, features, cpus in sorted(happenings, key=lambda h: h[0]):
        while now < at:
            now = min(at, now + 1.0 / looks) if looks else at
            look(now)
        try:
            if what == "register":
                engine.register(name, features, cpus)
            elif what == "drain":
                engine.drain(name, "x")
            else:
                getattr(engine, what)(name)
        except NodeFailed as exc:
            refused.append(exc.code)
    look(1000.0)
    return engine, refused


def _tasks(engine: Engine, node: str) -> set[str]:
    return engine.nodes[node].tasks if node in engine.nodes else set()


@settings(max_examples=60, deadline=None)
@given(_works, _happenings)
def test_results_do_not_depend_on_how_often_one_looks(rows: list, happenings: list) -> None:  # type: ignore[type-arg]
    works = [work(n, float(s), float(r), c, q) for n, (s, r, c, q) in enumerate(rows)]
    once, refused = play(works, happenings, 0)
    often, refused_too = play(works, happenings, 3)
    assert refused == refused_too
    assert {j: (t.state, t.start_s, t.runs, t.wait_s) for j, t in once.tasks.items()} == {
        j: (t.state, t.start_s, t.runs, t.wait_s) for j, t in often.tasks.items()
    }
    assert sum(c.submitted for c in once.counts.values()) == len(works)
    assert sum(c.done for c in once.counts.values()) == sum(t.state == "done" for t in once.tasks.values())
