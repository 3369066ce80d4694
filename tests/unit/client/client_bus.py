"""An in-process bus with one total order: what the client's threads are tested against."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from vmm.messages.bus import BusLost, Data, NameTaken, View


class LocalDaemon:
    """Delivers in one order. `end` cuts a session as a dying daemon does; `up`: whether it takes new ones."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sessions: dict[str, LocalBus] = {}
        self.groups: dict[str, list[str]] = {}
        self.up = True

    def connect(self, name: str) -> LocalBus:
        with self.lock:
            if not self.up:
                raise BusLost("nobody listens.")
            address = f"#{name}#local"
            if address in self.sessions:
                raise NameTaken(f"there is a {name!r} already.", next_step="stop it")
            self.sessions[address] = LocalBus(self, address)
            return self.sessions[address]

    def end(self, bus: LocalBus) -> None:
        with self.lock:
            self.sessions.pop(bus.address, None)
            for members in self.groups.values():
                if bus.address in members:
                    members.remove(bus.address)
        bus.inbox.put(None)
        bus.lost = True


class LocalBus:
    def __init__(self, daemon: LocalDaemon, address: str) -> None:
        self.daemon, self.address = daemon, address
        self.inbox: queue.SimpleQueue[Data | View | None] = queue.SimpleQueue()
        self.lost = False

    def join(self, group: str) -> None:
        self._check()
        with self.daemon.lock:
            self.daemon.groups.setdefault(group, []).append(self.address)

    def leave(self, group: str) -> None:
        with self.daemon.lock:
            self.daemon.groups[group].remove(self.address)

    def multicast(self, groups: Sequence[str], kind: int, body: bytes) -> None:
        self._check()
        with self.daemon.lock:
            to = {m for g in groups for m in ([g] if g.startswith("#") else self.daemon.groups.get(g, []))}
            for address in to:
                if address in self.daemon.sessions:
                    self.daemon.sessions[address].inbox.put(Data(self.address, kind, body))

    def receive(self, timeout_s: float) -> Data | View | None:
        if self.lost and self.inbox.empty():
            raise BusLost("the session ended.")
        try:
            data = self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if data is None:
            raise BusLost("the session ended.")
        return data

    def close(self) -> None:
        self.daemon.end(self)

    def _check(self) -> None:
        if self.lost:
            raise BusLost("the session ended.")
