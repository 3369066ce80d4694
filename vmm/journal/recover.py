"""Opening for writing: find the last good block, cut what a crash left, close what was left open."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmm.journal.errors import Damage, JournalError
from vmm.journal.files import Named, sync_directory
from vmm.journal.format import (
    BLOCK_HEADER_BYTES,
    PACKED,
    SEGMENT_HEADER_BYTES,
    Block,
    Malformed,
    SegmentHeader,
    count_kinds,
)
from vmm.journal.seal import Sealer
from vmm.journal.segment import BadBlock, SegmentFile, Walker

log = logging.getLogger(__name__)


@dataclass
class Recovery:
    """What opening found. `bytes_cut` of the tail were not a whole block and are kept in `torn_file`.

    `last_position`: the last good one (0: none). `damage`: bad places before the last good block (left as
    they are). `skipped`: positions that a snapshot covers but whose records are gone; not given again.
    """

    last_position: int = 0
    bytes_cut: int = 0
    torn_file: Path | None = None
    damage: list[Damage] = field(default_factory=list)
    skipped: range = range(0)
    sealed: int = 0

    @property
    def clean(self) -> bool:
        return not (self.bytes_cut or self.damage or self.skipped)

    def __str__(self) -> str:
        parts = [f"last good position {self.last_position}"]
        if self.bytes_cut:
            parts.append(f"cut {self.bytes_cut} bytes of torn tail, kept in {self.torn_file or 'no file'}")
        if self.skipped:
            parts.append(
                f"positions {self.skipped[0]} to {self.skipped[-1]} are lost, a snapshot covers them"
            )
        return "; ".join(parts + [str(damage) for damage in self.damage])


@dataclass
class Tail:
    """The last segment as found: it may be written on at `size` unless it is closed or damaged."""

    named: Named
    header: SegmentHeader | None
    size: int
    next_position: int
    closed: bool
    damaged: bool


def read_tail(named: Named, recovery: Recovery, *, sync: bool = True) -> Tail:
    """Walk the last segment to its last good block; cut what stands behind it."""
    with SegmentFile(named.path) as segment:
        header = segment.header
        if segment.index is not None:
            following = segment.index.next_position
            return Tail(named, header, segment.size, following, closed=True, damaged=False)
        damage: list[Damage] = []
        if header is None or header.first_position != named.position:
            reason = segment.header_fault or "the header does not belong to the file's name"
            length = min(segment.size, SEGMENT_HEADER_BYTES)
            damage.append(Damage(named.path, 0, length, None, None, reason))
            header = None
        walker = Walker(segment, SEGMENT_HEADER_BYTES, named.position)
        packed = False
        while True:
            try:
                found = walker.step()
            except BadBlock as bad:
                passed = walker.pass_damage(bad.damage)
                if passed is None:
                    break
                damage.append(passed)
                continue
            if found is None:
                break
            packed = packed or found[0].codec == PACKED  # a closed segment that lost its index
        empty = walker.expected == named.position
        end = 0 if header is None and empty else min(walker.offset, segment.size)
    if end < segment.size:
        recovery.bytes_cut = segment.size - end
        recovery.torn_file = cut(named.path, end, sync=sync)
    if end:
        recovery.damage += damage
    return Tail(named, header, end, walker.expected, closed=False, damaged=bool(damage) or packed)


def cut(path: Path, end: int, *, sync: bool = True) -> Path | None:
    """Shorten `path` to `end` bytes, keeping the rest beside it; returns where (None: no room to keep it)."""
    torn = path.with_name(f"{path.stem}.{end}.torn")
    kept = True
    with path.open("r+b") as file:
        file.seek(end)
        try:
            torn.write_bytes(file.read())
        except OSError as error:
            log.warning("%s: cannot keep the torn tail: %s", path, error)
            torn.unlink(missing_ok=True)
            kept = False
        file.truncate(end)
        if sync:
            os.fsync(file.fileno())
            sync_directory(path.parent)
    return torn if kept else None


def whole_blocks(segment: SegmentFile, walker: Walker) -> Iterator[tuple[int, Block]]:
    """(offset, block) for each plain block from where the walker stands. Raises `BadBlock`, `Malformed`."""
    while True:
        offset = walker.offset
        found = walker.step()
        if found is None:
            return
        header, body = found
        if header.codec == PACKED:
            raise Malformed("a packed block in a segment without an index")
        head = os.pread(segment.fd, BLOCK_HEADER_BYTES, offset)
        yield offset, Block(header, count_kinds(header, body), head + body)


def seal_file(named: Named, next_position: int, *, compress: bool) -> bool:
    """Close a segment that a crash left without an index. False, and untouched, if closed or damaged."""
    with SegmentFile(named.path) as segment:
        if segment.header is None or segment.index is not None:
            return False
        sealer = Sealer(named.path, segment.header, compress=compress)
        walker = Walker(segment, SEGMENT_HEADER_BYTES, named.position)
        try:
            for _, block in whole_blocks(segment, walker):
                sealer.add(block.header, block.kinds, block.data)
            if walker.leftover() or next_position != walker.expected or not walker.expected > named.position:
                raise Malformed(f"{walker.leftover()} bytes left over, or positions missing behind it")
            sealer.finish()
        except (BadBlock, Malformed, JournalError) as fault:
            sealer.abandon()
            log.warning("%s: left as it is, without an index: %s", named.path, fault)
            return False
        return True
