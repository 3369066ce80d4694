"""Small worlds for the tests of rules: a schema with two properties of each type, and random contents."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vmm.cluster.tables import World
from vmm.rules import Engine, PropertySpec, RuleBook, Schema, check_triggers, default_schema, load_triggers

ALL_ROLES = ("dom0", "domU", "batch")


def spec(name: str, type_: str, columns: tuple[str, ...] = (), max_age_s: float = 1e9) -> PropertySpec:
    return PropertySpec(name, name, "", type_, 10.0, ALL_ROLES, "", max_age_s, "", columns)


PROPERTIES = [
    spec("load", "float"),
    spec("temp", "float"),
    spec("ram_free", "int"),
    spec("disks", "int"),
    spec("ok", "bool"),
    spec("mode", "str"),
    spec("domains", "table", ("name", "state", "mem")),
    spec("facts", "dict", ("cpus", "mem", "kind")),
    spec("fresh", "float", max_age_s=30.0),
]
SCHEMA: Schema = default_schema().with_properties(PROPERTIES)
TYPES = {p.name: p.return_type for p in PROPERTIES}


def book(text: str) -> RuleBook:
    return load_triggers(text, "triggers.ini", SCHEMA)


def findings(text: str) -> list[str]:
    return [str(f) for f in check_triggers(text, "t.ini", SCHEMA)[1]]


def make_world() -> World:
    world = World(0.0)
    for kind in ("client", "host", "guest"):
        for p in PROPERTIES:
            world.table(kind).declare(p.name, type=p.return_type, max_age_s=p.max_age_s)
    for kind, columns in SCHEMA.kinds.items():
        for column in columns.values():
            if column.name != "name" and not column.is_property:
                world.table(kind).declare(column.name, type=column.type)
    return world


def fill(world: World, kind: str, rows: dict[str, dict[str, Any]], time_s: float = 0.0) -> None:
    for name, values in rows.items():
        world.table(kind).add(name)
        world.table(kind).update(name, values, time_s)


def engine(text: str, world: World) -> Engine:
    return Engine(book(text), world)


numbers = st.one_of(
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 2.5, -1.0, 1e-30, 1e200, -1e200]),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
)
integers = st.one_of(st.integers(-3, 3), st.integers(-(2**62), 2**62))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": numbers,
    "int": integers,
    "bool": st.booleans(),
    "dict": st.fixed_dictionaries({}, optional={"cpus": st.integers(0, 5), "kind": st.just("up")}),
    "str": st.sampled_from(["a", "b", "up", ""]),
    "table": st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["x", "y"])},
            optional={"state": st.sampled_from(["run", "crash"]), "mem": st.integers(0, 5)},
        ),
        max_size=3,
    ),
}
columns = st.sampled_from([p.name for p in PROPERTIES])
names = st.sampled_from(["n1", "n2", "n3", "n4", "n5"])


@st.composite
def settings_of(draw: st.DrawFn, unknown: bool = True) -> tuple[str, str, str, Any]:
    """(kind, name, column, value); the value may be None if `unknown`."""
    kind = draw(st.sampled_from(["client", "host"]))
    column = draw(columns)
    value = draw(VALUES[TYPES[column]])
    if unknown and draw(st.integers(0, 4)) == 0:
        value = None
    return kind, draw(names), column, value


@st.composite
def complete(draw: st.DrawFn) -> list[tuple[str, str, str, Any]]:
    """As settings_of, for every property of some clients and hosts."""
    return [
        (kind, f"n{row}", p.name, draw(VALUES[p.return_type]))
        for kind in ("client", "host")
        for row in range(1, draw(st.integers(1, 5)) + 1)
        for p in PROPERTIES
    ]
