"""The format reference is enough to write another reader: this one uses nothing of vmm's, only its text."""

from __future__ import annotations

import struct
import zlib

import pytest
import zstandard

from vmm.journal import read


def other_reader(directory):
    """(position, time, kind, payload) of all records, written after docs/reference/journal.md."""
    for path in sorted(directory.glob("*.vmmj")):
        data = path.read_bytes()
        magic, version, _, _, first, _, journal_id, crc = struct.unpack_from("<8sHHIQd44sI", data)
        assert (magic, version, first) == (b"VMMJRNL\n", 1, int(path.stem))
        assert crc == zlib.crc32(data[:76])
        assert journal_id.rstrip(b"\0") == b"reference"
        end = len(data)
        index_at, size, mark, crc = struct.unpack("<QQ8sI", data[-28:])
        if mark == b"VMMJEND\n":
            assert (size, crc) == (len(data), zlib.crc32(data[-28:-4]))
            end = index_at
        yield from blocks(data[80:end])


def blocks(data):
    at = 0
    while at < len(data):
        fields = struct.unpack_from("<4sBBHIIIQddII", data, at)
        magic, codec, _, _, stored, raw, count, first, low, high, body_crc, crc = fields
        assert (magic, crc) == (b"VJB\xa7", zlib.crc32(data[at : at + 48]))
        body = data[at + 52 : at + 52 + stored]
        assert body_crc == zlib.crc32(body)
        at += 52 + stored
        if codec == 1:
            yield from blocks(zstandard.ZstdDecompressor().decompress(body, max_output_size=raw))
            continue
        assert (codec, raw) == (0, stored)
        names, here = [], 2
        for _ in range(int.from_bytes(body[:2], "little")):
            names.append(body[here + 1 : here + 1 + body[here]].decode())
            here += 1 + body[here]
        times = struct.unpack_from(f"<{count}d", body, here)
        lengths = struct.unpack_from(f"<{count}I", body, here + 8 * count)
        numbers = struct.unpack_from(f"<{count}H", body, here + 12 * count)
        here += 14 * count
        assert (low, high) == (min(times), max(times))
        for i in range(count):
            yield first + i, times[i], names[numbers[i]], body[here : here + lengths[i]]
            here += lengths[i]
        assert here == stored


@pytest.mark.parametrize("compress", [True, False])
def test_another_reader_reads_the_same(open_journal, entries, compress):
    journal = open_journal(journal_id="reference", compress=compress, segment_mib=0.01)
    for at in range(0, 900, 30):
        journal.commit(entries(30, at))
    assert len(list(journal.directory.glob("*.vmmj"))) > 2
    assert list(other_reader(journal.directory)) == [tuple(record) for record in read(journal.directory)]
