"""Random orders of everything a writer can do, with crashes in between, against a list in memory."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vmm.journal import Journal, Record, latest_snapshot, read, stats, verify

entry = st.tuples(st.floats(0, 1e10), st.sampled_from(["report", "tick", "view"]), st.binary(max_size=30))


class Writing(RuleBasedStateMachine):
    """`taken`: all records in order; `stored`: how many of them are flushed; `snapshots`: their positions."""

    @initialize(compress=st.booleans(), segment_kib=st.sampled_from([0.3, 1, 100]))
    def begin(self, compress, segment_kib):
        self.root = Path(tempfile.mkdtemp())
        self.directory = self.root / "0"
        self.options = {
            "compress": compress,
            "segment_mib": segment_kib / 1024,
            "sync": "none",
            "reserve_kib": 0,
        }
        self.journal = Journal.open(self.directory, journal_id="machine", **self.options)
        self.taken = []
        self.stored = 0
        self.snapshots = []
        self.removed = 0
        self.opened = 0

    def take(self, entries, positions):
        assert list(positions) == list(range(len(self.taken) + 1, len(self.taken) + len(entries) + 1))
        self.taken += [Record(position, *one) for position, one in zip(positions, entries, strict=True)]

    @rule(one=entry)
    def append(self, one):
        self.take([one], [self.journal.append(*one)])

    @rule(entries=st.lists(entry, max_size=6))
    def append_many(self, entries):
        self.take(entries, self.journal.append_many(entries))

    @rule(entries=st.lists(entry, max_size=6))
    def commit(self, entries):
        self.take(entries, self.journal.commit(entries))
        self.stored = len(self.taken)

    @rule()
    def flush(self):
        assert self.journal.flush() == len(self.taken)
        self.stored = len(self.taken)

    @rule()
    def rotate(self):
        self.journal.rotate()
        self.stored = len(self.taken)

    @rule(data=st.data())
    def snapshot(self, data):
        position = data.draw(st.integers(self.removed, len(self.taken)))
        self.journal.write_snapshot(position, b"%d" % position)
        self.snapshots = sorted({*self.snapshots, position})[-3:]
        if position > self.stored:
            self.stored = len(self.taken)

    def reopen(self, directory):
        if directory != self.directory:
            shutil.rmtree(self.directory)
        self.directory = directory
        retain_mib = 0.0005 if self.opened % 3 == 2 else None
        self.journal = Journal.open(directory, journal_id="machine", retain_mib=retain_mib, **self.options)
        self.opened += 1
        assert self.journal.last_position == len(self.taken)

    @rule()
    def close_and_open(self):
        self.journal.close()
        self.stored = len(self.taken)
        self.reopen(self.directory)
        assert self.journal.recovery.clean

    @rule(rubbish=st.binary(max_size=70))
    def crash(self, rubbish):
        """What is on the disk now goes on; behind it a write that did not end."""
        following = self.root / str(self.opened + 1)
        shutil.copytree(self.directory, following)
        self.journal.close()
        self.taken = self.taken[: self.stored]
        with max(following.glob("*.vmmj")).open("ab") as file:
            file.write(rubbish)
        self.reopen(following)
        assert self.journal.recovery.bytes_cut == len(rubbish)
        assert not self.journal.recovery.damage

    @invariant()
    def readers_see_what_is_stored(self):
        first = self.journal.first_position
        if self.snapshots:
            assert first <= self.snapshots[0] + 1
        else:
            assert first == 1
        self.removed = first - 1
        assert list(read(self.directory)) == self.taken[self.removed : self.stored]

    @invariant()
    def the_latest_snapshot_is_the_highest(self):
        newest = self.snapshots[-1] if self.snapshots else None
        assert latest_snapshot(self.directory) == (None if newest is None else (newest, b"%d" % newest))

    @precondition(lambda self: self.stored)
    @rule()
    def check(self):
        assert stats(self.directory).events == self.stored - self.removed
        assert verify(self.directory).damage == []

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.root)


TestWriting = Writing.TestCase
TestWriting.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
