"""What waits to be sent. Bounded: when it is full, old reports go first, because newer ones follow."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from vmm.messages.bus import Bus
from vmm.messages.structs import Hello, Report, Result

Outgoing = Hello | Report | Result


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message and the connection it is to go out on."""

    bus: Bus
    message: Outgoing


class Outbox:
    """Threads put messages in; the Sender takes them out while a connection is attached."""

    def __init__(self, bound: int = 1000) -> None:
        self._bound = bound
        self._ready = threading.Condition()
        self._queue: deque[Outgoing] = deque()
        self._bus: Bus | None = None
        self._closed = False
        self.dropped = 0

    def put(self, message: Outgoing) -> None:
        with self._ready:
            if len(self._queue) >= self._bound:
                self._drop_one()
            self._queue.append(message)
            self._ready.notify()

    def attach(self, bus: Bus, hello: Hello) -> None:
        """A new connection: the introduction goes first, reports made before it are out of date."""
        with self._ready:
            self._queue = deque([hello, *(m for m in self._queue if isinstance(m, Result))])
            self._bus = bus
            self._ready.notify()

    def detach(self) -> None:
        """The connection is gone; results wait for the next one."""
        with self._ready:
            self._bus = None

    def take(self) -> Parcel | None:
        """The next message (blocks until one can go out); None once closed and nothing can be sent."""
        with self._ready:
            while not (self._queue and self._bus) and not self._closed:
                self._ready.wait()
            if self._bus is None or not self._queue:
                return None
            return Parcel(self._bus, self._queue.popleft())

    def put_back(self, parcel: Parcel) -> None:
        """The connection broke under this message. A result is kept for the next connection."""
        with self._ready:
            if self._bus is parcel.bus:
                self._bus = None
            if isinstance(parcel.message, Result):
                introduced = bool(self._queue) and isinstance(self._queue[0], Hello)
                self._queue.insert(1 if introduced else 0, parcel.message)

    def close(self) -> None:
        """No more messages will come; what is here is still sent if a connection is there."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def attached(self) -> bool:
        """Whether there is a connection to send on; reading properties is of no use without."""
        return self._bus is not None

    def __len__(self) -> int:
        return len(self._queue)

    def _drop_one(self) -> None:
        for kind in (Report, Result):
            for index, message in enumerate(self._queue):
                if isinstance(message, kind):
                    del self._queue[index]
                    self.dropped += 1
                    return
