"""Work for a pool of threads, in order per subject: two commands on one guest never overlap."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    id: str
    subject: str
    work: T


class Lanes(Generic[T]):
    """One queue per subject; a subject whose job is under way hands out no other.

    A slow job holds up its own subject only, as long as a thread of the pool is free.
    """

    def __init__(self, bound: int = 1000) -> None:
        self._bound = bound
        self._ready = threading.Condition()
        self._waiting: dict[str, deque[Job[T]]] = {}
        self._free: deque[str] = deque()
        self._ids: set[str] = set()
        self._closed = False

    def put(self, job: Job[T]) -> str:
        """`taken`, or why not: `known` (this id waits or runs), `full`, `closed`."""
        with self._ready:
            if self._closed:
                return "closed"
            if job.id in self._ids:
                return "known"
            if len(self._ids) >= self._bound:
                return "full"
            self._ids.add(job.id)
            lane = self._waiting.get(job.subject)
            if lane is None:
                self._waiting[job.subject] = deque([job])
                self._free.append(job.subject)
                self._ready.notify()
            else:
                lane.append(job)
            return "taken"

    def take(self) -> Job[T] | None:
        """The next job (blocks); None once closed. Call `done` with it afterwards."""
        with self._ready:
            while not self._free and not self._closed:
                self._ready.wait()
            if self._closed:
                return None
            subject = self._free.popleft()
            return self._waiting[subject].popleft()

    def done(self, job: Job[T]) -> None:
        with self._ready:
            self._ids.discard(job.id)
            if self._waiting[job.subject]:
                self._free.append(job.subject)
                self._ready.notify()
            else:
                del self._waiting[job.subject]

    def close(self) -> list[Job[T]]:
        """Hand out nothing more; returns what was still waiting."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
            left = [job for lane in self._waiting.values() for job in lane]
            for lane in self._waiting.values():
                lane.clear()
            return left
