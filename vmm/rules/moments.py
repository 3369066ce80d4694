"""Aggregates after each record of a stretch of the stream, and the conditions that hang on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.certainty import ANY, Open, Span, Truths, bound, truths_of_codes
from vmm.rules.feeder import TRUE
from vmm.rules.flow import Bools, Floats, Flow
from vmm.rules.forms import FALSE_CODE, MAYBE_CODE, TRUE_CODE, UNKNOWN_CODE, Form
from vmm.rules.interpret import Interpreter
from vmm.rules.programs import SUBJECT, can_be_kept, rename, truth_of

FormOf = Callable[[str, n.Node, n.Node | None], Form | None]
_SLACK = 2.0**-50
"""Twice the relative error of one addition, and then some."""


class Moments:
    """Shared by all rules: each aggregate is followed once a stretch. `form` gives a program's array form."""

    def __init__(self, world: World, form: FormOf, is_flowing: Callable[[str, str], bool]) -> None:
        self.world = world
        self.form = form
        self.is_flowing = is_flowing
        self.flows: Mapping[str, Flow] = {}
        self.first = 0
        self.end = 0
        self.interpreter = Interpreter(world)
        self.stretch = 0
        """Counts them."""
        self._spans: dict[tuple[int, str], tuple[Span | Truths, Bools]] = {}
        self._conditions: dict[n.Node, Condition] = {}

    def begin(self, flows: Mapping[str, Flow], first: int, end: int) -> None:
        """Records `first` to `end` - 1 come next."""
        self.flows, self.first, self.end = flows, first, end
        self.stretch += 1
        self._spans = {}

    def condition(self, node: n.Node) -> Condition:
        """Shared by all who ask for it. Raises Open if it is not made of aggregates that can be followed."""
        found = self._conditions.get(node)
        if found is None:
            found = self._conditions[node] = Condition(self, node)
        return found

    def aggregate(self, form: Form, fn: str) -> tuple[Span | Truths, Bools]:
        """(value after each record, records at which it may change)."""
        key = (id(form), "count" if fn == "count" else fn)
        found = self._spans.get(key)
        if found is None:
            found = self._spans[key] = self._work_out(form, fn)
        return found

    def _work_out(self, form: Form, fn: str) -> tuple[Span | Truths, Bools]:
        flow = form.table.flow
        assert flow is not None
        if fn in ("any", "all", "count"):
            return self._tally(form, flow, fn)
        if fn in ("sum", "mean"):
            return self._total(form, flow, fn)
        return self._extreme(form, flow, fn)

    def _live(self, flow: Flow) -> Bools:
        return np.array([name is not None for name in flow.table.row_names], np.bool_)

    def _counted(self, form: Form, flow: Flow, code: int, live: Bools) -> NDArray[np.int64]:
        """How many rows have the code after each record."""
        is_so = (form.code == code).view(np.int8)
        start = int(np.count_nonzero(is_so[flow.first] & live))
        steps = np.zeros(self.end - self.first, np.int64)
        place = flow.place
        steps[flow.records - self.first] = is_so[place] - is_so[place - 1]
        return start + np.cumsum(steps)

    def _changes(self, form: Form, flow: Flow) -> Bools:
        out = np.zeros(self.end - self.first, np.bool_)
        out[flow.records - self.first] = form.changed[flow.place]
        return out

    def _tally(self, form: Form, flow: Flow, fn: str) -> tuple[Span | Truths, Bools]:
        live, changes = self._live(flow), self._changes(form, flow)
        true = self._counted(form, flow, TRUE_CODE, live)
        unknown = self._counted(form, flow, UNKNOWN_CODE, live)
        if fn == "count":
            high = true + unknown
            loose = bool((unknown > 0).any())
            return Span(true.astype(np.float64), high.astype(np.float64), False, loose), changes
        decided = true if fn == "any" else self._counted(form, flow, FALSE_CODE, live)
        codes = np.where(decided > 0, 1, np.where(unknown > 0, 2, 0))
        if fn == "all":
            codes = np.where(codes == 2, 2, 1 - codes)
        return truths_of_codes(codes.astype(np.int8)), changes

    def _total(self, form: Form, flow: Flow, fn: str) -> tuple[Span | Truths, Bools]:
        live, changes = self._live(flow), self._changes(form, flow)
        numbers = np.where(form.code == TRUE_CODE, form.value, 0.0)
        start = numbers[flow.first][live]
        place = flow.place
        steps = np.zeros(self.end - self.first)
        with np.errstate(all="ignore"):
            steps[flow.records - self.first] = numbers[place] - numbers[place - 1]
            total = float(start.sum()) + np.cumsum(steps)
            size = float(np.abs(start).sum()) + 2.0 * float(np.abs(numbers[place]).sum())
            size += 2.0 * float(np.abs(start).sum())
            slack = size * _SLACK * (len(start) + len(steps) + 2)
            none: Bools = np.zeros(len(steps), np.bool_)
            for code in (UNKNOWN_CODE, MAYBE_CODE):
                if (form.code == code).any():
                    none |= self._counted(form, flow, code, live) > 0
            lo, hi = total - slack, total + slack
            if fn == "mean":
                count: Floats = self._counted(form, flow, TRUE_CODE, live).astype(np.float64)
                none |= count == 0
                lo, hi = lo / count, hi / count
                lo, hi = np.nextafter(lo, -np.inf), np.nextafter(hi, np.inf)
        if not np.isfinite(size) or size > 1e300:
            return Truths(np.uint8(ANY)), changes
        return Span(lo, hi, none, False, True), changes

    def _extreme(self, form: Form, flow: Flow, fn: str) -> tuple[Span | Truths, Bools]:
        """One span for the whole stretch; only what comes as near as its near bound can change the value."""
        live = self._live(flow)[flow.row]
        sign = 1.0 if fn == "max" else -1.0
        known = (form.code == TRUE_CODE) & live
        unsure = ((form.code == UNKNOWN_CODE) | (form.code == MAYBE_CODE)) & live
        values = np.where(known, sign * form.value, -np.inf)
        far = float(values.max(initial=-np.inf))
        least = np.full(flow.base, np.inf)
        np.minimum.at(least, flow.row, values)
        least = least[np.isfinite(least)]
        near = float(least.max(initial=-np.inf))
        before = np.concatenate((values[:1], values[:-1]))
        matters = form.changed & ((values >= near) | (before >= near))
        matters |= form.changed & (unsure | np.concatenate((unsure[:1], unsure[:-1])))
        changes = np.zeros(self.end - self.first, np.bool_)
        changes[flow.records - self.first] = matters[flow.place]
        if near == -np.inf or unsure.any():
            if unsure.any() and near > -np.inf:
                lo, hi = (near, np.inf) if fn == "max" else (-np.inf, -near)
                return Span(lo, hi, False, True, True), changes
            return Truths(np.uint8(ANY)), changes
        return Span(min(sign * near, sign * far), max(sign * near, sign * far), False, False, True), changes


