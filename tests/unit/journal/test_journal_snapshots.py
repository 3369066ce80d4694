"""Snapshots and retention: the newest good one counts; nothing goes that no snapshot covers."""

from __future__ import annotations

import os

import pytest

from vmm.journal import BadRecord, JournalDamaged, latest_snapshot, read, stats


def test_the_newest_counts_and_the_last_few_are_kept(open_journal, entries):
    journal = open_journal(keep_snapshots=3)
    assert latest_snapshot(journal.directory) is None
    for i in range(5):
        journal.commit(entries(10))
        journal.write_snapshot(journal.last_position, b"state %d" % i * 100)
    assert journal.latest_snapshot() == (50, b"state 4" * 100)
    assert stats(journal.directory).snapshots == [30, 40, 50]


def test_any_corrupted_byte_of_the_newest_falls_back_to_the_one_before(open_journal, entries):
    journal = open_journal()
    journal.commit(entries(10))
    journal.write_snapshot(0, b"")
    journal.write_snapshot(5, b"five")
    path = journal.write_snapshot(10, b"ten" * 5)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert latest_snapshot(journal.directory) == (5, b"five"), f"byte {at}"
        path.write_bytes(whole[:at])
        assert latest_snapshot(journal.directory) == (5, b"five"), f"cut at {at}"
    path.write_bytes(whole)
    assert latest_snapshot(journal.directory) == (10, b"ten" * 5)


def test_a_snapshot_stores_the_records_it_stands_on(open_journal, entries, monkeypatch):
    journal = open_journal(sync="none")
    journal.append_many(entries(10))
    order = []
    sync, rename = os.fdatasync, os.rename
    monkeypatch.setattr(os, "fdatasync", lambda fd: (order.append("records"), sync(fd)))
    monkeypatch.setattr(os, "rename", lambda a, b: (order.append("snapshot"), rename(a, b)))
    journal.write_snapshot(10, b"s")
    assert order == ["records", "snapshot"]
    assert journal.flushed_position == 10
    with pytest.raises(BadRecord, match="snapshot of position 11"):
        journal.write_snapshot(11, b"s")


def test_positions_that_a_snapshot_covers_are_never_given_again(open_journal, entries):
    journal = open_journal()
    journal.commit(entries(10))
    journal.commit(entries(10))
    journal.write_snapshot(20, b"state")
    journal.close()
    path = journal.directory / f"{1:020d}.vmmj"
    os.truncate(path, path.stat().st_size - 1)
    again = open_journal()
    assert again.recovery.last_position == 10
    assert again.recovery.skipped == range(11, 21)
    assert "positions 11 to 20 are lost, a snapshot covers them" in str(again.recovery)
    assert again.commit(entries(1)) == range(21, 22)
    assert [record.position for record in read(again.directory, 21)] == [21]
    with pytest.raises(JournalDamaged, match="positions lost: 11 to 20"):
        list(read(again.directory))


def fill(journal, entries, segments=5):
    """Segments of 10 records each, all closed but the (empty) last."""
    for at in range(0, 10 * segments, 10):
        journal.commit(entries(10, at))
        journal.rotate()


def firsts(directory):
    return [segment.first_position for segment in stats(directory).segments]


def test_retention_by_size_takes_only_what_a_snapshot_covers(open_journal, entries):
    journal = open_journal(retain_mib=0.0001)
    fill(journal, entries)
    assert firsts(journal.directory) == [1, 11, 21, 31, 41, 51]
    assert journal.retain().kept_uncovered == 1
    journal.write_snapshot(25, b"state")
    assert firsts(journal.directory) == [21, 31, 41, 51]
    assert journal.first_position == 21
    journal.write_snapshot(50, b"state")
    assert firsts(journal.directory) == [21, 31, 41, 51]  # the older snapshot still needs them
    for _ in range(3):
        journal.commit(entries(1))
        journal.write_snapshot(journal.last_position, b"state")
    assert firsts(journal.directory) == [51]
    assert journal.commit(entries(1)) == range(54, 55)


def test_retention_by_age_says_what_it_removed(open_journal, entries, caplog):
    now = 1e9 + 50
    journal = open_journal(retain_s=25, clock=lambda: now)
    fill(journal, entries)
    caplog.set_level("INFO")
    journal.write_snapshot(50, b"state")
    assert firsts(journal.directory) == [21, 31, 41, 51]  # 21..30 end at 1e9 + 29
    assert "removed 2 segments, positions 1 to 20" in caplog.text
    now += 10
    removed = journal.retain()
    assert removed.positions == range(21, 31)
    assert [path.name for path in removed.paths] == [f"{21:020d}.vmmj"]
    assert removed.bytes > 0
    assert journal.retain().paths == []
    assert [record.position for record in read(journal.directory, 35)] == list(range(35, 51))


def test_without_limits_nothing_is_removed(open_journal, entries):
    journal = open_journal()
    fill(journal, entries, 2)
    journal.write_snapshot(20, b"state")
    assert journal.retain().paths == ()
    assert firsts(journal.directory) == [1, 11, 21]
