"""The thread that owns the connection: connect, listen, hand on, notice silence, connect again."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from vmm.client.complaints import Complaints
from vmm.client.link import Backoff, BeatKind, Link
from vmm.client.outbox import Outbox
from vmm.errors import BadMessage
from vmm.messages.bus import Bus, BusLost, Data, NameTaken
from vmm.messages.codec import open_sealed
from vmm.messages.structs import Beat, Command, Hello, Kind, Query

log = logging.getLogger(__name__)

_HELD_COMMANDS = 100
_FROM_MANAGER = (Kind.QUERY, Kind.COMMAND, Kind.BEAT)
_HELLO_QUERY = "hello:"
"""A query with this and a client's name as its id: the Manager wants that client to introduce itself."""
_SPREAD_HELLO_S = 1.0
"""A new Manager hears thousands of clients at once; each waits a random part of this first."""


class Hooks:
    """Where received things go. All are called in the Receiver's thread and must not block."""

    def __init__(
        self,
        hello: Callable[[], Hello],
        report_all: Callable[[], None],
        query: Callable[[Query], None],
        command: Callable[[Command, float], None],
    ) -> None:
        self.hello, self.report_all, self.query, self.command = hello, report_all, query, command


class Receiver:
    """`open_bus` makes a connection (raises BusLost, NameTaken). Times are of the monotonic `clock`.

    A name that is taken ends the client, but not at once: our own last connection may linger at the
    daemon until TCP gives it up (its repeats are up to two minutes apart). So it is tried for
    `first_grace_s` at the start, `later_grace_s` after a connection of our own.
    """

    def __init__(
        self,
        open_bus: Callable[[], Bus],
        *,
        name: str,
        shard: str,
        manager_key: bytes,
        link: Link,
        outbox: Outbox,
        hooks: Hooks,
        complaints: Complaints,
        stop: threading.Event,
        clock: Callable[[], float],
        random: Callable[[], float],
        reconnect_max_s: float,
        poll_s: float = 0.2,
        first_grace_s: float = 3.0,
        later_grace_s: float = 300.0,
    ) -> None:
        self._open_bus, self._name, self._shard, self._manager_key = open_bus, name, shard, manager_key
        self._link, self._outbox, self._hooks, self._complaints = link, outbox, hooks, complaints
        self._stop, self._clock, self._random = stop, clock, random
        self._poll_s = poll_s
        self._backoff = Backoff(0.2, reconnect_max_s, random)
        self._grace_s, self._later_grace_s = first_grace_s, later_grace_s
        self._held: deque[Command] = deque()
        self._hello_at_s: float | None = None
        self.hang_up = threading.Event()
        self.connections = 0

    def run(self) -> None:
        while not self._stop.is_set():
            bus = self._connect()
            if bus is None:
                return
            try:
                self._serve(bus)
            except BusLost as exc:
                log.warning("%s Connecting again.", exc)
            finally:
                self._outbox.detach()
                bus.close()
            self._stop.wait(self._backoff.next_s())

    def _connect(self) -> Bus | None:
        taken_since_s: float | None = None
        said = ""
        while not self._stop.is_set():
            try:
                return self._open_bus()
            except NameTaken as exc:
                now = self._clock()
                taken_since_s = now if taken_since_s is None else taken_since_s
                if now - taken_since_s >= self._grace_s:
                    raise
                wait_s, text = min(self._grace_s / 3, 1.0), f"{exc.message} Trying again."
            except BusLost as exc:
                taken_since_s = None
                wait_s, text = self._backoff.next_s(), str(exc)
            if text != said:
                log.warning("%s", text)
                said = text
            self._stop.wait(wait_s)
        return None

    def _serve(self, bus: Bus) -> None:
        bus.join(self._shard)
        self.connections += 1
        self._grace_s = self._later_grace_s
        self._link.connected(self._clock())
        self._hello_at_s = None
        self._outbox.attach(bus, self._hooks.hello())
        self._hooks.report_all()
        log.info("connected as %s, in %s", bus.address, self._shard)
        while not self._stop.is_set():
            data = bus.receive(self._poll_s)
            if isinstance(data, Data):
                self._message(data)
            self._introduce_again()
            self._check_silence()
            if not self._outbox.attached:
                raise BusLost("the connection broke while sending.")
        self.hang_up.wait(2.0)  # the Sender still needs the connection

    def _message(self, data: Data) -> None:
        if data.kind not in _FROM_MANAGER:
            self._complaints.say(
                f"kind {data.kind}", f"a message of kind {data.kind} from {data.sender} is not for clients."
            )
            return
        try:
            _, message = open_sealed(data.kind, data.body, lambda *_: self._manager_key)
        except BadMessage as exc:
            self._complaints.say("bad message", f"from {data.sender}: {exc}")
            return
        if isinstance(message, Beat):
            self._beat(message)
        elif isinstance(message, Query):
            self._query(message)
        elif isinstance(message, Command):
            self._command(message)

    def _beat(self, beat: Beat) -> None:
        now = self._clock()
        kind = self._link.beat(beat, now)
        if kind is BeatKind.STALE:
            self._complaints.say("stale beat", f"an old beat of epoch {beat.epoch!r} came again; ignored.")
            return
        self._backoff.reset()
        if kind is BeatKind.NEW:
            log.info("the Manager %s is there (epoch %s)", beat.manager, beat.epoch)
            self._hello_at_s = now + _SPREAD_HELLO_S * self._random()
        while self._held:
            self._command(self._held.popleft())

    def _query(self, query: Query) -> None:
        if not query.id.startswith(_HELLO_QUERY):
            self._hooks.query(query)
        elif query.id == _HELLO_QUERY + self._name and self._hello_at_s is None:
            log.info("the Manager does not know us; introducing again")
            self._hello_at_s = self._clock()

    def _command(self, command: Command) -> None:
        time_s = self._link.stream_time_s(self._clock())
        if time_s is not None:
            self._hooks.command(command, time_s)
        elif len(self._held) < _HELD_COMMANDS:
            self._held.append(command)  # the next beat tells the time its deadline is judged by
        else:
            self._complaints.say("no beat", "too many commands wait for the Manager's beat; one dropped.")

    def _introduce_again(self) -> None:
        if self._hello_at_s is not None and self._clock() >= self._hello_at_s:
            self._hello_at_s = None
            self._outbox.put(self._hooks.hello())
            self._hooks.report_all()

    def _check_silence(self) -> None:
        now = self._clock()
        silent_s = self._link.silent_s(now)
        if silent_s is not None:
            self._link.gave_up(now)
            raise BusLost(f"no beat of the Manager for {silent_s:.0f} s.")
