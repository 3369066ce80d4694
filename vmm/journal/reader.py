"""Reading a journal, from this process or another one, also while it is being written."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import zstandard

from vmm.journal.errors import BadRecord, Damage, JournalDamaged, JournalVersion, NoJournal, PositionGone
from vmm.journal.files import Named, segment_path, segments
from vmm.journal.format import (
    BLOCK_HEADER_BYTES,
    PACKED,
    SEGMENT_HEADER_BYTES,
    Batch,
    BlockHeader,
    Columns,
    Malformed,
    Record,
    decode,
    decode_columns,
    kind_table,
    unpack_block_header,
)
from vmm.journal.segment import BadBlock, SegmentFile, Walker

log = logging.getLogger(__name__)
Report = Callable[[Damage], None]
OnDamage = Literal["raise", "skip"]


def read(
    directory: Path | str, from_position: int | None = None, to: int | None = None, *,
    since_s: float | None = None, until_s: float | None = None, kinds: Collection[str] | None = None,
    follow: bool = False, stop: threading.Event | None = None, poll_s: float = 0.2,
    on_damage: OnDamage = "raise", report: Report | None = None,
) -> Iterator[Record]:  # fmt: skip
    """The records in order, lazily; takes the same arguments as `read_batches`."""
    batches = read_batches(
        directory, from_position, to, since_s=since_s, until_s=until_s, kinds=kinds,
        follow=follow, stop=stop, poll_s=poll_s, on_damage=on_damage, report=report,
    )  # fmt: skip
    return (record for batch in batches for record in batch.records())


def read_batches(
    directory: Path | str, from_position: int | None = None, to: int | None = None, *,
    since_s: float | None = None, until_s: float | None = None, kinds: Collection[str] | None = None,
    follow: bool = False, stop: threading.Event | None = None, poll_s: float = 0.2,
    on_damage: OnDamage = "raise", report: Report | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """The records in order, in batches of columns, lazily; the index passes over what is not asked for.

    Positions `from_position` (None: the first kept) to `to` (None: the last), both included; of these only
    records with since_s <= time_s < until_s, and of the given kinds. With `follow` it waits at the end for
    more, looking every `poll_s` seconds, until `stop` is set. Damage raises `JournalDamaged`, or with
    on_damage="skip" goes to `report` (default: the log) and is passed. A block that the writer has not
    finished, or a torn tail, is the end.

    Raises `NoJournal`, `PositionGone` (also later, if retention overtakes the reader), `JournalVersion`.
    """
    if on_damage not in ("raise", "skip") or not poll_s > 0:
        raise BadRecord(
            f"on_damage={on_damage!r}, poll_s={poll_s!r}: out of range.",
            next_step='use "raise" or "skip", and a positive number of seconds.',
        )
    place = Path(directory)
    found = segments(place)
    if not found:
        raise NoJournal(f"{place}: there is no journal.", next_step="check the path.")
    start = found[0].position if from_position is None else from_position
    if start < found[0].position:
        raise PositionGone(place, start, found[0].position)
    last = math.inf if to is None else to
    select = Selection(
        start, last, -math.inf if since_s is None else since_s, math.inf if until_s is None else until_s,
        None if kinds is None else frozenset(kinds),
    )  # fmt: skip
    reader = _Reader(place, select, follow, stop or threading.Event(), poll_s, on_damage, report)
    return reader.batches(max(named for named in found if named.position <= start))


@dataclass(frozen=True)
class Selection:
    """Which records are asked for; positions are inclusive, times half-open."""

    first: float
    last: float
    since_s: float
    until_s: float
    kinds: frozenset[str] | None

    def wants(self, header: BlockHeader) -> bool:
        """Whether a block can hold any of them."""
        return (
            header.next_position > self.first
            and header.first_position <= self.last
            and header.max_time_s >= self.since_s
            and header.min_time_s < self.until_s
        )

    def cut(self, header: BlockHeader, body: bytes) -> Batch | None:
        """The block's records that are asked for."""
        if self.kinds is not None and self.kinds.isdisjoint(kind_table(body)[0]):
            return None
        batch = decode(header, body)
        if (
            self.kinds is None
            and header.first_position >= self.first
            and header.next_position <= self.last + 1
            and header.min_time_s >= self.since_s
            and header.max_time_s < self.until_s
        ):
            return batch
        kept = [
            record
            for record in batch.records()
            if self.first <= record.position <= self.last
            and self.since_s <= record.time_s < self.until_s
            and (self.kinds is None or record.kind in self.kinds)
        ]
        return Batch(*zip(*kept, strict=True)) if kept else None


class ColumnSelection(Selection):
    """The same, with the blocks' columns left as they stand in their bytes."""

    def cut(self, header: BlockHeader, body: bytes) -> Columns | None:  # type: ignore[override]
        columns = decode_columns(header, body)
        skip = int(self.first) - header.first_position
        return columns if skip <= 0 else columns.since(skip)


def read_columns(directory: Path | str, from_position: int | None = None) -> Iterator[Columns]:
    """All records from a position on, a block at a time, nothing made of single records.

    Raises as `read_batches` does.
    """
    place = Path(directory)
    found = segments(place)
    if not found:
        raise NoJournal(f"{place}: there is no journal.", next_step="check the path.")
    start = found[0].position if from_position is None else from_position
    if start < found[0].position:
        raise PositionGone(place, start, found[0].position)
    select = ColumnSelection(start, math.inf, -math.inf, math.inf, None)
    reader = _Reader(place, select, False, threading.Event(), 0.2, "raise", None)
    here = max(named for named in found if named.position <= start)
    return reader.batches(here)  # type: ignore[return-value]


