"""What a journal holds, from its indexes; only the segment being written is read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vmm.journal.errors import Damage, JournalDamaged, NoJournal
from vmm.journal.files import Named, segments, snapshots
from vmm.journal.format import SEGMENT_HEADER_BYTES, Malformed
from vmm.journal.index import Index
from vmm.journal.reader import read_batches
from vmm.journal.recover import whole_blocks
from vmm.journal.segment import BadBlock, SegmentFile, Walker


@dataclass(frozen=True)
class SegmentStats:
    """`raw_bytes`: of its blocks before compression; `stored_bytes`: of the file."""

    path: Path
    first_position: int
    last_position: int
    events: int
    raw_bytes: int
    stored_bytes: int
    min_time_s: float
    max_time_s: float
    closed: bool


@dataclass
class Stats:
    """Totals over a journal. Times are those of the records; both 0.0 if there is none."""

    journal_id: str | None
    segments: list[SegmentStats]
    kinds: Counter[str]
    snapshots: list[int]
    snapshot_bytes: int
    torn_files: list[Path]
    events: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    first_position: int = 0
    last_position: int = 0
    min_time_s: float = 0.0
    max_time_s: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times smaller the files are than the blocks in them uncompressed."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0


def stats(directory: Path | str) -> Stats:
    """Raises `NoJournal`, `JournalDamaged`. Works beside a live writer."""
    place = Path(directory)
    found = segments(place)
    if not found:
        raise NoJournal(f"{place}: there is no journal.", next_step="check the path.")
    kept = snapshots(place)
    total = Stats(
        None, [], Counter(), [named.position for named in kept],
        sum(_size(named.path) for named in kept), sorted(place.glob("*.torn")),
    )  # fmt: skip
    low, high = math.inf, -math.inf
    for named in found:
        try:
            one = _segment(named, total)
        except FileNotFoundError:
            continue  # removed by retention just now
        total.segments.append(one)
        total.events += one.events
        total.raw_bytes += one.raw_bytes
        total.stored_bytes += one.stored_bytes
        low, high = min(low, one.min_time_s), max(high, one.max_time_s)
    if total.segments:
        total.first_position = total.segments[0].first_position
        total.last_position = total.segments[-1].last_position
    if total.events:
        total.min_time_s, total.max_time_s = low, high
    return total


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _segment(named: Named, total: Stats) -> SegmentStats:
    with SegmentFile(named.path) as segment:
        if segment.header is not None:
            total.journal_id = total.journal_id or segment.header.journal_id
        index = segment.index or _count(segment, named)
        total.kinds.update(index.kinds)
        return SegmentStats(
            named.path, named.position, index.next_position - 1, index.count, index.raw_bytes,
            segment.size, index.min_time_s, index.max_time_s, segment.index is not None,
        )  # fmt: skip


def _count(segment: SegmentFile, named: Named) -> Index:
    index = Index(named.position)
    walker = Walker(segment, SEGMENT_HEADER_BYTES, named.position)
    try:
        for offset, block in whole_blocks(segment, walker):
            index.add(offset, block.header, block.kinds, len(block.data))
    except BadBlock as bad:
        raise JournalDamaged(bad.damage) from None
    except Malformed as fault:
        damage = Damage(named.path, walker.offset, walker.leftover(), walker.expected, None, str(fault))
        raise JournalDamaged(damage) from None
    return index


@dataclass
class Check:
    """Result of `verify`: how many records are good, and all damaged places."""

    events: int = 0
    damage: list[Damage] = field(default_factory=list)


def verify(directory: Path | str) -> Check:
    """Read every byte and check every checksum. Damage is collected, not raised."""
    check = Check()
    for batch in read_batches(directory, on_damage="skip", report=check.damage.append):
        check.events += len(batch)
    return check
