"""From the journal to a core: the last snapshot, then what was recorded after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from vmm import journal
from vmm.decide.core import Core
from vmm.decide.events import Entry, decode_event
from vmm.errors import VmmError

log = logging.getLogger("vmm.manager")


class NoSuchPosition(VmmError):
    """A moment that the journal does not hold."""

    code = "journal.position"


def entries(
    folder: Path,
    first: int | None = None,
    last: int | None = None,
    lost: Callable[[journal.Damage], None] | None = None,
) -> Iterator[Entry]:
    """The events of a journal, in order, from the oldest kept unless `first` says otherwise.

    Damaged places go to `lost` and are passed over; without it they raise.
    Raises JournalError or BadJournal naming the place.
    """
    records = journal.read(
        folder, from_position=first, to=last, on_damage="raise" if lost is None else "skip", report=lost
    )
    for record in records:
        yield Entry(record.position, record.time_s, decode_event(record.payload, record.position))


def recover(folder: Path, to: int | None = None) -> Core:
    """The core as it was after position `to` (default: the end); a new core where nothing is recorded yet.

    Raises NoJournal when there is no journal at all, NoSuchPosition when it does not reach `to`.
    """
    if to is not None and to < 1:
        raise NoSuchPosition(
            f"there is no journal position {to}: they count from 1.", next_step="see `vmm journal stats`"
        )
    found = journal.latest_snapshot(folder)
    core, first = Core(), 1
    if found is not None and (to is None or found[0] <= to):
        try:
            core, first = Core.from_snapshot(found[1]), found[0] + 1
        except (msgspec.DecodeError, VmmError) as exc:
            log.warning(
                "the snapshot at position %d is of another version (%s); replaying all", found[0], exc
            )
            core = Core()
    core.replay(entries(folder, first, to))
    if to is not None and core.state.position < to:
        raise NoSuchPosition(
            f"there is no journal position {to}: the journal {folder} ends at {core.state.position}.",
            next_step="name a position up to that, or leave --at out for the end",
        )
    return core


def recover_before(folder: Path, reach_s: tuple[float, float], end: Core) -> Core:
    """A core as it was some time before `end`: the first of `reach_s` (s) if a snapshot or the beginning of
    the journal is that old, else as long before as snapshots go, if that is the second at least.
    """
    oldest: Core | None = None
    for payload in journal.kept_snapshots(folder):
        try:
            core = Core.from_snapshot(payload)
        except (msgspec.DecodeError, VmmError):
            continue
        age_s = end.state.now_s - core.state.now_s
        if core.state.position > end.state.position:
            continue
        oldest = core
        if age_s >= reach_s[0]:
            return core
    if oldest is not None and end.state.now_s - oldest.state.now_s >= reach_s[1]:
        return oldest
    first = next(entries(folder, None, end.state.position), None)
    return Core() if first is None or first.position == 1 or oldest is None else oldest