class Condition:
    """A condition that depends on aggregates alone; everything else in it stays as it is."""

    def __init__(self, moments: Moments, node: n.Node) -> None:
        """Raises Open."""
        self.node = node
        self.static: set[tuple[str, str]] = set()
        self._moments = moments
        self._changes: list[Bools] = []
        self._bits: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._may: Bools = np.zeros(0, np.bool_)
        self._lists: dict[int, list[int]] = {}
        self._stretch = -1
        self._building = True
        bound(node, self._leaf)
        self._building = False

    def work_out(self) -> None:
        """For the stretch that has begun."""
        moments = self._moments
        if self._stretch == moments.stretch:
            return
        self._stretch = moments.stretch
        count = moments.end - moments.first
        self._changes, self._lists = [], {}
        bits = bound(self.node, self._leaf).bits
        self._bits = np.broadcast_to(np.asarray(bits, np.uint8), (count,))
        may = np.zeros(count, np.bool_)
        for changes in self._changes:
            may |= changes
        self._may = may

    def others_than(self, bit: int) -> list[int]:
        """Records after which it may be another truth than that of `bit`."""
        found = self._lists.get(bit)
        if found is None:
            others = np.flatnonzero(self._may & (self._bits != bit)) + self._moments.first
            found = self._lists[bit] = others.tolist()
        return found

    def _leaf(self, node: n.Node) -> object:
        if isinstance(node, n.Aggregate) and can_be_kept(node) and self._flows(node):
            return self._aggregate(node)
        if self._flows(node) or any(isinstance(part, n.Now | n.Age) for part in n.walk(node)):
            raise Open(node.text)
        if self._building:
            self.static |= {
                (part.kind, part.column)
                for part in n.walk(node)
                if isinstance(part, n.ColumnRead) and part.column != "name"
            }
            return Truths(np.uint8(ANY)) if node.type not in n.NUMERIC else Span(0.0, 0.0)
        return self._moments.interpreter.value(node, {})

    def _flows(self, node: n.Node) -> bool:
        flowing = self._moments.is_flowing
        return any(isinstance(p, n.ColumnRead) and flowing(p.kind, p.column) for p in n.walk(node))

    def _aggregate(self, node: n.Aggregate) -> Span | Truths:
        loop = node.loops[0]
        assert isinstance(loop.var, n.Var)
        kind, name = loop.var.kind, loop.var.name
        if node.fn in ("any", "all", "count"):
            form = self._moments.form(kind, rename(truth_of(node), name, SUBJECT), None)
        else:
            condition = rename(loop.condition or TRUE, name, SUBJECT)
            form = self._moments.form(kind, rename(node.element, name, SUBJECT), condition)
        if form is None:
            raise Open(node.text)
        if self._building:
            return Truths(np.uint8(ANY)) if node.fn in ("any", "all") else Span(0.0, 0.0)
        if form.table.flow is None:  # no report of this stretch is about such subjects
            found = self._moments.interpreter.value(node, {})
            return _exactly(found)
        span, changes = self._moments.aggregate(form, node.fn)
        self._changes.append(changes)
        if isinstance(span, Truths) and node.fn not in ("any", "all"):
            return Span(np.nan, np.nan)  # anything at all
        return span


def _exactly(value: object) -> Span | Truths:
    from vmm.rules.bounds import Between

    if value is None:
        return Span(0.0, 0.0, True)
    if isinstance(value, Between):
        return Span(value.lo, value.hi, False, True)
    if isinstance(value, bool):
        from vmm.rules.certainty import bit_of

        return Truths(np.uint8(bit_of(value)))
    assert isinstance(value, int | float)
    return Span(float(value), float(value), False, False, abs(value) >= 2.0**53)
