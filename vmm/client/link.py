"""The link to the Manager, judged by its beats. Pure: time and randomness are arguments.

Spread has no heartbeat and a client gets no membership messages, so a connection that died without a
word (a guest reverted to a snapshot, a daemon's host without power) shows only as missing beats.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum

from vmm.messages.structs import Beat

_EPOCHS_KEPT = 64
_SILENCE_GROWTH = 6


class BeatKind(Enum):
    """What a beat means for the client."""

    USUAL = "usual"
    NEW = "new"
    """A Manager that does not know us: the first, a new epoch, or one that comes back after a silence."""
    STALE = "stale"
    """Of an epoch that is over: a replayed or delayed message. It changes nothing."""


class Link:
    """Beats in, the Manager's stream time and silences out. All times are monotonic seconds.

    Without a Manager each time-out makes the next one longer (up to six times `timeout_s`), so that a
    cluster whose Manager is away does not keep its daemons busy with reconnects.
    """

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self._timeout_s = timeout_s
        self._heard_s = now_s
        self._beat_s = now_s
        self._offset_s: float | None = None
        self._epoch = ""
        self._last_time_s = 0.0
        self._past: OrderedDict[str, None] = OrderedDict()
        self._silences = 0
        self.manager = ""

    def beat(self, beat: Beat, now_s: float) -> BeatKind:
        if beat.epoch in self._past:
            return BeatKind.STALE
        same = beat.epoch == self._epoch
        returned = now_s - self._beat_s > self._timeout_s
        if not same and self._epoch:
            self._past[self._epoch] = None
            if len(self._past) > _EPOCHS_KEPT:
                self._past.popitem(last=False)
        self._epoch, self.manager = beat.epoch, beat.manager
        # The Manager's wall clock may be set back; its stream time then stands still, and so does ours.
        self._last_time_s = max(self._last_time_s, beat.time_s) if same else beat.time_s
        self._heard_s = self._beat_s = now_s
        self._silences = 0
        self._offset_s = self._last_time_s - now_s
        return BeatKind.USUAL if same and not returned else BeatKind.NEW

    def stream_time_s(self, now_s: float) -> float | None:
        """The Manager's time, None while no beat within the time-out vouches for it."""
        if self._offset_s is None or now_s - self._beat_s > self._timeout_s:
            return None
        return now_s + self._offset_s

    def silent_s(self, now_s: float) -> float | None:
        """Seconds without a beat once they are too many, else None. Call `gave_up` after acting on it."""
        quiet = now_s - self._heard_s
        limit = self._timeout_s * min(2**self._silences, _SILENCE_GROWTH)
        return quiet if quiet > limit else None

    def gave_up(self, now_s: float) -> None:
        """The connection was given up for its silence; the waiting starts anew, longer."""
        self._silences += 1
        self._heard_s = now_s

    def connected(self, now_s: float) -> None:
        """A new connection: the silence is counted from here."""
        self._heard_s = max(self._heard_s, now_s)


class Backoff:
    """Growing waits: a random part between half and all of `first * 2**n`, at most `most_s`.

    `random` returns floats in [0, 1).
    """

    def __init__(self, first_s: float, most_s: float, random: Callable[[], float]) -> None:
        self._first_s, self._most_s, self._random = first_s, most_s, random
        self._tries = 0

    def next_s(self) -> float:
        whole = min(self._first_s * 2.0 ** min(self._tries, 32), self._most_s)
        self._tries += 1
        return whole * (0.5 + 0.5 * self._random())

    def reset(self) -> None:
        self._tries = 0
