"""The journal: an ordered, durable, checksummed store of opaque records. It knows nothing of what they mean.

with Journal.open("/var/lib/vmm/journal") as journal:
    positions = journal.commit([(now_s, "report", payload), ...])   # stored when it returns
for record in read("/var/lib/vmm/journal", since_s=...): ...        # any process, also meanwhile
"""

from vmm.journal.errors import (
    BadRecord,
    Damage,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalVersion,
    NoJournal,
    PositionGone,
)
from vmm.journal.format import Batch, Columns, Entry, Record
from vmm.journal.reader import read, read_batches, read_columns
from vmm.journal.recover import Recovery
from vmm.journal.retain import Removed
from vmm.journal.snapshots import kept_snapshots, latest_snapshot
from vmm.journal.survey import Check, SegmentStats, Stats, stats, verify
from vmm.journal.writer import Journal

__all__ = [
    "BadRecord",
    "Batch",
    "Check",
    "Columns",
    "Damage",
    "Entry",
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalFailed",
    "JournalFull",
    "JournalLocked",
    "JournalVersion",
    "NoJournal",
    "PositionGone",
    "Record",
    "Recovery",
    "Removed",
    "SegmentStats",
    "Stats",
    "kept_snapshots",
    "latest_snapshot",
    "read",
    "read_batches",
    "read_columns",
    "stats",
    "verify",
]
