"""Runs a recorded stream past a core and its onlookers: in bulk where nothing is decided, else step by step.

`Core.feed` alone defines what happens. This loop finds the records that decide nothing (window.py, and
vmm/rules/quiet.py for the rules), takes them in by columns, and hands all others to `feed` in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vmm.api.bulk.ahead import Source
from vmm.api.bulk.chunk import Chunk
from vmm.api.bulk.lists import EVERY, Lists
from vmm.api.bulk.people import People
from vmm.api.bulk.reports import ReportDecoder
from vmm.api.bulk.tokens import Tokens
from vmm.api.bulk.window import Window, structural_of
from vmm.decide.core import Core
from vmm.decide.events import Answered, Commanded, Entry, Reported, Ticked
from vmm.decide.outputs import Note, Output
from vmm.decide.rulebook import Rules
from vmm.rules import Engine
from vmm.rules.quiet import Following

_LEAST, _MOST = 512, 32_768
_SHORT = 48
"""So few records are fed one by one: looking at them in bulk takes longer."""
_TOKENS = 50_000


class Run(Protocol):
    """Who looks on."""

    core: Core

    @property
    def engines(self) -> Sequence[Engine]:
        """All engines over the core's world; the core's own among them."""

    def needed(self) -> frozenset[str]:
        """The properties that are stored."""

    def feed(self, entry: Entry) -> list[Output]:
        """One step."""

    def passed(self, count: int) -> None:
        """So many records were taken in that decide nothing."""

    def begins_at(self, times_s: NDArray[np.float64], first: int) -> int:
        """The next record from `first` on that must be fed for other reasons; else their number."""


class BulkRun:
    """Feeds a run with a journal."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.core = run.core
        self.slow = 0
        """Records that went through `feed`."""
        self._rules: Rules | None = None
        self._built: list[object] = []
        self._following: Following | None = None
        self._names: list[str] = []
        self._decoder = ReportDecoder({})
        self._people: People | None = None
        self._tokens: Tokens | None = None
        self._lists: Lists | None = None
        self._source: Source | None = None
        self._size = _LEAST * 4
        self._looks = -1
        self._singly = self._pause = 0
        """Records to feed one by one before the next window; how many it were the last time."""

    def play(self, folder: Path, first: int | None) -> None:
        """From position `first` on. Raises JournalError, BadJournal."""
        source = self._source = Source(folder, first)
        try:
            while (chunk := source.next(self.core.state.now_s)) is not None:
                if source.lost:
                    source.lost, self._rules = False, None
                self._play(chunk)
        finally:
            source.close()

    def _play(self, chunk: Chunk) -> None:
        at = 0
        while at < len(chunk):
            if any(engine.restless for engine in self.run.engines) or not self.core.rules.properties:
                self._feed(chunk, at)
                at += 1
                continue
            begins = self.run.begins_at(chunk.times_s, at)
            end = min(len(chunk), at + (self._singly or self._size), begins)
            if self._singly or end - at <= _SHORT:
                self._singly = 0
                end = max(end, at + 1)
                while at < end:
                    self._feed(chunk, at)
                    at += 1
                continue
            first, at = at, self._window(chunk, at, end)
            if at < end and at - first < 2 * _SHORT:
                # So much is going on (a cluster comes up) that windows do not pay.
                self._pause = self._singly = min(_LEAST, max(_SHORT, 2 * self._pause))
            else:
                self._pause = 0

    def _feed(self, chunk: Chunk, at: int) -> None:
        """One record in the ordinary way, outside of a window."""
        entry = chunk.entry(at)
        self.slow += 1
        self.run.feed(entry)
        self._people = None
        if self._lists is not None and isinstance(entry.event, Reported):
            self._lists.heard.add(entry.event.client)

    def _is_settled(self, before: frozenset[str]) -> bool:
        """Whether no more hosts than `before` must be listened to even where they say the same again.

        Where guests may have changed without a look, the core is not at rest: then all beats and reports
        of hosts are stops.
        """
        assert self._lists is not None
        if self.core.state.looks == self._looks:
            return True
        self._looks = self.core.state.looks
        now = self._lists.unsettled()
        return now == before or (now != EVERY and before != EVERY and now < before)

    # -- a window -----------------------------------------------------------------------------------

    def _window(self, chunk: Chunk, first: int, end: int) -> int:
        """Go through the records until the end, or until something makes it necessary to look anew."""
        self._prepare(chunk)
        following = self._following
        assert following is not None
        assert self._people is not None
        assert self._tokens is not None
        assert self._lists is not None
        people, tokens, lists = self._people, self._tokens, self._lists
        errors = self._decoder.errors
        window = Window(
            self.core, chunk, first, end, people, tokens, errors, self._names, lists, following.reads
        )
        end = window.end
        if not following.begin(window.flows, first, end):
            for at in range(first, min(end, first + _LEAST)):
                self._feed(chunk, at)
            return min(end, first + _LEAST)
        at = first
        while at < end:
            stop = self._next_stop(window, following, at)
            if stop > at:
                window.take_in(at, stop, following)
                self.run.passed(stop - at)
                at = stop
            if at >= end:
                break
            calm = self._step(chunk, window, following, at)
            at += 1
            if not calm:
                following.flush()
                window.putting.catch_up(at)
                if at < end:
                    self._size = max(_LEAST, self._size // 2)
                return at
        following.flush()
        window.putting.catch_up(end)
        self._settle()
        self._size = min(_MOST, self._size * 2)
        return at

    def _next_stop(self, window: Window, following: Following, at: int) -> int:
        stop = window.next_stop(at, window.end)
        stop = following.next_stop(at, stop)
        engines, clock_s = self.run.engines, window.chunk.clock_s
        due_s = min(engine.timers.next_s(but_idle=True) for engine in engines)
        if clock_s[stop - 1 if stop == window.end else stop] >= due_s:
            stop = min(stop, window.first_after(at, due_s))
        rest_s = min(self.core.state.rest_until_s, self.core.state.facts_until_s)
        stop = min(stop, window.first_look_after(at, rest_s))

        def seen_s(due_s: float) -> float | None:
            index = window.first_after(at, due_s)
            return float(clock_s[index]) if index < stop else None

        for engine in engines:
            engine.timers.pass_idle(seen_s)
        return stop

    def _step(self, chunk: Chunk, window: Window, following: Following, at: int) -> bool:
        """One record in the ordinary way; False when the window's picture is not right any more."""
        entry = chunk.entry(at)
        self.slow += 1
        window.before(at, following)
        outputs = self.run.feed(entry)
        following.pass_by(at + 1)
        following.look_again()
        event = entry.event
        flowing = bool(window.flowing[at - window.first])
        if isinstance(event, Reported):
            assert self._lists is not None
            self._lists.heard.add(event.client)
            if flowing:
                self._note_tokens(chunk, at)
        calm = (
            not following.dirty
            and at not in window.expiries
            and (flowing or isinstance(event, Ticked | Answered | Commanded))
            and not any(isinstance(o, Note) and o.kind in ("client", "manager") for o in outputs)
            and self._is_built()
            and not any(engine.restless for engine in self.run.engines)
            and self._is_settled(window.unsettled)
        )
        if not calm:
            self._people = None
        return calm

    # -- what windows need --------------------------------------------------------------------------

    def _prepare(self, chunk: Chunk) -> None:
        """Bring decoder, people and followers up to date."""
        core = self.core
        learnt = max(len(self._decoder.tokens), len(self._decoder.errors))
        if self._rules is not core.rules or learnt > _TOKENS:
            self._rules = core.rules
            needed = self.run.needed()
            types = {name: spec.return_type for name, spec in core.rules.properties.items() if name in needed}
            self._names = sorted(types)
            self._decoder = ReportDecoder(types)
            self._tokens = Tokens(core.state.world, self._decoder.tokens)
            self._lists = Lists(core, structural_of(core, self._names))
            self._people = None
            self._built = []
            chunk.decode(self._decoder)
            if self._source is not None:
                self._source.run_ahead(self._decoder, chunk)
        if chunk.said is None:
            chunk.decode(self._decoder)
        if self._people is None or self._people.known != len(self._decoder.names):
            self._people = People(core, self._decoder.names)
        if not self._is_built():
            if self._following is not None:
                self._following.close()
            self._built = [engine.built for engine in self.run.engines]
            flowing = {kind: frozenset(self._names) for kind in ("client", "host", "guest")}
            self._following = Following(core.state.world, self.run.engines, flowing)

    def _is_built(self) -> bool:
        built = self._built
        engines = self.run.engines
        return len(built) == len(engines) and all(a is e.built for a, e in zip(built, engines, strict=True))

    def _note_tokens(self, chunk: Chunk, at: int) -> None:
        """An ordinary report was stored in the ordinary way: remember what it holds."""
        said, people = chunk.said, self._people
        assert said is not None
        assert people is not None
        assert self._tokens is not None
        index = int(np.searchsorted(chunk.reports, at))
        client = said.client[index]
        for name, column in said.tokens.items():
            if column[index] < 0:
                continue
            for kind, rows in people.rows.items():
                row = int(rows[client])
                if row >= 0 and name in self.core.state.world.table(kind).columns:
                    self._tokens.note(kind, name, row, int(column[index]))

    def _settle(self) -> None:
        """Let rules take note of what was taken in: nothing comes of it."""
        for engine in self.run.engines:
            if engine.restless and engine.step():
                raise AssertionError("a rule fired at records that decide nothing")  # pragma: no cover
