"""A window of a chunk: which of its records may decide something, and the taking in of all others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from vmm.api.bulk.chunk import BEAT, OTHER, REPORT, Chunk
from vmm.api.bulk.lists import EVERY, Lists
from vmm.api.bulk.people import People
from vmm.api.bulk.putting import Putting
from vmm.api.bulk.tokens import Tokens
from vmm.decide.clients import ROLL_CALL_S
from vmm.decide.core import Core
from vmm.decide.facts import STRUCTURAL
from vmm.rules.flow import Flow, Said
from vmm.rules.quiet import Following

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Clients = NDArray[np.int32]
_EARLY_S = 1e-3
_FEW = 256


def structural_of(core: Core, names: Sequence[str]) -> list[tuple[str, str]]:
    """The properties among these that make the picture of the cluster, with their collectors."""
    properties = core.rules.properties
    return [(name, properties[name].command) for name in names if properties[name].command in STRUCTURAL]


class Window:
    """Records `first` to `end` - 1 of the chunk, looked at from the present state on."""

    def __init__(
        self, core: Core, chunk: Chunk, first: int, end: int, people: People, tokens: Tokens,
        names: Sequence[str], lists: Lists, reads: Set[tuple[str, str]],
    ) -> None:  # fmt: skip
        self.core = core
        self.chunk = chunk
        self.first = first
        self.end = end
        self.people = people
        self.tokens = tokens
        self._names = names
        self.unsettled = lists.unsettled()
        low, high = np.searchsorted(chunk.reports, (first, end)).tolist()
        reports = chunk.reports[low:high]
        said = chunk.said
        assert said is not None
        client = said.client[low:high]
        ok = people.ok[client] & (said.session[low:high] == people.session[client])
        ok &= ~said.odd[low:high] & (client >= 0)
        chosen = np.flatnonzero(ok)
        chosen = self._rising(chosen, people.rows["client"][client[chosen]], said.seq[low:high])
        self.flowing: Bools = np.zeros(end - first, np.bool_)
        """The records that are ordinary reports of known clients."""
        self.flowing[reports[chosen] - first] = True
        self._seq = said.seq[low + chosen]
        self.flows = {
            kind: flow
            for kind in ("client", "host", "guest")
            if (flow := self._flow(kind, low + chosen, reports[chosen], client[chosen])) is not None
        }
        self._beats: list[int] = chunk.beats[slice(*np.searchsorted(chunk.beats, (first, end)))].tolist()
        self._beat_clock: list[float] = chunk.clock_s[self._beats].tolist()
        self._structural = structural_of(core, names)
        self.putting = Putting(core, self.flows, tokens, reads, first, end)
        self.putting.listen(people, self._seq, self._structural)
        self._looks: set[int] = set(self._beats)
        self.expiries: set[int] = set()
        """Stops at which readings grow too old."""
        self._stops = self._find_stops()
        self._at = 0
        self._looking = sorted(self._looks)
        self._look_clock: list[float] = chunk.clock_s[self._looking].tolist()

    def _rising(self, chosen: Ints, rows: Ints, seq: Ints) -> Ints:
        """Without reports whose number is not above that of all before it of the same client."""
        if not len(chosen):
            return chosen
        order = np.argsort(rows, kind="stable")
        found, who = seq[chosen][order], rows[order]
        before = np.concatenate((self.people.seqs()[who[:1]], found[:-1]))
        starts = np.concatenate(([True], who[1:] != who[:-1]))
        before[starts] = self.people.seqs()[who[starts]]
        falls = found <= before
        if not falls.any():
            return chosen
        bad = np.isin(rows, who[falls])  # of such a client none is ordinary
        return chosen[~bad]

    def _flow(self, kind: str, places: Ints, records: Ints, client: Clients) -> Flow | None:
        chunk, said = self.chunk, self.chunk.said
        assert said is not None
        rows = self.people.rows[kind][client]
        there = rows >= 0
        if not there.any():
            return None
        if not there.all():
            places, records, rows = places[there], records[there], rows[there]
        found = {}
        for name in self._names:
            if name not in self.core.state.world.table(kind).columns:
                continue
            ids = said.tokens.get(name)
            ids = None if ids is None else ids[places]
            found[name] = Said(said.states[name][places], said.values[name][places], ids)
        return Flow(self.core.state.world.table(kind), records, rows, chunk.clock_s[records], found)

    # -- stops --------------------------------------------------------------------------------------

    def _find_stops(self) -> list[int]:
        """Records that may decide something, rules aside."""
        chunk, first, end = self.chunk, self.first, self.end
        kinds = chunk.kinds[first:end]
        stops = kinds == OTHER
        stops |= (kinds == REPORT) & ~self.flowing
        stops |= chunk.gaps_s[first:end] > self.core.state.settings.resend_s
        for kind in ("client", "host", "guest"):
            self._expiring(kind)
        for record in self.expiries:
            stops[record - first] = True
        self._silent(stops)
        self._structures(stops)
        return (np.flatnonzero(stops) + first).tolist()

    def _expiring(self, kind: str) -> None:
        """The first record after which a reading is too old, for each reading."""
        table, flow = self.core.state.world.table(kind), self.flows.get(kind)
        end_s = float(self.chunk.clock_s[self.end - 1])
        for name, column in table.columns.items():
            if column.max_age_s == np.inf:
                continue
            if flow is None or name not in flow.said:
                if column.oldest_s + column.max_age_s >= end_s:
                    continue
                times = column.times_view()
                due = times + column.max_age_s
                late = due[(due < end_s) & np.array([v is not None for v in column.values], np.bool_)]
            else:
                found = flow.column(name, self.tokens.present)
                clock = flow.element_times_s()
                until = np.concatenate((clock[1:], [end_s]))
                last = np.concatenate((flow.first[1:], [True]))
                until[last] = end_s
                due = found.times_view() + column.max_age_s
                late = due[found.valid & (due < until)]
            if len(late):
                window = self.chunk.clock_s[self.first : self.end]
                at = np.searchsorted(window, np.unique(late), side="right")
                self.expiries.update((at[at < len(window)] + self.first).tolist())

    def _silent(self, stops: Bools) -> None:
        """Beats at which a client has been silent for too long."""
        flow = self.flows.get("client")
        heard, limit = self.people.heard_s(), self.people.limit_s
        end_s = float(self.chunk.clock_s[self.end - 1]) + 1.0
        if flow is None:
            since, rows, until = heard, np.arange(len(heard)), np.full(len(heard), end_s)
        else:
            since = np.concatenate((heard, flow.times_s))[flow.order]
            rows = flow.row
            until = np.concatenate((since[1:], [end_s]))
            until[np.concatenate((flow.first[1:], [True]))] = end_s
        over = np.where(np.isfinite(since), since, 0.0) + limit[rows] - _EARLY_S
        late = np.flatnonzero(over < until)
        beats = self._beats
        for begin_s, stop_s in zip(over[late].tolist(), until[late].tolist(), strict=True):
            at = bisect_left(self._beat_clock, begin_s)
            while at < len(beats) and self._beat_clock[at] <= stop_s:
                stops[beats[at] - self.first] = True
                at += 1

    def _structures(self, stops: Bools) -> None:
        """Reports that change the picture of the cluster, or could."""
        flow = self.flows.get("client")
        if flow is None:
            return
        settled = np.zeros(flow.base, np.bool_)
        for row, client in enumerate(self.people.by_row):
            settled[row] = client is not None and client.role == "dom0" and client.name not in self.unsettled
        if self.unsettled == EVERY:
            settled[:] = False
        for name, _ in self._structural:
            column = flow.column(name, self.tokens.present)
            said = column.touched
            differs = said & (column.changed | ~settled[flow.row])
            stops[flow.records_of(differs) - self.first] = True
            self._looks |= set(flow.records_of(said).tolist())

    def next_stop(self, at: int, end: int) -> int:
        """The first record from `at` on that may decide something; `end` when there is none before."""
        stops = self._stops
        if self._at < len(stops) and stops[self._at] < at:
            self._at = bisect_left(stops, at, self._at)
        return min(end, stops[self._at]) if self._at < len(stops) else end

    def first_after(self, at: int, due_s: float) -> int:
        """The first record from `at` on after which it is `due_s` or later."""
        clock = self.chunk.clock_s[at : self.end]
        return at + int(np.searchsorted(clock, due_s, side="left"))

    def first_look_after(self, at: int, due_s: float) -> int:
        """The first record from `at` on that looks for what is over by then, if it is `due_s` or later."""
        index = max(bisect_left(self._looking, at), bisect_left(self._look_clock, due_s))
        return self._looking[index] if index < len(self._looking) else self.end

    # -- taking in ----------------------------------------------------------------------------------

    def take_in(self, at: int, end: int, following: Following) -> None:
        """Records `at` to `end` - 1 decide nothing: bring the state behind them."""
        state, chunk = self.core.state, self.chunk
        spans = self.putting.spans(at, end)
        self.putting.take_in(spans)
        following.take_in(spans, end)
        low, high = bisect_left(self._beats, at), bisect_left(self._beats, end)
        while True:
            low = bisect_left(self._beat_clock, state.next_roll_call_s, low, high)
            if low >= high:
                break
            state.next_roll_call_s = self._beat_clock[low] + ROLL_CALL_S
        state.position = chunk.first_position + end - 1
        state.now_s = float(chunk.clock_s[end - 1])
        state.world.now_s = max(state.world.now_s, state.now_s)

    def before(self, at: int, following: Following) -> None:
        """Record `at` is fed next."""
        clock_s = self.chunk.clock_s[at]
        state = self.core.state
        following.before(self.putting.spans(at, at + 1))
        if not self.flowing[at - self.first]:
            self.putting.note_heard(at)
        if (
            not (self.flowing[at - self.first] or self.chunk.kinds[at] == BEAT)
            or at in self.expiries
            or self.chunk.gaps_s[at] > state.settings.resend_s
        ):
            following.flush()
            self.putting.catch_up(at)
        else:  # no reading expires here, though what waits to be put has the tables believe it
            for table in state.world.tables():
                if table.expiry_s < clock_s:
                    table.is_young(float(clock_s))
