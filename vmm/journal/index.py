"""The sparse index that ends a closed segment: where each group of blocks starts, and totals."""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from vmm.journal.format import (
    BLOCK_HEADER_BYTES,
    INDEX,
    BlockHeader,
    Malformed,
    pack_block,
    unpack_block_header,
)

GROUP_BYTES = 512 * 1024
"""Plain bytes behind one index entry, and in one packed block."""
END_MAGIC = b"VMMJEND\n"
_HEAD = struct.Struct("<QII")
_GROUP = struct.Struct("<QQIdd")
_TRAILER = struct.Struct("<QQ8s")
TRAILER_BYTES = _TRAILER.size + 4


class Group(NamedTuple):
    """Blocks that stand together from `offset`; `records` records from `first_position`."""

    offset: int
    first_position: int
    records: int
    min_time_s: float
    max_time_s: float


@dataclass
class Index:
    """What a segment holds. `raw_bytes` is the size of its plain blocks, before compression."""

    first_position: int
    raw_bytes: int = 0
    groups: list[Group] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    _room: int = 0

    @property
    def next_position(self) -> int:
        if not self.groups:
            return self.first_position
        return self.groups[-1].first_position + self.groups[-1].records

    @property
    def count(self) -> int:
        """Records in the segment (those lost to damage in its middle are counted by `kinds` only)."""
        return self.kinds.total()

    @property
    def min_time_s(self) -> float:
        return min((group.min_time_s for group in self.groups), default=math.inf)

    @property
    def max_time_s(self) -> float:
        return max((group.max_time_s for group in self.groups), default=-math.inf)

    def add(self, offset: int, header: BlockHeader, kinds: Counter[str], raw_bytes: int) -> None:
        """Count a block at `offset`; it joins the last group while that has less than GROUP_BYTES."""
        self.raw_bytes += raw_bytes
        self.kinds.update(kinds)
        if self._room <= 0:
            self._room = GROUP_BYTES
            self.groups.append(
                Group(offset, header.first_position, header.records, header.min_time_s, header.max_time_s)
            )
        else:
            at, first, _, low, high = self.groups[-1]
            count = header.next_position - first
            self.groups[-1] = Group(
                at, first, count, min(low, header.min_time_s), max(high, header.max_time_s)
            )
        self._room -= raw_bytes

    def add_group(self, group: Group, kinds: Counter[str], raw_bytes: int) -> None:
        """Count a packed block, which is a group of its own."""
        self.raw_bytes += raw_bytes
        self.kinds.update(kinds)
        self.groups.append(group)

    def start(self, position: float, since_s: float, until_s: float) -> tuple[int, int] | None:
        """Where to start reading for records from `position` on with since_s <= time < until_s:
        (file offset, first position there); None if the segment holds none of them."""
        first = max(bisect_right(self.groups, position, key=lambda group: group.first_position) - 1, 0)
        for group in self.groups[first:]:
            if group.max_time_s >= since_s and group.min_time_s < until_s:
                return group.offset, group.first_position
        return None


def pack_index(index: Index, offset: int) -> bytes:
    """Index block and trailer, to stand at `offset`, which must be the end of the blocks."""
    parts = [_HEAD.pack(index.raw_bytes, len(index.groups), len(index.kinds))]
    parts += [_GROUP.pack(*group) for group in index.groups]
    for kind, count in index.kinds.items():
        name = kind.encode()
        parts.append(struct.pack(f"<QB{len(name)}s", count, len(name), name))
    body = b"".join(parts)
    span = index.next_position - index.first_position
    times = (index.min_time_s, index.max_time_s)
    _, block = pack_block(INDEX, body, len(body), span, index.first_position, *times)
    trailer = _TRAILER.pack(offset, offset + len(block) + TRAILER_BYTES, END_MAGIC)
    return b"".join((block, trailer, struct.pack("<I", crc32(trailer))))


def find_index(trailer: bytes, size: int) -> int | None:
    """Offset of the index block, told by the last TRAILER_BYTES of a file of `size`; None: not closed."""
    if len(trailer) != TRAILER_BYTES:
        return None
    offset, length, magic = _TRAILER.unpack_from(trailer)
    (crc,) = struct.unpack_from("<I", trailer, _TRAILER.size)
    good = magic == END_MAGIC and length == size and crc == crc32(trailer[: _TRAILER.size])
    return int(offset) if good else None


def unpack_index(data: bytes) -> Index:
    """An index block (header and body, then the trailer). Raises `Malformed`."""
    try:
        header = unpack_block_header(data)
        body = data[BLOCK_HEADER_BYTES : BLOCK_HEADER_BYTES + header.stored_len]
        if header.codec != INDEX or crc32(body) != header.body_crc:
            raise Malformed("the index's checksum is wrong")
        raw_bytes, n_groups, n_kinds = _HEAD.unpack_from(body)
        at = _HEAD.size
        groups = [Group(*_GROUP.unpack_from(body, at + i * _GROUP.size)) for i in range(n_groups)]
        at += n_groups * _GROUP.size
        kinds: Counter[str] = Counter()
        for _ in range(n_kinds):
            count, length = struct.unpack_from("<QB", body, at)
            at += 9
            kinds[body[at : at + length].decode()] = count
            at += length
    except (struct.error, UnicodeDecodeError) as error:
        raise Malformed(f"the index does not parse ({error})") from error
    return Index(header.first_position, raw_bytes, groups, kinds)
