"""Expressions over all rows of a table at once: for each node its values as an array, and their span.

Values are worked out anew when asked for, but for what reads columns of the row alone (`Local`): that is kept
until one of these columns has changed.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import Table
from vmm.rules import spans
from vmm.rules.spans import EXACT, Span

Array: TypeAlias = NDArray[Any]
Valid: TypeAlias = NDArray[np.bool_] | None
Pair: TypeAlias = tuple[Any, Valid]
"""Values (an array, or one value for all rows), and where they are known (None: for all subjects).

Rows without a subject hold anything. Arrays may be kept: do not write to them.
"""

_LARGEST = sys.float_info.max
_UFUNCS: dict[str, Any] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
}


class Fallback(Exception):
    """These values cannot be worked out exactly on arrays: the slower way is taken."""


class Rows:
    """A table, and the mask of the rows that hold a subject."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._edition = -1
        self._live: Valid = None

    def live(self) -> Valid:
        """None: all. The same object as long as nobody comes or goes."""
        table = self.table
        if table.edition != self._edition:
            self._edition = table.edition
            self._live = None
            if table.free:
                self._live = np.ones(len(table.row_names), dtype=np.bool_)
                self._live[table.free] = False
        return self._live

    def ends(self, values: Array) -> Span | None:
        """The span of the subjects' values."""
        live = self.live()
        return spans.ends(values if live is None else values[live])


class Part:
    """One node. `outer` are the values of what does not depend on the row."""

    def run(self, outer: list[Any]) -> Pair:
        """Raises Fallback."""
        raise NotImplementedError

    def span(self, outer: list[Any]) -> Span | None:
        """What all subjects' values lie within, without looking at each where possible. Raises Fallback."""
        raise NotImplementedError


class Constant(Part):
    """A value that is the same for all rows: `value`, or else the one at `index` of the outer ones."""

    def __init__(self, rows: Rows, index: int, value: Any = None) -> None:
        self._rows = rows
        self._index = index
        self._value = value

    def value(self, outer: list[Any]) -> Any:
        """A float or np.bool_, None if unknown."""
        return self._value if self._index < 0 else scalar(outer[self._index])

    def run(self, outer: list[Any]) -> Pair:
        value = self.value(outer)
        if value is None:
            return np.False_, np.zeros(len(self._rows.table.row_names), dtype=np.bool_)
        return value, None

    def span(self, outer: list[Any]) -> Span | None:
        value = self.value(outer)
        return None if value is None else spans.within((float(value), float(value)))


class ColumnPart(Part):
    """A numeric column."""

    def __init__(self, rows: Rows, name: str) -> None:
        self._columns = rows.table.columns
        self._name = name
        self._exact = self._columns[name].type == "int"

    @property
    def version(self) -> int:
        """Differs whenever the values do."""
        return self._columns[self._name].edition

    def run(self, _outer: list[Any]) -> Pair:
        column = self._columns[self._name]
        values, valid = column.view()
        if self._exact and column.largest >= EXACT:
            raise Fallback(self._name)
        return values, valid if column.unknown else None

    def span(self, _outer: list[Any]) -> Span | None:
        column = self._columns[self._name]
        if column.unknown:
            return None
        span = column.span()
        if self._exact and column.largest >= EXACT:
            raise Fallback(self._name)
        return span


class Times(Part):
    """When the column was read; NaN in rows without a subject. No two moments need have the same."""

    def __init__(self, rows: Rows, name: str) -> None:
        self._columns = rows.table.columns
        self._name = name

    def run(self, _outer: list[Any]) -> Pair:
        column = self._columns[self._name]
        times = column.times_view()
        return times, times == times if column.unknown else None


class Age(Part):
    """Seconds since the column was read. The times of readings change without notice: nothing is kept.

    `upper`: of the span mostly the upper end matters, and the lower one may be far off.
    """

    def __init__(self, rows: Rows, name: str, now: Constant, upper: bool) -> None:
        self._rows = rows
        self._name = name
        self.now = now
        self.times = Times(rows, name)
        self._upper = upper

    def run(self, outer: list[Any]) -> Pair:
        times, valid = self.times.run(outer)
        return self.now.value(outer) - times, valid

    def span(self, outer: list[Any]) -> Span | None:
        table = self._rows.table
        column = table.columns[self._name]
        if column.unknown or not table.rows:
            return None
        now_s, times = self.now.value(outer), column.times_view()
        # The rows without a subject have no time (NaN).
        oldest = now_s - float(np.fmin.reduce(times))
        youngest = -_LARGEST if self._upper and now_s >= 0.0 else now_s - float(np.fmax.reduce(times))
        return spans.within((youngest, oldest))


class Local(Part):
    """What depends on columns of the row alone, kept until one of them changes."""

    def __init__(self, rows: Rows, part: Part, names: list[str]) -> None:
        self._rows = rows
        self._part = part
        self._names = names
        self._editions: list[int] = []
        self.version = 0
        """Differs whenever the values do."""
        self._pair: Pair | None = None
        self._span: Span | None = None

    def run(self, outer: list[Any]) -> Pair:
        # Which values count as known depends on who is there, too.
        table = self._rows.table
        editions, columns = [table.edition], table.columns
        for name in self._names:
            column = columns[name]
            if column.stale is None or column.stale:
                column.view()
            editions.append(column.edition)
        if self._pair is None or editions != self._editions:
            self._pair = None
            with np.errstate(all="ignore"):
                self._pair = value, valid = self._part.run(outer)
            self._editions = editions
            self.version += 1
            self._span = None if valid is not None else self._rows.ends(value)
        return self._pair

    def span(self, outer: list[Any]) -> Span | None:
        self.run(outer)
        return self._span


