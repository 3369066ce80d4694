"""The Manager's line to the bus: the Listener opens and closes it, the Sender sends on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vmm.messages.bus import Bus, BusLost


class Line:
    """Holds the present connection. `send` raises BusLost while there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bus: Bus | None = None

    def opened(self, bus: Bus) -> None:
        with self._lock:
            self._bus = bus

    def closed(self) -> None:
        with self._lock:
            bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    @property
    def is_open(self) -> bool:
        return self._bus is not None

    def send(self, groups: Sequence[str], kind: int, body: bytes) -> None:
        with self._lock:
            bus = self._bus
        if bus is None:
            raise BusLost("there is no connection to the messaging daemon.")
        bus.multicast(groups, kind, body)
