"""The shape of an encoded report: where its numbers stand, and which bytes are the same in all of its kind.

Reports of one sort differ in a few numbers at fixed places. A shape is learnt from one payload; whether
another has it is a comparison of bytes, so nothing is guessed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

PREFIX = b"\x93\xa6report"
"""How the payload of every `Reported` begins."""

NO_ERRORS = b"\x80"

_WIDTHS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_DTYPES = {
    0xCA: ">f4", 0xCB: ">f8", 0xCC: ">u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8",
    0xD0: ">i1", 0xD1: ">i2", 0xD2: ">i4", 0xD3: ">i8",
}  # fmt: skip
_TAIL = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_FIXED_EXT = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
POSITIVE, NEGATIVE, TRUTH = 0x00, 0xE0, 0xC2
"""Codes of the numbers that are one byte: 0 to 127, -32 to -1, and truth values."""


class NoShape(Exception):
    """The payload is no report as the Manager writes them."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number at a fixed place: `at` is its first byte behind the code, or the code where that is all."""

    at: int
    code: int

    @property
    def is_truth(self) -> bool:
        return self.code == TRUTH

    @property
    def is_float(self) -> bool:
        return self.code in (0xCA, 0xCB)

    def read(self, rows: Bytes) -> NDArray[Any]:
        """The number in each row, in the type that holds it exactly."""
        if self.code == POSITIVE:
            return rows[:, self.at].astype(np.int64)
        if self.code == NEGATIVE:
            return rows[:, self.at].astype(np.int64) - 256
        if self.code == TRUTH:
            return np.equal(rows[:, self.at], 0xC3)
        width = _WIDTHS[self.code]
        block: NDArray[Any] = np.ascontiguousarray(rows[:, self.at : self.at + width])
        return block.view(_DTYPES[self.code])[:, 0]


@dataclass(slots=True)
class Shape:
    """`fixed` are the payload's bytes where `mask` has bits, zero elsewhere."""

    fixed: Bytes
    mask: Bytes
    name: slice = field(default_factory=lambda: slice(0, 0))
    session: Number | None = None
    seq: Number | None = None
    numbers: dict[str, Number] = field(default_factory=dict)
    tokens: dict[str, bytes] = field(default_factory=dict)
    """Values that are not numbers (nil, texts, tables), as they are encoded: part of the fixed bytes."""
    errors: bytes = NO_ERRORS
    """The map of errors, as it is encoded: part of the fixed bytes."""
    plain: bool = True
    """Every property once."""

    @property
    def own(self) -> bool:
        """Whether it can hardly fit another client: it holds texts, tables or errors."""
        return self.errors != NO_ERRORS or any(token != b"\xc0" for token in self.tokens.values())

    def fits(self, rows: Bytes) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = ((rows & self.mask) == self.fixed).all(axis=1)
        return same


def learn(payload: bytes, needed: frozenset[str]) -> Shape:
    """The payload's shape; values of properties that are not needed may be anything of the same width.

    Raises NoShape.
    """
    try:
        return _learn(payload, needed)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise NoShape(str(error)) from error


def _learn(payload: bytes, needed: frozenset[str]) -> Shape:
    if not payload.startswith(PREFIX):
        raise NoShape("it does not begin as a report")
    fixed = np.frombuffer(payload, np.uint8).copy()
    shape = Shape(fixed, np.full(len(payload), 0xFF, np.uint8))
    start, at = _text(payload, len(PREFIX))
    shape.name = slice(start, at)
    shape.mask[start:at] = 0
    items, at = _count(payload, at, 0x90, 0xDC)
    if items < 4:
        raise NoShape("it has another number of fields")
    shape.session, at = _number(payload, at, shape)
    shape.seq, at = _number(payload, at, shape)
    values, at = _count(payload, at, 0x80, 0xDE)
    seen = set()
    for _ in range(values):
        start, at = _text(payload, at)
        name = payload[start:at].decode()
        at = _value(payload, at, shape, name, name in needed)
        seen.add(name)
    shape.plain = len(seen) == values
    end = _skip(payload, at)
    if end > len(payload):
        raise NoShape("it ends too early")
    shape.errors = payload[at:end]
    shape.fixed &= shape.mask
    return shape


def _value(payload: bytes, at: int, shape: Shape, name: str, needed: bool) -> int:
    if _is_number(payload[at]):
        number, end = _number(payload, at, shape)
        if needed:
            shape.numbers[name] = number
        return end
    end = _skip(payload, at)
    if needed:
        shape.tokens[name] = payload[at:end]
    return end


def _is_number(code: int) -> bool:
    return code < 0x80 or code >= 0xE0 or code in _WIDTHS or code in (0xC2, 0xC3)


def _number(payload: bytes, at: int, shape: Shape) -> tuple[Number, int]:
    code = payload[at]
    for small, mask in ((POSITIVE, 0x80), (NEGATIVE, 0xE0), (TRUTH, 0xFE)):
        if code & mask == small:
            shape.mask[at] = mask
            return Number(at, small), at + 1
    if code not in _WIDTHS:
        raise NoShape(f"no number at byte {at}")
    end = at + 1 + _WIDTHS[code]
    shape.mask[at + 1 : end] = 0
    return Number(at + 1, code), end


def _text(payload: bytes, at: int) -> tuple[int, int]:
    """(first byte, end) of the text that stands at `at`."""
    code = payload[at]
    if 0xA0 <= code <= 0xBF:
        return at + 1, at + 1 + (code & 31)
    if code not in (0xD9, 0xDA, 0xDB):
        raise NoShape(f"no text at byte {at}")
    start = at + 1 + _TAIL[code]
    return start, start + int.from_bytes(payload[at + 1 : start])


def _count(payload: bytes, at: int, fix: int, wide: int) -> tuple[int, int]:
    """(items, first byte behind) of the head of an array or map."""
    code = payload[at]
    if code & 0xF0 == fix:
        return code & 15, at + 1
    if code not in (wide, wide + 1):
        raise NoShape(f"no array or map at byte {at}")
    end = at + 3 if code == wide else at + 5
    return int.from_bytes(payload[at + 1 : end]), end


def _skip(payload: bytes, at: int) -> int:
    """The first byte behind the value at `at`."""
    todo = 1
    while todo:
        todo -= 1
        code = payload[at]
        if code < 0x80 or code >= 0xE0 or code in (0xC0, 0xC2, 0xC3):
            at += 1
        elif code < 0x90:
            at, todo = at + 1, todo + 2 * (code & 15)
        elif code < 0xA0:
            at, todo = at + 1, todo + (code & 15)
        elif code < 0xC0:
            at += 1 + (code & 31)
        elif code in _WIDTHS:
            at += 1 + _WIDTHS[code]
        elif code in _TAIL:
            end = at + 1 + _TAIL[code]
            at = end + int.from_bytes(payload[at + 1 : end])
        elif code in _FIXED_EXT:
            at += 1 + _FIXED_EXT[code]
        elif code in (0xDC, 0xDD):
            count, at = _count(payload, at, 0x90, 0xDC)
            todo += count
        elif code in (0xDE, 0xDF):
            count, at = _count(payload, at, 0x80, 0xDE)
            todo += 2 * count
        else:
            raise NoShape(f"byte {code:#x} at {at}")
    return at
