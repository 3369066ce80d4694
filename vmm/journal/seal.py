"""Writing the packed form of a segment beside the plain one, a little with each flush.

The plain file is what makes a record durable, so it is written at once. Its packed twin grows in a side file
as groups of blocks fill up; when the segment is closed, the twin gets its index, an fsync, and the name of
the plain file. Nobody waits for 64 MiB to be compressed, and no thread is needed. Opening removes a side file
that a crash has left.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import zstandard

from vmm.journal.files import refused, sync_directory, write_all
from vmm.journal.format import (
    PACKED,
    BlockHeader,
    SegmentHeader,
    pack_block,
    pack_segment_header,
)
from vmm.journal.index import GROUP_BYTES, Group, Index, pack_index

_LEVEL = 3
_SYNC_BYTES = 2 * 1024 * 1024


def side_path(path: Path) -> Path:
    return path.with_name(path.name + ".sealing")


class Sealer:
    """Takes a segment's plain blocks in order, and replaces the segment's file at `finish()`.

    A disk without room makes `add` and `finish` raise `JournalFull`; then `abandon()`: the plain file stays.
    """

    def __init__(self, path: Path, header: SegmentHeader, *, compress: bool = True) -> None:
        self.path = path
        self.index = Index(header.first_position)
        self._packer = zstandard.ZstdCompressor(level=_LEVEL) if compress else None
        self._parts: list[bytes] = []
        self._headers: list[BlockHeader] = []
        self._kinds: Counter[str] = Counter()
        self._bytes = 0
        self._unsynced = 0
        self._offset = 0
        self._fd = -1
        self._header = header

    def add(self, header: BlockHeader, kinds: Counter[str], data: bytes) -> None:
        """One plain block (`data` is its header and body)."""
        self._headers.append(header)
        self._parts.append(data)
        self._kinds.update(kinds)
        self._bytes += len(data)
        if self._bytes >= GROUP_BYTES:
            self._write_group()

    def _write(self, data: bytes) -> None:
        try:
            if self._fd < 0:
                self._fd = os.open(side_path(self.path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
                head = pack_segment_header(self._header)
                write_all(self._fd, head, 0)
                self._offset = len(head)
            write_all(self._fd, data, self._offset)
            self._offset += len(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_BYTES:  # in small doses: one fsync of it all would stall the writer
                os.fdatasync(self._fd)
                self._unsynced = 0
        except OSError as error:
            raise refused(self.path, len(data), error) from error

    def _write_group(self) -> None:
        headers, raw = self._headers, b"".join(self._parts)
        first = headers[0].first_position
        count = headers[-1].next_position - first
        low, high = min(h.min_time_s for h in headers), max(h.max_time_s for h in headers)
        data = raw
        if self._packer is not None:
            _, data = pack_block(PACKED, self._packer.compress(raw), len(raw), count, first, low, high)
        self._write(data)
        offset = self._offset - len(data)
        self.index.add_group(Group(offset, first, count, low, high), self._kinds, len(raw))
        self._parts, self._headers, self._kinds, self._bytes = [], [], Counter(), 0

    def finish(self) -> Index:
        """Give the packed file the segment's name, durably, in one step."""
        if self._headers:
            self._write_group()
        self._write(pack_index(self.index, self._offset))
        try:
            os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(side_path(self.path), self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise refused(self.path, self._offset, error) from error
        return self.index

    def abandon(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        side_path(self.path).unlink(missing_ok=True)
