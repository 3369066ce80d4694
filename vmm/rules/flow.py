"""What many reports, one after another, do to the columns of one table: every row's values after each.

A flow holds its elements row by row, in each row by time, with the row's present state before them. So the
value before is the neighbour, and one pass of NumPy over all elements evaluates an expression at each moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.columns import Column
from vmm.cluster.tables import Table
from vmm.rules import nodes as n

ABSENT, KNOWN, UNKNOWN, TOKEN = 0, 1, 2, 3
"""What a report says of a property: nothing, a number, that it has no value, something else."""

NO_VALUE, NO_TOKEN = -1, -2
"""Instead of a token's number: the value is unknown; it is known, but not as a token."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Said:
    """What reports say of one property: states, and numbers (NaN where there is none) or token numbers.

    The columns given are of more reports; those at `places` are meant, and picked out when asked for.
    `all_plain`: it is known that each report of the columns says a number.
    """

    def __init__(
        self,
        states: NDArray[np.uint8],
        values: Floats,
        tokens: NDArray[np.int32] | None,
        places: Ints,
        all_plain: bool,
    ) -> None:
        self._of = states, values, tokens
        self._places = places
        self._all_plain = all_plain

    @cached_property
    def plain(self) -> bool:
        """Whether each report says a number."""
        return self._all_plain or bool((self.states == KNOWN).all())

    @cached_property
    def states(self) -> NDArray[np.uint8]:
        return self._of[0][self._places]

    @cached_property
    def values(self) -> Floats:
        return self._of[1][self._places]

    @cached_property
    def tokens(self) -> NDArray[np.int32] | None:
        return None if self._of[2] is None else self._of[2][self._places]

    @cached_property
    def told(self) -> Ints | None:
        """The reports that say a value; None if some say that there is none."""
        if self.plain:
            return np.arange(len(self._places))
        if (self.states == UNKNOWN).any():
            return None
        return np.flatnonzero(self.states)


class Spacing(NamedTuple):
    """When readings of a property are replaced by others: for each row when the first of the flow comes;
    for each of these when it came, and when the next one of its row does; the longest time between."""

    first_s: Floats
    since_s: Floats
    until_s: Floats
    longest_s: float


class Flow:
    """`records` (ascending), `rows` and `times_s` of the reports; `said` what they say of each property.

    `order[i]` is the report of element i; the elements of `first` are the rows' states before all of them.
    `tokens(kind, column)` gives the numbers of the present values of a column that holds no numbers.
    """

    def __init__(
        self,
        table: Table,
        records: Ints,
        rows: Ints,
        times_s: Floats,
        said: Mapping[str, Said],
        tokens: Callable[[str, str], Ints],
    ) -> None:
        self.table = table
        self.records = records
        self.rows = rows
        self.times_s = times_s
        self.said = said
        self.base = base = len(table.row_names)
        keys = np.concatenate((np.arange(base), rows))
        self.order = np.argsort(keys.astype(np.uint16) if base < 65536 else keys, kind="stable")
        self.first: Bools = self.order < base
        self.row: Ints = keys[self.order]
        self.size = len(keys)
        self.numbers = np.arange(self.size)
        self.place = np.empty(len(rows), np.int64)
        """The element of each report."""
        behind = ~self.first
        self.place[self.order[behind] - base] = self.numbers[behind]
        self._tokens = tokens
        self._columns: dict[str, FlowColumn] = {}
        self._starts = {
            name: (list(column.values), column.times_view().copy())
            for name in said
            if (column := table.columns[name]).type in n.NUMERIC
        }
        self._clock: Floats | None = None
        self._until: tuple[float, Floats] | None = None
        self._spacings: dict[str, tuple[float, Spacing]] = {}

    def column(self, name: str) -> FlowColumn:
        """Numbers as against what stood in the table when the flow began, others as against what stands there
        when this is first called."""
        found = self._columns.get(name)
        if found is None:
            column = self.table.columns[name]
            if name in self._starts:
                values, times = self._starts[name]
                start = np.array(values, np.float64)
            else:
                start = self._tokens(self.table.kind, name)[: self.base].astype(np.float64)
                times = column.times_view()[: self.base].copy()
            found = self._columns[name] = FlowColumn(self, column, self.said[name], start, times)
        return found

    def records_of(self, elements: Bools) -> Ints:
        """The records of the chosen elements, ascending."""
        return np.sort(self.records[self.order[np.flatnonzero(elements & ~self.first)] - self.base])

    def element_times_s(self) -> Floats:
        """The stream time of each element; NaN before the reports."""
        if self._clock is None:
            self._clock = np.concatenate((np.full(self.base, np.nan), self.times_s))[self.order]
        return self._clock

    def until_s(self, end_s: float) -> Floats:
        """The stream time of the element behind each, of the same row; `end_s` where there is none."""
        if self._until is None or self._until[0] != end_s:
            until = np.concatenate((self.element_times_s()[1:], [end_s]))
            until[np.concatenate((self.first[1:], [True]))] = end_s
            self._until = end_s, until
        return self._until[1]

    def spacing(self, name: str, end_s: float) -> Spacing | None:
        """Of a property's readings; what none follows counts until `end_s`. None if it is not that simple."""
        said = self.said[name]
        told = said.told
        if told is None:
            return None
        key = "" if said.plain else name
        if key not in self._spacings or self._spacings[key][0] != end_s:
            self._spacings[key] = end_s, self._spaced(told, end_s)
        return self._spacings[key][1]

    def _spaced(self, told: Ints, end_s: float) -> Spacing:
        rows, since_s = self.rows[told], self.times_s[told]
        order = np.argsort(rows.astype(np.uint16) if self.base < 65536 else rows, kind="stable")
        rows, since_s = rows[order], since_s[order]
        until_s = np.concatenate((since_s[1:], [end_s]))
        starts = np.concatenate(([True], rows[1:] != rows[:-1])) if len(rows) else np.zeros(0, np.bool_)
        until_s[:-1][starts[1:]] = end_s
        first_s = np.full(self.base, end_s)
        first_s[rows[starts]] = since_s[starts]
        return Spacing(
            first_s, since_s, until_s[: len(rows)], float((until_s[: len(rows)] - since_s).max(initial=0.0))
        )


