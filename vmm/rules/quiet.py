"""Which of many reports can change what rules see, and the taking in of the others by whole columns.

A report is quiet for an engine when every condition of its rules has the same truth after it as before it:
then an evaluation would find nothing to do. `Following` says at which reports that is not certain (`stops`);
between them `take_in` brings the engines' programs to the same state as if each report had been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from vmm.cluster.columns import Column
from vmm.cluster.tables import Watcher, World
from vmm.rules import nodes as n
from vmm.rules.certainty import Open
from vmm.rules.compiler import CompiledWatch, LocalWatch
from vmm.rules.engine import Engine
from vmm.rules.flow import Flow, FlowTable, Ints
from vmm.rules.forms import Form
from vmm.rules.moments import Moments
from vmm.rules.programs import SUBJECT, Program
from vmm.rules.row_parts import Fallback
from vmm.rules.runner import Runner
from vmm.rules.taking import TakeIn
from vmm.rules.watched import AtTicks, Conditions, Instances, Stops, Timed, Truth
from vmm.rules.watches import Watch, reads_of

Flowing = Mapping[str, frozenset[str]]
"""Kind -> the columns that reports change."""


class Following:
    """Several engines over one world. Made anew when an engine was built anew, or `dirty` says so."""

    def __init__(self, world: World, engines: Iterable[Engine], flowing: Flowing) -> None:
        self.world = world
        self.engines = list(engines)
        self.flowing = flowing
        self.tables = {kind: FlowTable(world.table(kind), flowing[kind].__contains__) for kind in flowing}
        self.flows: dict[str, Flow] = {}
        self.dirty = False
        """Something changed that the analysis took for constant: begin again from here."""
        self.blind: set[tuple[str, str]] = set()
        """Columns whose every change of a value is a stop: some rule reads them in a way not followed."""
        self.touched: set[tuple[str, str]] = set()
        """Columns whose every report is a stop (`n_of` without ticks)."""
        self._forms: dict[tuple[str, n.Node, n.Node | None], Form | None] = {}
        self._links: dict[int, TakeIn] = {}
        self._sums: list[TakeIn] = []
        self._stops: list[Stops] = []
        self._marks: list[AtTicks] = []
        self._present: Mapping[str, slice] = {}
        self._static: set[tuple[str, str]] = set()
        self.moments = Moments(world, self._form, self._is_flowing)
        for engine in self.engines:
            for program in engine.programs:
                self._follow_program(program)
        self.reads: set[tuple[str, str]] = set()
        """All columns that rules read, and so want to be up to date."""
        for engine in self.engines:
            for runner in engine.runners:
                if runner.rule.enabled:
                    self._follow_rule(runner)
                    self.reads |= runner.rule.reads
        self._hook()

    # -- building -----------------------------------------------------------------------------------

    def _is_flowing(self, kind: str, column: str) -> bool:
        return column in self.flowing.get(kind, ())

    def _columns(self, *nodes: n.Node | None) -> set[tuple[str, str]]:
        """The flowing columns that the nodes read, in whatever way."""
        return {
            (part.kind, part.column)
            for node in nodes
            if node is not None
            for part in n.walk(node)
            if isinstance(part, n.ColumnRead) and self._is_flowing(part.kind, part.column)
        }

    def _form(self, kind: str, node: n.Node, condition: n.Node | None) -> Form | None:
        """The program's array form, shared by all engines; None when it has none."""
        key = (kind, node, condition)
        if key not in self._forms:
            try:
                form = Form(self.tables[kind], SUBJECT, self.world, node, condition)
                self._static |= form.static
                self._forms[key] = form
            except Fallback:
                self._forms[key] = None
        return self._forms[key]

    def _follow_program(self, program: Program) -> None:
        columns = self._columns(program.node, program.condition)
        if not columns:
            return
        form = self._form(program.kind, program.node, program.condition)
        if form is None:
            self.blind |= columns
            return
        link = self._links.get(id(form))
        if link is None:
            link = self._links[id(form)] = TakeIn(form)
        link.programs.append(program)

    def _follow_rule(self, runner: Runner) -> None:
        rule = runner.rule
        if runner.samples_updates:
            reads = reads_of(rule.expr, rule.each)
            found = {(str(rule.each), column) for column in reads.own} | reads.columns
            self.touched |= {key for key in found if self._is_flowing(*key)}
        for watch in (runner.expr, runner.until, runner.arguments):
            if watch is None or not self._columns(watch.node):
                continue
            if not rule.on_update_check:
                self._mark_at_ticks(watch)
            elif isinstance(watch, LocalWatch):
                self._follow_local(runner, watch)
            elif not (isinstance(watch, CompiledWatch) and self._follow_compiled(runner, watch)):
                self.blind |= self._columns(watch.node)

    def _mark_at_ticks(self, watch: Watch) -> None:
        """Rules that are looked at only at their ticks then look at what has changed since."""
        if isinstance(watch, CompiledWatch):
            reads = reads_of(watch.node, watch.each)
            own = {(str(watch.each), c) for c in reads.own if self._is_flowing(str(watch.each), c)}
            self._marks.append(AtTicks(watch, own, self._columns(watch.node) - own))

    def _follow_local(self, runner: Runner, watch: LocalWatch) -> None:
        program = watch.program
        form = self._form(program.kind, program.node, program.condition)
        if form is not None:  # else its columns are blind already
            self._stops.append(Conditions(form) if watch is runner.expr else Instances(form, runner))

    def _follow_compiled(self, runner: Runner, watch: CompiledWatch) -> bool:
        if watch.each is None:
            try:
                condition = self.moments.condition(watch.node)
            except Open:
                return False
            self._stops.append(Truth(condition, runner, watch))
            self._static |= condition.static
            return True
        if watch is not runner.expr or runner.rule.n_of is not None:
            return False
        try:
            form = Form(self.tables[watch.each], watch.each, self.world, watch.node)
        except (Fallback, KeyError):
            return False
        self._static |= form.static
        self._stops.append(Timed(form, runner))
        return True

    def _hook(self) -> None:
        """Be told when what was taken for constant changes, before all others are."""
        self._watchers: list[tuple[str, Watcher]] = []
        self._hooked: list[Column] = []
        for kind, column in sorted(self._static):
            col = self.world.table(kind).columns.get(column)
            if col is not None:
                col.hooks = (self._changed, *col.hooks)
                self._hooked.append(col)
        for table in self.world.tables():
            watcher = Watcher(self._member, self._member, self._declared)
            table.watchers = (watcher, *table.watchers)
            self._watchers.append((table.kind, watcher))

    def _changed(self, _row: int) -> None:
        self.dirty = True
        self.flush()

    def _member(self, _row: int, _name: str) -> None:
        self.dirty = True
        self.flush()

    def _declared(self, _column: Column) -> None:
        self.dirty = True
        self.flush()

    def close(self) -> None:
        """Take the hooks out."""
        for col in self._hooked:
            col.hooks = tuple(hook for hook in col.hooks if hook != self._changed)
        for kind, watcher in self._watchers:
            table = self.world.table(kind)
            table.watchers = tuple(w for w in table.watchers if w is not watcher)

    # -- following ----------------------------------------------------------------------------------

    def begin(self, flows: dict[str, Flow], first: int, end: int) -> bool:
        """Look at the reports of records `first` to `end` - 1; False when arrays cannot tell about them."""
        self.dirty = False
        self._present = {}
        self.flows = flows
        for kind, table in self.tables.items():
            table.flow = flows.get(kind)
        live = [form for form in self._forms.values() if form is not None and form.table.flow is not None]
        if not all(form.work_out() for form in live):
            return False
        self.moments.begin(flows, first, end)
        fixed: list[Ints] = []
        for kind, name in self.blind | self.touched:
            flow = flows.get(kind)
            if flow is None:
                continue
            column = flow.column(name)
            touch = (kind, name) in self.touched
            fixed.append(flow.records_of(column.changed | column.touched if touch else column.changed))
        for mark in self._marks:
            mark.begin(flows)
        for stops in self._stops:
            if not stops.begin():
                return False
        self._fixed: list[int] = np.unique(np.concatenate(fixed)).tolist() if fixed else []
        self._fixed_at = 0
        for link in self._links.values():
            if link.form.table.flow is not None:
                link.begin()
        self._sums = [link for link in self._links.values() if link.has_sums]
        return True

    def next_stop(self, at: int, end: int) -> int:
        """The first record from `at` on that may change what a rule sees; `end` if there is none before."""
        fixed = self._fixed
        while self._fixed_at < len(fixed) and fixed[self._fixed_at] < at:
            self._fixed_at += 1
        if self._fixed_at < len(fixed):
            end = min(end, fixed[self._fixed_at])
        for stops in self._stops:
            found = stops.next(at)
            if found is not None and found < end:
                end = found
        return end

    def look_again(self) -> None:
        """After an ordinary step: rules may have other instances and truths now."""
        for stops in self._stops:
            stops.look_again()

    def take_in(self, spans: Mapping[str, slice], end: int) -> None:
        """Reports before record `end` decide nothing: take in `spans` (kind -> which of its flow)."""
        for link in self._links.values():
            span = spans.get(link.form.table.kind)
            if span is not None:
                link.take_in(span, end)
        for mark in self._marks:
            mark.take_in(self.flows, spans)

    def before(self, spans: Mapping[str, slice]) -> None:
        """One record is seen in the ordinary way next; `spans` has it in each flow where it is a report."""
        self._present = spans
        for link in self._sums:
            span = spans.get(link.form.table.kind)
            if span is not None:
                link.sync(span.start)

    def flush(self) -> None:
        """What waits in the links is needed: other rows than those of the present record may change, too."""
        for link in self._sums:
            kind = link.form.table.kind
            span = self._present.get(kind)
            link.flush(-1 if span is None else int(self.flows[kind].rows[span.start]))

    def pass_by(self, end: int) -> None:
        """What stands before record `end` was seen in the ordinary way."""
        for link in self._sums:
            span = self._present.get(link.form.table.kind)
            if span is not None:
                link.seen(span.start)
        self._present = {}
        for link in self._links.values():
            link.pass_by(end)
