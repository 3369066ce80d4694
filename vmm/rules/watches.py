"""Keeps track of one condition over the world: its truth for a row, and which rows may have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vmm.cluster.columns import Column
from vmm.cluster.tables import Watcher, World
from vmm.rules import nodes as n
from vmm.rules.interpret import Interpreter
from vmm.rules.schema import Schema
from vmm.rules.settled import Settled

GLOBAL_ROW = 0


@dataclass(slots=True)
class Reads:
    """What a condition reads: columns of the rule's own subject, columns of any, and who exists."""

    own: set[str] = field(default_factory=set)
    columns: set[tuple[str, str]] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)

    def add(self, part: n.Node, each: str | None) -> None:
        """Take in one node (not what is below it)."""
        match part:
            case n.ColumnRead(subject=n.Var(name=name), column=column) if name == each:
                self.own.add(column)
            case n.ColumnRead(kind=kind, column=column):
                self.columns.add((kind, column))
            case n.Size(kind=kind) | n.HasSubject(kind=kind) | n.Lookup(kind=kind):
                self.kinds.add(kind)
            case n.Loop(var=n.Var(kind=kind)):
                self.kinds.add(kind)


def reads_of(node: n.Node, each: str | None) -> Reads:
    """Everything whose change can change the node's value (time aside)."""
    reads = Reads()
    for part in n.walk(node):
        reads.add(part, each)
    return reads


class Watch:
    """A condition whose truth is worked out when asked for.

    `changed` are the rows that may have a new truth, `every` stands for all of them; `notify` is called
    when either grows from nothing.
    """

    def __init__(self, node: n.Node, each: str | None, world: World, notify: Callable[[], None]) -> None:
        self.node = node
        self.each = each
        self.changed: set[int] = set()
        self.every = True
        self.settled: Settled | None = None
        self._world = world
        self._notify = notify
        self._table = world.table(each) if each else None
        self._interpreter = Interpreter(world)

    def truth(self, row: int) -> bool | None:
        """The condition for the subject in `row` (GLOBAL_ROW for a rule without `each`)."""
        if self._table is None or self.each is None:
            return self._interpreter.truth(self.node, {})
        return self._interpreter.truth(self.node, {self.each: self._table.row_names[row]})

    def take(self) -> Iterable[int]:
        """Rows to look at again; forgets them."""
        if self.every:
            self.every = False
            self.changed.clear()
            return self.rows()
        changed, self.changed = self.changed, set()
        return changed

    def rows(self) -> Iterable[int]:
        """All rows there are."""
        return [GLOBAL_ROW] if self._table is None else list(self._table.rows.values())

    def mark(self, row: int) -> None:
        if not self.changed and not self.every:
            self._notify()
        self.changed.add(row)

    def mark_all(self, _row: int = 0) -> None:
        if not self.every:
            self.every = True
            self._notify()

    def mark_members(self, _row: int, _name: str) -> None:
        self.mark_all()


class Subscriptions:
    """Hooks of one engine in a world's tables, so that they can be taken out again together."""

    def __init__(self, world: World, schema: Schema, redeclared: Callable[[], None]) -> None:
        self.world = world
        self._hooks: list[tuple[str, str, Callable[[int], None], bool]] = []
        self._watchers: list[tuple[str, Watcher]] = []
        self._columns: set[tuple[str, str]] = set()
        self._schema = schema
        self._redeclared = redeclared

    def on_column(self, kind: str, column: str, hook: Callable[[int], None], touch: bool = False) -> None:
        """Call `hook(row)` when the column's value changes, or with `touch` whenever it is set."""
        if column == "name":
            return
        col = self.ensure(kind, column)
        if touch:
            col.touch_hooks = (*col.touch_hooks, hook)
        else:
            col.hooks = (*col.hooks, hook)
        self._columns.add((kind, column))
        self._hooks.append((kind, column, hook, touch))

    def ensure(self, kind: str, column: str) -> Column:
        """The column, of the published type."""
        table = self.world.table(kind)
        col = table.columns.get(column)
        spec = self._schema.kinds[kind][column]
        if col is None or col.type != spec.type:
            # Rules were checked against the published type; values of another would break them.
            max_age_s = spec.max_age_s if col is None else col.max_age_s
            col = table.declare(column, type=spec.type, unit=spec.unit, max_age_s=max_age_s)
        return col

    def on_members(
        self, kind: str, added: Callable[[int, str], None], removed: Callable[[int, str], None]
    ) -> None:
        """Call `added(row, name)` after a subject came, `removed(row, name)` before it goes."""

        def declared(column: Column) -> None:
            if (kind, column.name) in self._columns:
                self._redeclared()

        watcher = Watcher(added, removed, declared)
        table = self.world.table(kind)
        table.watchers = (*table.watchers, watcher)
        self._watchers.append((kind, watcher))

    def close(self) -> None:
        """Take all hooks out."""
        for kind, column, hook, touch in self._hooks:
            col = self.world.table(kind).columns.get(column)
            if col is not None and touch:
                col.touch_hooks = tuple(h for h in col.touch_hooks if h is not hook)
            elif col is not None:
                col.hooks = tuple(h for h in col.hooks if h is not hook)
        for kind, watcher in self._watchers:
            table = self.world.table(kind)
            table.watchers = tuple(w for w in table.watchers if w is not watcher)
        self._hooks.clear()
        self._watchers.clear()
        self._columns.clear()
