"""A few threads that read properties, so that a slow one does not hold up the others."""

from __future__ import annotations

import queue
from collections.abc import Callable

from vmm.plugins.run import Outcome


class Readers:
    """`submit` a property's name; `deliver` gets the outcome, in the thread that read it."""

    def __init__(self, read: Callable[[str], Outcome], deliver: Callable[[str, Outcome], None]) -> None:
        self._read, self._deliver = read, deliver
        self._names: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def submit(self, name: str) -> None:
        self._names.put(name)

    def run(self) -> None:
        while (name := self._names.get()) is not None:
            self._deliver(name, self._read(name))

    def close(self, threads: int) -> None:
        """Let that many threads end after the read they are in."""
        for _ in range(threads):
            self._names.put(None)
