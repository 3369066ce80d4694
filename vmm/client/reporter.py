"""The thread that makes reports: at the properties' ticks, when asked, and of all of them after a connect."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vmm.client.outbox import Outbox
from vmm.client.packing import pack
from vmm.client.schedule import Schedule
from vmm.messages.structs import Query, Report, Value
from vmm.plugins.run import Outcome

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class ReadAll:
    """Asks for a full report (after a connect, or because the Manager does not know us)."""


@dataclass(frozen=True, slots=True)
class Read:
    """A property was read."""

    name: str
    outcome: Outcome


Event = ReadAll | Query | Read


@dataclass(slots=True)
class Batch:
    """Properties that are read together and reported together, unless some keep the others waiting."""

    query: str
    waiting: set[str]
    since_s: float
    values: dict[str, Value] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class Reporter:
    """`tell` from any thread; `run` is the thread. `periods_s` maps each property to its ticks.

    `submit(name)` starts a read that comes back as a `Read`. All properties due at one moment make one
    Report; those not read within `patience_s` follow in a second one. Nothing is read at a tick while there
    is no connection: the next one starts with a full report.
    """

    def __init__(
        self,
        *,
        periods_s: Mapping[str, float],
        submit: Callable[[str], None],
        outbox: Outbox,
        session: int,
        stop: threading.Event,
        clock: Callable[[], float],
        patience_s: float = 1.0,
    ) -> None:
        self._names = list(periods_s)
        self._submit, self._outbox, self._session = submit, outbox, session
        self._stop, self._clock, self._patience_s = stop, clock, patience_s
        self._schedule = Schedule(periods_s, clock())
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._batches: list[Batch] = []
        self._reading: set[str] = set()
        self._wrong: dict[str, str] = {}
        self._seq = 0

    def tell(self, event: Event) -> None:
        self._inbox.put(event)

    def wake(self) -> None:
        """Makes `run` look at the stop event."""
        self._inbox.put(None)

    def run(self) -> None:
        while not self._stop.is_set():
            self.step(self._events(self._wait_s()))

    def step(self, events: Sequence[Event]) -> None:
        """Take what happened, start what is due, send what is complete. One turn of `run`."""
        if any(isinstance(event, ReadAll) for event in events):
            self._open(self._names, "")
        for event in events:
            if isinstance(event, Query):
                self._open(event.names or self._names, event.id)
            elif isinstance(event, Read):
                self._take(event)
        due = self._schedule.due(self._clock())
        # A property that is still being read misses its tick.
        due = [name for name in due if name not in self._reading]
        if due and self._outbox.attached:
            self._open(due, "")
        self._send_ready()

    def _open(self, names: Sequence[str], query: str) -> None:
        known = [name for name in dict.fromkeys(names) if name in self._names]
        batch = Batch(query, set(known), self._clock())
        for name in names:
            if name not in batch.waiting:
                batch.errors[name] = f"[unknown-property] this client has no property {name!r}."
        self._batches.append(batch)
        self._schedule.done(known, self._clock())
        for name in known:
            if name not in self._reading:
                self._reading.add(name)
                self._submit(name)

    def _take(self, read: Read) -> None:
        name, outcome = read.name, read.outcome
        self._reading.discard(name)
        error = self._judge(name, outcome)
        for batch in self._batches:
            if name in batch.waiting:
                batch.waiting.discard(name)
                if error:
                    batch.errors[name] = error
                else:
                    batch.values[name] = outcome.value

    def _judge(self, name: str, outcome: Outcome) -> str:
        """The error, if any. One log line when a property turns bad or good again, not one a tick."""
        before = self._wrong.get(name)
        if outcome.ok:
            if before is not None:
                del self._wrong[name]
                log.info("property %s can be read again", name)
            return ""
        if before is not None and outcome.code == "plugin-busy":
            return before  # it still hangs: the reason stays the one first given
        if before != outcome.error:
            log.warning("property %s cannot be read: %s", name, outcome.error)
            self._wrong[name] = outcome.error
        return outcome.error

    def _send_ready(self) -> None:
        now = self._clock()
        for batch in list(self._batches):
            patient = now - batch.since_s < self._patience_s
            if batch.waiting and (patient or not (batch.values or batch.errors)):
                continue
            for part in pack(batch.values, batch.errors):
                report = Report(self._session, self._seq, part.values, part.errors, batch.query)
                self._outbox.put(report)
                self._seq += 1
            if batch.waiting:
                batch.values, batch.errors, batch.since_s = {}, {}, now
            else:
                self._batches.remove(batch)

    def _wait_s(self) -> float:
        now = self._clock()
        ends = [b.since_s + self._patience_s for b in self._batches if b.values or b.errors]
        next_s = self._schedule.next_s()
        at = min([*ends, now + _LONGEST_WAIT_S if next_s is None else next_s])
        return min(max(at - now, 0.01), _LONGEST_WAIT_S)

    def _events(self, timeout_s: float) -> list[Event]:
        """What happened within the time-out; whatever else waits already comes along."""
        events: list[Event] = []
        try:
            event = self._inbox.get(timeout=timeout_s)
            while True:
                if event is not None:
                    events.append(event)
                event = self._inbox.get_nowait()
        except queue.Empty:
            return events
