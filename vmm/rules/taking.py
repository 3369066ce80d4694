"""Brings programs, and the aggregates that hang on them, to the state after many reports."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from vmm.rules.flow import Ints
from vmm.rules.forms import TRUE_CODE, Form
from vmm.rules.programs import Extreme, Program, Total

_HUGE = 1e290
_FEW = 256


class TakeIn:
    """One form, and the programs of all engines that are kept by it."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.programs: list[Program] = []
        self._records: list[int] = []
        self._elements: Ints = np.zeros(0, np.int64)
        self._at = 0

    def begin(self) -> None:
        """A new flow has begun."""
        form, flow = self.form, self.form.table.flow
        assert flow is not None
        if not form.is_number:
            # Truths seldom change: keep where.
            elements = flow.place[form.changed[flow.place]]
            self._elements = elements
            self._records = flow.records[flow.order[elements] - flow.base].tolist()
            self._at = 0

    def pass_by(self, end: int) -> None:
        """The changes before record `end` are taken in already."""
        if self._at < len(self._records) and self._records[self._at] < end:
            self._at = bisect_left(self._records, end, self._at)

    def take_in(self, span: slice, end: int) -> None:
        """The flow's reports of `span`, all before record `end`."""
        form, flow = self.form, self.form.table.flow
        assert flow is not None
        if not form.is_number:
            at = self._at
            self.pass_by(end)
            if self._at > at:
                elements = self._elements[at : self._at]
                rows, values = flow.row[elements].tolist(), form.python(elements)
                for program in self.programs:
                    for row, value in zip(rows, values, strict=True):
                        program.change(row, value)
            return
        elements = flow.place[span]
        if len(elements) > _FEW:
            elements = last_of_each(flow.row[elements], elements, flow.base)
        rows = flow.row[elements].tolist()
        values = form.python(elements)
        plain = bool((form.code[elements] == TRUE_CODE).all())
        scaled: list[int] | None = None
        for program in self.programs:
            listeners = program.listeners
            if plain and len(listeners) == 1 and program.total is not None and program.total.floats:
                if scaled is None:
                    scaled = _scaled(form.value[elements], program.total)
                if scaled is not None and _add_up(program, program.total, rows, values, scaled):
                    continue
            if plain and len(listeners) == 1 and program.extreme is not None:
                _pass_by(program, program.extreme, rows, values)
                continue
            for row, value in zip(rows, values, strict=True):
                program.change(row, value)


def last_of_each(rows: Ints, elements: Ints, base: int) -> Ints:
    """Of elements in the order of the stream the last one of each row."""
    last = np.full(base, -1)
    last[rows] = elements
    return last[last >= 0]


def _scaled(values: Any, total: Total) -> list[int] | None:
    """The values in the total's unit, if that holds them exactly."""
    if not total.scale:
        return None
    with np.errstate(all="ignore"):
        scaled = values * total.scale
        if not ((np.abs(scaled) < _HUGE) & (np.rint(scaled) == scaled)).all():
            return None
    return list(map(int, scaled.tolist()))


def _add_up(program: Program, total: Total, rows: list[int], values: list[float], scaled: list[int]) -> bool:
    """Total.change for one finite float instead of another; False when some row is not so."""
    old, parts = program.values, total.parts
    if not total.scale or len(parts) < len(old) or any(type(old[row]) is not float for row in rows):
        return False
    more = 0
    for row, value, part in zip(rows, values, scaled, strict=True):
        more += part - parts[row]
        parts[row] = part
        old[row] = value
    total.total += more
    return True


def _pass_by(program: Program, kept: Extreme, rows: list[int], values: list[Any]) -> None:
    """Extreme.change; most values are no candidates and replace such."""
    old, pool, bound, low = program.values, kept.pool, kept.bound, kept.fn == "min"
    for row, value in zip(rows, values, strict=True):
        far = value >= bound if low else value <= bound
        if far and type(old[row]) is type(value) and row not in pool:
            old[row] = value
        else:
            program.change(row, value)
            bound = kept.bound