class _Reader:
    def __init__(
        self, directory: Path, select: Selection, follow: bool, stop: threading.Event, poll_s: float,
        on_damage: OnDamage, report: Report | None,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.select = select
        self.follow = follow
        self.stop = stop
        self.poll_s = poll_s
        self.on_damage = on_damage
        self.report = report
        self.journal_id: str | None = None
        self.expected = 0
        self.unpacker = zstandard.ZstdDecompressor()

    def batches(self, here: Named) -> Iterator[Batch]:
        self.expected = here.position
        following: Named | None = here
        while following is not None and self.expected <= self.select.last and not self.stop.is_set():
            here = following
            if here.position > self.expected:  # the records between two segments are gone
                first_kept = segments(self.directory)[0].position
                if self.expected < first_kept:
                    raise PositionGone(self.directory, self.expected, first_kept)
                missing = "positions are missing before this segment"
                self._damaged(Damage(here.path, 0, 0, self.expected, here.position - 1, missing))
                self.expected = here.position
            try:
                segment = SegmentFile(here.path)
            except FileNotFoundError:  # removed by retention since it was listed
                first_kept = segments(self.directory)[0].position
                raise PositionGone(self.directory, max(self.expected, here.position), first_kept) from None
            with segment:
                yield from self._segment(segment, here)
                following = self._following(here)

    def _following(self, here: Named) -> Named | None:
        direct = segment_path(self.directory, self.expected)
        if self.expected > here.position and direct.exists():
            return Named(self.expected, direct)
        return next((named for named in segments(self.directory) if named.position > here.position), None)

    def _segment(self, segment: SegmentFile, here: Named) -> Iterator[Batch]:
        """The segment's batches; returns when there is a segment behind it, or nothing more to do."""
        self._check_header(segment, here)
        offset, expected = SEGMENT_HEADER_BYTES, here.position
        if segment.index is not None:
            start = segment.index.start(self.select.first, self.select.since_s, self.select.until_s)
            if start is None:
                self.expected = segment.index.next_position
                return
            offset, expected = start
        walker = Walker(segment, offset, expected)
        looked_again = False
        reported = -1
        while walker.expected <= self.select.last and not self.stop.is_set():
            self.expected = walker.expected
            try:
                found = walker.step(self.select.wants)
                if found is not None:
                    looked_again = False
                    if found[1]:
                        yield from self._decoded(walker, *found)
                    continue
            except BadBlock as bad:
                if not looked_again:  # the writer may have been taking back a write: see what stays
                    looked_again = True
                    self.stop.wait(self.poll_s if self.follow else 0)
                    walker.refill()
                    continue
                passed = walker.pass_damage(bad.damage) if self.on_damage == "skip" else None
                if reported != walker.offset:
                    reported = walker.offset
                    self._damaged(passed or self._to_end(bad.damage, here))
                if passed is not None:
                    continue
            self.expected = walker.expected
            following = self._following(here)
            if following is not None:
                if not looked_again:  # it was finished between our look at its end and our look for the next
                    looked_again = True
                    walker.refill()
                    continue
                if walker.leftover() and reported != walker.offset:
                    lost = following.position > walker.expected
                    self._damaged(
                        Damage(
                            segment.path, walker.offset, walker.leftover(), walker.expected if lost else None,
                            following.position - 1 if lost else None, "an incomplete block ends the segment",
                        )
                    )  # fmt: skip
                if walker.leftover():
                    self.expected = max(following.position, self.expected)
                return
            if not self.follow or self.stop.wait(self.poll_s):
                return
            looked_again = False
            walker.refill()
        self.expected = walker.expected

    def _decoded(self, walker: Walker, header: BlockHeader, body: bytes) -> Iterator[Batch]:
        try:
            if header.codec != PACKED:
                batch = self.select.cut(header, body)
                if batch is not None:
                    yield batch
                return
            raw = self.unpacker.decompress(body, max_output_size=header.raw_len)
            at = 0
            while at < len(raw):
                inner = unpack_block_header(raw, at)
                at += BLOCK_HEADER_BYTES + inner.stored_len
                if self.select.wants(inner):
                    batch = self.select.cut(inner, raw[at - inner.stored_len : at])
                    if batch is not None:
                        yield batch
        except (Malformed, zstandard.ZstdError) as fault:
            size = BLOCK_HEADER_BYTES + header.stored_len
            first, last = header.first_position, header.next_position - 1
            path = walker.segment.path
            self._damaged(Damage(path, walker.offset - size, size, first, last, str(fault)))

    def _check_header(self, segment: SegmentFile, here: Named) -> None:
        header = segment.header
        if header is None or header.first_position != here.position:
            reason = segment.header_fault or "the header does not belong to the file's name"
            length = min(segment.size, SEGMENT_HEADER_BYTES)
            self._damaged(Damage(segment.path, 0, length, None, None, reason))
            return
        if self.journal_id not in (None, header.journal_id):
            raise JournalVersion(
                f"{segment.path}: is of the journal {header.journal_id!r}, the rest of {self.journal_id!r}.",
                next_step="move it out of this directory.",
            )
        self.journal_id = header.journal_id

    def _to_end(self, damage: Damage, here: Named) -> Damage:
        """Damage with nothing good behind it in the file; a following segment tells what is lost."""
        following = self._following(here)
        if damage.first_lost is None or following is None:
            return damage
        lost = following.position > damage.first_lost
        first, last = (damage.first_lost, following.position - 1) if lost else (None, None)
        return Damage(damage.path, damage.offset, damage.length, first, last, damage.reason)

    def _damaged(self, damage: Damage) -> None:
        if self.on_damage == "raise":
            raise JournalDamaged(damage)
        (self.report or _log_damage)(damage)


def _log_damage(damage: Damage) -> None:
    log.error("damage skipped: %s", damage)
