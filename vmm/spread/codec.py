"""Frames as bytes: encode, decode from any pieces, both byte orders. No I/O.

A frame is a header of 48 bytes (type, name, number of groups, hint, body length), 32 bytes for each group and
the body. There is no check sum and no start mark, so a decoder that met bytes which are no frame stops for
good instead of guessing where the next one begins.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.spread.constants import (
    HEADER_SIZE,
    NAME_SIZE,
    ORDER_MARK,
    REGULAR_MESS,
    REJECT_MESS,
)
from vmm.spread.errors import FrameError

_LITTLE: Final = struct.Struct("<I32si4si")
_BIG: Final = struct.Struct(">I32si4si")
_MARK_BIT: Final = 0x80
_NOT_MARK: Final = 0xFFFFFFFF ^ ORDER_MARK
_OLD_TYPE_SIZE: Final = 4

HINT_NONE: Final = b"\x80\x00\x00\x80"
"""Hint of a frame without a message type, as a little-endian writer makes it."""


class Frame(NamedTuple):
    """One frame. `kind` is the type without the byte-order marker, `raw` all its bytes as they came."""

    kind: int
    name: bytes
    """32 bytes as on the wire: the sender's private name, or the group of a membership message."""
    num_groups: int
    hint: bytes
    """4 bytes in the order of the original sender; daemons pass them on untouched."""
    raw: bytes
    big_endian: bool

    @property
    def groups_raw(self) -> bytes:
        """The names of the groups, 32 bytes each, unchanged."""
        start = groups_offset(self.kind)
        return self.raw[start : start + NAME_SIZE * self.num_groups]

    @property
    def groups(self) -> tuple[bytes, ...]:
        """The names of the groups without padding."""
        return split_names(self.groups_raw)

    @property
    def body(self) -> bytes:
        return self.raw[groups_offset(self.kind) + NAME_SIZE * self.num_groups :]

    @property
    def old_kind(self) -> int:
        """Of a refused message: its original type, without the marker; 0 for any other frame."""
        if groups_offset(self.kind) == HEADER_SIZE:
            return 0
        field = self.raw[HEADER_SIZE : HEADER_SIZE + _OLD_TYPE_SIZE]
        return int.from_bytes(field, "big" if self.big_endian else "little") & _NOT_MARK


def groups_offset(kind: int) -> int:
    """Where the group names begin. The daemon's own refusals carry the old type (4 bytes) before them.

    A REJECT bit beside a service bit is what a client gets back that set the bit itself: such a frame has the
    plain layout, and reading four bytes more would lose sync.
    """
    return HEADER_SIZE + (_OLD_TYPE_SIZE if kind & REJECT_MESS and not kind & REGULAR_MESS else 0)


class FrameDecoder:
    """Cuts a byte stream into frames, whatever the pieces it comes in.

    `feed` returns the frames completed by a piece. Bytes that are no frame set `error`, after the frames
    before them were returned; from then on `feed` returns nothing. Limits bound what is kept in memory.
    """

    __slots__ = ("_held", "_max_groups", "_max_payload", "_need", "_pieces", "error")

    def __init__(self, *, max_groups: int, max_payload: int) -> None:
        self._max_groups = max_groups
        self._max_payload = max_payload
        self._pieces: list[bytes] = []
        self._held = 0
        self._need = HEADER_SIZE
        self.error: FrameError | None = None

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not complete; 0 between two frames."""
        return self._held

    @property
    def needed(self) -> int:
        """Length of the incomplete frame as far as known (48 while its header is incomplete)."""
        return self._need

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames they complete."""
        if self.error is not None:
            return []
        if self._held:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._need:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        frames: list[Frame] = []
        position, end = 0, len(data)
        need = HEADER_SIZE
        max_groups, max_payload = self._max_groups, self._max_payload
        while end - position >= HEADER_SIZE:
            big = not data[position] & _MARK_BIT
            kind, name, groups, hint, length = (_BIG if big else _LITTLE).unpack_from(data, position)
            marker = kind & ORDER_MARK
            if (
                marker != (0 if big else ORDER_MARK)
                or not 0 <= groups <= max_groups
                or length < 0
                or length + NAME_SIZE * groups > max_payload
            ):
                self.error = _header_error(marker, groups, length, max_groups, max_payload)
                end = position
                break
            kind &= _NOT_MARK
            size = HEADER_SIZE + NAME_SIZE * groups + length
            if kind & REJECT_MESS:
                size += groups_offset(kind) - HEADER_SIZE
            if end - position < size:
                need = size
                break
            frames.append(Frame(kind, name, groups, hint, data[position : position + size], big))
            position += size
        self._need = need
        self._held = end - position
        if self._held:
            self._pieces.append(data[position:] if position else data)
        return frames


def _header_error(marker: int, groups: int, length: int, max_groups: int, max_payload: int) -> FrameError:
    if marker not in (0, ORDER_MARK):
        return FrameError("byte-order marker is half set")
    if not 0 <= groups <= max_groups:
        return FrameError(f"{groups} groups, allowed are 0 to {max_groups}")
    if length < 0:
        return FrameError(f"body of {length} bytes")
    size = length + NAME_SIZE * groups
    return FrameError(f"{size} bytes of groups and body, allowed are {max_payload}")


def encode(
    kind: int,
    name: bytes,
    *,
    groups_raw: bytes = b"",
    hint: bytes = HINT_NONE,
    body: bytes = b"",
    big_endian: bool = False,
) -> bytes:
    """Bytes of one frame. `name` and each of `groups_raw` are 32 bytes; `hint` is written as it is."""
    head = _BIG if big_endian else _LITTLE
    mark = 0 if big_endian else ORDER_MARK
    count = len(groups_raw) // NAME_SIZE
    return head.pack(kind | mark, name, count, hint, len(body)) + groups_raw + body


def pad_name(name: bytes) -> bytes:
    """A name as its 32-byte field; longer than 31 bytes is a ValueError, for readers want a NUL."""
    if len(name) >= NAME_SIZE or b"\0" in name:
        raise ValueError(f"{name!r} does not fit a name field: at most 31 bytes, none of them NUL")
    return name.ljust(NAME_SIZE, b"\0")


def strip_name(field: bytes) -> bytes:
    """The name in a 32-byte field: all up to the first NUL."""
    return field.partition(b"\0")[0]


def split_names(raw: bytes) -> tuple[bytes, ...]:
    """Names of consecutive 32-byte fields, without padding."""
    if len(raw) == NAME_SIZE:
        return (raw.partition(b"\0")[0],)
    return tuple(raw[i : i + NAME_SIZE].partition(b"\0")[0] for i in range(0, len(raw), NAME_SIZE))


def encode_hint(message_type: int) -> bytes:
    """Hint for a message type, as a little-endian writer makes it; the type wraps to 16 bit."""
    return bytes((0x80, message_type & 0xFF, (message_type >> 8) & 0xFF, 0x80))


def decode_hint(hint: bytes) -> tuple[int, bool]:
    """(message type as signed 16 bit, whether the original sender is big-endian)."""
    big = not hint[0] & _MARK_BIT
    return int.from_bytes(hint[1:3], "big" if big else "little", signed=True), big


def hint_is_legal(hint: bytes) -> bool:
    """Whether only the bits of the message type and the marker are set."""
    return not (hint[0] | hint[3]) & 0x7F
