"""Conditions over all rows of a table at once, on NumPy columns.

Used for what cannot be kept up to date by differences: conditions that read the time, or compare each
subject with an aggregate. The results equal those of interpret.py; where arrays could give another answer
(large integers, a sum's rounding, a text), the caller is told to go the slower way (`Fallback`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import Table
from vmm.rules import nodes as n
from vmm.rules.bounds import between, extreme
from vmm.rules.exact import array_sum

Array = NDArray[Any]
Valid = NDArray[np.bool_] | None
Pair = tuple[Any, Valid]
"""Values (an array, or one value for all rows), and where they are known (None: everywhere)."""

Part = Callable[[list[Any]], Pair]
"""Works one node out from the values of what does not depend on the row."""

FALLBACK = object()
SMALL = 64
"""Below so many rows loops are as fast."""

_EXACT = 2.0**53
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


class Vectoriser:
    """Builds functions over all rows of one table for nodes with one row variable.

    `outer` collects, in order, the nodes that do not depend on the row: the caller passes their values.
    """

    def __init__(self, table: Table, variable: str) -> None:
        self.table = table
        self.variable = variable
        self.risky = False
        """Whether NumPy may have something to warn of (overflow, which gives infinity as in Python)."""
        self.outer: list[n.Node] = []

    def part(self, node: n.Node) -> Part:
        """Raises Fallback for nodes that have no array form."""
        if self.variable not in n.free_variables(node):
            return self._constant(node)
        match node:
            case n.ColumnRead(subject=n.Var(), column=column) if node.type in n.NUMERIC:
                return self._column(column)
            case n.Age(column=n.ColumnRead(subject=n.Var(), column=column)):
                return self._age(column)
            case n.Compare(op=op, left=left, right=right) if _numbers(left, right):
                return self._binary(_UFUNCS[op], left, right)
            case n.Arith(op=op, left=left, right=right) if op in "+-*" and _numbers(left, right):
                return self._arith(node)
            case n.Arith(op="/", left=left, right=right) if _numbers(left, right):
                return self._quotient(left, right)
            case n.Neg(operand=operand) if _numbers(operand) and operand.type != "bool":
                return self._unary(np.negative, operand)
            case n.Func(name="abs", args=(operand,)) if _numbers(operand) and operand.type != "bool":
                return self._unary(np.abs, operand)
            case n.Known(operand=operand):
                return self._known(operand)
            case n.Not(operand=operand):
                return self._unary(np.logical_not, operand, condition=True)
            case n.And(operands=operands):
                return self._junction(operands, True)
            case n.Or(operands=operands):
                return self._junction(operands, False)
        raise Fallback(node.text)

    def condition(self, node: n.Node) -> Part:
        """The truth of a node."""
        part = self.part(node)
        if node.type == "bool":
            return part
        if node.type not in n.NUMERIC:
            raise Fallback(node.text)

        def run(outer: list[Any]) -> Pair:
            value, valid = part(outer)
            return np.not_equal(value, 0), valid

        return run

    def _constant(self, node: n.Node) -> Part:
        if node.type not in n.NUMERIC:
            raise Fallback(node.text)
        if isinstance(node, n.Const):
            value: Any = _scalar(node.value)
            return lambda _outer: (value, None)
        index, rows = len(self.outer), self.table.row_names
        self.outer.append(node)

        def run(outer: list[Any]) -> Pair:
            value = outer[index]
            if value is None:
                return np.False_, np.zeros(len(rows), dtype=np.bool_)
            return _scalar(value), None

        return run

    def _column(self, name: str) -> Part:
        table = self.table
        exact = table.columns[name].type == "int"

        def run(_outer: list[Any]) -> Pair:
            column = table.columns[name]
            values, valid = column.view()
            if exact and column.largest >= _EXACT:
                raise Fallback(name)
            return values, valid if column.unknown or table.free else None

        return run

    def _age(self, name: str) -> Part:
        self.outer.append(n.Now(type="float"))
        index, table = len(self.outer) - 1, self.table

        def run(outer: list[Any]) -> Pair:
            column = table.columns[name]
            ages = outer[index] - column.times_view()
            return ages, ages == ages if column.unknown or table.free else None

        return run

    def _unary(self, ufunc: Any, operand: n.Node, condition: bool = False) -> Part:
        part = self.condition(operand) if condition else self.part(operand)

        def run(outer: list[Any]) -> Pair:
            value, valid = part(outer)
            return ufunc(value), valid

        return run

    def _binary(self, ufunc: Any, left: n.Node, right: n.Node) -> Part:
        first, second = self.part(left), self.part(right)

        def run(outer: list[Any]) -> Pair:
            a, known_a = first(outer)
            b, known_b = second(outer)
            return ufunc(a, b), _both(known_a, known_b)

        return run

    def _arith(self, node: n.Arith) -> Part:
        self.risky = True
        run = self._binary(_UFUNCS[node.op], _number(node.left), _number(node.right))
        if node.type == "float":
            return run

        def run_exact(outer: list[Any]) -> Pair:
            # Integers are exact as floats while they are small enough; beyond, Python's are not matched.
            value, valid = run(outer)
            if np.abs(value).max(initial=0.0) >= _EXACT:
                raise Fallback(node.text)
            return value, valid

        return run_exact

    def _quotient(self, left: n.Node, right: n.Node) -> Part:
        self.risky = True
        first, second = self.part(_number(left)), self.part(_number(right))

        def run(outer: list[Any]) -> Pair:
            a, known_a = first(outer)
            b, known_b = second(outer)
            valid = _both(known_a, known_b)
            nonzero = np.not_equal(b, 0)
            if np.all(nonzero):
                return np.divide(a, b), valid
            value = np.divide(a, np.where(nonzero, b, 1.0))
            return value, nonzero if valid is None else valid & nonzero

        return run

    def _known(self, operand: n.Node) -> Part:
        part = self.part(operand)
        rows = self.table.row_names

        def run(outer: list[Any]) -> Pair:
            _, valid = part(outer)
            return np.ones(len(rows), dtype=np.bool_) if valid is None else valid, None

        return run

    def _junction(self, operands: tuple[n.Node, ...], conjunction: bool) -> Part:
        parts = [self.condition(o) for o in operands]

        def run(outer: list[Any]) -> Pair:
            value, valid = parts[0](outer)
            for part in parts[1:]:
                if valid is None and (not np.any(value) if conjunction else np.all(value)):
                    return value, None  # decided for all rows
                other, known = part(outer)
                if valid is None and known is None:
                    value = value & other if conjunction else value | other
                    continue
                yes, no = _sides(value, valid)
                yes_too, no_too = _sides(other, known)
                if conjunction:
                    yes, no = yes & yes_too, no | no_too
                else:
                    yes, no = yes | yes_too, no & no_too
                value, valid = yes, yes | no
            return value, valid

        return run


def _numbers(*nodes: n.Node) -> bool:
    return all(node.type in n.NUMERIC for node in nodes)


def _number(node: n.Node) -> n.Node:
    """NumPy's arithmetic of truth values is not Python's."""
    if node.type == "bool":
        raise Fallback(node.text)
    return node


def _scalar(value: Any) -> Any:
    if type(value) is bool:
        return np.bool_(value)
    if type(value) is float or (type(value) is int and abs(value) < _EXACT):
        return float(value)
    raise Fallback("a value outside the rows")  # unknown, within bounds, or too large


def _both(first: Valid, second: Valid) -> Valid:
    if first is None:
        return second
    return first if second is None else first & second


def _sides(value: Any, valid: Valid) -> tuple[Any, Any]:
    """(surely true, surely false)"""
    if valid is None:
        return value, np.logical_not(value)
    return value & valid, ~value & valid


def codes(pair: Pair, rows: int) -> NDArray[np.int8]:
    """1 true, 0 false, 2 unknown, for each row."""
    value, valid = pair
    out = np.empty(rows, dtype=np.int8)
    out[:] = value
    if valid is not None:
        out[~valid] = 2
    return out


class VectorAggregate:
    """An aggregate over all rows of a table as one call; FALLBACK when the loops must do it."""

    def __init__(self, node: n.Aggregate, table: Table, variable: str) -> None:
        """Raises Fallback when there is no array form."""
        make = Vectoriser(table, variable)
        condition = node.loops[0].condition
        self._table = table
        self._fn = node.fn
        self._integer = node.element.type != "float"
        self._kept = None if condition is None else make.condition(condition)
        decides = node.fn in ("any", "all", "count")
        self._element = make.condition(node.element) if decides else make.part(node.element)
        self._risky = make.risky or not decides
        self.outer = make.outer

    def __call__(self, outer: list[Any]) -> Any:
        table = self._table
        if len(table.rows) < SMALL:
            return FALLBACK
        try:
            if self._risky:
                with np.errstate(all="ignore"):
                    return self._run(outer)
            return self._run(outer)
        except Fallback:
            return FALLBACK

    def _run(self, outer: list[Any]) -> Any:
        kept = None if self._kept is None else self._kept(outer)
        return reduce(self._fn, kept, self._element(outer), self._table, self._integer)


def reduce(fn: str, kept: Pair | None, element: Pair, table: Table, integer: bool) -> Any:
    """The aggregate over the live rows. Raises Fallback where arrays cannot tell."""
    rows = len(table.row_names)
    live: Valid = _live(table) if table.free else None
    value, valid = element
    inside, sure = (None, None) if kept is None else kept
    if fn in ("any", "all", "count"):
        return _decide(fn, kept, element, live, rows)
    if valid is not None or sure is not None:
        raise Fallback("unknown members")
    chosen = _both(live, inside)
    numbers: Array = np.broadcast_to(value, (rows,))
    if chosen is not None:  # one value for all where the filter reads nothing of the rows
        numbers = numbers[np.broadcast_to(chosen, (rows,))]
    if fn in ("sum", "mean"):
        return _total(fn, numbers, integer)
    if not len(numbers):
        return None
    best = float(numbers.min() if fn == "min" else numbers.max())
    if best - best != 0.0:
        raise Fallback("not finite")
    return extreme(fn, [int(best) if integer else best], [], False, True)


def _total(fn: str, numbers: Array, integer: bool) -> Any:
    if integer and len(numbers) and float(np.abs(numbers).max()) * len(numbers) >= _EXACT:
        raise Fallback("large integers")
    try:
        total: int | float = int(numbers.sum()) if integer else array_sum(numbers)
    except (OverflowError, ValueError):
        return None
    if total - total != 0.0:
        return None
    if fn == "sum":
        return total
    return total / len(numbers) if len(numbers) else None


def _live(table: Table) -> NDArray[np.bool_]:
    live = np.ones(len(table.row_names), dtype=np.bool_)
    live[table.free] = False
    return live


def _decide(fn: str, kept: Pair | None, element: Pair, live: Valid, rows: int) -> Any:
    if kept is None and element[1] is None and live is None:
        value = element[0]
        if np.ndim(value) == 0:
            value = np.broadcast_to(value, (rows,))
        if fn == "any":
            return bool(value.any())
        return bool(value.all()) if fn == "all" else int(np.count_nonzero(value))
    yes, no = _sides(*element)
    if kept is not None:
        inside, outside = _sides(*kept)
        if fn == "all":
            yes, no = yes | outside, no & inside
        else:
            yes, no = yes & inside, no | outside
    if fn == "all":
        if live is not None:
            yes, no = yes | ~live, no & live
        if np.any(no):
            return False
        return True if np.all(np.broadcast_to(yes, (rows,))) else None
    if live is not None:
        yes, no = yes & live, no | ~live
    sure = int(np.count_nonzero(np.broadcast_to(yes, (rows,))))
    if fn == "any" and sure:
        return True
    perhaps = rows - sure - int(np.count_nonzero(np.broadcast_to(no, (rows,))))
    if fn == "any":
        return None if perhaps else False
    return between(sure, sure + perhaps)
