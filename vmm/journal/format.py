"""The bytes of a journal: headers, blocks, records. Pure functions; `docs/reference/journal.md` is the text.

A segment file is a header and then blocks. A *plain* block holds the records of one write, by column. A
*packed* block is a run of plain blocks, headers and all, compressed with zstandard. A closed segment ends
with an *index* block and a trailer. All numbers are little-endian; checksums are CRC-32 (zlib).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vmm.journal.errors import BadRecord

SEGMENT_MAGIC = b"VMMJRNL\n"
BLOCK_MAGIC = b"VJB\xa7"
FORMAT_VERSION = 1
PLAIN, PACKED, INDEX = 0, 1, 2
MAX_PAYLOAD = 16 * 1024 * 1024
MAX_KIND = 255
MAX_JOURNAL_ID = 44
_BLOCK_RECORDS = 32_768
_BLOCK_BYTES = 4 * 1024 * 1024

_SEGMENT = struct.Struct("<8sHHIQd44s")
_BLOCK = struct.Struct("<4sBBHIIIQddI")
_CRC = struct.Struct("<I")
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
BLOCK_HEADER_BYTES = _BLOCK.size + _CRC.size


class Malformed(Exception):
    """These bytes are not what they should be; the caller knows file and offset and says so."""


class WrongVersion(Malformed):
    """A header that is whole, but of a format that this program does not know."""


class Record(NamedTuple):
    """One event: `position` counts 1, 2, 3, ...; `time_s` is the writer's stamp, in seconds."""

    position: int
    time_s: float
    kind: str
    payload: bytes


Entry = tuple[float, str, bytes]
"""What a writer gives: (time_s, kind, payload); the journal gives it its position."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records by column, all of one length; the fast way to read. `positions` is a range unless filtered."""

    positions: Sequence[int]
    times_s: Sequence[float]
    kinds: Sequence[str]
    payloads: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.positions)

    def records(self) -> Iterator[Record]:
        return map(Record._make, zip(self.positions, self.times_s, self.kinds, self.payloads, strict=True))


@dataclass(frozen=True, slots=True)
class Columns:
    """Records of consecutive positions as arrays. Record i is `body[starts[i]:ends[i]]`, of the kind
    `names[numbers[i]]`."""

    first_position: int
    times_s: NDArray[np.float64]
    names: list[str]
    numbers: NDArray[np.uint16]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    body: bytes

    def __len__(self) -> int:
        return len(self.times_s)

    def since(self, index: int) -> Columns:
        """The same without the first `index` records."""
        return Columns(
            self.first_position + index,
            self.times_s[index:],
            self.names,
            self.numbers[index:],
            self.starts[index:],
            self.ends[index:],
            self.body,
        )


class SegmentHeader(NamedTuple):
    journal_id: str
    first_position: int
    created_s: float


class BlockHeader(NamedTuple):
    codec: int
    stored_len: int
    raw_len: int
    records: int
    first_position: int
    min_time_s: float
    max_time_s: float
    body_crc: int

    @property
    def next_position(self) -> int:
        return self.first_position + self.records


class Block(NamedTuple):
    """An encoded plain block (`data` is header and body) and what an index wants to know of it."""

    header: BlockHeader
    kinds: Counter[str]
    data: bytes


def pack_segment_header(header: SegmentHeader) -> bytes:
    name = header.journal_id.encode()
    if not 1 <= len(name) <= MAX_JOURNAL_ID or b"\0" in name:
        raise BadRecord(
            f"journal id {header.journal_id!r}: must be 1 to {MAX_JOURNAL_ID} bytes of UTF-8 without NUL.",
            next_step="choose a shorter name.",
        )
    head = _SEGMENT.pack(SEGMENT_MAGIC, FORMAT_VERSION, 0, 0, header.first_position, header.created_s, name)
    return head + _CRC.pack(crc32(head))


