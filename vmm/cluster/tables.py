"""What rules read: one table per kind of subject, and the world that holds them under one stream time.

Everything here is a function of the calls made: no clock is read. A reading older than its column's
`max_age_s` becomes unknown when time is advanced past that, and that is a change like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, nan
from typing import Any, NamedTuple

from vmm.cluster.columns import Column
from vmm.errors import VmmError

KINDS = ("client", "host", "guest", "share")
_SCHEMA = 1


class NoSuchSubject(VmmError):
    """A value came for a subject, or a subject was to be removed, that the table does not hold."""

    code = "cluster.subject"


class Reading(NamedTuple):
    """A known value and the stream time (s) at which it was read."""

    value: Any
    time_s: float


class Watcher(NamedTuple):
    """Who is told of subjects that come and go: `added(row, name)` after, `removed(row, name)` before."""

    added: Callable[[int, str], None]
    removed: Callable[[int, str], None]
    declared: Callable[[Column], None]


class Table:
    """Subjects of one kind (rows) and their properties (columns).

    Row numbers are internal: a removed subject's row is reused. `names()` keeps the order of arrival, and
    `arrivals` numbers the rows by it. `edition` grows whenever a subject comes or goes.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows: dict[str, int] = {}
        self.columns: dict[str, Column] = {}
        self.row_names: list[str | None] = []
        self.arrivals: list[int] = []
        self._arrived = 0
        self.free: list[int] = []
        self.edition = 0
        self.watchers: tuple[Watcher, ...] = ()
        self.expiry_s = inf
        """No reading expires before this time or at it; it may be too early."""

    def declare(self, column: str, *, type: str, unit: str = "", max_age_s: float = inf) -> Column:
        """Create the column, or change unit and age limit of one of the same type; a new type empties it."""
        col = self.columns.get(column)
        if col is not None and col.type == type:
            col.unit = unit
            if col.max_age_s != max_age_s:
                col.max_age_s = max_age_s
                self._recount(col)
            return col
        fresh = Column(column, type, unit, max_age_s)
        fresh.grow(len(self.row_names))
        fresh.unknown = len(self.rows)
        self.columns[column] = fresh
        for watcher in self.watchers:
            watcher.declared(fresh)
        return fresh

    def add(self, name: str) -> None:
        """A subject without values; nothing happens when it is there already."""
        if name in self.rows:
            return
        if self.free:
            row = self.free.pop()
            self.row_names[row] = name
        else:
            row = len(self.row_names)
            self.row_names.append(name)
            self.arrivals.append(0)
            for col in self.columns.values():
                col.grow(row + 1)
        self.rows[name] = row
        self.edition += 1
        self.arrivals[row] = self._arrived
        self._arrived += 1
        for col in self.columns.values():
            col.unknown += 1
        for watcher in self.watchers:
            watcher.added(row, name)

    def remove(self, name: str) -> None:
        """Forget the subject and its values. Raises NoSuchSubject."""
        row = self._row(name)
        for watcher in self.watchers:
            watcher.removed(row, name)
        del self.rows[name]
        self.edition += 1
        self.row_names[row] = None
        for col in self.columns.values():
            if col.values[row] is None:
                col.unknown -= 1
            else:
                col.vacate(row)
            col.times[row] = nan
        self.free.append(row)

    def names(self) -> list[str]:
        return list(self.rows)

    def __contains__(self, name: object) -> bool:
        return name in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def set(self, name: str, column: str, value: Any, time_s: float) -> None:
        """Store a reading of stream time `time_s`; None makes the value unknown.

        An undeclared column is declared by its first value. Raises NoSuchSubject, and ValueRefused when
        the value does not fit the column (the old reading stays). NaN and infinity count as unknown.
        """
        try:
            row = self.rows[name]
            col = self.columns[column]
        except KeyError:
            row = self._row(name)
            if value is None:
                return
            col = self.declare(column, type=_type_of(column, value))
        if type(value) is not col.python_type or (col.is_float and value - value != 0.0):
            value = self._accepted(row, col, value)
            if value is None:
                return
        col.times[row] = time_s
        if time_s < col.oldest_s:
            self._older(col, time_s)
        if value != (old := col.values[row]):
            # As Column.store; this is the hottest path there is.
            if old is None:
                col.unknown -= 1
            col.values[row] = value
            if col.stale is not None:
                col.outdate(row)
            for hook in col.hooks:
                hook(row)
        if col.touch_hooks:
            for hook in col.touch_hooks:
                hook(row)

    def _accepted(self, row: int, col: Column, value: Any) -> Any:
        """The value in the column's type; None when it made the reading unknown."""
        value = None if value is None else col.accept(value)
        if value is None and col.values[row] is not None:
            col.store(row, None)
        return value

    def update(self, name: str, values: Mapping[str, Any], time_s: float) -> None:
        """`set` for each item, in order."""
        for column, value in values.items():
            self.set(name, column, value, time_s)

    def clear(self, name: str, column: str) -> None:
        """Make the value unknown and forget when it was read."""
        row = self._row(name)
        col = self.columns.get(column)
        if col is not None:
            if col.values[row] is not None:
                col.store(row, None)
            col.times[row] = nan

    def get(self, name: str, column: str) -> Reading | None:
        """The reading, or None when it is unknown. Raises NoSuchSubject."""
        row = self._row(name)
        if column == "name" and column not in self.columns:
            return Reading(name, 0.0)
        col = self.columns.get(column)
        if col is None or col.values[row] is None:
            return None
        return Reading(col.values[row], col.times[row])

    def expire(self, now_s: float) -> None:
        """Make unknown what is older than its column allows at `now_s`."""
        self.expiry_s = inf
        for col in list(self.columns.values()):
            if col.oldest_s + col.max_age_s < now_s:
                for row in col.expired(now_s):
                    col.store(row, None)
            if col.max_age_s != inf:
                self.expiry_s = min(self.expiry_s, col.oldest_s + col.max_age_s)

    def is_young(self, now_s: float) -> None:
        """The caller knows that no reading is too old at `now_s`: there is no need to look."""
        self.expiry_s = max(self.expiry_s, now_s)

    def next_expiry_s(self) -> float | None:
        """No reading expires before this time or at it; it may be early when readings were refreshed."""
        return None if self.expiry_s == inf else self.expiry_s

    def note_age(self, col: Column, oldest_s: float) -> None:
        """Readings were put into the column (bulk.py), the oldest of this time."""
        if oldest_s < col.oldest_s:
            self._older(col, oldest_s)

    def _older(self, col: Column, time_s: float) -> None:
        """A reading is older than all others of its column."""
        col.oldest_s = time_s
        self.expiry_s = min(self.expiry_s, time_s + col.max_age_s)

    def dump(self) -> dict[str, Any]:
        """Builtins only, the same for the same content whatever way it came about."""
        rows = list(self.rows.values())
        return {
            "names": list(self.rows),
            "columns": [
                [c.name, c.type, c.unit, None if c.max_age_s == inf else c.max_age_s]
                for _, c in sorted(self.columns.items())
            ],
            "values": [[c.values[r] for r in rows] for _, c in sorted(self.columns.items())],
            "times": [[_time(c.times[r]) for r in rows] for _, c in sorted(self.columns.items())],
        }

    def fill(self, data: Mapping[str, Any]) -> None:
        """Restore a dump into this (empty) table."""
        for name in data["names"]:
            self.add(name)
        for (column, type_, unit, max_age_s), values, times in zip(
            data["columns"], data["values"], data["times"], strict=True
        ):
            col = self.declare(
                column, type=type_, unit=unit, max_age_s=inf if max_age_s is None else max_age_s
            )
            col.values[:] = values
            for row, time_s in enumerate(times):
                col.times[row] = nan if time_s is None else time_s
            col.unknown = sum(v is None for v in values)
            self._recount(col)

    def _recount(self, col: Column) -> None:
        """Let the column's readings expire by its present age limit."""
        col.oldest_s = -inf
        if col.max_age_s != inf:
            col.oldest_s = min((time_s for time_s in col.times if time_s == time_s), default=inf)
            self.expiry_s = min(self.expiry_s, col.oldest_s + col.max_age_s)

    def _row(self, name: str) -> int:
        row = self.rows.get(name)
        if row is None:
            raise NoSuchSubject(
                f"there is no {self.kind} {name!r}.", next_step=f"add the {self.kind} before its values"
            )
        return row


