"""A disk without room: nothing half-written stays, what was refused can be given again, and it is said."""

from __future__ import annotations

import contextlib
import random
import resource
import subprocess

import pytest

from vmm.journal import Journal, JournalFull, latest_snapshot, read


class FileSizeLimit:
    """No room by RLIMIT_FSIZE: no file may grow beyond the journal's newest segment plus a few bytes."""

    def __init__(self, directory):
        self.directory = directory
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, leave):
        sizes = [path.stat().st_size for path in (self.directory / "j").glob("*.vmmj")]
        resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[-1] + leave, self.before[1]))

    def empty(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    def close(self):
        self.empty()


class SmallDisk:
    """A tmpfs of 1 MiB, filled up by a file beside the journal."""

    def __init__(self, directory):
        self.directory = directory
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "vmm-test", directory], check=True)

    def fill(self, leave):
        with (self.directory / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self):
        (self.directory / "ballast").unlink(missing_ok=True)

    def close(self):
        subprocess.run(["umount", "-l", self.directory], check=True)


SMALL_DISK = pytest.param(SmallDisk, marks=pytest.mark.root)


@pytest.fixture(params=[FileSizeLimit, SMALL_DISK])
def disk(request, tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    made = request.param(directory)
    yield made
    made.close()


@pytest.fixture
def open_on(disk):
    """Opens the journal on the disk, and closes it before the disk goes."""
    with contextlib.ExitStack() as stack:

        def open_one(**options):
            options = {"sync": "none", "reserve_kib": 0, **options}
            return stack.enter_context(Journal.open(disk.directory / "j", **options))

        yield open_one
        disk.empty()


def batch(count, start=0):
    noise = random.Random(start)
    return [(float(i), "k", noise.randbytes(200)) for i in range(start, start + count)]


def fill_to_the_brim(journal, disk, start):
    """Commit small batches until there is no room; returns how many records are in."""
    disk.fill(3000)
    while True:
        try:
            journal.commit(batch(5, start))
        except JournalFull:
            return start
        start += 5


def test_a_refused_batch_leaves_nothing_and_can_be_given_again(disk, open_on):
    journal = open_on()
    journal.commit(batch(50))
    stored = fill_to_the_brim(journal, disk, 50)
    size = sum(path.stat().st_size for path in journal.directory.glob("*.vmmj"))
    with pytest.raises(JournalFull) as caught:
        journal.commit(batch(500, stored))
    assert caught.value.needed_bytes > 500 * 200
    assert f"needs {caught.value.needed_bytes} bytes more" in str(caught.value)
    assert "Next: free space there" in str(caught.value)
    assert sum(path.stat().st_size for path in journal.directory.glob("*.vmmj")) == size
    assert journal.last_position == journal.flushed_position == stored
    assert len(list(read(journal.directory))) == stored
    disk.empty()
    assert journal.commit(batch(500, stored)) == range(stored + 1, stored + 501)
    expected = [*batch(50), *chunks(50, stored), *batch(500, stored)]
    assert [record[1:] for record in read(journal.directory)] == expected
    journal.close()
    assert open_on().recovery.clean


def chunks(start, stop):
    return [entry for at in range(start, stop, 5) for entry in batch(5, at)]


def test_what_was_appended_stays_pending_until_there_is_room(disk, open_on):
    journal = open_on()
    stored = fill_to_the_brim(journal, disk, 0)
    assert journal.append_many(batch(200, stored)) == range(stored + 1, stored + 201)
    assert journal.append(1.0, "k", b"x") == stored + 201
    for _ in range(2):
        with pytest.raises(JournalFull):
            journal.flush()
    with pytest.raises(JournalFull):  # it does not slip in behind what is pending
        journal.commit(batch(1))
    disk.empty()
    assert journal.flush() == stored + 201
    assert [record.position for record in read(journal.directory)] == list(range(1, stored + 202))


def test_a_refused_append_with_sync_always_was_not_taken(disk, open_on):
    journal = open_on(sync="always")
    stored = fill_to_the_brim(journal, disk, 0)
    with pytest.raises(JournalFull):
        journal.append(1.0, "k", bytes(10_000))
    disk.empty()
    assert journal.append(1.0, "k", b"") == stored + 1


def test_a_snapshot_without_room_leaves_nothing(disk, open_on):
    journal = open_on()
    journal.commit(batch(10))
    journal.write_snapshot(10, b"small")
    disk.fill(100)
    with pytest.raises(JournalFull):
        journal.write_snapshot(10, random.Random(1).randbytes(100_000))
    assert latest_snapshot(journal.directory) == (10, b"small")
    assert not list(journal.directory.glob("*.tmp"))


def test_a_full_disk_at_rotation(disk, open_on):
    journal = open_on(segment_mib=0.05)
    start = fill_to_the_brim(journal, disk, 0)
    disk.empty()
    for at in range(start, start + 300, 5):
        journal.commit(batch(5, at))
    assert len(list(journal.directory.glob("*.vmmj"))) > 1
    journal.close()
    assert [record[1:] for record in read(journal.directory)] == chunks(0, start + 300)
    assert open_on().recovery.clean


@pytest.mark.parametrize("disk", [SMALL_DISK], indirect=True)
def test_the_packed_twin_gives_way_to_records(disk, open_on):
    journal = open_on()
    at = 0
    with contextlib.suppress(JournalFull):
        while True:
            journal.commit(batch(50, at))
            at += 50
    assert at * 200 > 850_000
    assert not list(journal.directory.glob("*.sealing"))
    assert len(list(read(journal.directory))) == at


@pytest.mark.parametrize("disk", [SMALL_DISK], indirect=True)
def test_the_reserve_takes_the_record_that_says_so(disk, open_on):
    journal = open_on(reserve_kib=64)
    stored = fill_to_the_brim(journal, disk, 0)
    assert (journal.directory / "reserve").stat().st_size == 64 * 1024
    assert journal.commit([(1.0, "full", bytes(20_000))], urgent=True) == range(stored + 1, stored + 2)
    assert not (journal.directory / "reserve").exists()
    disk.empty()
    journal.commit(batch(1))
    assert (journal.directory / "reserve").stat().st_size == 64 * 1024
    assert [record.kind for record in read(journal.directory, stored + 1)] == ["full", "k"]


@pytest.mark.parametrize("disk", [SMALL_DISK], indirect=True)
def test_a_torn_tail_on_a_full_disk_is_cut_though_it_cannot_be_kept(disk, open_on):
    journal = open_on(compress=False)
    journal.commit(batch(100))
    journal.close()
    path = next(journal.directory.glob("*.vmmj"))
    good = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"torn" * 20_000)
    disk.fill(0)
    again = open_on()
    assert (again.recovery.bytes_cut, again.recovery.torn_file) == (80_000, None)
    assert path.stat().st_size == good
    assert again.commit(batch(1)) == range(101, 102)
