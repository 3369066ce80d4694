"""Tables: readings, types, expiry, rows that are used again, dumps, views."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.cluster.columns import ValueRefused
from vmm.cluster.tables import NoSuchSubject, Reading, Table, Watcher, World
from vmm.errors import VmmError


def table() -> Table:
    made = Table("host")
    made.declare("load", type="float", unit="x")
    made.declare("cpus", type="int")
    return made


def test_a_reading_has_value_and_time() -> None:
    hosts = table()
    hosts.add("a")
    assert hosts.get("a", "load") is None
    hosts.set("a", "load", 0.5, 3.0)
    assert hosts.get("a", "load") == Reading(0.5, 3.0)
    hosts.set("a", "load", None, 4.0)
    assert hosts.get("a", "load") is None
    assert hosts.columns["load"].times[hosts.rows["a"]] == 3.0, "when it was last read stays known"
    hosts.clear("a", "load")
    assert math.isnan(hosts.columns["load"].times[hosts.rows["a"]])
    assert hosts.get("a", "name") == Reading("a", 0.0)
    assert hosts.get("a", "nothing") is None


def test_names_come_in_order_of_arrival() -> None:
    hosts = table()
    for name in "cab":
        hosts.add(name)
    hosts.add("a")
    hosts.remove("c")
    hosts.add("d")
    assert hosts.names() == list(hosts) == ["a", "b", "d"]
    assert "c" not in hosts
    assert len(hosts) == 3


def test_a_row_used_again_knows_nothing_of_the_one_before() -> None:
    hosts = table()
    hosts.add("old")
    hosts.set("old", "load", 1.0, 1.0)
    hosts.remove("old")
    hosts.add("new")
    assert hosts.rows["new"] == 0
    assert hosts.get("new", "load") is None
    assert math.isnan(hosts.columns["load"].times[0])


def test_what_is_not_there_is_refused() -> None:
    hosts = table()
    for call in (
        lambda: hosts.set("x", "load", 1.0, 0.0),
        lambda: hosts.get("x", "load"),
        lambda: hosts.remove("x"),
        lambda: hosts.clear("x", "load"),
    ):
        with pytest.raises(NoSuchSubject, match=r"there is no host 'x'\. Next: add the host"):
            call()
    with pytest.raises(NoSuchSubject, match="kind 'hots'"):
        World().table("hots")
    with pytest.raises(VmmError, match="unknown type 'number'"):
        hosts.declare("x", type="number")


@pytest.mark.parametrize(
    ("column", "given_value", "kept"),
    [
        ("load", 2, 2.0),
        ("load", math.nan, None),
        ("load", math.inf, None),
        ("cpus", 4.0, 4),
    ],
)
def test_values_that_fit_after_a_conversion(column: str, given_value: Any, kept: Any) -> None:
    hosts = table()
    hosts.add("a")
    hosts.set("a", column, 1, 0.0)
    hosts.set("a", column, given_value, 1.0)
    reading = hosts.get("a", column)
    assert (None if reading is None else reading.value) == kept


@pytest.mark.parametrize(
    ("column", "value"), [("load", "1"), ("load", True), ("cpus", 1.5), ("cpus", "1"), ("load", 2**70)]
)
def test_values_that_do_not_fit_leave_the_old_one(column: str, value: Any) -> None:
    hosts = table()
    hosts.add("a")
    hosts.set("a", column, 7, 0.0)
    with pytest.raises(ValueRefused, match="the column holds"):
        hosts.set("a", column, value, 1.0)
    assert hosts.get("a", column) == Reading(7, 0.0)


def test_the_first_value_declares_a_column() -> None:
    hosts = table()
    hosts.add("a")
    hosts.set("a", "later", None, 0.0)
    assert "later" not in hosts.columns
    for name, value, type_ in (
        ("s", "x", "str"),
        ("b", True, "bool"),
        ("t", [{}], "table"),
        ("d", {}, "dict"),
    ):
        hosts.set("a", name, value, 0.0)
        assert hosts.columns[name].type == type_
    with pytest.raises(VmmError, match="no type a table can hold"):
        hosts.set("a", "o", object(), 0.0)


def test_readings_grow_too_old() -> None:
    world = World(0.0)
    world.hosts.declare("load", type="float", max_age_s=10.0)
    world.hosts.add("a")
    world.hosts.set("a", "load", 1.0, 0.0)
    world.advance(10.0)
    assert world.hosts.get("a", "load") == Reading(1.0, 0.0), "just old enough still counts"
    assert world.next_expiry_s() == 10.0
    world.advance(10.5)
    assert world.hosts.get("a", "load") is None
    world.advance(3.0)
    assert world.now_s == 10.5, "time does not go back"


def test_a_shorter_age_limit_counts_from_now_on() -> None:
    world = World(0.0)
    world.hosts.declare("load", type="float")
    world.hosts.add("a")
    world.hosts.set("a", "load", 1.0, 0.0)
    world.advance(100.0)
    world.hosts.declare("load", type="float", max_age_s=10.0)
    world.advance(101.0)
    assert world.hosts.get("a", "load") is None


def test_watchers_hear_of_subjects_and_hooks_of_changes() -> None:
    hosts = table()
    heard: list[Any] = []
    hosts.watchers = (
        Watcher(
            lambda row, name: heard.append(("added", row, name)),
            lambda row, name: heard.append(("removed", row, name)),
            lambda column: heard.append(("declared", column.name)),
        ),
    )
    hosts.columns["load"].hooks = (lambda row: heard.append(("changed", row)),)
    hosts.columns["load"].touch_hooks = (lambda row: heard.append(("touched", row)),)
    hosts.add("a")
    hosts.set("a", "load", 1.0, 0.0)
    hosts.set("a", "load", 1.0, 1.0)
    hosts.set("a", "load", None, 1.0)
    hosts.set("a", "load", None, 1.0)
    hosts.remove("a")
    hosts.declare("load", type="int")
    assert heard == [
        ("added", 0, "a"),
        ("changed", 0),
        ("touched", 0),
        ("touched", 0),
        ("changed", 0),
        ("removed", 0, "a"),
        ("declared", "load"),
    ]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcd"), st.sampled_from([0.5, 1.5, None])),
        st.tuples(
            st.just("count"), st.sampled_from("abcd"), st.one_of(st.none(), st.integers(-(2**60), 2**60))
        ),
        st.tuples(st.just("remove"), st.sampled_from("abcd")),
        st.tuples(st.just("clear"), st.sampled_from("abcd")),
        st.tuples(st.just("advance"), st.sampled_from([1.0, 4.0, 9.0])),
        st.tuples(st.just("view")),
        st.tuples(st.just("reload")),
    ),
    max_size=50,
)


@given(operations)
def test_a_table_is_what_a_dict_of_dicts_would_be(todo: list[Any]) -> None:
    world, model = World(0.0), dict[str, dict[str, tuple[Any, float]]]()
    world.hosts.declare("load", type="float", max_age_s=5.0)
    world.hosts.declare("cpus", type="int")
    now_s = 0.0
    editions: dict[int, Any] = {}
    for operation in todo:
        match operation:
            case ("set" | "count" as verb, name, value):
                column = "load" if verb == "set" else "cpus"
                world.hosts.add(name)
                world.hosts.set(name, column, value, now_s)
                row = model.setdefault(name, {})
                if value is None:
                    row.pop(column, None)
                else:
                    row[column] = (value, now_s)
            case ("remove", name) if name in model:
                world.hosts.remove(name)
                del model[name]
            case ("clear", name) if name in model:
                world.hosts.clear(name, "load")
                model[name].pop("load", None)
            case ("advance", by_s):
                now_s += by_s
                world.advance(now_s)
                for row in model.values():
                    if "load" in row and row["load"][1] + 5.0 < now_s:
                        del row["load"]
            case ("view",):
                for column, col in world.hosts.columns.items():
                    values, valid = col.view()
                    known_values = [v[column][0] for v in model.values() if column in v]
                    span = (min(known_values), max(known_values)) if known_values else None
                    assert col.span() == (span and (float(span[0]), float(span[1])))
                    seen = editions.setdefault(col.edition, (values.tolist(), valid.tolist()))
                    assert seen == (values.tolist(), valid.tolist())
                    for name, row in world.hosts.rows.items():
                        known = column in model[name]
                        assert bool(valid[row]) is known
                        assert float(values[row]) == (float(model[name][column][0]) if known else 0.0)
            case ("reload",):
                dumped = world.dump()
                json.dumps(dumped)
                world = World.load(msgspec.msgpack.decode(msgspec.msgpack.encode(dumped)))
                assert world.dump() == dumped
        assert world.hosts.names() == list(model)
        for name, values_of in model.items():
            for column in ("load", "cpus"):
                assert world.hosts.get(name, column) == values_of.get(column)
        for column, col in world.hosts.columns.items():
            assert col.unknown == sum(column not in row for row in model.values())


def test_a_view_nobody_asks_for_is_dropped() -> None:
    hosts = table()
    for name in "abc":
        hosts.add(name)
    column = hosts.columns["load"]
    column.view()
    for n in range(10):
        hosts.set("a", "load", float(n), 0.0)
    assert column.stale is None
    assert column.view()[0].tolist() == [9.0, 0.0, 0.0]
    assert column.view()[0].dtype == np.float64
