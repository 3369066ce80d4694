"""The fast evaluators against the reference interpreter, and the interpreter against Python itself."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import pytest
from expressions import on_arrays, own, whole, whole_on_arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import SCHEMA, complete, engine, make_world, names, settings_of

from vmm.cluster.tables import World
from vmm.rules import vector
from vmm.rules.analyse import analyse
from vmm.rules.interpret import Interpreter
from vmm.rules.programs import Total
from vmm.rules.triggers import reads_time

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=600)

changes = st.lists(
    st.one_of(
        settings_of().map(lambda x: ("set", *x)),
        st.tuples(st.just("remove"), st.sampled_from(["client", "host"]), names),
        st.tuples(st.just("advance"), st.sampled_from([1.0, 7.0, 31.0])),
    ),
    max_size=25,
)


# What is said of all rows at once must be right where everything is known, too.
beginnings = st.one_of(
    changes,
    complete().map(lambda rows: [*(("set", *row) for row in rows), ("advance", 5.0)]),
)


def apply(world: World, change: tuple[Any, ...]) -> None:
    match change:
        case ("set", kind, name, column, value):
            world.table(kind).add(name)
            world.table(kind).set(name, column, value, world.now_s)
        case ("remove", kind, name):
            if name in world.table(kind):
                world.table(kind).remove(name)
        case ("advance", by_s):
            world.advance(world.now_s + by_s)


def check_global(text: str, first: list[Any], then: list[Any]) -> None:
    """After every change the compiled, kept condition is what the interpreter says."""
    world = make_world()
    for change in first:
        apply(world, change)
    rules = engine(f"[r]\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\nticks = 5\n", world)
    node, interpreter = analyse(f"{{ {text} }}", SCHEMA, None), Interpreter(world)
    watch = rules._by_name["r"].expr
    assert watch.truth(0) is interpreter.truth(node, {})
    for change in then:
        apply(world, change)
        assert watch.truth(0) is interpreter.truth(node, {}), change


def check_each_on_arrays(text: str, first: list[Any], then: list[Any]) -> None:
    with mock.patch.object(vector, "SMALL", 0):
        check_each(text, first, then)


def check_global_on_arrays(text: str, first: list[Any], then: list[Any]) -> None:
    with mock.patch.object(vector, "SMALL", 0):
        check_global(text, first, then)


def check_each(text: str, first: list[Any], then: list[Any]) -> None:
    """The same per subject; and what has changed was marked as changed."""
    world = make_world()
    for change in first:
        apply(world, change)
    source = f"[r]\neach = host\nexpr = {{ {text} }}\ncmd = {{ sender.drain_host(host) }}\nticks = 5\n"
    rules = engine(source, world)
    node, interpreter = analyse(f"{{ {text} }}", SCHEMA, "host"), Interpreter(world)
    runner = rules._by_name["r"]
    seen: dict[str, bool | None] = {}
    for change in [None, *then]:
        if change is not None:
            apply(world, change)
        for row in list(runner.expr.take()):
            seen[world.hosts.row_names[row] or ""] = runner.expr.truth(row)
        for name in world.hosts.names():
            truth = interpreter.truth(node, {"host": name})
            assert runner.expr.truth(world.hosts.rows[name]) is truth, (name, change)
            if not reads_time(node):
                assert seen.get(name, False) is truth, f"{name} was not marked as changed by {change}"


class Subject(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


class Manager:
    pass


def check_python(text: str, rows: list[Any]) -> None:
    """On complete data the interpreter's result is Python's own."""
    world = make_world()
    defaults: dict[str, Any] = {"load": 0.5, "temp": 1.0, "fresh": 2.0, "ram_free": 3, "disks": 1}
    defaults |= {"ok": True, "mode": "up", "domains": [], "facts": {"cpus": 3, "kind": "a"}}
    for kind, name, column, value in rows:
        if name not in world.table(kind):
            world.table(kind).add(name)
            world.table(kind).update(name, defaults, 0.0)
        if not isinstance(value, float) or abs(value) < 1e50:  # products stay finite
            world.table(kind).set(name, column, value, 0.0)
    manager: Any = Manager()
    manager.now = 0.0
    for kind in ("client", "host"):
        table = world.table(kind)
        data = {}
        for name in table.names():
            values = {c: col.values[table.rows[name]] for c, col in table.columns.items()}
            facts = {"cpus": 3, "kind": "a", **values["facts"]}
            table.set(name, "facts", facts, 0.0)
            values["facts"] = Subject(facts)
            if values["domains"]:
                full = [{"state": "run", "mem": 0, **row} for row in values["domains"]]
                table.set(name, "domains", full, 0.0)
                values["domains"] = [Subject(row) for row in full]
            data[name] = Subject(values, name=name)
        setattr(manager, kind + "s", data)
    scope = {
        "manager": manager, "known": lambda x: True, "age": lambda x: 0.0,
        "count": lambda g: sum(map(bool, g)),
        "mean": lambda g: mean_of(list(g)), "sum": lambda g: sum_of(list(g)),
    }  # fmt: skip
    node = analyse(f"{{ {text} }}", SCHEMA, None)
    got = Interpreter(world).truth(node, {})
    try:
        expected = bool(eval(text, scope))
    except (ZeroDivisionError, ValueError, KeyError, OverflowError):
        return  # what raises in Python is unknown in a rule, or decided without that part
    assert got is expected


def sum_of(values: list[Any]) -> Any:
    """Python's sum, but rounded once."""
    return math.fsum(values) if any(isinstance(v, float) for v in values) else sum(values)


