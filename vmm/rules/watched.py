"""Where in a flow a rule's conditions may come to another truth: one class for each way of watching."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vmm.rules.certainty import bit_of
from vmm.rules.flow import Flow
from vmm.rules.forms import Form
from vmm.rules.moments import Condition
from vmm.rules.runner import Runner
from vmm.rules.watches import GLOBAL_ROW, Watch


class Stops(Protocol):
    """Records at which there may be something to do."""

    def begin(self) -> bool:
        """A new flow has begun; False when arrays cannot tell about it."""

    def next(self, at: int) -> int | None:
        """The first one from record `at` on, which never goes back."""

    def look_again(self) -> None:
        """An ordinary step has been made: rules may remember other things now."""


class _Listed:
    """Stops as an ascending list."""

    def __init__(self) -> None:
        self._stops: list[int] = []
        self._at = 0

    def _list(self, stops: list[int], at: int = 0) -> None:
        self._stops, self._at = stops, at

    def next(self, at: int) -> int | None:
        stops = self._stops
        while self._at < len(stops):
            if stops[self._at] >= at:
                return stops[self._at]
            self._at = bisect_left(stops, at, self._at + 1)
        return None


class Conditions(_Listed):
    """The condition of a rule about one subject: wherever its truth changes."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def begin(self) -> bool:
        flow = self._form.table.flow
        self._list([] if flow is None else self._form.turns())
        return True

    def look_again(self) -> None:
        """What follows does not depend on the rule's memory."""


class Instances(_Listed):
    """`until` and commands' arguments: they matter only where something waits for them."""

    def __init__(self, form: Form, runner: Runner) -> None:
        super().__init__()
        self._form = form
        self._runner = runner
        self._of: set[int] = set()
        self._looks = -1
        self._flow: Flow | None = None
        self._records: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows = self._records

    def begin(self) -> bool:
        self._flow = flow = self._form.table.flow
        if flow is None:
            self._list([])
            return True
        elements = flow.place[self._form.changed[flow.place]]
        self._records = flow.records[flow.order[elements] - flow.base]
        self._rows = flow.row[elements]
        self._choose()
        return True

    def _choose(self) -> None:
        self._of, self._looks = set(self._runner.awake), self._runner.looks
        if self._flow is None or not self._of or not len(self._rows):
            self._list([])
            return
        chosen = np.zeros(self._flow.base, np.bool_)
        chosen[[row for row in self._of if row < self._flow.base]] = True
        self._list(self._records[chosen[self._rows]].tolist())

    def look_again(self) -> None:
        if self._looks != self._runner.looks and self._of != self._runner.awake:
            self._choose()
        self._looks = self._runner.looks


class Timed(_Listed):
    """A rule's condition that reads the time: wherever it could differ from what the rule last saw.

    Only reports that change a value make the rule look, so from the first difference of a row on nothing is
    certain about that row.
    """

    def __init__(self, form: Form, runner: Runner) -> None:
        super().__init__()
        self._form = form
        self._runner = runner
        self._turns = -1

    def begin(self) -> bool:
        flow = self._form.table.flow
        if flow is None:
            self._list([])
            return True
        if not self._form.work_out():
            return False
        self._choose()
        return True

    def _choose(self) -> None:
        flow = self._form.table.flow
        self._turns = self._runner.turns
        if flow is None:
            return
        before = codes_of(self._runner.seen, flow.base)[flow.row]
        differs = (self._form.code != before) & ~flow.first
        if not differs.any():
            self._list([])
            return
        so_far = np.cumsum(differs)
        starts = np.maximum.accumulate(np.where(flow.first, flow.numbers, 0))
        self._list(flow.records_of(so_far > so_far[starts]).tolist())

    def look_again(self) -> None:
        if self._turns != self._runner.turns:
            self._choose()


class Truth:
    """A condition about whole tables: wherever it is not certainly what the rule last saw."""

    def __init__(self, condition: Condition, runner: Runner, watch: Watch) -> None:
        self._condition = condition
        self._runner = runner
        self._watch = watch
        self._is_expr = watch is runner.expr
        self._before = 0
        self._at = 0

    def begin(self) -> bool:
        self._condition.work_out()
        self._at = 0
        self.look_again()
        return True

    def look_again(self) -> None:
        if self._is_expr:
            before = bit_of(self._runner.seen.get(GLOBAL_ROW, False))
        elif GLOBAL_ROW in self._runner.instances:
            before = bit_of(self._watch.truth(GLOBAL_ROW))
        else:
            before = 0
        if before != self._before:
            self._before = before
            self._at = 0

    def next(self, at: int) -> int | None:
        if not self._before:
            return None
        stops = self._condition.others_than(self._before)
        if self._at < len(stops) and stops[self._at] < at:
            self._at = bisect_left(stops, at, self._at)
        return stops[self._at] if self._at < len(stops) else None


class AtTicks:
    """A compiled condition that is looked at only at ticks: which rows it must look at then."""

    def __init__(self, watch: Watch, own: set[tuple[str, str]], others: set[tuple[str, str]]) -> None:
        self._watch = watch
        self._own = own
        self._others = others

    def begin(self, flows: Mapping[str, Flow]) -> None:
        """New flows have begun: what changes in them is as against what stands in the tables now."""
        for kind, name in self._own | self._others:
            if kind in flows:
                flows[kind].column(name)

    def take_in(self, flows: Mapping[str, Flow], spans: Mapping[str, slice]) -> None:
        for keys, own in ((self._own, True), (self._others, False)):
            for kind, name in keys:
                flow, span = flows.get(kind), spans.get(kind)
                if flow is None or span is None:
                    continue
                elements = flow.place[span]
                changed = elements[flow.column(name).changed[elements]]
                if len(changed) and not own:
                    self._watch.mark_all()
                elif len(changed):
                    for row in set(flow.row[changed].tolist()):
                        self._watch.mark(row)


def codes_of(truths: Mapping[int, bool | None], rows: int) -> NDArray[np.int8]:
    """0 false, 1 true, 2 unknown; rows without an entry are false."""
    out = np.zeros(rows, np.int8)
    for row, value in truths.items():
        if value is not False and row < rows:
            out[row] = 1 if value else 2
    return out
