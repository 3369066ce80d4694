"""Blocks: what goes in comes out; what cannot go in is named; a flipped bit is seen."""

from __future__ import annotations

from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.journal import BadRecord
from vmm.journal.format import (
    BLOCK_HEADER_BYTES,
    MAX_PAYLOAD,
    Malformed,
    SegmentHeader,
    count_kinds,
    decode,
    encode,
    encode_all,
    pack_segment_header,
    unpack_block_header,
    unpack_segment_header,
)

kinds = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
entry = st.tuples(st.floats(-1e15, 1e15), kinds, st.binary(max_size=80))


@given(st.lists(entry, min_size=1, max_size=30), st.integers(1, 2**50))
def test_a_block_gives_back_its_entries(given_entries, first):
    block = encode(first, given_entries)
    header = unpack_block_header(block.data)
    body = block.data[BLOCK_HEADER_BYTES:]
    assert header == block.header
    records = list(decode(header, body).records())
    assert [record[1:] for record in records] == given_entries
    assert [record.position for record in records] == list(range(first, first + len(given_entries)))
    assert count_kinds(header, body) == block.kinds
    assert (header.min_time_s, header.max_time_s) == (min(records)[1] if len(records) == 1 else
        min(r.time_s for r in records), max(r.time_s for r in records))  # fmt: skip


@given(st.lists(entry, min_size=1, max_size=5), st.data())
@settings(max_examples=60)
def test_any_flipped_bit_of_a_block_is_seen(given_entries, data):
    block = encode(7, given_entries)
    bit = data.draw(st.integers(0, len(block.data) * 8 - 1))
    bad = bytearray(block.data)
    bad[bit // 8] ^= 1 << bit % 8
    try:
        header = unpack_block_header(bytes(bad))
    except Malformed:
        return
    assert header == block.header
    assert crc32(bytes(bad[BLOCK_HEADER_BYTES:])) != header.body_crc


GOOD = (1.0, "kind", b"x")
BAD = {
    "str payload": ((1.0, "kind", "text"), "not bytes"),
    "no payload": ((1.0, "kind", None), "not bytes"),
    "nan time": ((float("nan"), "kind", b""), "finite"),
    "infinite time": ((float("inf"), "kind", b""), "finite"),
    "text time": (("now", "kind", b""), "finite"),
    "int kind": ((1.0, 17, b""), "is not a str"),
    "long kind": ((1.0, "k" * 256, b""), "is not a str of at most 255"),
    "kind of a lone surrogate": ((1.0, "\ud800", b""), "Unicode"),
    "wide memoryview": ((1.0, "kind", memoryview(b"12345678").cast("Q")), "items are not bytes"),
    "too long": ((1.0, "kind", bytes(MAX_PAYLOAD + 1)), f"more than {MAX_PAYLOAD}"),
    "pair": ((1.0, "kind"), "tuple"),
    "not a tuple": (5, "tuple"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_entry_that_cannot_be_stored_is_named(name):
    bad, says = BAD[name]
    with pytest.raises(BadRecord, match="entry 1 of 2") as caught:
        encode(1, [GOOD, bad])
    assert says in str(caught.value)


def test_big_batches_become_several_blocks():
    many = [(float(i), "k", b"") for i in range(70_000)]
    big = [(0.0, "k", bytes(3_000_000))] * 4
    for batch in (many, big):
        blocks = encode_all(1, batch)
        assert len(blocks) > 1
        assert sum(block.header.records for block in blocks) == len(batch)
        assert all(a.header.next_position == b.header.first_position for a, b in pairwise(blocks))
    assert encode_all(1, []) == []


def test_a_segment_header_gives_back_its_fields():
    header = SegmentHeader("site-ä", 12, 1.5)
    data = pack_segment_header(header)
    assert unpack_segment_header(data) == header
    for size in range(len(data)):
        with pytest.raises(Malformed):
            unpack_segment_header(data[:size])


@pytest.mark.parametrize("name", ["", "x" * 45, "a\0b"])
def test_a_journal_id_must_fit(name):
    with pytest.raises(BadRecord, match="journal id"):
        pack_segment_header(SegmentHeader(name, 1, 0.0))
