"""Feeds programs from the columns they read: one generated function a column, called with the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.coder import Atom, Coder, Names
from vmm.rules.programs import ABSENT, SUBJECT, Extreme, Program, Total, number_in
from vmm.rules.watches import Subscriptions

TRUE = n.Const(type="bool", value=True)


class Feeder:
    """Subscribes programs to a world."""

    def __init__(self, world: World, names: Names, subscriptions: Subscriptions) -> None:
        self.world = world
        self.names = names
        self._subscriptions = subscriptions

    def feed(self, programs: Iterable[Program]) -> None:
        """Work the programs out for the rows there are, and again whenever a column changes."""
        by_column: dict[tuple[str, str], list[Program]] = {}
        by_kind: dict[str, list[Program]] = {}
        for program in programs:
            by_kind.setdefault(program.kind, []).append(program)
            for column in sorted(_columns(program)):
                self._subscriptions.ensure(program.kind, column)
                by_column.setdefault((program.kind, column), []).append(program)
        for (kind, column), readers in by_column.items():
            self._subscriptions.on_column(kind, column, self._hook(f"{kind}_{column}", readers))
        for kind, members in by_kind.items():
            self._follow_members(kind, members)

    def _follow_members(self, kind: str, programs: list[Program]) -> None:
        table = self.world.table(kind)
        hook = self._hook(f"{kind}_added", programs)

        def added(row: int, _name: str) -> None:
            for program in programs:
                program.grow(row + 1)
            hook(row)

        def removed(row: int, _name: str) -> None:
            for program in programs:
                program.change(row, ABSENT)

        self._subscriptions.on_members(kind, added, removed)
        for program in programs:
            program.grow(len(table.row_names))
        for row in table.rows.values():
            hook(row)

    def _hook(self, name: str, programs: list[Program]) -> Callable[[int], None]:
        """A function of the row that works the programs out and tells those whose value differs."""
        coder = Coder(self.world, self.names, {})
        coder.bind_row(SUBJECT, "row")
        for program in programs:
            if program.condition is None:
                self._tell(coder, program, coder.truth(program.node))
            else:
                self._tell_number(coder, program, program.condition)
        name = self.names.unique(f"hook_{name}")
        return self.names.define(name, f"def {name}(row):\n" + "\n".join(coder.lines) + "\n")

    def _tell(self, coder: Coder, program: Program, atom: Atom) -> None:
        values = self.names.bind(program.values, "values")
        change = self.names.bind(program.change, "change")
        coder.put(f"if {atom.code} is not {values}[row]: {change}(row, {atom.code})")

    def _tell_number(self, coder: Coder, program: Program, condition: n.Node) -> None:
        atom = coder.value(program.node)
        if condition != TRUE or not isinstance(program.node, n.ColumnRead):
            kept = coder.truth(condition)
            helper = self.names.bind(number_in, "number_in")
            atom = coder.let(f"{helper}({kept.code}, {atom.code})", True)
        if program.total is not None and program.total.floats and len(program.listeners) == 1:
            self._add_up(coder, program, program.total, atom)
        elif program.extreme is not None and len(program.listeners) == 1:
            self._pass_by(coder, program, program.extreme, atom)
        else:
            self._tell(coder, program, atom)

    def _pass_by(self, coder: Coder, program: Program, kept: Extreme, atom: Atom) -> None:
        """Extreme.change for the usual case: a value that is no candidate replaces one that was none."""
        values = self.names.bind(program.values, "values")
        change = self.names.bind(program.change, "change")
        name = self.names.bind(kept, "kept")
        pool = self.names.bind(kept.pool, "pool")
        far = ">=" if kept.fn == "min" else "<="
        same = f"type({atom.code}) is type({values}[row]) is {program.node.type}"
        coder.put(f"if {same} and {atom.code} {far} {name}.bound and row not in {pool}:")
        coder.put(f"    {values}[row] = {atom.code}")
        coder.put(f"elif {atom.code} is not {values}[row]: {change}(row, {atom.code})")

    def _add_up(self, coder: Coder, program: Program, total: Total, atom: Atom) -> None:
        """Total.change written out for the usual case: one finite float replaces another."""
        values = self.names.bind(program.values, "values")
        change = self.names.bind(program.change, "change")
        kept = self.names.bind(total, "kept")
        parts = self.names.bind(total.parts, "parts")
        part, after = coder.fresh(), coder.fresh()
        coder.put(f"if type({values}[row]) is float and type({atom.code}) is float:")
        coder.put(f"    {part} = {atom.code} * {kept}.scale")
        coder.put(f"    if {kept}.scale and {part}.is_integer() and -1e290 < {part} < 1e290:")
        coder.put(f"        {part} = int({part})")
        coder.put(f"        {kept}.total = {after} = {kept}.total + {part} - {parts}[row]")
        coder.put(f"        {parts}[row] = {part}")
        coder.put(f"        {values}[row] = {atom.code}")
        if total.dependents:
            coder.put(f"        if not {kept}.low <= {after} <= {kept}.high:")
        for dependent in total.dependents:
            coder.put(f"            {self.names.bind(dependent, 'mark')}()")
        coder.put(f"    else: {change}(row, {atom.code})")
        coder.put(f"elif {atom.code} is not {values}[row]: {change}(row, {atom.code})")


def _columns(program: Program) -> set[str]:
    parts = [program.node] if program.condition is None else [program.node, program.condition]
    return {
        read.column
        for part in parts
        for read in n.walk(part)
        if isinstance(read, n.ColumnRead) and read.column != "name"
    }
