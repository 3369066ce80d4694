"""Brings programs, and the aggregates that hang on them, to the state after many reports."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from vmm.rules.flow import Ints
from vmm.rules.forms import TRUE_CODE, Form
from vmm.rules.programs import Extreme, Program, Total

_HUGE = 1e290


class TakeIn:
    """One form, and the programs of all engines that are kept by it."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.programs: list[Program] = []
        self._records: list[int] = []
        self._elements: Ints = np.zeros(0, np.int64)
        self._at = 0
        self._rows: list[int] | None = None
        self._values: list[Any] = []
        self._plain = False
        self._scale = 0.0
        self._scaled: list[int] | None = None

    def begin(self) -> None:
        """A new flow has begun."""
        form, flow = self.form, self.form.table.flow
        assert flow is not None
        self._rows, self._scale = None, 0.0
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
        if self._rows is None:
            self._rows, self._values = flow.rows.tolist(), form.python(flow.place)
            self._plain = bool((form.code[flow.place] == TRUE_CODE).all())
        rows, values = self._rows[span], self._values[span]
        for program in self.programs:
            if self._plain and len(program.listeners) == 1:
                total, extreme = program.total, program.extreme
                if total is not None and total.floats and total.scale:
                    scaled = self._scaled_for(total)
                    if scaled is not None and _add_up(program, total, rows, values, scaled[span]):
                        continue
                if extreme is not None:
                    _pass_by(program, extreme, rows, values)
                    continue
            for row, value in zip(rows, values, strict=True):
                program.change(row, value)

    def _scaled_for(self, total: Total) -> list[int] | None:
        """All the flow's values in the total's unit, if that holds them exactly."""
        if self._scale != total.scale:
            self._scale = total.scale
            flow = self.form.table.flow
            assert flow is not None
            self._scaled = _scaled(self.form.value[flow.place], total)
        return self._scaled


def last_of_each(rows: Ints, elements: Ints, base: int) -> Ints:
    """Of elements in the order of the stream the last one of each row."""
    last = np.full(base, -1)
    last[rows] = elements
    return last[last >= 0]


def _scaled(values: Any, total: Total) -> list[int] | None:
    with np.errstate(all="ignore"):
        scaled = values * total.scale
        if not ((np.abs(scaled) < _HUGE) & (np.rint(scaled) == scaled)).all():
            return None
    return list(map(int, scaled.tolist()))


def _add_up(program: Program, total: Total, rows: list[int], values: list[float], scaled: list[int]) -> bool:
    """Total.change for one finite float after another; False, and nothing done, when that is not all."""
    old, parts = program.values, total.parts
    if len(parts) < len(old) or total.count < len(old):
        for row in rows:
            if row >= len(parts) or type(old[row]) is not float:
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
