"""What can go wrong with a journal: each error says where, what was lost if anything, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vmm.errors import VmmError


class JournalError(VmmError):
    """Base of the journal's errors."""

    code = "journal"


class BadRecord(JournalError):
    """A record (or an argument) cannot be stored as given; nothing of its batch was taken."""

    code = "journal.record"


class NoJournal(JournalError):
    """The directory holds no journal."""

    code = "journal.none"


class JournalVersion(JournalError):
    """The file is of a format, or of another journal, that this program does not read here."""

    code = "journal.version"


class JournalLocked(JournalError):
    """Another writer has the journal open. `pid` is the process that holds it (None: it does not say)."""

    code = "journal.locked"

    def __init__(self, directory: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{directory}: {who} is writing to this journal; a journal has one writer.",
            next_step=f"stop {who}, or give this program a journal directory of its own.",
        )
        self.directory = directory
        self.pid = pid


class JournalFull(JournalError):
    """There is no room to write `needed_bytes` more; the journal's files are as they were before the try.

    Records that `append`/`append_many` had taken stay pending, and `flush()` may be called again; a batch
    refused by `commit` was not taken at all, and may be given again.
    """

    code = "journal.full"

    def __init__(self, place: Path, needed_bytes: int, free_bytes: int, reason: str) -> None:
        super().__init__(
            f"{place}: the journal needs {needed_bytes} bytes more and cannot have them"
            f" ({free_bytes} bytes free on the file system): {reason}.",
            next_step="free space there (or raise the quota or the file size limit); then write again. Until"
            " then nothing may be acted upon, because nothing can be recorded.",
        )
        self.place = place
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class JournalFailed(JournalError):
    """The disk refused a write or an fsync in a way after which this writer trusts nothing any more."""

    code = "journal.failed"

    def __init__(self, place: Path, reason: str) -> None:
        super().__init__(
            f"{place}: {reason}.",
            next_step="look at the disk (kernel log), then open the journal anew: opening checks its tail.",
        )
        self.place = place


class PositionGone(JournalError):
    """Positions that retention has removed were asked for."""

    code = "journal.gone"

    def __init__(self, directory: Path, asked: int, first_kept: int) -> None:
        super().__init__(
            f"{directory}: position {asked} is no longer kept; the first kept position is {first_kept}.",
            next_step="start from the latest snapshot, or read from the first kept position.",
        )
        self.asked = asked
        self.first_kept = first_kept


@dataclass(frozen=True)
class Damage:
    """One damaged place: `length` bytes of `path` from `offset`, and the positions that were in them.

    `first_lost` None: no record was lost. `last_lost` None with `first_lost` set: lost up to the end.
    """

    path: Path
    offset: int
    length: int
    first_lost: int | None
    last_lost: int | None
    reason: str

    def __str__(self) -> str:
        if self.first_lost is None:
            lost = "no position lost"
        elif self.last_lost is None:
            lost = f"positions lost: {self.first_lost} and all that follow in it"
        else:
            lost = f"positions lost: {self.first_lost} to {self.last_lost}"
        return f"{self.path}: offset {self.offset}, {self.length} bytes: {self.reason}; {lost}"


class JournalDamaged(JournalError):
    """Stored bytes are not what was written. `damage` says where and which positions are lost."""

    code = "journal.damaged"

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"{damage}.",
            next_step="restore the file from a copy, or start from a snapshot after these positions, or read"
            ' past it (`vmm journal show --skip-damage`; in Python on_damage="skip"); a tail torn by a power'
            " loss is cut when the journal is next opened for writing.",
        )
        self.damage = damage