class FlowColumn:
    """A column at every element. It has what the array evaluators want of a `Column`.

    `start` and `times_s` are the rows' values before all reports, numbers or tokens, and when they were read.
    """

    def __init__(self, flow: Flow, column: Column, said: Said, start: Floats, times_s: Floats) -> None:
        self.flow = flow
        self.column = column
        self.type = column.type
        self.numeric = column.type in n.NUMERIC
        self._states: NDArray[np.uint8] | None = None
        self._latest: Ints | None = None
        if not said.plain:
            self._states = np.concatenate((np.full(flow.base, KNOWN, np.uint8), said.states))[flow.order]
            absent = self._states == ABSENT
            if absent.any():
                self._latest = np.maximum.accumulate(np.where(absent, 0, flow.numbers))
        self._start_s = times_s
        self._times: Floats | None = None
        if self.numeric:
            self.values: Floats = self._filled(np.concatenate((start, said.values)))
            self.valid: Bools = self.values == self.values
        else:
            ids: NDArray[np.integer] = np.full(len(said.states), NO_VALUE)
            if said.tokens is not None:
                ids = said.tokens
            self.values = self._filled(np.concatenate((start, ids)))
            self.valid = self.values != NO_VALUE
        self.all_valid = bool(self.valid.all())
        changed = self.values[1:] != self.values[:-1]
        if not self.all_valid:
            changed &= self.valid[1:] | self.valid[:-1]
        self.changed: Bools = np.concatenate((np.zeros(1, np.bool_), changed))
        """Whether the value differs from the one before (an unknown token differs from every other)."""
        self.changed[flow.first] = False
        if self.numeric and self.type == "float" and (self.values == 0.0).any():
            # A zero that replaces a zero of the other sign is no change: the old one stays.
            kept = np.maximum.accumulate(np.where(self.changed | flow.first, flow.numbers, 0))
            self.values = self.values[kept]

    def _filled(self, values: Floats) -> Floats:
        values = values[self.flow.order]
        return values if self._latest is None else values[self._latest]

    @property
    def largest(self) -> float:
        return float(np.nanmax(np.abs(self.values), initial=0.0))

    @property
    def unknown(self) -> bool:
        return not self.all_valid

    @property
    def touched(self) -> Bools:
        """Where a value was set: also the same one again."""
        out: Bools = ~self.flow.first
        return out if self._states is None else out & ((self._states == KNOWN) | (self._states == TOKEN))

    def view(self) -> tuple[NDArray[np.generic], Bools]:
        """As Column.view: unknown values are 0."""
        values = self.values if self.all_valid else np.where(self.valid, self.values, 0.0)
        return (values != 0.0 if self.type == "bool" else values), self.valid

    def times_view(self) -> Floats:
        """As Column.times_view: when the value was last read."""
        if self._times is None:
            flow = self.flow
            times = np.concatenate((self._start_s, flow.times_s))[flow.order]
            read = self.touched | flow.first
            if not read.all():
                times = times[np.maximum.accumulate(np.where(read, flow.numbers, 0))]
            self._times = times
        return self._times


class FlowTable:
    """Stands for a `Table` towards the array evaluators: its rows are the elements of the present flow."""

    def __init__(self, table: Table, flowing: Callable[[str], bool]) -> None:
        self.table = table
        self.kind = table.kind
        self.flowing = flowing
        """Which columns reports change; all others stay as they are within a flow."""
        self.free: tuple[int, ...] = ()
        self.flow: Flow | None = None
        self.columns = _Columns(self)
        self.row_names = _Elements(self)


class _Elements:
    """Of the right length."""

    def __init__(self, table: FlowTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return 0 if self._table.flow is None else self._table.flow.size


class _Columns:
    def __init__(self, table: FlowTable) -> None:
        self._table = table

    def __getitem__(self, name: str) -> FlowColumn | Column:
        flow = self._table.flow
        return self._table.table.columns[name] if flow is None else flow.column(name)
