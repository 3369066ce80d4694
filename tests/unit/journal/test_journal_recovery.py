"""After a crash: the torn tail is cut and said, damage is found and named, nothing good is lost."""

from __future__ import annotations

import os
import shutil

import pytest

from vmm.journal import JournalDamaged, JournalVersion, read, stats, verify
from vmm.journal.format import BLOCK_HEADER_BYTES, BLOCK_MAGIC, SEGMENT_HEADER_BYTES

BATCHES = 4
PER_BATCH = 3


@pytest.fixture
def last_segment(open_journal, entries):
    """A closed segment (positions 1 to 3), then one of 4 blocks: its path, and where its blocks end."""
    journal = open_journal(compress=False)
    journal.commit(entries(3))
    journal.rotate()
    path = journal.directory / f"{4:020d}.vmmj"
    ends = [path.stat().st_size]
    for i in range(BATCHES):
        journal.commit(entries(PER_BATCH, 3 + PER_BATCH * i))
        ends.append(path.stat().st_size)
    journal.close()
    return path, ends


def test_a_tail_cut_at_any_byte_gives_exactly_the_records_flushed_before(
    last_segment, open_journal, entries, numbered
):
    path, ends = last_segment
    whole = path.read_bytes()
    everything = numbered(entries(3 + BATCHES * PER_BATCH))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        good = sum(size >= end for end in ends[1:])
        kept = 3 + good * PER_BATCH
        with open_journal(path.parent) as journal:
            found = journal.recovery
            end = ends[good] if size >= ends[0] else 0
            assert (found.last_position, found.bytes_cut) == (kept, size - end)
            assert not found.damage
            if size > end:
                assert found.torn_file is not None
                assert found.torn_file.read_bytes() == whole[end:size]
                assert f"last good position {kept}; cut {size - end} bytes" in str(found)
                found.torn_file.unlink()
            else:
                assert found.clean
            assert journal.commit([(5.0, "new", b"after")]) == range(kept + 1, kept + 2)
        assert list(read(path.parent)) == [*everything[:kept], (kept + 1, 5.0, "new", b"after")]


@pytest.mark.parametrize("closed", ["", "packed", "plain"])
def test_any_single_corrupted_byte_is_found(open_journal, entries, closed):
    journal = open_journal(compress=closed == "packed")
    for i in range(2):
        journal.commit(entries(2, 2 * i))
    if closed:
        journal.rotate()
    path = journal.directory / f"{1:020d}.vmmj"
    good = list(read(journal.directory))
    whole = bytearray(path.read_bytes())
    for at in range(len(whole)):
        whole[at] ^= 1 << at % 8
        path.write_bytes(whole)
        with pytest.raises(JournalDamaged):
            list(read(journal.directory))
        seen = []
        left = list(read(journal.directory, on_damage="skip", report=seen.append))
        assert seen, f"byte {at}"
        lost = set()
        for damage in seen:
            if damage.first_lost is not None:
                lost.update(range(damage.first_lost, (damage.last_lost or 4) + 1))
        assert left == [record for record in good if record.position not in lost]
        whole[at] ^= 1 << at % 8


