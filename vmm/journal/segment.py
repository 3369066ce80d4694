"""Reading one segment file: its header, its index if it is closed, and a walk over its blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from zlib import crc32

from vmm.journal.errors import Damage, JournalVersion
from vmm.journal.files import cannot
from vmm.journal.format import (
    BLOCK_HEADER_BYTES,
    BLOCK_MAGIC,
    INDEX,
    SEGMENT_HEADER_BYTES,
    BlockHeader,
    Malformed,
    SegmentHeader,
    WrongVersion,
    unpack_block_header,
    unpack_segment_header,
)
from vmm.journal.index import TRAILER_BYTES, Index, find_index, unpack_index

_WINDOW_BYTES = 1024 * 1024
Want = Callable[[BlockHeader], bool]


class BadBlock(Exception):
    """The walker stands before bytes that are no good block; `damage` describes them."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(str(damage))
        self.damage = damage


class SegmentFile:
    """An open segment file. `header` None: damaged, `header_fault` says how; `index` None: not closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise cannot("read", path, error) from error
        try:
            self.size = os.fstat(self.fd).st_size
            self.header: SegmentHeader | None = None
            self.header_fault = ""
            self.index: Index | None = None
            self.index_offset: int | None = None
            try:
                self.header = unpack_segment_header(os.pread(self.fd, SEGMENT_HEADER_BYTES, 0))
            except WrongVersion as fault:
                raise JournalVersion(f"{path}: {fault}.", next_step="use a newer vmm to read it.") from None
            except (Malformed, UnicodeDecodeError) as fault:
                self.header_fault = str(fault)
            self._read_index()
        except BaseException:
            os.close(self.fd)
            raise

    def _read_index(self) -> None:
        if self.size < SEGMENT_HEADER_BYTES + TRAILER_BYTES:
            return
        at = find_index(os.pread(self.fd, TRAILER_BYTES, self.size - TRAILER_BYTES), self.size)
        if at is not None:
            try:
                self.index = unpack_index(os.pread(self.fd, self.size - at, at))
                self.index_offset = at
            except Malformed:
                pass  # the walk over the blocks meets it and says so

    def __enter__(self) -> SegmentFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


class Walker:
    """Steps from block to block. `offset`, with `expected` due there, is always a good place to stop.

    It keeps no bytes across `refill()`, so a file that another process extends, or cuts, may be walked.
    """

    def __init__(self, segment: SegmentFile, offset: int, expected: int) -> None:
        self.segment = segment
        self.offset = offset
        self.expected = expected
        self._end = segment.index_offset
        self._window = b""
        self._window_at = offset

    def refill(self) -> None:
        """Forget what was read ahead: look at the file anew."""
        self._window = b""
        self._window_at = self.offset

    def _need(self, count: int) -> int:
        """Have `count` bytes from `offset` in the window if the file has them; returns where in it."""
        at = self.offset - self._window_at
        if at + count > len(self._window):
            length = max(count, _WINDOW_BYTES)
            if self._end is not None:
                length = min(length, self._end - self.offset)
            self._window = self._pread(length)
            self._window_at = self.offset
            at = 0
        return at

    def _pread(self, length: int) -> bytes:
        try:
            return os.pread(self.segment.fd, length, self.offset)
        except OSError as error:
            raise cannot(f"read (offset {self.offset})", self.segment.path, error) from error

    def leftover(self) -> int:
        """Bytes between `offset` and the end of the blocks."""
        end = self._end if self._end is not None else os.fstat(self.segment.fd).st_size
        return max(end - self.offset, 0)

    def step(self, want: Want | None = None) -> tuple[BlockHeader, bytes] | None:
        """The next block and its body, checked; None: no complete block here (the end, or a torn one).

        Blocks that `want` refuses are passed over unread; they come back with an empty body.
        Raises `BadBlock`, and stays before it.
        """
        at = self._need(BLOCK_HEADER_BYTES)
        if len(self._window) - at < BLOCK_HEADER_BYTES:
            return None
        try:
            header = unpack_block_header(self._window, at)
        except Malformed as fault:
            raise self._bad(str(fault), self.leftover(), self.expected, None) from None
        size = BLOCK_HEADER_BYTES + header.stored_len
        if header.codec == INDEX:
            raise self._bad("the index or its trailer is damaged", self.leftover(), None, None)
        if header.first_position > self.expected:
            raise self._bad("positions are missing", 0, self.expected, header.first_position - 1)
        if header.first_position < self.expected:
            raise self._bad(f"positions from {header.first_position} come twice", size, None, None)
        if want is not None and not want(header):
            if self.leftover() < size:
                return None
            body = b""
        else:
            at = self._need(size)
            if len(self._window) - at < size:
                return None
            body = self._window[at + BLOCK_HEADER_BYTES : at + size]
            if crc32(body) != header.body_crc:
                last = header.next_position - 1
                raise self._bad("the block's checksum is wrong", size, header.first_position, last)
        self.offset += size
        self.expected = header.next_position
        return header, body

    def _bad(self, reason: str, length: int, first: int | None, last: int | None) -> BadBlock:
        return BadBlock(Damage(self.segment.path, self.offset, length, first, last, reason))

    def pass_damage(self, damage: Damage) -> Damage | None:
        """Go to the next good block behind `damage`; returns what was passed, None if there is none."""
        end = self.offset + self.leftover()
        data = self._pread(end - self.offset)
        at = data.find(BLOCK_MAGIC, 0 if damage.length == 0 else 1)
        while at >= 0:
            found = _good_block(data, at, self.expected)
            if found is not None:
                lost = found.first_position > self.expected
                passed = Damage(
                    damage.path, self.offset, at,
                    self.expected if lost else None, found.first_position - 1 if lost else None,
                    damage.reason,
                )  # fmt: skip
                self.offset += at
                self.expected = found.first_position
                return passed
            at = data.find(BLOCK_MAGIC, at + 1)
        return None


def _good_block(data: bytes, at: int, expected: int) -> BlockHeader | None:
    if len(data) - at < BLOCK_HEADER_BYTES:
        return None
    try:
        header = unpack_block_header(data, at)
    except Malformed:
        return None
    body = data[at + BLOCK_HEADER_BYTES : at + BLOCK_HEADER_BYTES + header.stored_len]
    whole = len(body) == header.stored_len and header.codec != INDEX and header.first_position >= expected
    return header if whole and crc32(body) == header.body_crc else None
