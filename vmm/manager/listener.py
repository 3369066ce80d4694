"""Listener: reads the bus, verifies, writes the journal, and hands the ordered events to TriggerWatch.

It always reads promptly, because Spread throws out whoever does not; deciding is another thread's work. It
is the only writer of the journal, and nothing reaches a decision that is not in the journal before.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import msgspec

from vmm.decide.events import (
    Answered,
    BusChanged,
    Commanded,
    Entry,
    Event,
    Greeted,
    Reported,
    Ticked,
    Viewed,
    Wished,
    encode_event,
    tag_of,
)
from vmm.errors import BadMessage
from vmm.journal import Journal, JournalError, JournalFull
from vmm.manager.errors import SecondManager
from vmm.manager.line import Line
from vmm.manager.trust import Trust
from vmm.messages.bus import MANAGERS, Bus, BusLost, Data, NameTaken, View, all_shards
from vmm.messages.guest import life_of
from vmm.messages.structs import Beat, Command, Hello, Intent, Message, Report, Result

log = logging.getLogger("vmm.manager.listener")

BATCH = 256
_POLL_S = 0.25
_NAME_TRIES_S = 3.0
_FULL_WAIT_S = 2.0
_FULL_LOG_INTERVAL_S = 60.0
_BAD_LOG_INTERVAL_S = 10.0


@dataclass(slots=True)
class Intake:
    """What the Listener counts for people."""

    messages: int = 0
    refused: int = 0
    events: int = 0


class Listener:
    """`connect` opens a bus connection; `now_s` is the stream time to go on from."""

    def __init__(
        self,
        connect: Callable[[], Bus],
        line: Line,
        journal: Journal,
        trust: Trust,
        inbox: queue.SimpleQueue[list[Entry]],
        stop: threading.Event,
        *,
        shards: int,
        now_s: float,
        reconnect_max_s: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._wall_clock = wall_clock
        self._connect, self._line, self._journal, self._trust = connect, line, journal, trust
        self._inbox, self._stop, self._shards = inbox, stop, shards
        self._now_s, self._reconnect_max_s, self._clock = now_s, reconnect_max_s, clock
        self._bad: dict[str, float] = {}
        self._led_before = False
        self._loss_told, self._say_again_s = False, -inf
        self.intake = Intake()
        self.ready = threading.Event()

    def run(self) -> None:
        """Until stopped. Raises SecondManager when another one leads."""
        delay_s = 0.1
        first_try_s = self._clock()
        lost: BusChanged | None = None
        while not self._stop.is_set():
            if lost is not None and not self._record_loss(lost):
                continue
            lost = None
            try:
                bus = self._connect()
            except NameTaken as exc:
                # Our own dead session may linger for a moment; somebody else's stays.
                if self._clock() - first_try_s > _NAME_TRIES_S and not self._led_before:
                    raise SecondManager(
                        "another Manager is connected under this name.",
                        next_step="stop the other one, or this one: one Manager leads",
                    ) from exc
                self._stop.wait(0.3)
                continue
            except BusLost as exc:
                log.warning("%s (trying again in %.1f s)", exc, delay_s)
                self._stop.wait(delay_s * random.uniform(0.8, 1.2))
                delay_s = min(delay_s * 2, self._reconnect_max_s)
                continue
            delay_s = 0.1
            try:
                self._serve(bus)
            except BusLost as exc:
                self._line.closed()
                log.warning("%s", exc)
                lost = BusChanged(False, exc.message)
            finally:
                self._line.closed()

    def _serve(self, bus: Bus) -> None:
        """One connection, from joining the groups to its end."""
        bus.join(MANAGERS)
        self._await_lead(bus)
        for shard in all_shards(self._shards):
            bus.join(shard)
        self._line.opened(bus)
        self._store([BusChanged(True, bus.address)])
        self._led_before = True
        self.ready.set()
        log.info("connected as %s, leading", bus.address)
        while not self._stop.is_set():
            events = self._receive(bus)
            if events:
                self._store(events)

    def _await_lead(self, bus: Bus) -> None:
        """The first in the ordered view of the managers' group leads; today a second one steps back."""
        deadline_s = self._clock() + 10.0
        while self._clock() < deadline_s and not self._stop.is_set():
            message = bus.receive(_POLL_S)
            if isinstance(message, View) and message.group == MANAGERS:
                others = [member for member in message.members if member != bus.address]
                if not others:
                    return
                bus.close()
                raise SecondManager(
                    f"a Manager leads already ({others[0]}).",
                    next_step="stop the other one, or this one: one Manager leads",
                )
        raise BusLost("the daemon did not confirm our membership in 10 s.")

    def _receive(self, bus: Bus) -> list[Event]:
        """What is there now, up to a batch: one journal write serves all of it."""
        events: list[Event] = []
        message = bus.receive(_POLL_S)
        while message is not None:
            event = self._event(message)
            if event is not None:
                events.append(event)
            if len(events) >= BATCH:
                break
            message = bus.receive(0.0)
        return events

    def _event(self, message: Data | View) -> Event | None:
        if isinstance(message, View):
            return Viewed(message.group, list(message.members), message.cause, list(message.who))
        self.intake.messages += 1
        try:
            sender, content = self._trust.open(message.kind, message.body)
        except BadMessage as exc:
            self.intake.refused += 1
            self._complain(message.sender, exc)
            return None
        return _as_event(sender, message.sender, content)

    def _store(self, events: list[Event]) -> None:
        """Journal, then hand over. A full disk stops acting until there is room: what cannot be recorded
        is not acted on, and the connection is given up so that nothing is missed silently."""
        try:
            self._commit(events)
        except JournalError as exc:
            self._line.closed()
            raise BusLost(f"the journal cannot be written: {exc.message}") from exc

    def _record_loss(self, lost: BusChanged) -> bool:
        """Before connecting again; False while the journal cannot be written (then some time has passed).

        On a full disk the loss goes where room was set aside for it, once; then it is waited until as much
        room is there again, so that the record that follows is not the last one.
        """
        try:
            if not self._loss_told:
                self._commit([lost])
            elif not self._journal.restore_reserve():
                raise JournalError("the disk is still full.", next_step="make room, or add retention")
        except JournalError as exc:
            if isinstance(exc, JournalFull) and not self._loss_told:
                self._tell_loss(lost)
            now_s = self._clock()
            if now_s >= self._say_again_s:
                log.error("nothing is decided while the journal cannot be written: %s", exc)
                self._say_again_s = now_s + _FULL_LOG_INTERVAL_S
            self._stop.wait(_FULL_WAIT_S)
            return False
        self._loss_told, self._say_again_s = False, -inf
        return True

    def _tell_loss(self, lost: BusChanged) -> None:
        with contextlib.suppress(JournalError):  # the reserve was not there; the log has it
            self._commit([lost], urgent=True)
            self._loss_told = True

    def _commit(self, events: list[Event], *, urgent: bool = False) -> None:
        rows, times = [], []
        now_s = self._now_s
        for event in events:
            if isinstance(event, Ticked):
                now_s = max(now_s, event.beat.time_s)
            elif isinstance(event, BusChanged) and event.up:
                now_s = max(now_s, self._wall_clock())
            times.append(now_s)
            rows.append((now_s, tag_of(event), encode_event(event)))
        positions = self._journal.commit(rows, urgent=urgent)
        self._now_s = now_s
        self.intake.events += len(events)
        self._inbox.put([Entry(p, t, e) for p, t, e in zip(positions, times, events, strict=True)])

    def store_first(self, event: Event) -> None:
        """Before the thread runs: the start itself, at the present time: what is decided before the first
        beat must not be late already. Raises JournalError."""
        self._now_s = max(self._now_s, self._wall_clock())
        positions = self._journal.commit([(self._now_s, tag_of(event), encode_event(event))])
        self._inbox.put([Entry(positions[0], self._now_s, event)])

    def _complain(self, address: str, exc: BadMessage) -> None:
        """Log what was refused, but not a flood of it."""
        now_s = self._clock()
        if now_s - self._bad.get(address, -_BAD_LOG_INTERVAL_S) >= _BAD_LOG_INTERVAL_S:
            if len(self._bad) > 1000:
                self._bad.clear()
            self._bad[address] = now_s
            log.warning("refused a message from %s: %s", address, exc)


def _as_event(sender: str, address: str, message: Message) -> Event | None:
    match message:
        case Report():
            return Reported(sender, message)
        case Beat():
            return Ticked(message)
        case Result():
            return Answered(sender, message)
        case Hello():
            # Which life of a guest it speaks for is everybody's business, the rest of its token nobody's.
            life = life_of(message.token)
            return Greeted(address, msgspec.structs.replace(message, token=f"{life}." if life else ""))
        case Command():
            return Commanded(without_secrets(message))
        case Intent():
            return Wished(message)
    return None


def without_secrets(command: Command) -> Command:
    """The command as the journal keeps it: a guest's token is nobody's business."""
    guest = command.args.get("guest")
    if not isinstance(guest, dict) or "identity" not in guest:
        return command
    identity = {word: value for word, value in guest["identity"].items() if word != "token"}
    args = {**command.args, "guest": {**guest, "identity": identity}}
    return msgspec.structs.replace(command, args=args)