def test_damage_in_the_middle_names_file_offset_positions_and_next_step(last_segment, open_journal, entries):
    path, ends = last_segment
    data = bytearray(path.read_bytes())
    data[ends[1] + BLOCK_HEADER_BYTES + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(JournalDamaged) as caught:
        list(read(path.parent))
    damage = caught.value.damage
    assert (damage.path, damage.offset, damage.length) == (path, ends[1], ends[2] - ends[1])
    assert (damage.first_lost, damage.last_lost) == (7, 9)
    text = str(caught.value)
    assert text.startswith(f"[journal.damaged] {path}: offset {ends[1]}, ")
    assert "positions lost: 7 to 9" in text
    assert 'on_damage="skip"' in text
    assert [record.position for record in read(path.parent, 10)] == list(range(10, 16))
    seen = []
    left = [record.position for record in read(path.parent, on_damage="skip", report=seen.append)]
    assert left == [*range(1, 7), *range(10, 16)]
    assert seen == [damage]

    with open_journal(path.parent) as journal:  # opening keeps what is good behind the damage, and says so
        assert journal.recovery.damage == [damage]
        assert journal.recovery.bytes_cut == 0
        assert journal.commit(entries(1))[0] == 16
    with open_journal(path.parent) as journal:
        assert journal.recovery.clean
        assert journal.last_position == 16
    assert verify(path.parent).damage == [damage]


def test_a_damaged_block_header_is_passed_by_looking_for_the_next_block(last_segment):
    path, ends = last_segment
    data = bytearray(path.read_bytes())
    data[ends[1] : ends[1] + 8] = b"\0" * 8
    data[ends[2] + BLOCK_HEADER_BYTES + 40 : ends[2] + BLOCK_HEADER_BYTES + 44] = (
        BLOCK_MAGIC  # a decoy, damaged too
    )
    path.write_bytes(data)
    check = verify(path.parent)
    assert [(damage.offset, damage.first_lost, damage.last_lost) for damage in check.damage] == [
        (ends[1], 7, 12)
    ]
    assert check.events == 9


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\xff" * 51, BLOCK_MAGIC * 40, b"\0"])
def test_rubbish_behind_the_last_block_is_cut(last_segment, open_journal, tail):
    path, ends = last_segment
    with path.open("ab") as file:
        file.write(tail)
    with open_journal(path.parent) as journal:
        assert journal.recovery.bytes_cut == len(tail)
        assert journal.recovery.torn_file.read_bytes() == tail
        assert journal.last_position == 15
    assert path.stat().st_size == ends[-1]
    assert stats(path.parent).torn_files == [journal.recovery.torn_file]


def test_a_damaged_segment_header_costs_no_record(last_segment, open_journal, entries):
    path, _ = last_segment
    with path.open("r+b") as file:
        file.write(b"?" * SEGMENT_HEADER_BYTES)
    seen = []
    assert len(list(read(path.parent, on_damage="skip", report=seen.append))) == 15
    assert [damage.first_lost for damage in seen] == [None]
    with open_journal(path.parent) as journal:
        assert "no position lost" in str(journal.recovery)
        assert journal.commit(entries(2)) == range(16, 18)
    assert len(list(read(path.parent, 4, on_damage="skip"))) == 14


def test_a_missing_segment_is_named(open_journal, entries):
    journal = open_journal()
    for at in range(0, 30, 10):
        journal.commit(entries(10, at))
        journal.rotate()
    (journal.directory / f"{11:020d}.vmmj").unlink()
    with pytest.raises(JournalDamaged, match="positions lost: 11 to 20"):
        list(read(journal.directory))
    seen = []
    assert len(list(read(journal.directory, on_damage="skip", report=seen.append))) == 20
    assert [(damage.first_lost, damage.last_lost) for damage in seen] == [(11, 20)]


def test_a_newer_format_is_refused_untouched(last_segment, open_journal):
    from zlib import crc32

    path, _ = last_segment
    data = bytearray(path.read_bytes())
    data[8:10] = b"\x02\x00"
    data[76:80] = crc32(data[:76]).to_bytes(4, "little")
    path.write_bytes(data)
    for use in (lambda: open_journal(path.parent), lambda: list(read(path.parent))):
        with pytest.raises(JournalVersion, match="version 2"):
            use()
    assert path.read_bytes() == data


@pytest.mark.parametrize("compress", [True, False])
def test_a_crash_while_a_segment_is_being_closed(open_journal, entries, numbered, compress):
    """The next segment is there, the last one has no index yet, and half of its packed twin lies about."""
    journal = open_journal(compress=False)
    journal.commit(entries(50))
    plain = journal.directory / f"{1:020d}.vmmj"
    copy = plain.read_bytes()
    journal.rotate()
    journal.commit(entries(5, 50))
    journal.close()
    plain.write_bytes(copy)
    plain.with_name(plain.name + ".sealing").write_bytes(b"half")
    plain.with_name("x.tmp").write_bytes(b"half")
    assert list(read(journal.directory)) == numbered(entries(55))
    with open_journal(compress=compress) as again:
        assert again.recovery.sealed == 1
        assert again.recovery.clean
    assert [segment.closed for segment in stats(journal.directory).segments] == [True, False]
    assert list(read(journal.directory)) == numbered(entries(55))
    assert not [name for name in os.listdir(journal.directory) if name.endswith((".sealing", ".tmp"))]


def test_a_segment_of_another_journal_is_noticed(open_journal, entries, tmp_path):
    for name in ("a", "b"):
        journal = open_journal(tmp_path / name, journal_id=name)
        journal.commit(entries(5))
        journal.rotate()
        journal.commit(entries(5))
        journal.close()
    shutil.copy(tmp_path / "b" / f"{6:020d}.vmmj", tmp_path / "a" / f"{6:020d}.vmmj")
    with pytest.raises(JournalVersion, match="'b'"):
        list(read(tmp_path / "a"))
