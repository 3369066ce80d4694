"""Bodies of membership messages: who is in a group, and who came or went together. No I/O."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.spread.codec import split_names
from vmm.spread.constants import NAME_SIZE
from vmm.spread.errors import FrameError

_ID_SIZE: Final = 12
_SETS_START: Final = 20


class ViewId(NamedTuple):
    """The three words of a group id. Comparable only while one stays a member: ids are used again."""

    proc: int
    time_s: int
    serial: int


class MembershipBody(NamedTuple):
    """`own` is the position of the receiver's own set in `sets`."""

    view: ViewId
    own: int
    sets: tuple[tuple[bytes, ...], ...]


def encode_body(view: ViewId, sets_raw: list[bytes], own: int = 0) -> bytes:
    """Body of a regular membership message, little-endian; a set is its 32-byte names joined."""
    parts = [struct.pack("<I", len(raw) // NAME_SIZE) + raw for raw in sets_raw]
    offset = sum(map(len, parts[:own]))
    return encode_view(view) + struct.pack("<II", len(parts), offset) + b"".join(parts)


def encode_view(view: ViewId) -> bytes:
    """The 12 bytes of a group id, little-endian: also the whole body of a transitional message."""
    return struct.pack("<III", *(word & 0xFFFFFFFF for word in view))


def decode_view(body: bytes, *, big_endian: bool) -> ViewId:
    """The group id at the start of a membership body."""
    if len(body) < _ID_SIZE:
        raise FrameError(f"membership body of {len(body)} bytes has no group id")
    return ViewId(*struct.unpack_from(">III" if big_endian else "<III", body))


def decode_body(body: bytes, *, big_endian: bool, old_layout: bool = False) -> MembershipBody:
    """Take a regular membership body apart. `old_layout` is that of Spread 3: one set, no count of sets."""
    view = decode_view(body, big_endian=big_endian)
    word = struct.Struct(">I" if big_endian else "<I")
    if old_layout:
        names, end = _read_set(body, _ID_SIZE, word)
        if end != len(body):
            raise FrameError(f"membership body has {len(body) - end} bytes too many")
        return MembershipBody(view, 0, (names,))
    if len(body) < _SETS_START:
        raise FrameError(f"membership body of {len(body)} bytes is too short")
    (count,) = word.unpack_from(body, _ID_SIZE)
    (own_offset,) = word.unpack_from(body, _ID_SIZE + 4)
    sets: list[tuple[bytes, ...]] = []
    own, position = -1, _SETS_START
    for number in range(min(count, len(body))):
        if position - _SETS_START == own_offset:
            own = number
        names, position = _read_set(body, position, word)
        sets.append(names)
    if position != len(body) or own < 0:
        raise FrameError(f"membership body of {len(body)} bytes does not hold {count} sets")
    return MembershipBody(view, own, tuple(sets))


def _read_set(body: bytes, start: int, word: struct.Struct) -> tuple[tuple[bytes, ...], int]:
    if start + word.size > len(body):
        raise FrameError("membership set without its count")
    (count,) = word.unpack_from(body, start)
    begin = start + word.size
    end = begin + count * NAME_SIZE
    if end > len(body):
        raise FrameError(f"membership set of {count} names is longer than its message")
    return split_names(body[begin:end]), end
