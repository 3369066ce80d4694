"""The segment being written: one pwrite per flush, taken back whole if the disk has no room for all of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from vmm.journal.errors import JournalError, JournalFailed
from vmm.journal.files import NO_ROOM, refused, segment_path, write_all, write_atomically
from vmm.journal.format import SEGMENT_HEADER_BYTES, Block, SegmentHeader, pack_segment_header
from vmm.journal.index import Index, pack_index
from vmm.journal.seal import Sealer

log = logging.getLogger(__name__)


class ActiveSegment:
    """An open segment file and what closing it will need. Not thread-safe: the journal's lock guards it."""

    def __init__(self, path: Path, header: SegmentHeader, size: int, *, compress: bool, sync: bool) -> None:
        self.path = path
        self.header = header
        self.size = size
        self.index = Index(header.first_position)
        self._sync = sync
        self._sealer = Sealer(path, header) if compress else None
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    @classmethod
    def create(cls, directory: Path, header: SegmentHeader, *, compress: bool, sync: bool) -> ActiveSegment:
        """A new, empty segment. Its header is whole or the file is not there."""
        path = segment_path(directory, header.first_position)
        try:
            write_atomically(path, [pack_segment_header(header)], sync=sync)
            return cls(path, header, SEGMENT_HEADER_BYTES, compress=compress, sync=sync)
        except (OSError, JournalFailed) as error:
            path.unlink(missing_ok=True)  # two segments must not hold the same positions
            raise JournalError(
                f"{path}: cannot begin a segment: {error}", next_step="look at the disk and the open files."
            ) from error

    def note(self, block: Block, offset: int) -> None:
        """Count a block that is in the file (just written, or found there at opening)."""
        self.index.add(offset, block.header, block.kinds, len(block.data))
        if self._sealer is not None:
            try:
                self._sealer.add(block.header, block.kinds, block.data)
            except JournalError as error:
                log.warning("%s: not compressed for now: %s", self.path, error)
                self.drop_side_file()

    def drop_side_file(self) -> bool:
        """Give up compressing this segment until the next opening; returns whether that freed space."""
        if self._sealer is None:
            return False
        self._sealer.abandon()
        self._sealer = None
        return True

    def write(self, blocks: Sequence[Block]) -> None:
        """Append blocks. Raises `JournalFull` (file as before) or `JournalFailed`."""
        data = blocks[0].data if len(blocks) == 1 else b"".join([block.data for block in blocks])
        try:
            self._write(data)
        except OSError as error:
            if error.errno not in NO_ROOM or not self.drop_side_file():
                raise refused(self.path, len(data), error) from error
            try:
                self._write(data)  # with the room that the side file took
            except OSError as again:
                raise refused(self.path, len(data), again) from again
        offset = self.size
        self.size += len(data)
        for block in blocks:
            self.note(block, offset)
            offset += len(block.data)

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._fd, data, self.size)
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self.size)
        except OSError as error:
            raise JournalFailed(
                self.path, f"cannot cut back to {self.size} bytes: {error.strerror}"
            ) from error

    def sync(self) -> None:
        """fdatasync. A failure leaves unknown what is stored, hence `JournalFailed`."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalFailed(self.path, f"fsync failed: {error.strerror}") from error

    def successor(self, header: SegmentHeader, *, compress: bool) -> ActiveSegment:
        """Close this segment with an index and open the next. On `JournalFull` this one goes on as it was."""
        directory = self.path.parent
        if self._sealer is None:
            footer = pack_index(self.index, self.size)
            try:
                self._write(footer)
            except OSError as error:
                raise refused(self.path, len(footer), error) from error
            try:
                self.sync()
                following = ActiveSegment.create(directory, header, compress=compress, sync=self._sync)
            except BaseException:
                self._take_back()
                raise
        else:
            self.sync()
            following = ActiveSegment.create(directory, header, compress=compress, sync=self._sync)
            try:
                self._sealer.finish()
            except JournalError as error:
                log.warning("%s: not compressed until the next opening: %s", self.path, error)
                self._sealer.abandon()
        os.close(self._fd)
        self._fd = -1
        return following

    def close(self) -> None:
        """Close the file (without an index: the next opening writes on in it)."""
        if self._sealer is not None:
            self._sealer.abandon()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
