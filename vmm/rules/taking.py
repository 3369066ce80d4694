"""Brings programs, and the aggregates that hang on them, to the state after many reports."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np

from vmm.rules.flow import Floats, Flow, Ints
from vmm.rules.forms import TRUE_CODE, Form
from vmm.rules.programs import Extreme, Program

_SCALE = 2.0**100
_LIMB_BITS = 40
_LONGEST = 32_768
"""The first limb has at most 46 bits: so many differences of such add up to less than 2**63."""


class TakeIn:
    """One form, and the programs of all engines that are kept by it.

    Sums are brought forward at once, with what `_Sums` knows; what single rows have waits until `flush`,
    or until the row is `sync`ed because it is about to change.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.programs: list[Program] = []
        self._records: list[int] = []
        self._elements: Ints = np.zeros(0, np.int64)
        self._at = 0
        self._plain = False
        self._sums: _Sums | None = None
        self._waits = slice(0, 0)

    def begin(self) -> None:
        """A new flow has begun."""
        form, flow = self.form, self.form.table.flow
        assert flow is not None
        self._waits = slice(0, 0)
        if form.is_number:
            is_known = form.code == TRUE_CODE
            self._plain = bool(is_known[flow.place].all())
            self._sums = None
            if self._plain and is_known[flow.place - 1].all() and self._are_sums():
                self._sums = sums_of(form.value, flow)
        else:
            # Truths seldom change: keep where.
            elements = flow.place[form.changed[flow.place]]
            self._elements = elements
            self._records = flow.records[flow.order[elements] - flow.base].tolist()
            self._at = 0

    @property
    def has_sums(self) -> bool:
        """Whether some of what rows have may wait."""
        return self._sums is not None

    def _are_sums(self) -> bool:
        for program in self.programs:
            total = program.total
            if total is None or len(program.listeners) != 1 or not total.floats or total.scale != _SCALE:
                return False
        return True

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
        if self._sums is not None:
            if self._are_sums():
                more = self._sums.between(span.start, span.stop)
                for program in self.programs:
                    assert program.total is not None
                    program.total.total += more
                self._waits = slice(self._waits.start, span.stop)
                return
            self.flush()
            self._sums = None
        elements = flow.place[span]
        rows, values = flow.row[elements].tolist(), form.python(elements)
        for program in self.programs:
            extreme = program.extreme
            if self._plain and extreme is not None and len(program.listeners) == 1:
                _pass_by(program, extreme, rows, values)
                continue
            for row, value in zip(rows, values, strict=True):
                program.change(row, value)

    def sync(self, report: int) -> None:
        """This report of the flow comes next: its row is to be as it is before it."""
        if self._sums is None or self._waits.start == self._waits.stop:
            return
        flow = self.form.table.flow
        assert flow is not None
        element = int(flow.place[report]) - 1
        if not flow.first[element]:
            self._put([int(flow.row[element])], [float(self.form.value[element])])

    def seen(self, report: int) -> None:
        """The row has what this report says."""
        if self._waits.start != self._waits.stop:
            self._waits = slice(self._waits.start, report + 1)

    def flush(self, but: int = -1) -> None:
        """Let all rows but this one have what they last said."""
        waits = self._waits
        if waits.start == waits.stop:
            return
        self._waits = slice(waits.stop, waits.stop)
        flow = self.form.table.flow
        assert flow is not None
        elements = flow.place[waits]
        elements = last_of_each(flow.row[elements], elements, flow.base)
        if but >= 0:
            elements = elements[flow.row[elements] != but]
        self._put(flow.row[elements].tolist(), self.form.value[elements].tolist())

    def _put(self, rows: list[int], values: list[float]) -> None:
        found: list[int] | None = None
        for program in self.programs:
            assert program.total is not None
            kept, total, parts = program.values, program.total, program.total.parts
            if total.scale != _SCALE:
                mine = list(map(total.part, values))
            else:
                mine = found = found or [int(value * _SCALE) for value in values]
            for row, value, part in zip(rows, values, mine, strict=True):
                kept[row] = value
                parts[row] = part


class _Sums:
    """How much the reports before each one add to the sum of all rows, in Total's unit.

    Exactly: as the sum of whole numbers each of which counts in a unit of its own.
    """

    def __init__(self, limbs: list[Ints]) -> None:
        self._limbs = limbs

    def between(self, low: int, high: int) -> int:
        """What the reports from `low` on, before `high`, add."""
        more = 0
        for limb in self._limbs:
            more = (more << _LIMB_BITS) + int(limb[high]) - int(limb[low])
        return more


def sums_of(values: Floats, flow: Flow) -> _Sums | None:
    """Of numbers at each element that are all known; None when they do not fit."""
    after, before = values[flow.place], values[flow.place - 1]
    if not 0 < len(after) <= _LONGEST:
        return None
    largest = max(float(np.abs(after).max()), float(np.abs(before).max()))
    count = next((n for n in (3, 4, 5) if largest < 2.0 ** (_LIMB_BITS * n - 94)), None)
    if count is None:
        return None
    limbs = []
    for here, there in zip(_limbs(after, count), _limbs(before, count), strict=True):
        if (np.rint(here) != here).any() or (np.rint(there) != there).any():
            return None
        steps = np.zeros(len(after) + 1, np.int64)
        np.cumsum(here.astype(np.int64) - there.astype(np.int64), out=steps[1:])
        limbs.append(steps)
    return _Sums(limbs)


def _limbs(values: Floats, count: int) -> Iterator[Floats]:
    """Each number in Total's unit, cut into so many; all are whole if it is a multiple of the unit."""
    rest = values * (_SCALE * 2.0 ** (-_LIMB_BITS * (count - 1)))
    for _ in range(count - 1):
        limb = np.floor(rest)
        yield limb
        rest = (rest - limb) * 2.0**_LIMB_BITS
    yield rest


def last_of_each(rows: Ints, elements: Ints, base: int) -> Ints:
    """Of elements in the order of the stream the last one of each row."""
    last = np.full(base, -1)
    last[rows] = elements
    return last[last >= 0]


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
