"""Follow the Manager's journal, as a standby would: the same core over the same stream, and nothing else."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any, NamedTuple

from vmm import journal
from vmm.decide.core import Core
from vmm.decide.events import Entry, decode_event
from vmm.demo.story import Line, Teller, idle_since
from vmm.manager.picture import Picture, picture_of

STATS = "batch_stats"
_POLL_S = 0.1


class Served(NamedTuple):
    """What the batch system has done for one queue so far."""

    submitted: int
    waiting: int
    done: int
    mean_wait_s: float

    def show_wait(self) -> str:
        """The mean wait of the jobs that have started, `-` while none has."""
        return f"{self.mean_wait_s:.1f}s" if self.submitted > self.waiting else "-"


NOTHING_SERVED = Served(0, 0, 0, 0.0)


class Seen(NamedTuple):
    """What became known with one write of the journal. `idle_since`: guest -> stream time; `why`: guest ->
    what it was made for, or why it goes."""

    picture: Picture
    served: dict[str, Served]
    idle_since: dict[str, float]
    lines: list[Line]
    why: dict[str, str]


class Follower:
    """Owns a core in a thread named Follower; what it sees is put on `seen`, what ends it in `failure`."""

    def __init__(self, folder: Path) -> None:
        self.seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self._folder = folder
        self._core, self._teller = Core(), Teller()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="Follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read what is there to the end, and no further."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def take(self, entries: list[Entry]) -> Seen:
        """Feed some of the stream; what people should know of it."""
        lines: list[Line] = []
        for entry in entries:
            self._teller.look(self._core)
            lines += self._teller.tell(self._core, self._core.feed(entry))
        core = self._core
        return Seen(picture_of(core), served(core), idle_since(core), lines, dict(self._teller.why))

    def _run(self) -> None:
        try:
            while True:
                try:
                    batches = journal.read_batches(self._folder, follow=True, stop=self._stop, poll_s=_POLL_S)
                    break
                except journal.NoJournal:  # the Manager has not begun it yet
                    if self._stop.wait(_POLL_S):
                        return
            for batch in batches:
                self.seen.put(
                    self.take(
                        [
                            Entry(r.position, r.time_s, decode_event(r.payload, r.position))
                            for r in batch.records()
                        ]
                    )
                )
        except BaseException as exc:  # told by the main thread, which ends the demo
            self.failure = exc


def served(core: Core) -> dict[str, Served]:
    """Queue -> what the batch client last reported; empty before its first report."""
    clients = core.state.world.clients
    for name in clients:
        reading = clients.get(name, STATS)
        if reading is not None:
            rows: list[dict[str, Any]] = reading.value
            return {
                str(row["queue"]): Served(row["submitted"], row["waiting"], row["done"], row["mean_wait_s"])
                for row in rows
            }
    return {}