def unpack_segment_header(data: bytes) -> SegmentHeader:
    if len(data) < SEGMENT_HEADER_BYTES:
        raise Malformed("the segment's header is incomplete")
    head = data[: _SEGMENT.size]
    magic, version, _, _, first_position, created_s, name = _SEGMENT.unpack(head)
    if _CRC.unpack_from(data, _SEGMENT.size)[0] != crc32(head) or magic != SEGMENT_MAGIC:
        raise Malformed("the segment's header is not one (magic or checksum)")
    if version != FORMAT_VERSION:
        raise WrongVersion(f"format version {version}; this program reads version {FORMAT_VERSION}")
    return SegmentHeader(name.rstrip(b"\0").decode(), first_position, created_s)


def pack_block(  # one argument per field of the format
    codec: int, body: bytes, raw_len: int, count: int, first: int, min_s: float, max_s: float
) -> tuple[BlockHeader, bytes]:
    crc = crc32(body)
    head = _BLOCK.pack(BLOCK_MAGIC, codec, 0, 0, len(body), raw_len, count, first, min_s, max_s, crc)
    header = BlockHeader(codec, len(body), raw_len, count, first, min_s, max_s, crc)
    return header, b"".join((head, _CRC.pack(crc32(head)), body))


def unpack_block_header(data: bytes, offset: int = 0) -> BlockHeader:
    end = offset + _BLOCK.size
    magic, codec, flags, spare, stored, raw, count, first, min_s, max_s, crc = _BLOCK.unpack_from(
        data, offset
    )
    if magic != BLOCK_MAGIC or _CRC.unpack_from(data, end)[0] != crc32(memoryview(data)[offset:end]):
        raise Malformed("the block's header is not one (magic or checksum)")
    if codec > INDEX or flags or spare:
        raise Malformed(f"block of an unknown sort (codec {codec}, flags {flags})")
    return BlockHeader(codec, stored, raw, count, first, min_s, max_s, crc)


def encode(first_position: int, entries: Sequence[Entry]) -> Block:
    """One plain block out of entries (at least one). Raises `BadRecord` before anything has changed."""
    count = len(entries)
    try:
        times, kinds, payloads = zip(*entries, strict=True)
        lengths = tuple(map(len, payloads))
        counts = Counter(kinds)
        names = [name.encode() for name in counts]
        number = {name: i for i, name in enumerate(counts)}
        table = b"".join([bytes((len(name),)) + name for name in names])
        columns = struct.pack(
            f"<H{len(table)}s{count}d{count}I{count}H",
            len(names), table, *times, *lengths, *[number[kind] for kind in kinds],
        )  # fmt: skip
        body = b"".join((columns, *payloads))
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise _bad_entry(entries) from error
    wrong_length = len(body) - len(columns) != sum(lengths)  # a memoryview of wider items
    if wrong_length or not math.isfinite(sum(times)) or max(lengths) > MAX_PAYLOAD:
        raise _bad_entry(entries)
    header, data = pack_block(PLAIN, body, len(body), count, first_position, min(times), max(times))
    return Block(header, counts, data)


def encode_all(first_position: int, entries: Iterable[Entry]) -> list[Block]:
    """Blocks out of any number of entries; a batch of usual size becomes one block."""
    todo = entries if isinstance(entries, list | tuple) else list(entries)
    size = sum(len(entry[2]) for entry in todo) if len(todo) < _BLOCK_RECORDS else _BLOCK_BYTES
    if size < _BLOCK_BYTES:
        return [encode(first_position, todo)] if todo else []
    blocks: list[Block] = []
    start = size = 0
    for i, entry in enumerate(todo):
        size += len(entry[2])
        if size >= _BLOCK_BYTES or i - start + 1 >= _BLOCK_RECORDS or i + 1 == len(todo):
            blocks.append(encode(first_position + start, todo[start : i + 1]))
            start, size = i + 1, 0
    return blocks


