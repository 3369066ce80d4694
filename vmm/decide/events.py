"""The stream: everything the Manager decides from, as the journal keeps it.

An entry's `time_s` is stream time: the time of the leading Manager's last beat (or start, or connection to
the bus) before it, so that no reader's clock matters. A journal record's kind is the event's tag, its
payload the event in MessagePack.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from vmm.errors import VmmError
from vmm.messages.structs import Beat, Command, Hello, Intent, Report, Result


class BadJournal(VmmError):
    """A journal record is not an event this version understands."""

    code = "journal-event"


class Started(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """A Manager began: with these files (name -> text), and the settings decisions depend on."""

    epoch: str
    files: dict[str, str]
    settings: dict[str, float]
    version: str = ""


class Ticked(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    beat: Beat


class Greeted(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """A client whose key is known introduced itself from the bus address `address`."""

    address: str
    hello: Hello


class Reported(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    client: str
    report: Report


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    client: str
    result: Result


class Commanded(msgspec.Struct, frozen=True, array_like=True, tag="command"):
    """A Manager's own command came back in the stream: it is sent, and everybody knows."""

    command: Command


class Viewed(msgspec.Struct, frozen=True, array_like=True, tag="view"):
    group: str
    members: list[str]
    cause: str
    who: list[str]


class BusChanged(msgspec.Struct, frozen=True, array_like=True, tag="bus"):
    """The Manager's connection to the bus came up or went down."""

    up: bool
    text: str = ""


class Wished(msgspec.Struct, frozen=True, array_like=True, tag="intent"):
    intent: Intent


Event = Started | Ticked | Greeted | Reported | Answered | Commanded | Viewed | BusChanged | Wished


class Entry(NamedTuple):
    """One event at its place in the stream."""

    position: int
    time_s: float
    event: Event


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)
_TAGS: dict[type, str] = {
    Started: "start",
    Ticked: "beat",
    Greeted: "hello",
    Reported: "report",
    Answered: "result",
    Commanded: "command",
    Viewed: "view",
    BusChanged: "bus",
    Wished: "intent",
}

KINDS = tuple(_TAGS.values())
"""All record kinds that the stream has."""


def tag_of(event: Event) -> str:
    """The journal's record kind of this event."""
    return _TAGS[type(event)]


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


def decode_event(payload: bytes, position: int = 0) -> Event:
    """Raises BadJournal naming the position."""
    try:
        event: Event = _decoder.decode(payload)
    except (msgspec.ValidationError, msgspec.DecodeError) as exc:
        raise BadJournal(
            f"journal position {position} is not an event: {exc}.",
            next_step="read this journal with the version of vmm that wrote it",
        ) from exc
    return event
