"""Run a journal again: prove that it leads to the same decisions, or look at any moment of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vmm.decide.core import Core
from vmm.decide.events import Ticked
from vmm.manager.recovery import entries


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a replay found. `checked` beats carried the digest of all decisions so far; `differs_at` is the
    first position after which the replay had decided otherwise, None when it never did."""

    first: int
    last: int
    events: int
    checked: int
    differs_at: int | None
    digest: str

    @property
    def same(self) -> bool:
        return self.differs_at is None

    def __str__(self) -> str:
        head = f"{self.events} events ({self.first}..{self.last}) replayed, {self.checked} beats compared"
        if self.differs_at is None:
            return f"{head}: the same decisions, digest {self.digest}"
        return (
            f"{head}: DIFFERENT decisions at or before position {self.differs_at}. Next: replay with the "
            "version and plugins of vmm that wrote this journal"
        )


def verify(folder: Path) -> Verdict:
    """Replay from the start (or the oldest record kept, after its snapshot) and compare every beat's digest.

    Raises JournalError and BadJournal as reading does; PositionGone when the start was removed by retention.
    """
    core = Core()
    digests: dict[int, str] = {}
    first = last = events = checked = 0
    for entry in entries(folder):
        event = entry.event
        if isinstance(event, Ticked) and event.beat.position in digests:
            checked += 1
            if digests[event.beat.position] != event.beat.digest:
                return Verdict(first, entry.position, events, checked, event.beat.position, "")
            for position in range(min(digests), event.beat.position):
                digests.pop(position, None)
        core.feed(entry)
        digests[entry.position] = core.state.digest.hex()
        first, last, events = first or entry.position, entry.position, events + 1
    return Verdict(first, last, events, checked, None, core.state.digest.hex())