class World:
    """All tables under one stream time `now_s`. What the Manager decides from."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self.clients = Table("client")
        self.hosts = Table("host")
        self.guests = Table("guest")
        self.shares = Table("share")
        self._tables = {t.kind: t for t in (self.clients, self.hosts, self.guests, self.shares)}
        self.gap_hooks: list[Callable[[float], None]] = []

    def table(self, kind: str) -> Table:
        """The table of a kind (`client`, `host`, `guest`, `share`). Raises NoSuchSubject."""
        try:
            return self._tables[kind]
        except KeyError:
            raise NoSuchSubject(
                f"there is no kind {kind!r}.", next_step=f"use one of {', '.join(KINDS)}"
            ) from None

    def tables(self) -> Iterable[Table]:
        return self._tables.values()

    def advance(self, now_s: float) -> None:
        """Move time forward (never back) and let readings grow too old."""
        if now_s > self.now_s:
            self.now_s = now_s
        for table in self._tables.values():
            if table.expiry_s < self.now_s:
                table.expire(self.now_s)

    def unobserved(self, gap_s: float) -> None:
        """Say that nothing was heard in the last `gap_s`: whoever counts how long something holds leaves
        that time out."""
        for hook in self.gap_hooks:
            hook(gap_s)

    def next_expiry_s(self) -> float | None:
        """A time at which readings may have to expire; see Table.next_expiry_s."""
        return min((t for t in (x.next_expiry_s() for x in self.tables()) if t is not None), default=None)

    def dump(self) -> dict[str, Any]:
        """Everything, as builtins for msgpack; equal worlds give equal dumps."""
        return {
            "schema": _SCHEMA,
            "now_s": self.now_s,
            "tables": {kind: t.dump() for kind, t in self._tables.items()},
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> World:
        """The world of a dump. Raises VmmError for a dump of another schema."""
        if data.get("schema") != _SCHEMA:
            raise VmmError(
                f"world dump has schema {data.get('schema')!r}, this program reads {_SCHEMA}.",
                next_step="start from a snapshot of this version, or from the journal's beginning",
            )
        world = cls(data["now_s"])
        for kind, content in data["tables"].items():
            world.table(kind).fill(content)
        return world


def _time(time_s: float) -> float | None:
    return None if time_s != time_s else time_s


def _type_of(column: str, value: Any) -> str:
    for name, kind in (
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("str", str),
        ("table", list),
        ("dict", dict),
    ):
        if isinstance(value, kind):
            return name
    raise VmmError(
        f"column {column!r}: {value!r} is of no type a table can hold.",
        next_step="report int, float, bool, str, a list of rows or a dict",
    )