class Unary(Part):
    """One of: -x, abs(x), not x, and the truth of a number."""

    def __init__(self, name: str, operand: Part) -> None:
        self._ufunc = {"-": np.negative, "abs": np.abs, "not": np.logical_not}.get(name, _nonzero)
        self.name = name
        self.operand = operand

    def run(self, outer: list[Any]) -> Pair:
        value, valid = self.operand.run(outer)
        return self._ufunc(value), valid

    def span(self, outer: list[Any]) -> Span | None:
        span = self.operand.span(outer)
        if span is None:
            return None
        match self.name:
            case "-":
                return spans.negative(span)
            case "abs":
                return spans.absolute(span)
            case "not":
                return spans.opposite(span)
        return spans.compare("!=", span, (0.0, 0.0))


def _nonzero(value: Any) -> Any:
    return np.not_equal(value, 0)


class Comparison(Part):
    def __init__(self, op: str, left: Part, right: Part) -> None:
        self._op = op
        self._ufunc = _UFUNCS[op]
        self._left = left
        self._right = right

    def run(self, outer: list[Any]) -> Pair:
        a, known_a = self._left.run(outer)
        b, known_b = self._right.run(outer)
        return self._ufunc(a, b), both(known_a, known_b)

    def span(self, outer: list[Any]) -> Span | None:
        a = self._left.span(outer)
        b = None if a is None else self._right.span(outer)
        return None if a is None or b is None else spans.compare(self._op, a, b)


class Arithmetic(Part):
    """+ - * of numbers, / too. `integer`: the result is one in Python."""

    def __init__(self, op: str, left: Part, right: Part, integer: bool) -> None:
        self.op = op
        self.left = left
        self.right = right
        self._ufunc = _UFUNCS.get(op)
        self._integer = integer

    def run(self, outer: list[Any]) -> Pair:
        a, known_a = self.left.run(outer)
        b, known_b = self.right.run(outer)
        valid = both(known_a, known_b)
        if self._ufunc is None:
            nonzero = np.not_equal(b, 0)
            if np.all(nonzero):
                return np.divide(a, b), valid
            quotient = np.divide(a, np.where(nonzero, b, 1.0))
            return quotient, both(valid, np.broadcast_to(nonzero, quotient.shape))
        value = self._ufunc(a, b)
        # Integers are exact as floats while they are small enough; beyond, Python's are not matched.
        if self._integer and np.abs(value).max(initial=0.0) >= EXACT:
            raise Fallback(self.op)
        return value, valid

    def span(self, outer: list[Any]) -> Span | None:
        a = self.left.span(outer)
        b = None if a is None else self.right.span(outer)
        return None if a is None or b is None else spans.arith(self.op, a, b, self._integer)


class Known(Part):
    def __init__(self, rows: Rows, operand: Part) -> None:
        self._rows = rows
        self._operand = operand

    def run(self, outer: list[Any]) -> Pair:
        _, valid = self._operand.run(outer)
        return np.ones(len(self._rows.table.row_names), dtype=np.bool_) if valid is None else valid, None

    def span(self, outer: list[Any]) -> Span | None:
        return (True, True) if self._operand.span(outer) is not None else None


class Junction(Part):
    """`and`, or else `or`."""

    def __init__(self, operands: list[Part], conjunction: bool) -> None:
        self._operands = operands
        self._conjunction = conjunction

    def run(self, outer: list[Any]) -> Pair:
        conjunction = self._conjunction
        value, valid = self._operands[0].run(outer)
        for part in self._operands[1:]:
            other, known = part.run(outer)
            if valid is None and known is None:
                value = value & other if conjunction else value | other
                continue
            yes, no = sides(value, valid)
            yes_too, no_too = sides(other, known)
            if conjunction:
                yes, no = yes & yes_too, no | no_too
            else:
                yes, no = yes | yes_too, no & no_too
            value, valid = yes, yes | no
        return value, valid

    def span(self, outer: list[Any]) -> Span | None:
        conjunction, truths = self._conjunction, []
        for operand in self._operands:
            truth = operand.span(outer)
            if truth is not None and (not truth[1] if conjunction else truth[0]):
                return (False, False) if conjunction else (True, True)
            truths.append(truth)
        return spans.junction(truths, conjunction)


def scalar(value: Any) -> Any:
    """A value from outside the rows as NumPy shall see it. Raises Fallback."""
    if value is None or type(value) is float:
        return value
    if type(value) is bool:
        return np.bool_(value)
    if type(value) is int and abs(value) < EXACT:
        return float(value)
    raise Fallback("a value outside the rows")  # within bounds, or too large


def both(first: Valid, second: Valid) -> Valid:
    if first is None:
        return second
    return first if second is None else first & second


def sides(value: Any, valid: Valid) -> tuple[Any, Any]:
    """(surely true, surely false)"""
    if valid is None:
        return value, np.logical_not(value)
    return value & valid, ~value & valid
