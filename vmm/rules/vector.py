"""Conditions over all rows of a table at once, on NumPy columns.

Used for what cannot be kept up to date by differences: conditions that read the time, or compare each
subject with an aggregate. The results equal those of interpret.py; where arrays could give another answer
(large integers, a sum's rounding, a text), the caller is told to go the slower way (`Fallback`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import Table
from vmm.rules import nodes as n
from vmm.rules.kept_truth import KeptTruth
from vmm.rules.programs import Program, is_local
from vmm.rules.row_parts import (
    Age,
    Arithmetic,
    ColumnPart,
    Comparison,
    Constant,
    Fallback,
    Junction,
    Known,
    Local,
    Pair,
    Part,
    Rows,
    Unary,
    scalar,
)

SMALL = 64
"""Below so many rows loops are as fast."""

Keep: TypeAlias = Callable[[n.Node, str], Program]
"""Has the truth of a node, in which a variable stands for the subject, kept for all rows."""


class Vectoriser:
    """Builds parts for the nodes of one expression with one row variable.

    `outer` collects, in order, the nodes that do not depend on the row: the caller passes their values.
    With `keep`, local conditions that have no array form (texts) are kept by programs: call `connect` once
    all parts are made.
    """

    def __init__(self, table: Table, variable: str, keep: Keep | None = None) -> None:
        self.rows = Rows(table)
        self.variable = variable
        self.risky = False
        """Whether NumPy may have something to warn of (overflow, which gives infinity as in Python)."""
        self.outer: list[n.Node] = []
        self._keep = keep
        self._kept: list[tuple[n.Node, KeptTruth]] = []
        self._within_local = False

    def connect(self) -> None:
        """Begin to follow the programs that the parts need."""
        for node, part in self._kept:
            assert self._keep is not None
            part.follow(self._keep(node, self.variable))
        self._kept.clear()

    def condition(self, node: n.Node) -> Part:
        """The truth of a node. Raises Fallback."""
        part = self.part(node)
        if node.type == "bool":
            return part
        if node.type not in n.NUMERIC:
            raise Fallback(node.text)
        return Unary("truth", part)

    def part(self, node: n.Node) -> Part:
        """Raises Fallback for nodes that have no array form."""
        if self.variable not in n.free_variables(node):
            return self._constant(node)
        if self._within_local or not is_local(node, self.variable):
            return self._made(node)
        return self._local(node)

    def _local(self, node: n.Node) -> Part:
        kept = len(self.outer)
        self._within_local = True
        try:
            part = self._made(node)
        except Fallback:
            if self._keep is None or node.type != "bool":
                raise
            del self.outer[kept:]
            truth = KeptTruth()
            self._kept.append((node, truth))
            return truth
        finally:
            self._within_local = False
        if isinstance(part, ColumnPart):
            return part
        names = {p.column for p in n.walk(node) if isinstance(p, n.ColumnRead)}
        return Local(self.rows, part, sorted(names))

    def _made(self, node: n.Node) -> Part:
        match node:
            case n.ColumnRead(subject=n.Var(), column=column) if node.type in n.NUMERIC:
                return ColumnPart(self.rows, column)
            case n.Age(column=n.ColumnRead(subject=n.Var())):
                return self._age(node)
            case n.Compare(op=op, left=left, right=right) if _numbers(left, right):
                return Comparison(op, self._compared(left), self._compared(right))
            case n.Arith(op=op, left=left, right=right) if op in "+-*/" and _numbers(left, right):
                self.risky = True
                integer = node.type != "float"
                return Arithmetic(op, self.part(_number(left)), self.part(_number(right)), integer)
            case n.Neg(operand=operand) if _numbers(operand):
                return Unary("-", self.part(_number(operand)))
            case n.Func(name="abs", args=(operand,)) if _numbers(operand):
                return Unary("abs", self.part(_number(operand)))
            case n.Known(operand=operand):
                return Known(self.rows, self.part(operand))
            case n.Not(operand=operand):
                return Unary("not", self.condition(operand))
            case n.And(operands=operands):
                return Junction([self.condition(o) for o in operands], True)
            case n.Or(operands=operands):
                return Junction([self.condition(o) for o in operands], False)
        raise Fallback(node.text)

    def _constant(self, node: n.Node) -> Constant:
        if node.type not in n.NUMERIC:
            raise Fallback(node.text)
        if isinstance(node, n.Const):
            return Constant(self.rows, -1, scalar(node.value))
        self.outer.append(node)
        return Constant(self.rows, len(self.outer) - 1)

    def _compared(self, node: n.Node) -> Part:
        return self._age(node, True) if isinstance(node, n.Age) else self.part(node)

    def _age(self, node: n.Age, upper: bool = False) -> Part:
        if not isinstance(node.column.subject, n.Var) or node.column.subject.name != self.variable:
            return self.part(node)
        return Age(self.rows, node.column.column, self._constant(n.Now(type="float")), upper)


def _numbers(*nodes: n.Node) -> bool:
    return all(node.type in n.NUMERIC for node in nodes)


def _number(node: n.Node) -> n.Node:
    """NumPy's arithmetic of truth values is not Python's."""
    if node.type == "bool":
        raise Fallback(node.text)
    return node


def codes(pair: Pair, rows: int) -> NDArray[np.int8]:
    """1 true, 0 false, 2 unknown, for each row."""
    value, valid = pair
    out = np.empty(rows, dtype=np.int8)
    out[:] = value
    if valid is not None:
        out[~valid] = 2
    return out
