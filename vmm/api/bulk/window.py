"""A window of a chunk: which of its records may decide something, and the taking in of all others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence, Set

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmm.api.bulk.chunk import BEAT, OTHER, REPORT, Chunk
from vmm.api.bulk.lists import EVERY, Lists
from vmm.api.bulk.people import People
from vmm.api.bulk.putting import Putting
from vmm.api.bulk.tokens import Tokens
from vmm.cluster.columns import Column
from vmm.decide.clients import ROLL_CALL_S
from vmm.decide.core import Core
from vmm.decide.facts import STRUCTURAL
from vmm.rules.flow import ABSENT, KNOWN, TOKEN, Flow, Said
from vmm.rules.quiet import Following

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Clients = NDArray[np.int32]
_EARLY_S = 1e-3


def structural_of(core: Core, names: Sequence[str]) -> list[tuple[str, str]]:
    """The properties among these that make the picture of the cluster, with their collectors."""
    properties = core.rules.properties
    return [(name, properties[name].command) for name in names if properties[name].command in STRUCTURAL]


class Window:
    """Records `first` to `end` - 1 of the chunk, looked at from the present state on.

    It ends early, at what is sure to make a new look necessary.
    """

    def __init__(
        self, core: Core, chunk: Chunk, first: int, end: int, people: People, tokens: Tokens,
        errors: Sequence[bytes], names: Sequence[str], lists: Lists, reads: Set[tuple[str, str]],
    ) -> None:  # fmt: skip
        """`errors` is the decoder's list."""
        self.core = core
        self.chunk = chunk
        self.first = first
        self.end = end
        self.people = people
        self.tokens = tokens
        self._names = names
        self._errors = errors
        self.unsettled = lists.unsettled()
        low, high = np.searchsorted(chunk.reports, (first, end)).tolist()
        reports = chunk.reports[low:high]
        said = chunk.said
        assert said is not None
        client = said.client[low:high]
        ok = people.ok[client] & (said.session[low:high] == people.session[client])
        ok &= ~said.odd[low:high] & (client >= 0) & ~self._tell_of_errors(client, slice(low, high))
        chosen = np.flatnonzero(ok)
        self.flows: dict[str, Flow] = {}
        self._add_flow("client", low + chosen, reports[chosen], client[chosen])
        rising = self._rising(chosen, said.seq[low + chosen])
        if len(rising) < len(chosen):
            chosen = rising
            self._add_flow("client", low + chosen, reports[chosen], client[chosen])
        self.flowing: Bools = np.zeros(end - first, np.bool_)
        """The records that are ordinary reports of known clients."""
        self.flowing[reports[chosen] - first] = True
        self._beats: list[int] = chunk.beats[slice(*np.searchsorted(chunk.beats, (first, end)))].tolist()
        self._beat_clock: list[float] = chunk.clock_s[self._beats].tolist()
        self.expiries: set[int] = set()
        """Stops at which readings grow too old."""
        self.end = self._foreseen_end()
        if self.end < end:
            end = self.end
            chosen = chosen[: np.searchsorted(reports[chosen], end)]
            self.flowing = self.flowing[: end - first]
            self._beats = self._beats[: bisect_left(self._beats, end)]
            self._add_flow("client", low + chosen, reports[chosen], client[chosen])
            self.expiries.clear()
            self._expiring("client", True)
        self._add_flow("host", low + chosen, reports[chosen], client[chosen])
        self._add_flow("guest", low + chosen, reports[chosen], client[chosen])
        self._seq = said.seq[low + chosen]
        self._structural = structural_of(core, names)
        self.putting = Putting(core, self.flows, tokens, reads, first, end)
        self.putting.listen(people.by_row, self._seq, self._structural)
        self._looks: set[int] = set(self._beats)
        self._stops = self._find_stops()
        self._at = 0
        self._looking = sorted(self._looks)
        self._look_clock: list[float] = chunk.clock_s[self._looking].tolist()

    def _tell_of_errors(self, client: Clients, span: slice) -> Bools:
        """The reports of `span` by which the known errors of their clients change: new ones, or fewer."""
        said, known, properties = self.chunk.said, self.people.errors, self.core.rules.properties
        assert said is not None
        out = np.zeros(len(client), np.bool_)
        errors = said.errors[span]
        with_errors = np.flatnonzero(errors)
        codes, places = np.unique(
            client[with_errors].astype(np.int64) * len(self._errors) + errors[with_errors],
            return_inverse=True,
        )
        news = np.zeros(len(codes), np.bool_)
        for index, code in enumerate(codes.tolist()):
            who, number = divmod(code, len(self._errors))
            told, mine = msgspec.msgpack.decode(self._errors[number]), known.get(who, {})
            news[index] = any(mine.get(name) != text for name, text in told.items() if name in properties)
        out[with_errors] = news[places]
        for name in {name for mine in known.values() for name in mine}.intersection(self._names):
            has_it = np.zeros(self.people.known, np.bool_)
            has_it[[who for who, mine in known.items() if name in mine]] = True
            out |= has_it[client] & (said.states[name][span] != ABSENT)
        return out

    def _add_flow(self, kind: str, places: Ints, records: Ints, client: Clients) -> None:
        chunk, said, table = self.chunk, self.chunk.said, self.core.state.world.table(kind)
        assert said is not None
        rows = self.people.rows[kind][client]
        there = rows >= 0
        if not there.all():
            places, records, rows = places[there], records[there], rows[there]
        self.flows.pop(kind, None)
        if len(rows):
            told = {
                name: Said(
                    said.states[name], said.values[name], said.tokens.get(name), places, said.is_plain(name)
                )
                for name in self._names
                if name in table.columns
            }
            self.flows[kind] = Flow(table, records, rows, chunk.clock_s[records], told, self.tokens.present)

    def _rising(self, chosen: Ints, seq: Ints) -> Ints:
        """Without the reports of clients one of whose numbers is not above that before it."""
        flow = self.flows.get("client")
        if flow is None or len(flow.rows) < len(chosen):
            return chosen[:0]  # pragma: no cover (every client that is listened to has a row)
        found = np.concatenate((self.people.seqs(), seq))[flow.order]
        falls = np.flatnonzero((found[1:] <= found[:-1]) & ~flow.first[1:]) + 1
        return chosen if not len(falls) else chosen[~np.isin(flow.rows, flow.row[falls])]

    # -- stops --------------------------------------------------------------------------------------

    def _foreseen_end(self) -> int:
        """Behind the first record at which, as far as can be seen early, one must look anew."""
        end = self.end
        others = (self.chunk.kinds[self.first : end] == REPORT) & ~self.flowing
        if others.any():
            end = self.first + int(np.argmax(others)) + 1
        self._expiring("client", True)
        end = min(end, min(self.expiries, default=end) + 1)
        silences = self._silences()
        if silences:
            call = bisect_left(self._beat_clock, min(silences)[0] + ROLL_CALL_S)
            if call < len(self._beats):
                end = min(end, self._beats[call] + 1)
        return min(end, self.end)

    def _find_stops(self) -> list[int]:
        """Records that may decide something, rules aside."""
        chunk, first, end = self.chunk, self.first, self.end
        kinds = chunk.kinds[first:end]
        stops = kinds == OTHER
        stops |= (kinds == REPORT) & ~self.flowing
        stops |= chunk.gaps_s[first:end] > self.core.state.settings.resend_s
        self._expiring("client", False)  # the simple ones were looked at
        for kind in ("host", "guest"):
            self._expiring(kind, True)
            self._expiring(kind, False)
        for record in self.expiries:
            stops[record - first] = True
        self._silent(stops)
        self._structures(stops)
        return (np.flatnonzero(stops) + first).tolist()

    def _expiring(self, kind: str, simple: bool) -> None:
        """The first record after which a reading is too old, for each reading of the kind's columns: of those
        to which `Flow.spacing` applies, and of which nothing is said (`simple`), or of the others."""
        table, flow = self.core.state.world.table(kind), self.flows.get(kind)
        end_s = float(self.chunk.clock_s[self.end - 1])
        for name, column in table.columns.items():
            if column.max_age_s == np.inf:
                continue
            if flow is None or name not in flow.said:
                if simple and column.oldest_s + column.max_age_s < end_s:
                    self._expire_in_table(column, np.full(len(column.values), end_s))
                continue
            spacing = flow.spacing(name, end_s)
            if spacing is None:
                if not simple:
                    found = flow.column(name)
                    due = found.times_view() + column.max_age_s
                    self._note_expiries(due[found.valid & (due < flow.until_s(end_s))])
            elif simple:
                self._expire_in_table(column, spacing.first_s)
                if spacing.longest_s > column.max_age_s:
                    due = spacing.since_s + column.max_age_s
                    self._note_expiries(due[due < spacing.until_s])

    def _expire_in_table(self, column: Column, until_s: Floats) -> None:
        """What stands in the table, until a report of its row comes."""
        due = column.times_view() + column.max_age_s
        late = np.flatnonzero(due < until_s).tolist()
        if late:
            self._note_expiries(due[[row for row in late if column.values[row] is not None]])

    def _note_expiries(self, due: Floats) -> None:
        if len(due):
            window = self.chunk.clock_s[self.first : self.end]
            at = np.searchsorted(window, np.unique(due), side="right")
            self.expiries.update((at[at < len(window)] + self.first).tolist())

    def _silences(self) -> list[tuple[float, float]]:
        """From when until when a client has been silent for too long, for each time that one is."""
        flow = self.flows.get("client")
        heard, limit = self.people.heard_s(), self.people.limit_s
        end_s = float(self.chunk.clock_s[self.end - 1]) + 1.0
        if flow is None:
            since, rows, until = heard, np.arange(len(heard)), np.full(len(heard), end_s)
        else:
            since = np.concatenate((heard, flow.times_s))[flow.order]
            rows, until = flow.row, flow.until_s(end_s)
        over = np.where(np.isfinite(since), since, 0.0) + limit[rows] - _EARLY_S
        late = np.flatnonzero(over < until)
        return list(zip(over[late].tolist(), until[late].tolist(), strict=True))

    def _silent(self, stops: Bools) -> None:
        """Beats at which a client has been silent for too long."""
        beats = self._beats
        for begin_s, stop_s in self._silences():
            at = bisect_left(self._beat_clock, begin_s)
            while at < len(beats) and self._beat_clock[at] <= stop_s:
                stops[beats[at] - self.first] = True
                at += 1

    def _structures(self, stops: Bools) -> None:
        """Reports that change the picture of the cluster, or could."""
        flow = self.flows.get("client")
        if flow is None:
            return
        for name, command in self._structural:
            said = flow.said[name].states
            told = np.flatnonzero((said == KNOWN) | (said == TOKEN))
            if not len(told):
                continue
            self._looks |= set(flow.records[told].tolist())
            differing = self._differing(name, command, len(told))
            stops[differing - self.first] = True

    def _differing(self, name: str, command: str, told: int) -> Ints:
        """The records of those of the reports that tell something structural which may change the picture."""
        hosts = self.flows.get("host")
        flow = self.flows["client"]
        if hosts is not None and command in ("host_facts", "guests"):
            said = hosts.said[name].told
            if said is not None and len(said) == told:
                flow = hosts  # only hosts tell it, and of them there are fewer
        settled = np.zeros(flow.base, np.bool_)
        if self.unsettled != EVERY:
            for row, client in enumerate(flow.table.row_names[: flow.base]):
                found = self.core.state.clients.get(client or "")
                settled[row] = found is not None and found.role == "dom0" and client not in self.unsettled
        column = flow.column(name)
        return flow.records_of(column.touched & (column.changed | ~settled[flow.row]))

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
        if self.chunk.kinds[at] != REPORT and clock_s >= state.next_roll_call_s:
            self.putting.note_heard(at)
        if (
            not (self.flowing[at - self.first] or self.chunk.kinds[at] == BEAT)
            or at in self.expiries
            or self.chunk.gaps_s[at] > state.settings.resend_s
        ):
            following.flush()
            self.putting.catch_up(at)
            return
        if self.putting.is_overtaken(at):
            self.putting.catch_up(at)
        for table in state.world.tables():  # what waits to be put has them believe that readings expire
            table.is_young(float(clock_s))
