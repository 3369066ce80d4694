"""Sums within bounds: a comparison that they decide has the truth of the exact sum."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import SCHEMA, engine, make_world

from vmm.cluster.tables import World
from vmm.rules import vector
from vmm.rules.analyse import analyse
from vmm.rules.array_aggregates import VectorAggregate
from vmm.rules.bounds import Between, compare
from vmm.rules.interpret import Interpreter
from vmm.rules.totals import arith_about

QUICK = settings(max_examples=40, deadline=None)

FILTERS = [
    "known(c.load)",
    "c.load > 0",
    "c.load * manager.now > 7",
    "c.name != 'n1'",
    "manager.now > 3",
    "c.ok",
]
hard = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6),
    st.sampled_from([5e-324, -5e-324, 2.0**-1022, 1e-300, 1e16, -1e16, 1.0, 0.1, 1e154, 1e300, 1.7e308]),
)
factors = st.one_of(st.floats(0.0, 1e300), st.sampled_from([1e-320, 0.1, 3.0, 1.7e9, 1e308]))
wide_ints = st.one_of(st.integers(-5, 5), st.integers(-(2**62), 2**62), st.sampled_from([2**53, 2**53 + 1]))


def world_of(loads: list[float | None], rams: list[int], now_s: float) -> World:
    world = make_world()
    for row, load in enumerate(loads):
        world.clients.add(f"n{row}")
        world.clients.set(f"n{row}", "load", load, 0.0)
        world.clients.set(f"n{row}", "ram_free", rams[row % len(rams)] if rams else 0, 0.0)
    world.advance(now_s)
    return world


def element_value(world: World, element: str) -> float | None:
    """The exact sum, rounded once."""
    node = analyse(f"{{ sum({element} for c in manager.clients.values()) > 0 }}", SCHEMA, None)
    return Interpreter(world).value(node.left, {})  # type: ignore[attr-defined,no-any-return]


def near(value: float) -> list[float]:
    up, down = math.nextafter(value, math.inf), math.nextafter(value, -math.inf)
    return [value, up, down, value * (1 + 1e-12), value * (1 - 1e-12), 0.0, -value]


def text_of(limit: float) -> str:
    return f"(-{-limit!r})" if limit < 0 else repr(limit)


@pytest.mark.parametrize(
    "element",
    [
        "c.load * manager.now",
        "(c.load - 3) * 2 / manager.now",
        "manager.now - c.load",
        "-(c.load * c.load) + manager.now * c.load",
        "c.ram_free * manager.now",
        "(c.ram_free + 1) * len(manager.clients)",
        "age(c.load) * 3",
    ],
)
@QUICK
@given(
    loads=st.lists(hard, min_size=1, max_size=12),
    rams=st.lists(wide_ints, min_size=1, max_size=12),
    now_s=factors,
    op=st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
)
def test_at_the_threshold(
    element: str, loads: list[float | None], rams: list[int], now_s: float, op: str
) -> None:
    world = world_of(loads, rams, now_s)
    total = element_value(world, element)
    limits = near(float(total)) if total is not None and abs(total) < 1e308 else [0.0, 1.0]
    texts = [
        f"sum({element} for c in manager.clients.values()) {op} {text_of(limit)}"
        for limit in limits
        if math.isfinite(limit)
    ]
    rules = "".join(
        f"[r{i}]\nexpr = {{ {t} }}\ncmd = {{ sender.notify('x') }}\n" for i, t in enumerate(texts)
    )
    with mock.patch.object(vector, "SMALL", 0):
        made = engine(rules, world)
        for i, text in enumerate(texts):
            expected = Interpreter(world).truth(analyse(f"{{ {text} }}", SCHEMA, None), {})
            assert made._by_name[f"r{i}"].expr.truth(0) is expected, text


@QUICK
@given(
    loads=st.lists(st.one_of(st.none(), hard), min_size=1, max_size=12),
    now_s=st.floats(1.0, 1e9),
    filter_=st.sampled_from(FILTERS),
    left=st.sampled_from(["sum(c.load * manager.now {})", "mean(c.load - manager.now {})"]),
    right=st.sampled_from(
        ["sum(c.load * 2 - manager.now {})", "max(c.load + manager.now {})", "manager.now * 3"]
    ),
    gone=st.integers(0, 11),
)
def test_filters_unknown_values_and_sums_on_both_sides(
    loads: list[float | None], now_s: float, filter_: str, left: str, right: str, gone: int
) -> None:
    world = world_of(loads, [], now_s)
    tail = f"for c in manager.clients.values() if {filter_}"
    text = f"{left.format(tail)} / 3 > {right.format(tail)}"
    node = analyse(f"{{ {text} }}", SCHEMA, None)
    with mock.patch.object(vector, "SMALL", 0):
        made = engine(f"[r]\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\n", world)
        watch = made._by_name["r"].expr
        assert watch.truth(0) is Interpreter(world).truth(node, {})
        name = f"n{gone % len(loads)}"
        world.clients.set(name, "load", 0.5, 1.0)
        assert watch.truth(0) is Interpreter(world).truth(node, {})
        world.clients.remove(name)
        assert watch.truth(0) is Interpreter(world).truth(node, {})
        world.clients.add("new")
        world.clients.update("new", {"load": 2.0, "ok": True}, now_s)
        assert watch.truth(0) is Interpreter(world).truth(node, {})


@QUICK
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.floats(1.0, 1e9))
def test_the_bounds_hold_and_are_narrow(loads: list[float], now_s: float) -> None:
    world = world_of(loads, [], now_s)
    text = "{ sum(c.load * manager.now for c in manager.clients.values()) > 0 }"
    total: Any = analyse(text, SCHEMA, None).left  # type: ignore[attr-defined]
    with mock.patch.object(vector, "SMALL", 0):
        bounds = VectorAggregate(total, world.clients, total.loops[0].var.name).bounds([now_s])
    assert bounds is not None
    exact = sum((Fraction(load * now_s) for load in loads), Fraction())
    assert bounds.lo <= exact <= bounds.hi
    if not any(loads):
        assert bounds == Between(0.0, 0.0)
    largest = max(map(abs, loads)) * now_s
    assert bounds.hi - bounds.lo <= 1e-10 * len(loads) ** 2 * max(largest, 1e-150)


values = st.one_of(st.integers(-(2**70), 2**70), st.floats(-1e200, 1e200), wide_ints)


@settings(max_examples=200, deadline=None)
@given(
    op=st.sampled_from("+-*/"),
    value=values,
    other=values,
    below=st.floats(0, 1e3),
    above=st.floats(0, 1e3),
    turned=st.booleans(),
    limit=values,
)
@example("-", 7951668092076033, 2**53 + 1, 0.0, 0.0, False, 0)  # as floats these differ by one more
def test_arithmetic_on_bounds_decides_as_python_does(
    op: str, value: Any, other: Any, below: float, above: float, turned: bool, limit: Any
) -> None:
    lo, hi = float(value) - below, float(value) + above
    if not lo <= value <= hi:
        return
    first, second = (other, value) if turned else (value, other)
    bounded: Any = Between(lo, hi)
    about = arith_about(op, *((other, bounded) if turned else (bounded, other)))
    try:
        exact = {"+": lambda: first + second, "-": lambda: first - second,
                 "*": lambda: first * second, "/": lambda: first / second}[op]()  # fmt: skip
    except (ZeroDivisionError, OverflowError):
        assert about is None
        return
    for bound in (limit, exact):
        for comparison in ("<", "<=", "==", "!=", ">", ">="):
            decided = compare(comparison, about, bound)
            assert decided is None or decided is compare(comparison, exact, bound)
