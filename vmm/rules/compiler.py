"""Turns the conditions of one engine into watches, sharing what several rules read.

A condition over one subject becomes a program; an aggregate of such expressions is kept up to date by
programs; everything else becomes a compiled function that is called when something it reads has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules import vector
from vmm.rules.coder import Atom, Coder, Names
from vmm.rules.feeder import TRUE, Feeder
from vmm.rules.programs import (
    ABSENT,
    SUBJECT,
    Extreme,
    Kept,
    Program,
    Tally,
    Total,
    can_be_kept,
    is_local,
    rename,
    truth_of,
)
from vmm.rules.row_parts import Fallback, Part
from vmm.rules.settled import settled
from vmm.rules.vector import Vectoriser, codes
from vmm.rules.watches import Reads, Subscriptions, Watch

_OUTDATED = 3


class LocalWatch(Watch):
    """A condition over the rule's own subject, kept by a program."""

    def follow(self, program: Program) -> None:
        self.program = program
        program.listeners.append(self._changed)

    def _changed(self, row: int, _old: Any, new: Any) -> None:
        if new is not ABSENT:
            self.mark(row)

    def truth(self, row: int) -> bool | None:
        value = self.program.values[row]
        return False if value is ABSENT else value


class CompiledWatch(Watch):
    """A condition as a function of the row; for all rows at once, where that works, on arrays.

    `outer` gives the values that the array form needs of what does not depend on the row.
    """

    vector: Part | None = None
    outer: Callable[[], list[Any]]
    _codes: NDArray[np.int8] | None = None

    def be(self, function: Callable[[int], bool | None]) -> None:
        """From now on this is the condition."""
        self.truth = function  # type: ignore[method-assign,assignment]  # one call less on the hottest path

    def take(self) -> Iterable[int]:
        table = self._table
        if self.vector is None or table is None:
            return super().take()
        if not self.every or len(table.rows) < vector.SMALL:
            rows = super().take()
            self._forget(rows)
            return rows
        try:
            with np.errstate(all="ignore"):
                found = codes(self.vector.run(self.outer()), len(table.row_names))
        except Fallback:
            self._codes = None
            return super().take()
        before, self._codes = self._codes, found
        self.every = False
        marked, self.changed = self.changed, set()
        if before is None or len(before) != len(found):
            return self.rows()
        names = table.row_names
        marked.update(row for row in np.flatnonzero(found != before).tolist() if names[row] is not None)
        return marked

    def _forget(self, rows: Iterable[int]) -> None:
        """These are looked at one by one: what the arrays said of them is out of date."""
        if self._codes is not None:
            known = len(self._codes)
            for row in rows:
                if row < known:
                    self._codes[row] = _OUTDATED


