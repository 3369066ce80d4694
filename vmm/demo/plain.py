"""The demo as lines, for logs and pipes."""

from __future__ import annotations

from collections.abc import Callable

from vmm.demo.follow import Seen
from vmm.demo.story import TROUBLE, Line

_STATUS_EVERY_S = 5.0


class PlainLog:
    """Writes each line once, and how things stand every five seconds. `out` gets lines without newline."""

    def __init__(self, out: Callable[[str], None]) -> None:
        self._out = out
        self._next_status_s = _STATUS_EVERY_S

    def show(self, elapsed_s: float, seen: Seen | None, fresh: list[Line]) -> None:
        for line in fresh:
            self._out(show_line(line))
        if seen is not None and elapsed_s >= self._next_status_s:
            self._next_status_s = (elapsed_s // _STATUS_EVERY_S + 1) * _STATUS_EVERY_S
            self._out(status(elapsed_s, seen))


def show_line(line: Line) -> str:
    mark = "! " if line.kind == TROUBLE else ""
    return f"{line.time_s:6.1f}s  {line.rule:<12} {mark}{line.text}"


def status(elapsed_s: float, seen: Seen) -> str:
    """One line: hosts, guests, queues."""
    up = sum(1 for host in seen.picture.hosts if host.state == "up")
    queues = ", ".join(
        f"{s.name} {s.jobs_waiting} waiting {s.jobs_running} running {s.guests} guests"
        for s in seen.picture.shares
    )
    return f"{elapsed_s:6.1f}s  {'-- status':<12} {up} hosts up; {queues}"
