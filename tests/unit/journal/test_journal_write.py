"""The writer: positions, batches, rotation, reopening, one writer only."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading

import pytest

from vmm.journal import (
    BadRecord,
    Journal,
    JournalError,
    JournalLocked,
    JournalVersion,
    NoJournal,
    read,
    stats,
)


def test_positions_count_without_gaps_over_all_ways_to_append(open_journal, entries, numbered):
    batch = entries(10)
    with open_journal() as journal:
        assert journal.append(*batch[0]) == 1
        assert journal.append_many(batch[1:4]) == range(2, 5)
        assert journal.append(*batch[4]) == 5
        assert journal.flushed_position == 0
        assert journal.flush() == 5
        assert journal.commit(batch[5:7]) == range(6, 8)
        assert journal.commit([]) == range(8, 8)
        assert journal.append_many([]) == range(8, 8)
        journal.append(*batch[7])
        assert journal.commit(batch[8:10]) == range(9, 11)
        assert (journal.last_position, journal.flushed_position) == (10, 10)
    assert list(read(journal.directory)) == numbered(batch)


def test_what_is_not_flushed_is_not_there_for_others(open_journal, entries):
    journal = open_journal()
    journal.append_many(entries(3))
    assert list(read(journal.directory)) == []
    journal.flush()
    assert len(list(read(journal.directory))) == 3


@pytest.mark.parametrize("compress", [True, False])
def test_segments_rotate_and_reopen(open_journal, entries, numbered, compress, tmp_path):
    batch = entries(3000)
    for start in range(0, 3000, 1000):
        with open_journal(segment_mib=0.02, compress=compress) as journal:
            assert journal.recovery.clean
            assert journal.last_position == start
            for at in range(start, start + 1000, 50):
                journal.commit(batch[at : at + 50])
    assert list(read(journal.directory)) == numbered(batch)
    found = stats(journal.directory)
    assert len(found.segments) > 3
    assert [segment.closed for segment in found.segments] == [True] * (len(found.segments) - 1) + [False]
    assert (found.events, found.first_position, found.last_position) == (3000, 1, 3000)
    assert found.kinds == {"tick": 1000, "report": 2000}
    assert (found.min_time_s, found.max_time_s) == (1e9, 1e9 + 2999)
    assert (found.ratio > 1.5) == compress
    assert sorted(path.suffix for path in journal.directory.iterdir() if path.suffix != ".vmmj") == [
        ""
    ]  # lock


def test_the_journal_id_stays(open_journal, tmp_path):
    open_journal(journal_id="site-a").close()
    assert open_journal().journal_id == "site-a"
    with pytest.raises(JournalLocked):
        open_journal(journal_id="site-a")
    Journal.open(tmp_path / "other", journal_id="site-b").close()
    with pytest.raises(JournalVersion, match="site-b"):
        Journal.open(tmp_path / "other", journal_id="site-a")


def test_a_second_writer_is_refused_with_the_pid_of_the_first(open_journal, tmp_path):
    journal = open_journal()
    with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
        open_journal()
    script = "import sys; from vmm.journal import Journal; Journal.open(sys.argv[1])"
    second = subprocess.run([sys.executable, "-c", script, journal.directory], capture_output=True, text=True)
    assert second.returncode == 1
    assert f"[journal.locked] {journal.directory}: process {os.getpid()} is writing" in second.stderr
    journal.close()
    assert subprocess.run([sys.executable, "-c", script, journal.directory]).returncode == 0


@pytest.mark.parametrize("way", ["append", "append_many", "commit"])
def test_a_bad_entry_disturbs_nothing(open_journal, entries, numbered, way):
    batch = entries(4)
    journal = open_journal()
    journal.append(*batch[0])
    for bad in ((1.0, "k" * 256, b""), (float("nan"), "k", b""), (1.0, "k", "text")):
        given = bad if way == "append" else [[batch[1], bad]]
        with pytest.raises(BadRecord):
            getattr(journal, way)(*given)
    journal.append_many(batch[1:])
    journal.flush()
    assert list(read(journal.directory)) == numbered(batch)


def test_unusual_but_good_values_are_stored(open_journal):
    journal = open_journal()
    changing = bytearray(b"abc")
    journal.append(5, "ä" * 127, changing)  # type: ignore[arg-type]
    changing[0] = 0
    journal.append_many([(1, "", memoryview(b"xyz"))])  # type: ignore[list-item]
    journal.flush()
    assert [record[1:] for record in read(journal.directory)] == [(5.0, "ä" * 127, b"abc"), (1.0, "", b"xyz")]


@pytest.mark.parametrize(("sync", "fsyncs"), [("none", 0), ("batch", 2), ("always", 5)])
def test_how_often_the_disk_is_asked(open_journal, entries, monkeypatch, sync, fsyncs):
    journal = open_journal(sync=sync)
    seen = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (seen.append(fd), real(fd)))
    for batch in (entries(2), entries(2)):
        for entry in batch:
            journal.append(*entry)
        journal.flush()
    journal.append(*entries(1)[0])
    assert len(seen) == fsyncs
    assert journal.flushed_position == (5 if sync == "always" else 4)


def test_a_failed_fsync_stops_the_writer_for_good(open_journal, entries, monkeypatch):
    journal = open_journal(sync="batch")
    journal.commit(entries(1))

    def fail(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(JournalError, match="fsync failed"):
        journal.commit(entries(1))
    monkeypatch.undo()
    with pytest.raises(JournalError, match="open the journal anew"):
        journal.append(*entries(1)[0])


def test_many_pending_records_are_written_without_being_asked(open_journal):
    journal = open_journal()
    for _ in range(6):
        journal.append_many([(1.0, "k", bytes(1_000_000))])
    assert journal.flushed_position >= 4


def test_close_flushes_and_a_closed_journal_says_so(open_journal, entries):
    journal = open_journal()
    journal.append_many(entries(2))
    journal.close()
    journal.close()
    assert len(list(read(journal.directory))) == 2
    with pytest.raises(JournalError, match="closed"):
        journal.append(*entries(1)[0])


def test_arguments_out_of_range(tmp_path):
    for wrong in ({"sync": "often"}, {"segment_mib": 0}, {"keep_snapshots": 0}):
        with pytest.raises(BadRecord, match="out of range"):
            Journal.open(tmp_path / "j", **wrong)
    with pytest.raises(NoJournal):
        read(tmp_path / "nowhere")
    with pytest.raises(NoJournal):
        stats(tmp_path)


def test_a_place_that_cannot_be_used_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    for use in (lambda: Journal.open(tmp_path / "file"), lambda: read(tmp_path / "file")):
        with pytest.raises(JournalError, match=r"cannot (read|write) the journal"):
            use()


def test_what_retention_cannot_remove_does_not_stop_the_writer(open_journal, entries, monkeypatch, caplog):
    journal = open_journal(retain_mib=0.0001)
    journal.commit(entries(10))
    journal.rotate()

    def refuse(path, missing_ok=False):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    journal.write_snapshot(10, b"state")
    monkeypatch.undo()
    assert "cannot remove what is due" in caplog.text
    assert journal.commit(entries(1)) == range(11, 12)


def test_several_threads_may_write(open_journal):
    """Positions stay unique and whole batches stay together while another thread takes snapshots."""
    journal = open_journal(segment_mib=0.01)
    given = {}

    def write(name):
        for i in range(100):
            positions = journal.commit([(1.0, name, b"%d" % i)] * 3)
            given.update(dict.fromkeys(positions, (name, b"%d" % i)))

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for _ in range(10):
        journal.write_snapshot(journal.last_position, b"state")
    for thread in threads:
        thread.join()
    stored = {record.position: (record.kind, record.payload) for record in read(journal.directory)}
    assert stored == given
    assert len(given) == 600


def test_without_file_handles_the_segment_grows_on(open_journal, entries, numbered, caplog):
    journal = open_journal(segment_mib=0.001)
    journal.commit(entries(20))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        journal.commit(entries(20, 20))
        journal.commit(entries(20, 40))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "rotation put off" in caplog.text
    journal.commit(entries(20, 60))
    assert list(read(journal.directory)) == numbered(entries(80))
    assert [segment.closed for segment in stats(journal.directory).segments] == [True, False]
