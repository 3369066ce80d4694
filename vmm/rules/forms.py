"""Conditions and numbers of one subject, worked out at every element of a flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.feeder import TRUE
from vmm.rules.flow import Bools, Floats, Flow, FlowTable
from vmm.rules.interpret import Interpreter
from vmm.rules.programs import ABSENT, Possible
from vmm.rules.row_parts import Fallback, Pair, Part
from vmm.rules.vector import Vectoriser, codes

FALSE_CODE, TRUE_CODE, UNKNOWN_CODE, MAYBE_CODE = 0, 1, 2, 3
"""Truths. Of a number: it is left out, in, unknown, and in if its condition (now unknown) is true."""

TRUTHS = (False, True, None)
_EXACT = 2.0**53


class FlowVectoriser(Vectoriser):
    """What does not change within a flow is worked out once for each row, by the reference evaluator."""

    def __init__(self, table: FlowTable, variable: str, world: World) -> None:
        super().__init__(table, variable)  # type: ignore[arg-type]
        self._flow_table = table
        self._interpreter = Interpreter(world)
        self._within_local = True  # nothing is kept: every flow has other elements
        self.static: set[tuple[str, str]] = set()
        """The columns read that stay as they are."""

    def part(self, node: n.Node) -> Part:
        if isinstance(node, n.Now):
            return _Clock()
        if self.variable in n.free_variables(node) and self._rests(node):
            self.static |= {
                (part.kind, part.column)
                for part in n.walk(node)
                if isinstance(part, n.ColumnRead) and part.column != "name"
            }
            return _Resting(self._flow_table, self.variable, self._interpreter, node)
        return super().part(node)

    def _rests(self, node: n.Node) -> bool:
        if node.type not in n.NUMERIC:
            return False
        for part in n.walk(node):
            if isinstance(part, n.Age | n.Now | n.Loop | n.Lookup | n.Size | n.HasSubject):
                return False
            if isinstance(part, n.ColumnRead) and self._flow_table.flowing(part.column):
                return False
        return True

    def _age(self, node: n.Age, upper: bool = False) -> Part:  # noqa: ARG002
        if not isinstance(node.column.subject, n.Var) or node.column.subject.name != self.variable:
            raise Fallback(node.text)
        return _Age(self._flow_table, node.column.column)


class _Flowing(Part):
    """A part that is not bounded."""

    def span(self, _outer: list[Any]) -> None:
        return None


class _Clock(_Flowing):
    def run(self, outer: list[Any]) -> Pair:
        return outer[0], None


class _Age(_Flowing):
    def __init__(self, table: FlowTable, name: str) -> None:
        self._table = table
        self._name = name

    def run(self, outer: list[Any]) -> Pair:
        ages = outer[0] - self._table.columns[self._name].times_view()
        return ages, ages == ages


class _Resting(_Flowing):
    """What stays as it is within a flow."""

    def __init__(self, table: FlowTable, variable: str, interpreter: Interpreter, node: n.Node) -> None:
        self._table = table
        self._variable = variable
        self._interpreter = interpreter
        self._node = node

    def run(self, _outer: list[Any]) -> Pair:
        flow, node, value = self._table.flow, self._node, self._interpreter.value
        assert flow is not None
        names = self._table.table.row_names
        found = [None if name is None else value(node, {self._variable: name}) for name in names]
        if any(type(v) is int and abs(v) >= _EXACT for v in found):
            raise Fallback(node.text)
        numbers = np.array(found, np.float64)[flow.row]
        known = numbers == numbers
        numbers[~known] = 0.0
        return (numbers != 0.0 if node.type == "bool" else numbers), known


class Form:
    """A program's expression, or a rule's condition that reads the time, over the elements of flows.

    `code` and `value` are what the last `work_out` found; `changed` where it differs.
    """

    def __init__(
        self, table: FlowTable, variable: str, world: World, node: n.Node, condition: n.Node | None = None
    ) -> None:
        """Raises Fallback when there is no array form."""
        make = FlowVectoriser(table, variable, world)
        self.node = node
        self.table = table
        self.is_number = condition is not None
        self._element = make.part(node) if self.is_number else make.condition(node)
        self._kept = None if condition is None or condition == TRUE else make.condition(condition)
        if make.outer:
            raise Fallback(node.text)
        self.static = make.static
        self.code: NDArray[np.int8] = np.zeros(0, np.int8)
        self.value: Floats = np.zeros(0)
        self.changed: Bools = np.zeros(0, np.bool_)
        self._flow: Flow | None = None
        self._turns: list[int] | None = None

    def turns(self) -> list[int]:
        """The records at which it changes."""
        if self._turns is None:
            assert self._flow is not None
            self._turns = self._flow.records_of(self.changed).tolist()
        return self._turns

    def work_out(self) -> bool:
        """For the table's present flow; False when arrays cannot tell."""
        flow = self.table.flow
        assert flow is not None
        if self._flow is flow:
            return True
        try:
            with np.errstate(all="ignore"):
                self._evaluate(flow)
        except Fallback:
            return False
        self._flow, self._turns = flow, None
        return True

    def _evaluate(self, flow: Flow) -> None:
        outer = [flow.element_times_s()]
        changed = np.zeros(flow.size, np.bool_)
        if not self.is_number:
            self.code = codes(self._element.run(outer), flow.size)
        else:
            value, valid = self._element.run(outer)
            self.value = np.broadcast_to(np.asarray(value, np.float64), (flow.size,))
            known = np.isfinite(self.value) if valid is None else np.isfinite(self.value) & valid
            self.code = np.where(known, np.int8(TRUE_CODE), np.int8(UNKNOWN_CODE))
            if self._kept is not None:
                kept = codes(self._kept.run(outer), flow.size)
                self.code[kept == FALSE_CODE] = FALSE_CODE
                self.code[(kept == UNKNOWN_CODE) & known] = MAYBE_CODE
            if self.node.type != "float" and np.abs(self.value[known]).max(initial=0.0) >= _EXACT:
                raise Fallback(self.node.text)
            changed[1:] = self.value[1:] != self.value[:-1]
            changed &= known
        changed[1:] |= self.code[1:] != self.code[:-1]
        changed[flow.first] = False
        self.changed = changed

    def python(self, elements: NDArray[np.int64]) -> list[Any]:
        """The values as programs keep them."""
        code = self.code[elements].tolist()
        if not self.is_number:
            return [TRUTHS[c] for c in code]
        values: list[Any] = self.value[elements].tolist()
        kind = {"float": float, "int": int, "bool": bool}[self.node.type]
        if kind is not float:
            known = (TRUE_CODE, MAYBE_CODE)
            values = [kind(v) if c in known else None for v, c in zip(values, code, strict=True)]
        if code.count(TRUE_CODE) == len(code):
            return values
        return [_NUMBERS[c](v) for v, c in zip(values, code, strict=True)]


_NUMBERS: tuple[Any, ...] = (lambda _v: ABSENT, lambda v: v, lambda _v: None, Possible)