def mean_of(values: list[Any]) -> Any:
    if not values or not all(math.isfinite(v) for v in values):
        raise ValueError("no mean")
    return sum_of(values) / len(values)


given_global = given(text=whole, first=changes, then=changes)
given_each = given(text=own, first=changes, then=changes)
given_python = given(text=whole, rows=st.lists(settings_of(unknown=False), max_size=12))

test_a_global_condition_is_as_the_interpreter_says = FEW(given_global(check_global))
test_a_condition_per_subject_is_as_the_interpreter_says = FEW(given_each(check_each))
test_on_complete_data_the_result_is_what_python_says = FEW(given_python(check_python))
given_whole_arrays = given(text=whole_on_arrays(), first=beginnings, then=changes)
given_each_arrays = given(text=on_arrays("host"), first=beginnings, then=changes)
test_a_global_condition_on_arrays = FEW(given_whole_arrays(check_global_on_arrays))
test_a_condition_per_subject_on_arrays = FEW(given_each_arrays(check_each_on_arrays))
test_global_conditions_on_arrays_at_length = pytest.mark.slow(
    MANY(given_whole_arrays(check_global_on_arrays))
)
test_conditions_per_subject_on_arrays_at_length = pytest.mark.slow(
    MANY(given_each_arrays(check_each_on_arrays))
)
test_global_conditions_at_length = pytest.mark.slow(MANY(given_global(check_global)))
test_conditions_per_subject_at_length = pytest.mark.slow(MANY(given_each(check_each)))
test_what_python_says_at_length = pytest.mark.slow(MANY(given_python(check_python)))


@pytest.mark.parametrize("fn", ["min", "max", "sum", "mean"])
@pytest.mark.parametrize("filter_", ["manager.now >= 0", "0 > manager.now"])
@pytest.mark.parametrize("loads", [[], [1.0], [2.0, 3.0, 4.0]])
def test_a_filter_that_reads_nothing_of_the_rows(fn: str, filter_: str, loads: list[float]) -> None:
    text = f"{fn}(c.load for c in manager.clients.values() if {filter_}) > 3.5"
    check_global_on_arrays(
        text, [("set", "client", f"c{n}", "load", load) for n, load in enumerate(loads)], []
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_kept_sum_does_not_drift(values: list[float], random: Any) -> None:
    world = make_world()
    rules = engine(
        "[r]\nexpr = { sum(h.load for h in manager.hosts.values()) > 0 and "
        "mean(h.load for h in manager.hosts.values()) > 0 }\ncmd = { sender.notify('x') }\n",
        world,
    )
    (kept,) = rules._compiler._kept.values()
    for _ in range(3):
        for value in values:
            name = random.choice("abcde")
            world.hosts.add(name)
            world.hosts.set(name, "load", value, 0.0)
    now = [world.hosts.get(name, "load").value for name in world.hosts]  # type: ignore[union-attr]
    assert isinstance(kept, Total)
    assert kept.value("sum") == math.fsum(now)
    assert kept.value("mean") == math.fsum(now) / len(now)
