"""Log lines about what others do wrong: counted always, written at a bounded rate."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Complaints:
    """Of each kind one line per `every_s` is written, with the number of those left out in between.

    Used by one thread; `counts` may be read by others.
    """

    def __init__(self, clock: Callable[[], float], every_s: float = 10.0) -> None:
        self._clock, self._every_s = clock, every_s
        self._written_s: dict[str, float] = {}
        self._skipped: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def say(self, kind: str, text: object) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        now = self._clock()
        last = self._written_s.get(kind)
        if last is not None and now - last < self._every_s:
            self._skipped[kind] = self._skipped.get(kind, 0) + 1
            return
        self._written_s[kind] = now
        skipped = self._skipped.pop(kind, 0)
        log.warning("%s%s", text, f" (and {skipped} more like it)" if skipped else "")
