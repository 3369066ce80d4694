"""Readers: ranges, times, kinds, following a live writer, and what is not read at all."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm.journal import BadRecord, Journal, PositionGone, read, read_batches
from vmm.journal.format import SEGMENT_HEADER_BYTES


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A journal of 12 segments with small blocks, times that also step back, and its records."""
    directory = tmp_path_factory.mktemp("stored")
    with Journal.open(directory, sync="none", segment_mib=0.002, reserve_kib=0) as journal:
        for block in range(60):
            start = 1000.0 + 10 * block - (300 if block % 7 == 3 else 0)
            journal.commit([(start + i, f"k{(block + i) % 4}", b"%d %d" % (block, i) * 4) for i in range(8)])
    return directory, list(read(directory))


maybe = st.none() | st.integers(1, 500)
time = st.none() | st.floats(600, 1700)


@given(maybe, maybe, time, time, st.none() | st.sets(st.sampled_from(["k0", "k1", "k9"])))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_selection_is_what_a_plain_filter_gives(stored, first, last, since_s, until_s, kinds):
    directory, everything = stored
    expected = [
        record
        for record in everything
        if (first or 1) <= record.position <= (last or 10**9)
        and (since_s is None or record.time_s >= since_s)
        and (until_s is None or record.time_s < until_s)
        and (kinds is None or record.kind in kinds)
    ]
    assert list(read(directory, first, last, since_s=since_s, until_s=until_s, kinds=kinds)) == expected


def test_the_fixture_is_what_it_should_be(stored):
    directory, everything = stored
    assert len(everything) == 480
    assert len(list(directory.glob("*.vmmj"))) > 8


def test_what_is_not_asked_for_is_not_read(open_journal, tmp_path):
    """Every byte of blocks that hold nothing asked for is overwritten: the reader does not notice."""
    journal = open_journal(segment_mib=8)
    for block in range(40):
        journal.commit([(float(block), "k", bytes([block, i]) * 1000) for i in range(20)])
    journal.rotate()
    journal.commit([(40.0, "k", b"")])
    path = journal.directory / f"{1:020d}.vmmj"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(SEGMENT_HEADER_BYTES)
        file.write(b"\xff" * (size // 4))
    assert [record.position for record in read(journal.directory, 790)] == list(range(790, 802))
    assert [record.position for record in read(journal.directory, since_s=39.0)] == list(range(781, 802))
    with path.open("r+b") as file:
        file.write(b"\xff" * SEGMENT_HEADER_BYTES)
    assert [record.position for record in read(journal.directory, 801)] == [801]


def test_batches_are_columns(stored):
    directory, everything = stored
    batches = list(read_batches(directory))
    assert [len(batch) for batch in batches] == [8] * 60
    assert [record for batch in batches for record in batch.records()] == everything
    assert batches[1].positions == range(9, 17)


def test_follow_sees_everything_across_rotation_and_ends_when_told(open_journal, entries, numbered):
    journal = open_journal(segment_mib=0.01)
    batch = entries(2000)
    stop = threading.Event()
    seen = []
    complete = threading.Event()

    def follow():
        for record in read(journal.directory, follow=True, stop=stop, poll_s=0.002):
            seen.append(record)
            if len(seen) == 2000:
                complete.set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        for at in range(0, 2000, 25):
            journal.commit(batch[at : at + 25])
            if at % 500 == 0:
                stop.wait(0.005)
        assert complete.wait(10)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert seen == numbered(batch)


def test_a_reader_keeps_a_segment_that_is_compressed_under_it(open_journal, entries, numbered):
    journal = open_journal()
    journal.commit(entries(5))
    journal.commit(entries(5, 5))
    records = read(journal.directory)
    head = [next(records) for _ in range(3)]
    journal.rotate()
    journal.commit(entries(5, 10))
    assert head + list(records) == numbered(entries(15))


def test_positions_that_are_gone_are_named(open_journal, entries):
    journal = open_journal()
    for at in range(0, 40, 10):
        journal.commit(entries(10, at))
        journal.rotate()
    slow = read(journal.directory)
    assert next(slow).position == 1
    for first in (1, 11, 21):
        (journal.directory / f"{first:020d}.vmmj").unlink()
    with pytest.raises(PositionGone, match="first kept position is 31") as caught:
        read(journal.directory, 15)
    assert (caught.value.asked, caught.value.first_kept) == (15, 31)
    assert [record.position for record in read(journal.directory)] == list(range(31, 41))
    with pytest.raises(PositionGone, match="position 11 "):
        list(slow)


def test_reading_arguments(stored):
    for wrong in ({"on_damage": "ignore"}, {"poll_s": 0}):
        with pytest.raises(BadRecord, match="out of range"):
            read(stored[0], **wrong)
