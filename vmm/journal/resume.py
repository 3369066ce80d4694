"""From a directory to a segment that can be written on: a new journal, a clean one, or one after a crash."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

from vmm.journal import snapshots
from vmm.journal.active import ActiveSegment
from vmm.journal.errors import JournalVersion
from vmm.journal.files import Named, segments
from vmm.journal.files import snapshots as snapshot_files
from vmm.journal.format import SEGMENT_HEADER_BYTES, SegmentHeader
from vmm.journal.recover import Recovery, Tail, read_tail, seal_file, whole_blocks
from vmm.journal.segment import SegmentFile, Walker

log = logging.getLogger(__name__)


def resume(
    directory: Path, wanted_id: str | None, fresh_id: str, *, compress: bool, sync: bool, now_s: float
) -> tuple[ActiveSegment, Recovery]:
    """The caller holds the writer's lock. `fresh_id` names the journal if it has no name yet."""
    for pattern in ("*.tmp", "*.sealing"):
        for left in directory.glob(pattern):
            left.unlink()
    found = segments(directory)
    known_id = _known_id(found)
    if known_id is None and (snapshot := snapshots.latest(directory)) is not None:
        known_id = snapshot.journal_id
    covered = max((named.position for named in snapshot_files(directory)), default=0)
    if wanted_id is not None and known_id not in (None, wanted_id):
        raise JournalVersion(
            f"{directory}: holds the journal {known_id!r}, not {wanted_id!r}.",
            next_step="give the directory of the right journal, or its id.",
        )
    journal_id = known_id or fresh_id
    recovery = Recovery()
    tail = read_tail(found[-1], recovery, sync=sync) if found else None
    position = tail.next_position if tail else 1
    recovery.last_position = position - 1
    if covered >= position:
        recovery.skipped = range(position, covered + 1)
        position = covered + 1
    writable = tail is not None and tail.size and not (tail.closed or tail.damaged or recovery.skipped)
    if tail is not None and tail.header is not None and writable:
        active = _adopt(tail, tail.header, compress=compress, sync=sync)
    else:
        header = SegmentHeader(journal_id, position, now_s)
        active = ActiveSegment.create(directory, header, compress=compress, sync=sync)
    found = segments(directory)
    for named, following in pairwise(found):
        recovery.sealed += seal_file(named, following.position, compress=compress)
    return active, recovery


def _known_id(found: list[Named]) -> str | None:
    for named in reversed(found):
        with SegmentFile(named.path) as segment:
            if segment.header is not None:
                return segment.header.journal_id
    return None


def _adopt(tail: Tail, header: SegmentHeader, *, compress: bool, sync: bool) -> ActiveSegment:
    """Write on in a segment: count again what it holds, and begin its packed twin anew."""
    active = ActiveSegment(tail.named.path, header, tail.size, compress=compress, sync=sync)
    with SegmentFile(tail.named.path) as segment:
        for offset, block in whole_blocks(
            segment, Walker(segment, SEGMENT_HEADER_BYTES, tail.named.position)
        ):
            active.note(block, offset)
    return active
