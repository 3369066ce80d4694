"""Spans hold whatever is worked out from values within them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.rules import spans
from vmm.rules.bounds import ARITH, COMPARE

number = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([5e-324, 1e308, -1e308, 0.1]),
)
group = st.lists(number, min_size=1, max_size=4)
MANY = settings(max_examples=150, deadline=None)


def span(values: list[Any]) -> tuple[Any, Any]:
    return min(values), max(values)


@MANY
@given(st.sampled_from(sorted(COMPARE)), group, group)
def test_comparisons(op: str, left: list[float], right: list[float]) -> None:
    lo, hi = spans.compare(op, span(left), span(right))
    truths = {COMPARE[op](a, b) for a in left for b in right}
    assert not (lo and False in truths)
    assert not (not hi and True in truths)
    assert lo <= hi
    if len(left) == len(right) == 1:
        assert {lo, hi} == truths


@MANY
@given(st.sampled_from("+-*/"), group, group)
def test_arithmetic(op: str, left: list[float], right: list[float]) -> None:
    found = spans.arith(op, span(left), span(right), False)
    if found is None:
        return
    for a in left:
        for b in right:
            assert found[0] <= ARITH[op](a, b) <= found[1]


@MANY
@given(group)
def test_signs(values: list[float]) -> None:
    lo, hi = spans.negative(span(values))
    assert all(lo <= -v <= hi for v in values)
    lo, hi = spans.absolute(span(values))
    assert all(lo <= abs(v) <= hi for v in values)


truth = st.one_of(st.none(), st.sampled_from([(False, False), (False, True), (True, True)]))


@MANY
@given(st.lists(truth, min_size=1, max_size=3), st.booleans())
def test_an_operand_that_decides_makes_up_for_unknown_ones(truths: list[Any], conjunction: bool) -> None:
    found = spans.junction(truths, conjunction)
    decides = (False, False) if conjunction else (True, True)
    if decides in truths:
        assert found == decides
    elif None in truths:
        assert found is None
    else:
        pick = min if conjunction else max
        assert found == (pick(t[0] for t in truths), pick(t[1] for t in truths))
    opposite = spans.junction([spans.opposite(t) for t in truths], not conjunction)
    assert opposite == spans.opposite(found)


def test_what_integers_or_floats_cannot_hold_has_no_span() -> None:
    assert spans.arith("*", (1e200, 1e200), (1e200, 1e200), False) is None
    assert spans.arith("+", (2.0**53, 2.0**53), (1.0, 1.0), True) is None
    assert spans.arith("/", (1.0, 2.0), (-1.0, 1.0), False) is None