class Compiler:
    """Makes watches; `finish` must be called once after the last, before the first is asked."""

    def __init__(self, world: World, subscriptions: Subscriptions) -> None:
        self.world = world
        self.names = Names()
        self._subscriptions = subscriptions
        self._programs: dict[tuple[str, n.Node, n.Node | None], Program] = {}
        self._kept: dict[tuple[str, n.Node, n.Node | None, str], Kept] = {}

    # -- watches ------------------------------------------------------------------------------------

    def watch(self, node: n.Node, each: str | None, notify: Callable[[], None]) -> Watch:
        """A watch for the condition."""
        if each is not None and is_local(node, each) and _reads_something(node):
            local = LocalWatch(node, each, self.world, notify)
            local.follow(self._program(each, rename(node, each, SUBJECT), None))
            return local
        watch = CompiledWatch(node, each, self.world, notify)
        ready: dict[n.Node, Atom] = {}
        sums: dict[n.Node, Kept] = {}
        for part in _aggregates(node):
            if can_be_kept(part):
                kept = self._keep(part)
                kept.dependents.append(watch.mark_all)
                ready[part] = self._atom(part, kept)
                sums[part] = kept
        self._subscribe(watch, node, each, ready)
        watch.be(self._function(node, each, ready))
        if each is None:
            watch.settled = settled(node, sums, self.world)
        self._vectorise(watch, node, each, ready)
        return watch

    def _vectorise(
        self, watch: CompiledWatch, node: n.Node, each: str | None, ready: dict[n.Node, Atom]
    ) -> None:
        """Give the watch an array form, if there is one."""
        if each is None:
            return
        make = Vectoriser(
            self.world.table(each), each, lambda part, variable: self._keep_truth(each, part, variable)
        )
        try:
            watch.vector = make.condition(node)
        except Fallback:
            return
        make.connect()
        coder = Coder(self.world, self.names, ready, self._keep_truth)
        atoms = [coder.value(part).code for part in make.outer]
        coder.put(f"return [{', '.join(atoms)}]")
        name = self.names.unique("outer")
        watch.outer = self.names.define(name, f"def {name}():\n" + "\n".join(coder.lines) + "\n")

    def _subscribe(self, watch: Watch, node: n.Node, each: str | None, ready: dict[n.Node, Atom]) -> None:
        reads = Reads()
        for part in _outside(node, ready):
            reads.add(part, each)
        for column in sorted(reads.own):
            self._subscriptions.on_column(str(each), column, watch.mark)
        for kind, column in sorted(reads.columns):
            self._subscriptions.on_column(kind, column, watch.mark_all)
        for kind in sorted(reads.kinds):
            self._subscriptions.on_members(kind, watch.mark_members, watch.mark_members)

    def _function(
        self, node: n.Node, each: str | None, ready: dict[n.Node, Atom]
    ) -> Callable[[int], bool | None]:
        coder = Coder(self.world, self.names, ready, self._keep_truth)
        if each is not None:
            coder.bind_row(each, "row")
        coder.depth = 2
        atom = coder.truth(node)
        coder.put(f"return {atom.code}")
        name = self.names.unique("rule")
        body = "\n".join(coder.lines)
        source = f"def {name}(row):\n    try:\n{body}\n    except OverflowError:\n        return None\n"
        return self.names.define(name, source)

    # -- what is kept up to date --------------------------------------------------------------------

    @property
    def programs(self) -> Iterable[Program]:
        """All that are kept."""
        return self._programs.values()

    def _program(self, kind: str, node: n.Node, condition: n.Node | None) -> Program:
        """`condition` None: the node's truth; else a number that is in while the condition holds."""
        key = (kind, node, condition)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = Program(kind, node, condition)
        return program

    def _keep_truth(self, kind: str, node: n.Node, variable: str) -> Program:
        return self._program(kind, rename(node, variable, SUBJECT), None)

    def _keep(self, node: n.Aggregate) -> Kept:
        loop = node.loops[0]
        assert isinstance(loop.var, n.Var)
        kind = loop.var.kind
        if node.fn in ("any", "all", "count"):
            element, condition = rename(truth_of(node), loop.var.name, SUBJECT), None
        else:
            element = rename(node.element, loop.var.name, SUBJECT)
            condition = rename(loop.condition or TRUE, loop.var.name, SUBJECT)
        fn = "total" if node.fn in ("sum", "mean") else node.fn
        key = (kind, element, condition, fn)
        kept = self._kept.get(key)
        if kept is None:
            program = self._program(kind, element, condition)
            if condition is None:
                kept = Tally(node.fn, program)
            elif node.fn in ("min", "max"):
                kept = Extreme(node.fn, program)
            else:
                kept = Total(program, node.element.type == "float")
            self._kept[key] = kept
        return kept

    def _atom(self, node: n.Aggregate, kept: Kept) -> Atom:
        name = self.names.bind(kept, "kept")
        if isinstance(kept, Total):
            return Atom(f"({kept.source(node.fn, name)})", True)
        return Atom(f"{name}.value", True, node.fn in ("count", "min", "max"))

    def finish(self) -> None:
        """Begin to feed the programs. Call it once, when all watches are made."""
        Feeder(self.world, self.names, self._subscriptions).feed(self._programs.values())


def _reads_something(node: n.Node) -> bool:
    return any(isinstance(part, n.ColumnRead) for part in n.walk(node))


def _aggregates(node: n.Node) -> Iterator[n.Aggregate]:
    """The outermost aggregates that can be kept, and those within the others."""
    if isinstance(node, n.Aggregate) and can_be_kept(node):
        yield node
        return
    for child in n.children(node):
        yield from _aggregates(child)


def _outside(node: n.Node, ready: dict[n.Node, Atom]) -> Iterator[n.Node]:
    """The node and all below it, but nothing within what is ready."""
    if node in ready:
        return
    yield node
    for child in n.children(node):
        yield from _outside(child, ready)
