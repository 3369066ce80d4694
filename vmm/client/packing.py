"""Makes values fit for the bus: what cannot be encoded is an error entry, what is too long is split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from vmm.messages.bus import MAX_BODY_BYTES
from vmm.messages.structs import Result, Value

LIMIT_BYTES = MAX_BODY_BYTES - 4096
"""Room for values in one message; the rest is for names, envelope and signature."""
_TEXT_CHARS = 500
_encoder = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class Part:
    """What goes into one Report."""

    values: dict[str, Value] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0


def pack(
    values: Mapping[str, Value], errors: Mapping[str, str], limit_bytes: int = LIMIT_BYTES
) -> list[Part]:
    """As few parts as the order allows, each below the limit; at least one. Bad values turn into errors."""
    parts = [Part()]
    bad: dict[str, str] = {}
    for name, value in values.items():
        size = size_of(value)
        if isinstance(size, str):
            bad[name] = size
        elif size + len(name.encode()) + 16 > limit_bytes:
            bad[name] = f"too-long: a value of {size} bytes does not fit into a message of {limit_bytes}."
        else:
            _room(parts, size + len(name.encode()) + 16, limit_bytes).values[name] = value
    for name, text in {**errors, **bad}.items():
        short = text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 3] + "..."
        _room(parts, len(name.encode()) + 4 * len(short) + 16, limit_bytes).errors[name] = short
    return parts


def size_of(value: object) -> int | str:
    """Bytes of the encoded value, or why it cannot be encoded."""
    try:
        return len(_encoder.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        return f"bad-value: {type(value).__name__} cannot travel: {exc}"


def fit_result(result: Result, limit_bytes: int = LIMIT_BYTES) -> Result:
    """The result, its value left out (and the message saying so) when it cannot travel."""
    size = size_of(result.value)
    if isinstance(size, int) and size <= limit_bytes:
        why = ""
    else:
        why = size if isinstance(size, str) else f"the value of {size} bytes is too long and left out."
    message = f"{result.message} {why}".strip() if why else result.message
    if not why and len(message) <= 4 * _TEXT_CHARS:
        return result
    value = None if why else result.value
    return msgspec.structs.replace(result, value=value, message=message[: 4 * _TEXT_CHARS])


def _room(parts: list[Part], size_bytes: int, limit_bytes: int) -> Part:
    if parts[-1].size_bytes and parts[-1].size_bytes + size_bytes > limit_bytes:
        parts.append(Part())
    parts[-1].size_bytes += size_bytes
    return parts[-1]
