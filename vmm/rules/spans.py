"""The span that the values of many rows lie in: intervals through comparisons and arithmetic.

Rounding to nearest keeps order, so the rounded results of a span's ends are the ends of the rounded results:
nothing has to be widened. Truth values have spans too: (False, True) is undecided.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from vmm.rules.bounds import ARITH

Span: TypeAlias = tuple[float, float]
"""(lowest, highest); where `Span | None` is said, None means that some value is unknown, or no span found."""

EXACT = 2.0**53
"""Integers are exact as floats below this."""


def compare(op: str, a: Span, b: Span) -> Span:
    """The truth of `x op y` for all x in a, y in b."""
    match op:
        case "<":
            return a[1] < b[0], a[0] < b[1]
        case "<=":
            return a[1] <= b[0], a[0] <= b[1]
        case ">":
            return a[0] > b[1], a[1] > b[0]
        case ">=":
            return a[0] >= b[1], a[1] >= b[0]
    equal = a[0] == a[1] == b[0] == b[1], a[0] <= b[1] and b[0] <= a[1]
    return equal if op == "==" else (not equal[1], not equal[0])


def arith(op: str, a: Span, b: Span, integer: bool) -> Span | None:
    """`x op y` of + - * /. None beyond what floats, or `integer` ones without rounding, can hold."""
    if op == "+":
        span = a[0] + b[0], a[1] + b[1]
    elif op == "-":
        span = a[0] - b[1], a[1] - b[0]
    elif op == "/" and b[0] <= 0.0 <= b[1]:
        return None
    else:
        corners = [ARITH[op](x, y) for x in a for y in b]
        span = min(corners), max(corners)
    return within(span, integer)


def within(span: Span, integer: bool = False) -> Span | None:
    """The span, if its ends are finite and (if `integer`) exact."""
    lo, hi = span
    if lo - lo != 0.0 or hi - hi != 0.0:
        return None
    if integer and not (lo > -EXACT and hi < EXACT):
        return None
    return span


def negative(span: Span) -> Span:
    return -span[1], -span[0]


def absolute(span: Span) -> Span:
    lo, hi = span
    if lo >= 0.0:
        return span
    return negative(span) if hi <= 0.0 else (0.0, max(-lo, hi))


def opposite(truth: Span | None) -> Span | None:
    """The truth of `not x`."""
    return None if truth is None else (not truth[1], not truth[0])


def junction(truths: list[Span | None], conjunction: bool) -> Span | None:
    """`and`, or else `or`. An unknown operand does no harm where another decides."""
    unknown = False
    lo = hi = conjunction
    for truth in truths:
        if truth is None:
            unknown = True
        elif conjunction:
            lo, hi = lo and bool(truth[0]), hi and bool(truth[1])
        else:
            lo, hi = lo or bool(truth[0]), hi or bool(truth[1])
    if unknown:
        return (lo, hi) if (not hi if conjunction else lo) else None
    return lo, hi


def ends(values: Any) -> Span | None:
    """The span of an array of numbers or truth values; None for none, and beyond finite numbers."""
    size = len(values)
    if not size:
        return None
    if values.dtype == np.bool_:
        true = int(np.count_nonzero(values))
        return true == size, true > 0
    return within((float(values.min()), float(values.max())))
