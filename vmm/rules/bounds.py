"""Three-valued logic, and values known only within bounds.

Unknown is `None`. A count over subjects of which some are unknown is a `Between`: it can still decide a
comparison ("at least 3" is true when 4 are known to count, whatever the unknown ones are).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, NamedTuple


class Between(NamedTuple):
    """The value is at least `lo` and at most `hi`."""

    lo: float
    hi: float

    def __str__(self) -> str:
        if self.lo == -math.inf:
            return f"at most {self.hi:g}"
        return f"at least {self.lo:g}" if self.hi == math.inf else f"{self.lo:g} to {self.hi:g}"


MANY = Between(-math.inf, math.inf)
"""Stands for all rows of a table that is unknown."""

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
ARITH: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def truth(value: Any) -> bool | None:
    """True, False, or None for unknown."""
    if value is None or value is True or value is False:
        return value
    if type(value) is Between:
        return True if value.lo > 0 or value.hi < 0 else None
    return bool(value)


def negate(value: bool | None) -> bool | None:
    return None if value is None else not value


def conjunction(values: Iterable[bool | None]) -> bool | None:
    out: bool | None = True
    for value in values:
        if value is False:
            return False
        if value is None:
            out = None
    return out


def disjunction(values: Iterable[bool | None]) -> bool | None:
    out: bool | None = False
    for value in values:
        if value is True:
            return True
        if value is None:
            out = None
    return out


def between(lo: float, hi: float) -> Any:
    """The tightest form: a plain value when the bounds meet, unknown when they say nothing."""
    if lo == hi:
        return lo
    if lo != lo or hi != hi or (lo == -math.inf and hi == math.inf):
        return None
    return Between(lo, hi)


def compare(op: str, left: Any, right: Any) -> bool | None:
    """Any two values, which may be unknown or within bounds. Values that do not compare: unknown."""
    if left is None or right is None:
        return None
    if type(left) is Between or type(right) is Between:
        lo_l, hi_l = left if type(left) is Between else (left, left)
        lo_r, hi_r = right if type(right) is Between else (right, right)
        match op:
            case "<":
                return True if hi_l < lo_r else False if lo_l >= hi_r else None
            case "<=":
                return True if hi_l <= lo_r else False if lo_l > hi_r else None
            case ">":
                return True if lo_l > hi_r else False if hi_l <= lo_r else None
            case ">=":
                return True if lo_l >= hi_r else False if hi_l < lo_r else None
        apart = hi_l < lo_r or hi_r < lo_l
        return (op == "!=") if apart else None
    try:
        return bool(COMPARE[op](left, right))
    except TypeError:
        return None


def arith(op: str, left: Any, right: Any) -> Any:
    """Arithmetic on any two values; a division by zero or an overflow is unknown."""
    if left is None or right is None:
        return None
    try:
        if type(left) is not Between and type(right) is not Between:
            if op != "+" and (isinstance(left, str) or isinstance(right, str)):
                return None
            return ARITH[op](left, right)
        lo_l, hi_l = left if type(left) is Between else (left, left)
        lo_r, hi_r = right if type(right) is Between else (right, right)
        if op == "+":
            return between(lo_l + lo_r, hi_l + hi_r)
        if op == "-":
            return between(lo_l - hi_r, hi_l - lo_r)
        if op == "*" or (op == "/" and (lo_r > 0 or hi_r < 0)):
            corners = [ARITH[op](a, b) for a in (lo_l, hi_l) for b in (lo_r, hi_r)]
            if any(c != c for c in corners):
                return None
            return between(min(corners), max(corners))
    except (ZeroDivisionError, OverflowError, TypeError):
        return None
    return None


def finite(value: Any) -> Any:
    """The value, or unknown for an infinite or undefined float."""
    return None if type(value) is float and value - value != 0.0 else value


def exact_sum(values: list[Any], floats: bool) -> int | float | None:
    """The sum, rounded once at the end: the same in whatever order. Unknown when it overflows."""
    if not floats:
        total: int | float = sum(values)
        return total
    try:
        return math.fsum(values)
    except OverflowError:
        pass
    try:
        return float(sum(map(Fraction, values), Fraction()))
    except OverflowError:
        return None


def total_of(fn: str, values: list[Any], floats: bool) -> Any:
    """`sum` or `mean` of known values; values that do not add up, or the mean of none: unknown."""
    try:
        total = exact_sum(values, floats)
        if fn == "sum" or total is None:
            return total
        return finite(total / len(values))
    except (TypeError, ZeroDivisionError, OverflowError):
        return None


def extreme(fn: str, certain: list[Any], possible: list[Any], any_unknown: bool, numeric: bool) -> Any:
    """`min` or `max` of the certain members, given possible further ones and perhaps wholly unknown ones."""
    pick = min if fn == "min" else max
    if not certain:
        return None
    try:
        best = pick(certain)
    except TypeError:
        return None
    if not possible and not any_unknown:
        return best
    if not numeric:
        return None
    edge = math.inf if fn == "max" else -math.inf
    far = edge if any_unknown else pick([best, *possible])
    return between(far, best) if fn == "min" else between(best, far)
