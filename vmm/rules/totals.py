"""Sums over all rows within rigorous bounds, from sums that are kept: enough to decide most comparisons.

The sum of `c.ram * now` is about the sum of `c.ram` times `now`. How far off it can be follows from the
standard error analysis of floating-point arithmetic: each operation on a row rounds by at most EPS / 2 of
its result or, near zero, by TINY / 2; a sum of n numbers, added in whatever order, by (n - 1) * EPS / 2 of
the sum of their sizes (Higham, Accuracy and Stability of Numerical Algorithms, ch. 4). Every bound is
doubled at the end: that covers the terms of second order and the rounding of the bounds themselves.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmm.rules.bounds import Between, arith
from vmm.rules.kept_truth import KeptTruth
from vmm.rules.row_parts import (
    Age,
    Arithmetic,
    ColumnPart,
    Constant,
    Local,
    Pair,
    Part,
    Rows,
    Unary,
    Valid,
)

_EPS = 2.0**-52
_TINY = 2.0**-1073
_HUGE = 1e300
_SLACK = 2.0**-50
_MORE = 1.0 + 2.0**-20
"""Covers the rounding of a sum of squares of many rows."""

_PIECE = 10_000

_Kept = (ColumnPart, Local, KeptTruth)


class About(NamedTuple):
    """The sum is within `error` of `value`; the sizes (absolute values) add up to at most `size`."""

    value: float
    error: float
    size: float


class Chosen(NamedTuple):
    """The rows that a filter lets in (None: all); `weights` are 1 for these, else 0.

    `version` differs whenever they do.
    """

    mask: Valid
    weights: NDArray[np.float64]
    rows: int
    version: tuple[int, ...] | None


class Term:
    """The sum of one part over the chosen rows."""

    def about(self, chosen: Chosen, outer: list[Any]) -> About | None:
        """None: no bounds, as where a value is unknown or too large. May raise Fallback."""
        raise NotImplementedError


class RowTerm(Term):
    """A part whose values are added up: again only if they may have changed."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._keep = part if isinstance(part, _Kept) else None
        self._version: tuple[int, ...] | None = None
        self._about: About | None = None

    def about(self, chosen: Chosen, outer: list[Any]) -> About | None:
        if self._keep is None or chosen.version is None:
            with np.errstate(all="ignore"):
                return _add_up(*self._part.run(outer), chosen)
        value, valid = self._part.run(outer)
        version = (self._keep.version, *chosen.version)
        if version != self._version:
            with np.errstate(all="ignore"):
                self._version, self._about = version, _add_up(value, valid, chosen)
        return self._about


def _add_up(value: Any, valid: Valid, chosen: Chosen) -> About | None:
    mask, weights, rows, _ = chosen
    if valid is not None and (~valid if mask is None else mask & ~valid).any():
        return None
    if value.dtype == np.bool_:
        value = value.astype(np.float64)
    total, squares = _dot(value, weights), _dot(value, value)
    if mask is not None and total - total != 0.0:  # of what is left out anything may be undefined
        value = np.compress(mask, value)
        total, squares = _dot(value, np.ones(rows)), _dot(value, value)
    if squares == 0.0 and not value.any():
        return About(0.0, 0.0, 0.0)
    # The sizes of n numbers add up to at most the root of n times the sum of their squares.
    size = math.sqrt(len(value) * (squares * _MORE + len(value) * _TINY)) * _MORE
    error = len(value) * _EPS * size + _TINY
    return _sound(About(total, error, size))


def _dot(a: Any, b: Any) -> float:
    """In pieces for which BLAS starts no threads."""
    if len(a) <= _PIECE:
        return float(a.dot(b))
    return sum(float(a[i : i + _PIECE].dot(b[i : i + _PIECE])) for i in range(0, len(a), _PIECE))


class ConstantTerm(Term):
    """The same value for each row."""

    def __init__(self, part: Constant) -> None:
        self._part = part

    def about(self, chosen: Chosen, outer: list[Any]) -> About | None:
        value = self._part.value(outer)
        if value is None:
            return None
        total = float(value) * chosen.rows
        return _sound(About(total, _EPS * abs(total) + _TINY, abs(total) * (1 + _EPS) + _TINY))


class SumTerm(Term):
    """a + b or a - b."""

    def __init__(self, left: Term, right: Term, sign: float) -> None:
        self._left = left
        self._right = right
        self._sign = sign

    def about(self, chosen: Chosen, outer: list[Any]) -> About | None:
        a = self._left.about(chosen, outer)
        b = None if a is None else self._right.about(chosen, outer)
        if a is None or b is None:
            return None
        error = a.error + b.error
        size = (a.size + b.size + error) * (1 + _EPS)
        return _sound(About(a.value + self._sign * b.value, error + _EPS * size, size))


