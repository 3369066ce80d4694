"""TriggerWatch: feeds the ordered events to the core, and is the Manager's only source of time (beats)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from vmm.decide.core import Core
from vmm.decide.events import Entry
from vmm.decide.outputs import Note, Output
from vmm.journal import Journal, JournalError
from vmm.manager.picture import Picture, picture_of
from vmm.manager.sender import Outgoing, Pulse
from vmm.messages.structs import Beat

log = logging.getLogger("vmm.manager.decisions")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
SNAPSHOT_EVENTS = 20_000
_PICTURE_INTERVAL_S = 0.5


class TriggerWatch:
    """Owns the core. `picture` is the latest immutable snapshot for readers (API, view)."""

    def __init__(
        self,
        core: Core,
        inbox: queue.SimpleQueue[list[Entry]],
        outbox: queue.SimpleQueue[Outgoing | None],
        journal: Journal,
        stop: threading.Event,
        *,
        manager: str,
        tick_s: float,
        beat_s: float,
        on_notes: Callable[[list[Note]], None] | None = None,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core, self._inbox, self._outbox, self._journal, self._stop = core, inbox, outbox, journal, stop
        self._manager, self._tick_s, self._beat_s = manager, tick_s, beat_s
        self._on_notes, self._wall_clock, self._clock = on_notes, wall_clock, clock
        self._snapshot_at = core.state.position
        self._pictured_s = -1.0
        self.picture: Picture = picture_of(core)

    def run(self) -> None:
        """Until stopped: decide what arrives, beat every `tick_s`. After a stall beats are not made up."""
        next_tick_s = next_beat_s = self._clock()
        while not self._stop.is_set():
            now_s = self._clock()
            if now_s >= next_tick_s:
                everybody = now_s >= next_beat_s
                self._outbox.put(Pulse(self._beat(), everybody))
                next_tick_s = max(next_tick_s + self._tick_s, now_s)
                if everybody:
                    next_beat_s = max(next_beat_s + self._beat_s, now_s)
            try:
                entries = self._inbox.get(timeout=max(0.0, min(next_tick_s - self._clock(), 0.25)))
            except queue.Empty:
                continue
            self.take(entries)

    def take(self, entries: list[Entry]) -> None:
        """Decide a batch and pass on what came out."""
        for entry in entries:
            self._publish(self._core.feed(entry))
        if self._core.state.position - self._snapshot_at >= SNAPSHOT_EVENTS:
            self.save()
        now_s = self._clock()
        if now_s - self._pictured_s >= _PICTURE_INTERVAL_S:
            self._pictured_s = now_s
            self.picture = picture_of(self._core)

    def save(self) -> None:
        """A snapshot of the state, so that the next start reads little of the journal."""
        position = self._core.state.position
        if position == self._snapshot_at:
            return
        try:
            self._journal.write_snapshot(position, self._core.snapshot())
        except (JournalError, OSError) as exc:
            log.error("no snapshot at position %d: %s", position, exc)
            return
        self._snapshot_at = position

    def _publish(self, outputs: list[Output]) -> None:
        notes = []
        for output in outputs:
            if isinstance(output, Note):
                notes.append(output)
                shadow = "would: " if output.shadow else ""
                log.log(
                    _LEVELS.get(output.level, logging.INFO),
                    "%s%s %s: %s",
                    shadow,
                    output.kind,
                    output.subject,
                    output.text,
                )
            else:
                self._outbox.put(output)
        if notes and self._on_notes is not None:
            self._on_notes(notes)

    def _beat(self) -> Beat:
        state = self._core.state
        epoch = f"{state.epoch}.{state.starts}"
        return Beat(self._wall_clock(), self._manager, epoch, state.position, state.digest.hex())
