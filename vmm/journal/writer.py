"""The journal as its one writer sees it: append, flush, snapshot, and the limits on its growth."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from vmm.journal import reader, snapshots, survey
from vmm.journal.active import ActiveSegment
from vmm.journal.errors import BadRecord, JournalError, JournalFailed, JournalFull
from vmm.journal.files import cannot, segments
from vmm.journal.format import Entry, SegmentHeader
from vmm.journal.lock import WriterLock
from vmm.journal.pending import Pending
from vmm.journal.recover import Recovery
from vmm.journal.reserve import Reserve
from vmm.journal.resume import resume
from vmm.journal.retain import Removed, retain

log = logging.getLogger(__name__)
MIB = 1024 * 1024
Sync = Literal["batch", "always", "none"]
_PENDING_BYTES = 4 * MIB


class Journal:
    """An ordered, append-only store of opaque records in a directory; positions count 1, 2, 3, ... for ever.

    One process writes (`Journal.open`), any number read (`Journal.read`, also while it is written). After
    `flush()` (or `commit`) returns, the records survive the death of the process, and with sync="batch" or
    "always" a power loss. Methods may be called from several threads.
    """

    def __init__(  # use Journal.open
        self, directory: Path, lock: WriterLock, active: ActiveSegment, recovery: Recovery, reserve: Reserve,
        *, segment_bytes: int, sync: Sync, compress: bool, retain_bytes: float, retain_s: float,
        keep_snapshots: int, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.directory = directory
        self.recovery = recovery
        self._lock = lock
        self._active = active
        self._reserve = reserve
        self._segment_bytes = segment_bytes
        self._sync: Sync = sync
        self._compress = compress
        self._retain_bytes = retain_bytes
        self._retain_s = retain_s
        self._keep_snapshots = keep_snapshots
        self._clock = clock
        self._guard = threading.RLock()
        self._pending = Pending(active.index.next_position)
        self._flushed = self._pending.next_position - 1
        self._dirty = False  # written, not yet fsynced
        self._reserve_lost = not reserve.held
        self._failed: JournalFailed | None = None
        self._closed = False

    @classmethod
    def open(
        cls, directory: Path | str, *, journal_id: str | None = None, segment_mib: float = 64,
        sync: Sync = "batch", compress: bool = True, retain_mib: float | None = None,
        retain_s: float | None = None, keep_snapshots: int = 3, reserve_kib: int = 64,
        clock: Callable[[], float] = time.time,
    ) -> Journal:  # fmt: skip
        """Open for writing, making the directory if need be; see `recovery` for what was found.

        Raises `JournalLocked` (another writer), `JournalVersion` (not ours, not `journal_id`), `JournalFull`.
        """
        if sync not in ("batch", "always", "none") or segment_mib <= 0 or keep_snapshots < 1:
            raise BadRecord(
                f"sync={sync!r}, segment_mib={segment_mib}, keep_snapshots={keep_snapshots}: out of range.",
                next_step='use sync "batch", "always" or "none", and positive numbers.',
            )
        place = Path(directory)
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = WriterLock(place)
        except OSError as error:
            raise cannot("write", place, error) from error
        try:
            fresh_id = journal_id or uuid.uuid4().hex
            active, recovery = resume(
                place, journal_id, fresh_id, compress=compress, sync=sync != "none", now_s=clock()
            )
            if not recovery.clean:
                log.warning("%s: %s", place, recovery)
            return cls(
                place, lock, active, recovery, Reserve(place, reserve_kib * 1024),
                segment_bytes=int(segment_mib * MIB), sync=sync, compress=compress,
                retain_bytes=math.inf if retain_mib is None else retain_mib * MIB,
                retain_s=math.inf if retain_s is None else retain_s,
                keep_snapshots=keep_snapshots, clock=clock,
            )  # fmt: skip
        except OSError as error:
            lock.release()
            raise cannot("write", place, error) from error
        except BaseException:
            lock.release()
            raise

    read = staticmethod(reader.read)
    read_batches = staticmethod(reader.read_batches)
    stats = staticmethod(survey.stats)

    @property
    def journal_id(self) -> str:
        return self._active.header.journal_id

    @property
    def last_position(self) -> int:
        """Of the last record taken (pending ones included); 0 in an empty journal."""
        return self._pending.next_position - 1

    @property
    def flushed_position(self) -> int:
        """Of the last record that `flush()` or `commit` has acknowledged."""
        return self._flushed

    def append(self, time_s: float, kind: str, payload: bytes) -> int:
        """Take one record; returns its position. The next `flush()` stores it (at once with "always")."""
        with self._guard:
            self._check()
            entry = (time_s, kind, payload)
            if self._sync == "always":
                return self.commit([entry])[0]
            if self._pending.bytes >= _PENDING_BYTES:
                self.flush()
            return self._pending.add(entry)

    def append_many(self, entries: Sequence[Entry]) -> range:
        """Take a batch of (time_s, kind, payload), all or nothing; returns its positions."""
        if self._sync == "always":
            return self.commit(entries)
        with self._guard:
            self._check()
            if self._pending.bytes >= _PENDING_BYTES:
                self.flush()
            return self._pending.extend(entries)

    def commit(self, entries: Sequence[Entry], *, urgent: bool = False) -> range:
        """`append_many` and `flush` in one: one write for the batch; returns its positions.

        On `JournalFull` nothing of the batch is in the journal: give it again later. `urgent` may use the
        reserve, for the record that says why nothing more will happen.
        """
        with self._guard:
            self._check()
            self._write(urgent)  # what was pending before must not be undone with this batch
            taken = self._pending.extend(entries)
            try:
                self._write(urgent)
            except JournalFull:
                self._pending.take_back(taken.start)
                raise
            return taken

    def restore_reserve(self) -> bool:
        """Set the reserve aside again after an urgent record; False while there is no room for it."""
        with self._guard:
            self._reserve_lost = not self._reserve.restore()
            return not self._reserve_lost

    def flush(self) -> int:
        """Store all that is pending with one write (and one fsync, unless sync is "none"); returns the last
        position stored. On `JournalFull` all stays pending: call again when there is room.
        """
        with self._guard:
            self._check()
            self._write(urgent=False)
            return self._flushed

    def _write(self, urgent: bool) -> None:
        blocks = self._pending.blocks()
        if not blocks:
            return
        if self._active.size + self._pending.bytes > self._segment_bytes and self._active.index.groups:
            self._rotate_if_possible()
        try:
            self._guarded(lambda: self._active.write(blocks))
        except JournalFull:
            if not (urgent and self._reserve.release()):
                raise
            self._reserve_lost = True
            self._guarded(lambda: self._active.write(blocks))
        self._pending.written()
        self._dirty = True
        if self._sync != "none":
            self._guarded(self._sync_now)
        self._flushed = self._pending.next_position - 1
        if self._reserve_lost and not urgent:
            self._reserve_lost = not self._reserve.restore()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run what touches the disk; after a `JournalFailed` this writer does nothing more."""
        try:
            action()
        except JournalFailed as error:
            self._failed = error
            raise

    def _sync_now(self) -> None:
        self._active.sync()
        self._dirty = False

    def _rotate(self) -> None:
        header = SegmentHeader(self.journal_id, self._flushed + 1, self._clock())
        self._active = self._active.successor(header, compress=self._compress)
        self._tidy()

    def _rotate_if_possible(self) -> None:
        """Without room or file handles for another segment, the current one grows on."""
        try:
            self._guarded(self._rotate)
        except JournalFailed:
            raise
        except JournalError as error:
            log.warning("%s: rotation put off: %s", self.directory, error)

    def _tidy(self) -> None:
        """What failing must not fail the record or the snapshot that was just stored."""
        try:
            snapshots.prune(self.directory, self._keep_snapshots)
            self.retain()
        except (OSError, JournalError) as error:
            log.error("%s: cannot remove what is due: %s", self.directory, error)

    def rotate(self) -> None:
        """Close the current segment now (it is otherwise done when it is full)."""
        with self._guard:
            self.flush()
            if self._active.index.groups:
                self._guarded(self._rotate)

    def write_snapshot(self, position: int, payload: bytes) -> Path:
        """Store the state after `position`, which must have been appended; then prune and `retain`."""
        with self._guard:
            self._check()
            if not 0 <= position <= self.last_position:
                raise BadRecord(
                    f"snapshot of position {position}: the journal has positions up to {self.last_position}.",
                    next_step="take snapshots of positions that were appended.",
                )
            if position > self._flushed:
                self.flush()
            if self._dirty:  # a snapshot must never be ahead of the records after a power loss
                self._guarded(self._sync_now)
            segment_id = self.journal_id
        path = snapshots.write(self.directory, segment_id, position, self._clock(), payload)
        with self._guard:
            self._tidy()
        return path

    def latest_snapshot(self) -> tuple[int, bytes] | None:
        return snapshots.latest_snapshot(self.directory)

    def retain(self) -> Removed:
        """Apply the limits of age and size now; returns what was removed."""
        if self._retain_bytes == math.inf and self._retain_s == math.inf:
            return Removed()
        oldest_s = self._clock() - self._retain_s
        return retain(self.directory, limit_bytes=self._retain_bytes, oldest_s=oldest_s)

    @property
    def first_position(self) -> int:
        """Of the oldest record still kept (or the next to come)."""
        return segments(self.directory)[0].position

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closed:
            raise JournalError(f"{self.directory}: this journal is closed.", next_step="open it again.")

    def close(self) -> None:
        """Flush and close. If the flush fails, the journal is closed all the same and the error raised."""
        with self._guard:
            if self._closed:
                return
            try:
                if self._failed is None:
                    self.flush()
            finally:
                self._closed = True
                self._active.close()
                self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
