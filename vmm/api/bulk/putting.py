"""Puts what reports say into the tables: at once where a rule reads it, else when a window ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from vmm.api.bulk.tokens import Tokens
from vmm.cluster.bulk import put, put_numbers
from vmm.cluster.columns import Column
from vmm.cluster.model import Client, Host
from vmm.decide.core import Core
from vmm.rules import nodes as n
from vmm.rules.flow import ABSENT, KNOWN, TOKEN, UNKNOWN, Flow, Said
from vmm.rules.taking import last_of_each

Ints = NDArray[np.int64]
_TYPES = {"float": float, "int": int, "bool": bool}


class Putting:
    """One window's reports. `reads` are the columns (kind, name) that rules read, `structural` the
    properties that make the picture of the cluster, with their collectors."""

    def __init__(
        self, core: Core, flows: Mapping[str, Flow], tokens: Tokens, reads: Set[tuple[str, str]],
        first: int, end: int,
    ) -> None:  # fmt: skip
        self._core = core
        self._flows = flows
        self._tokens = tokens
        self._first = self._put_to = first
        self._before: dict[str, Ints] = {}
        """How many reports of each flow come before each record, and before the end."""
        self._read: list[tuple[str, str]] = []
        self._unread: list[tuple[str, str]] = []
        self._arrivals: dict[str, tuple[int, list[int]]] = {}
        for kind, flow in flows.items():
            before = np.zeros(end - first + 1, np.int64)
            before[flow.records - first + 1] = 1
            self._before[kind] = np.cumsum(before)
            self._arrivals[kind] = flow.table.edition, list(flow.table.arrivals)
            for name in flow.said:
                is_read = (kind, name) in reads
                (self._read if is_read else self._unread).append((kind, name))
        self._plain: dict[str, list[_Plain]] = {}
        self._texts: dict[str, list[str]] = {}
        self._heard_to = 0
        self._by_row: list[Client | None] = []
        self._seqs: Ints = np.zeros(0, np.int64)
        self._hosts: list[Host | None] = []
        self._seen: list[tuple[str, NDArray[np.bool_] | None]] = []
        """What hosts tell of, and the reports that do if not all of them do."""

    def listen(self, by_row: list[Client | None], seqs: Ints, structural: list[tuple[str, str]]) -> None:
        """Prepare to note who was heard, and when. `by_row` are the clients by their table's rows."""
        self._by_row, self._seqs = by_row, seqs
        flow = self._flows.get("host")
        if flow is None:
            return
        hosts = self._core.state.hosts
        self._hosts = [hosts.get(name or "") for name in flow.table.row_names]
        for name, command in structural:
            if command in ("host_facts", "guests"):
                said = flow.said[name].states
                told = (said == KNOWN) | (said == TOKEN)
                if told.any():
                    field = "seen_s" if command == "host_facts" else "guests_seen_s"
                    self._seen.append((field, None if told.all() else told))

    def spans(self, at: int, end: int) -> dict[str, slice]:
        """The reports of records `at` to `end` - 1 in each flow that has any."""
        out = {}
        at, end = at - self._first, end - self._first
        for kind, before in self._before.items():
            low, high = int(before[at]), int(before[end])
            if low < high:
                out[kind] = slice(low, high)
        return out

    def take_in(self, spans: Mapping[str, slice]) -> None:
        """What may be looked at before the window ends: columns that are read, and which hosts were seen."""
        for kind, span in spans.items():
            flow = self._flows[kind]
            if kind not in self._plain:
                self._sort_out(kind, flow)
            rows, times = flow.rows[span], flow.times_s[span]
            places = rows.tolist()
            for plain in self._plain[kind]:
                plain.put(span, rows, places, times)
            if kind == "host":
                self._note_seen(span, places, times.tolist())
        self._put_last(self._read, spans)

    def _note_seen(self, span: slice, rows: list[int], times: list[float]) -> None:
        """These hosts have told what they offer, or their guests."""
        hosts = self._hosts
        for field, told in self._seen:
            is_told = repeat(True) if told is None else told[span].tolist()
            for row, time_s, tells in zip(rows, times, is_told, strict=False):
                host = hosts[row]
                if tells and host is not None:
                    setattr(host, field, time_s)

    def _sort_out(self, kind: str, flow: Flow) -> None:
        """Which of its columns are plain."""
        mine = [name for of, name in self._read if of == kind]
        plain = {name for name in mine if _is_plain(flow, name)}
        self._plain[kind] = [_Plain(flow, name) for name in sorted(plain)]
        self._read = [key for key in self._read if key[0] != kind or key[1] not in plain]

    def note_heard(self, end: int) -> None:
        """Who was heard before record `end`, and when: beats look for clients that are silent."""
        flow = self._flows.get("client")
        if flow is None:
            return
        span = slice(self._heard_to, int(self._before["client"][end - self._first]))
        self._heard_to, by_row = span.stop, self._by_row
        last = last_of_each(flow.rows[span], np.arange(span.start, span.stop), flow.base)
        rows, seqs, times = flow.rows[last].tolist(), self._seqs[last].tolist(), flow.times_s[last].tolist()
        for row, seq, time_s in zip(rows, seqs, times, strict=True):
            client = by_row[row]
            if client is not None:
                client.seq, client.heard_s = seq, time_s

    def catch_up(self, end: int) -> None:
        """All the rest of the reports before record `end`, also of those that were fed one by one."""
        self.note_heard(end)
        if end > self._put_to:
            spans = self.spans(self._put_to, end)
            self._put_last(self._unread, spans)
            self._put_to = end

    def is_overtaken(self, at: int) -> bool:
        """Whether something waits of the subjects of the report `at` that is other than what stands in the
        tables, numbers aside: whether the report changes it is to be seen against the former."""
        for kind, span in self.spans(at, at + 1).items():
            flow, report = self._flows[kind], span.start
            row = int(flow.rows[report])
            for name in self._waiting(kind):
                said = flow.said[name]
                element = int(flow.place[report]) - 1
                while not flow.first[element]:
                    before = int(flow.order[element]) - flow.base
                    if flow.records[before] < self._put_to:
                        break
                    if said.states[before] != ABSENT:
                        if said.states[before] == UNKNOWN:
                            return True
                        assert said.tokens is not None
                        if said.tokens[before] != self._tokens.of(kind, name, row):
                            return True
                        break
                    element -= 1
        return False

    def _waiting(self, kind: str) -> list[str]:
        """The columns that wait and hold no numbers, where something is said of them at all."""
        if kind not in self._texts:
            flow = self._flows[kind]
            self._texts[kind] = [
                name
                for of, name in self._unread
                if of == kind
                and flow.table.columns[name].type not in n.NUMERIC
                and flow.said[name].states.any()
            ]
        return self._texts[kind]

    def _put_last(self, columns: list[tuple[str, str]], spans: Mapping[str, slice]) -> None:
        """What the last report of each subject that says it says of each of the columns."""
        last: dict[str, Ints] = {}
        for kind, name in columns:
            if kind not in spans:
                continue
            flow, span = self._flows[kind], spans[kind]
            if kind not in last:
                last[kind] = self._last(flow, np.arange(span.start, span.stop))
            self._put(flow, name, span, last[kind])

    def _last(self, flow: Flow, reports: Ints) -> Ints:
        """The last of the reports of each row that still belongs to whom it belonged to."""
        reports = last_of_each(flow.rows[reports], reports, flow.base)
        table = flow.table
        edition, before = self._arrivals[table.kind]
        if table.edition == edition:
            return reports
        now, names = table.arrivals, table.row_names
        same = [names[row] is not None and before[row] == now[row] for row in flow.rows[reports].tolist()]
        return reports[np.array(same, np.bool_)]

    def _put(self, flow: Flow, name: str, span: slice, last: Ints) -> None:
        """`last` are the last reports of the span, whatever they say."""
        said, column = flow.said[name], flow.table.columns[name]
        numeric = column.type in n.NUMERIC
        if not said.plain and not said.states[span].any():
            return
        told = said.told
        if told is not None:
            if not said.plain:
                low, high = np.searchsorted(told, (span.start, span.stop)).tolist()
                last = self._last(flow, told[low:high])
            rows, times = flow.rows[last], flow.times_s[last]
            if not numeric:
                assert said.tokens is not None
                alike = partial(self._first_alike, flow, said, last)
                self._put_tokens(flow, column, rows, said.tokens[last].astype(np.int64), times, alike)
                return
            values = said.values[last]
            if not (values == 0.0).any():  # it may have another sign than the zero that stays
                put_numbers(flow.table, column, rows, values, times)
                return
        found = flow.column(name)
        elements = flow.place[last]
        rows, values, times = flow.rows[last], found.values[elements], found.times_view()[elements]
        if numeric:
            put_numbers(flow.table, column, rows, values, times)
        else:
            self._put_tokens(flow, column, rows, values.astype(np.int64), times, None)

    def _first_alike(self, flow: Flow, said: Said, last: Ints, place: int) -> int:
        """The token of the first of those reports of the row before `last[place]` that say an equal value."""
        assert said.tokens is not None
        token = int(said.tokens[last[place]])
        element = int(flow.place[last[place]]) - 1
        while not flow.first[element]:
            before = int(flow.order[element]) - flow.base
            if flow.records[before] < self._put_to:
                break
            if said.states[before] != ABSENT:
                other = int(said.tokens[before])
                if other != token and self._tokens.value(other) != self._tokens.value(token):
                    break
                token = other
            element -= 1
        return token

    def _put_tokens(
        self, flow: Flow, column: Column, rows: Ints, ids: Ints, times: NDArray[np.float64],
        first_alike: Callable[[int], int] | None,
    ) -> None:  # fmt: skip
        column.times_view()[rows] = times
        known = times == times
        if column.max_age_s != np.inf and known.any():
            flow.table.note_age(column, float(times[known].min()))
        other, values = self._tokens.put(flow.table.kind, column.name, rows, ids, first_alike)
        if values:
            put(flow.table, column, rows[other], values, times[other])


class _Plain:
    """A column of numbers that every report of the window tells: they are put one after another."""

    def __init__(self, flow: Flow, name: str) -> None:
        found = flow.column(name)
        self._table = flow.table
        self._column = found.column
        self._values = found.values[flow.place]
        self._type = _TYPES[found.type]

    def put(self, span: slice, rows: Ints, places: list[int], times: NDArray[np.float64]) -> None:
        """The reports of `span`, of the subjects in `rows` (`places`: the same as a list)."""
        column = self._column
        stored, values = column.values, self._values[span].tolist()
        if self._type is not float:
            values = list(map(self._type, values))
        if column.unknown:
            for row, value in zip(places, values, strict=True):
                if stored[row] is None:
                    column.unknown -= 1
                stored[row] = value
        else:
            for row, value in zip(places, values, strict=True):
                stored[row] = value
        column.times_view()[rows] = times
        if column.max_age_s != np.inf:
            self._table.note_age(column, float(times[0]))
        column.outdate_all(places)


def _is_plain(flow: Flow, name: str) -> bool:
    return flow.table.columns[name].type in n.NUMERIC and flow.said[name].plain