def _bad_entry(entries: Sequence[Any]) -> BadRecord:
    """Names the first entry that cannot be stored (only called when one cannot)."""
    faults = ((i, _fault(entry)) for i, entry in enumerate(entries))
    i, why = next((found for found in faults if found[1]), (0, "the sum of the times is not finite"))
    return BadRecord(
        f"entry {i} of {len(entries)}: {why}.", next_step="correct the caller; nothing was stored."
    )


def _fault(entry: Any) -> str:
    if not isinstance(entry, tuple | list) or len(entry) != 3:
        return f"{entry!r:.80} is not a (time_s, kind, payload) tuple"
    time_s, kind, payload = entry
    if not isinstance(time_s, int | float) or not math.isfinite(time_s):
        return f"time {time_s!r} is not a finite number of seconds"
    if not isinstance(kind, str) or len(kind.encode(errors="replace")) > MAX_KIND:
        return f"kind {kind!r:.80} is not a str of at most {MAX_KIND} bytes"
    if any("\ud800" <= letter <= "\udfff" for letter in kind):
        return f"kind {kind!r} is not valid Unicode"
    if not isinstance(payload, bytes | bytearray | memoryview):
        return f"the payload is {type(payload).__name__}, not bytes"
    if len(payload) != len(bytes(payload)):
        return "the payload is a memoryview whose items are not bytes"
    return (
        f"the payload has {len(payload)} bytes, more than {MAX_PAYLOAD}" if len(payload) > MAX_PAYLOAD else ""
    )


def kind_table(body: bytes) -> tuple[list[str], int]:
    """The kinds named in a plain block, and the offset behind their table."""
    (count,) = struct.unpack_from("<H", body)
    names, at = [], 2
    for _ in range(count):
        end = at + 1 + body[at]
        names.append(body[at + 1 : end].decode())
        at = end
    return names, at


def count_kinds(header: BlockHeader, body: bytes) -> Counter[str]:
    try:
        names, at = kind_table(body)
        numbers = struct.unpack_from(f"<{header.records}H", body, at + 12 * header.records)
        return Counter({names[i]: n for i, n in Counter(numbers).items()})
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Malformed(f"the block's body does not parse ({error})") from error


def decode(header: BlockHeader, body: bytes) -> Batch:
    """A plain block's records. Raises `Malformed` if the body (whose checksum was right) does not parse."""
    count = header.records
    try:
        names, at = kind_table(body)
        times = struct.unpack_from(f"<{count}d", body, at)
        lengths = struct.unpack_from(f"<{count}I", body, at + 8 * count)
        numbers = struct.unpack_from(f"<{count}H", body, at + 12 * count)
        ends = list(accumulate(lengths, initial=at + 14 * count))
        kinds = [names[i] for i in numbers]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Malformed(f"the block's body does not parse ({error})") from error
    if ends[-1] != len(body):
        raise Malformed("the block's body has another length than its records")
    return Batch(
        range(header.first_position, header.next_position),
        times,
        kinds,
        [body[a:b] for a, b in pairwise(ends)],
    )


def decode_columns(header: BlockHeader, body: bytes) -> Columns:
    """As `decode`, without an object for each record."""
    count = header.records
    try:
        names, at = kind_table(body)
        times = np.frombuffer(body, "<f8", count, at)
        lengths = np.frombuffer(body, "<u4", count, at + 8 * count)
        numbers = np.frombuffer(body, "<u2", count, at + 12 * count)
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise Malformed(f"the block's body does not parse ({error})") from error
    starts = np.empty(count + 1, np.int64)
    starts[0] = at + 14 * count
    np.cumsum(lengths, out=starts[1:])
    starts[1:] += starts[0]
    if starts[-1] != len(body) or (count and int(numbers.max()) >= len(names)):
        raise Malformed("the block's body has another length than its records")
    return Columns(header.first_position, times, names, numbers, starts[:-1], starts[1:], body)
