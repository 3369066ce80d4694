"""When which property is due. Pure: the caller brings the time."""

from __future__ import annotations

import math
from collections.abc import Mapping

_SLACK_S = 0.05
"""Properties due this close together are read together, so that they share one message."""


class Schedule:
    """Due times on one grid per period, all grids starting at `origin_s` (monotonic seconds).

    Periods that divide each other therefore fall due together. A tick that was missed (a stall, a
    suspended guest) is skipped: the next one is the next point of the grid after now.
    """

    def __init__(self, periods_s: Mapping[str, float], origin_s: float) -> None:
        for name, period in periods_s.items():
            if not (math.isfinite(period) and period > 0):
                raise ValueError(f"{name}: a period of {period!r} s cannot be kept")
        self._periods = dict(periods_s)
        self._origin = origin_s
        self._next = dict.fromkeys(self._periods, origin_s)

    def due(self, now_s: float) -> list[str]:
        """Names due now, in the order they were given; each is moved to its next tick."""
        names = [name for name, at in self._next.items() if at <= now_s + _SLACK_S]
        self.done(names, now_s)
        return names

    def done(self, names: list[str], now_s: float) -> None:
        """Count `names` as read at `now_s`: their next tick is the first one after it."""
        for name in names:
            period = self._periods[name]
            passed = math.floor((now_s + _SLACK_S - self._origin) / period)
            self._next[name] = self._origin + max(passed + 1, 0) * period

    def next_s(self) -> float | None:
        """The earliest due time, None when there is nothing to read."""
        return min(self._next.values(), default=None)