class ScaledTerm(Term):
    """a * s or a / s with an s that is the same for all rows."""

    def __init__(self, term: Term, factor: Constant, divided: bool) -> None:
        self._term = term
        self._factor = factor
        self._divided = divided

    def about(self, chosen: Chosen, outer: list[Any]) -> About | None:
        by = self._factor.value(outer)
        a = None if by is None or (self._divided and by == 0) else self._term.about(chosen, outer)
        if a is None or a.size == 0.0:
            return a if by is None or by - by == 0.0 else None
        value, error, size = a
        if self._divided:
            value, error, size = value / by, abs(error / by), abs(size / by)
        else:
            value, error, size = value * by, abs(error * by), abs(size * by)
        tiny = (chosen.rows + 4) * _TINY
        size = (size + error) * (1 + _EPS) + tiny
        return _sound(About(value, error + _EPS * size + tiny, size))


def _sound(about: About) -> About | None:
    """Within the range in which no row can have overflown, nor the bounds."""
    return about if about.size < _HUGE and abs(about.value) < _HUGE and about.error < _HUGE else None


def _term(part: Part, rows: Rows) -> Term:
    match part:
        case Constant():
            return ConstantTerm(part)
        case Arithmetic(op="+" | "-", left=left, right=right):
            return SumTerm(_term(left, rows), _term(right, rows), 1.0 if part.op == "+" else -1.0)
        case Arithmetic(op="*", left=Constant() as factor, right=other):
            return ScaledTerm(_term(other, rows), factor, False)
        case Arithmetic(op="*" | "/", left=other, right=Constant() as factor):
            return ScaledTerm(_term(other, rows), factor, part.op == "/")
        case Age(now=now, times=times):
            return SumTerm(ConstantTerm(now), RowTerm(times), -1.0)
        case Unary(name="-", operand=operand):
            return ScaledTerm(_term(operand, rows), Constant(rows, -1, -1.0), False)
    return RowTerm(part)


class RowTotal:
    """The sum, or mean, of a part over the rows that a filter lets in."""

    def __init__(self, part: Part, kept: Part | None, rows: Rows) -> None:
        self._kept = kept
        self._rows = rows
        self._term = _term(part, rows)
        self._at_once = self._term if isinstance(part, Constant) else RowTerm(part)
        """Better where nothing can be kept of the terms, as the filter is another each time."""
        self._version: tuple[int, ...] | None = None
        self._chosen: Chosen | None = None

    def bounds(self, mean: bool, outer: list[Any]) -> Between | None:
        """None: not known, at least not so quickly. May raise Fallback."""
        chosen = self._choose(outer)
        if chosen is None or not chosen.rows:
            return None
        term = self._at_once if chosen.version is None else self._term
        about = term.about(chosen, outer)
        if about is None:
            return None
        lo, hi = about.value - 2 * about.error, about.value + 2 * about.error
        if mean:
            lo, hi = lo / chosen.rows, hi / chosen.rows
        return _widened(lo, hi)

    def _choose(self, outer: list[Any]) -> Chosen | None:
        """None: some subject is neither in nor out."""
        kept, edition = self._kept, self._rows.table.edition
        version: tuple[int, ...] | None = (edition,)
        pair: Pair = (np.True_, None)
        if isinstance(kept, _Kept):
            pair = kept.run(outer)
            version = (edition, kept.version)
        elif kept is not None and kept.span(outer) != (True, True):
            with np.errstate(all="ignore"):
                pair = kept.run(outer)
            version = None
        if version is None or version != self._version:
            self._version, self._chosen = version, self._rows_in(pair, version)
        return self._chosen

    def _rows_in(self, pair: Pair, version: tuple[int, ...] | None) -> Chosen | None:
        inside, sure = pair
        live = self._rows.live()
        if sure is not None and bool((~sure if live is None else live & ~sure).any()):
            return None
        if not np.ndim(inside):
            if not inside:
                return None
            weights = np.ones(len(self._rows.table.row_names)) if live is None else live.astype(np.float64)
            return Chosen(live, weights, len(self._rows.table.rows), version)
        mask = inside.copy() if live is None else inside & live
        return Chosen(mask, mask.astype(np.float64), int(np.count_nonzero(mask)), version)


def _widened(lo: float, hi: float) -> Between | None:
    if lo == hi == 0.0:
        return Between(lo, hi)
    lo, hi = lo - abs(lo) * _SLACK - _TINY, hi + abs(hi) * _SLACK + _TINY
    return Between(lo, hi) if hi - lo < _HUGE else None


def arith_about(op: str, left: Any, right: Any) -> Any:
    """+ - * / of values of which one may be within bounds: bounds of what Python gives for the true ones.

    None: unknown, or no bounds.
    """
    if type(left) is not Between and type(right) is not Between:
        return arith(op, left, right)
    try:
        result = arith(op, _as_float(left), _as_float(right))
        if result is None:
            return None
        lo, hi = result if type(result) is Between else (result, result)
        return _widened(float(lo), float(hi))  # Python's integers do not round, these do
    except OverflowError:
        return None


def _as_float(value: Any) -> Any:
    """A large integer as bounds: as a float it is rounded, which may be all that is left of a difference."""
    if type(value) is not int or float(value) == value:
        return value
    return Between(math.nextafter(float(value), -math.inf), math.nextafter(float(value), math.inf))
