"""What travels on the bus: one struct a message kind, in MessagePack, inside a signed envelope.

The 16-bit message type of the Spread message carries `Kind`. Field order is the wire format
(`array_like`): append new fields with defaults, never reorder, and raise `SCHEMA` when old readers
would misunderstand.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

SCHEMA = 1

Scalar = bool | int | float | str | None
Row = dict[str, Any]
Value = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A property's value: a scalar, or a table as a list of rows (dicts of scalars)."""


class Kind(IntEnum):
    """The Spread message type of each struct below."""

    HELLO = 1
    REPORT = 2
    QUERY = 3
    COMMAND = 4
    RESULT = 5
    BEAT = 6
    INTENT = 7


class Reason(msgspec.Struct, array_like=True, frozen=True):
    """One step of a reason trail: who or what, why, when (stream time), and where in the journal."""

    source: str
    reason: str
    time_s: float
    position: int


class Envelope(msgspec.Struct, array_like=True, frozen=True):
    """What the bus carries. `signature` is Ed25519 over schema, kind, sender and body (see keys.py)."""

    schema: int
    sender: str
    body: bytes
    signature: bytes


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """A client introduces itself: at every (re)connect, and when the Manager says it does not know it.

    `session` is a random number of the client's process; `token` binds a new guest's `public_key` (the
    Manager gave it to the host that made the guest). `facts` are constants worth knowing (version,
    names of collectors and commands).
    """

    name: str
    role: str
    session: int
    public_key: bytes
    token: str = ""
    facts: dict[str, Value] = {}


class Report(msgspec.Struct, array_like=True, frozen=True):
    """Property values, at the client's `ticks` or in answer to the query `query`.

    `errors` maps a property's name to why it could not be read.
    """

    session: int
    seq: int
    values: dict[str, Value]
    errors: dict[str, str] = {}
    query: str = ""


class Query(msgspec.Struct, array_like=True, frozen=True):
    """The Manager asks for properties; no names means all. Sent to shard groups or private groups."""

    id: str
    names: list[str] = []


class Command(msgspec.Struct, array_like=True, frozen=True):
    """An order to one client. `deadline_s` is in the Manager's stream time (clients follow its beats)."""

    id: str
    to: str
    name: str
    args: dict[str, Any]
    deadline_s: float
    trail: list[Reason] = []
    attempt: int = 1


class Result(msgspec.Struct, array_like=True, frozen=True):
    """A client's answer to a command. `status`: done, failed, refused, running.

    `refused` means it was not run at all (expired, unknown command, not for this client). `repeated` says
    that the answer comes from the client's record of an earlier run.
    """

    id: str
    status: str
    value: Value = None
    code: str = ""
    message: str = ""
    next_step: str = ""
    repeated: bool = False
    duration_s: float = 0.0


class Beat(msgspec.Struct, array_like=True, frozen=True):
    """The leading Manager's clock: the only source of time for decisions, and the clients' sign of life.

    `position` and `digest` say what the Manager had decided so far, so that a replay can be compared.
    """

    time_s: float
    manager: str
    epoch: str
    position: int = 0
    digest: str = ""


class Intent(msgspec.Struct, array_like=True, frozen=True):
    """A person's (or program's) wish, on its way into the stream: pause, reload, retire a guest, ..."""

    id: str
    name: str
    args: dict[str, Any]
    who: str
    reason: str = ""


Message = Hello | Report | Query | Command | Result | Beat | Intent

STRUCTS: dict[Kind, type[Message]] = {
    Kind.HELLO: Hello,
    Kind.REPORT: Report,
    Kind.QUERY: Query,
    Kind.COMMAND: Command,
    Kind.RESULT: Result,
    Kind.BEAT: Beat,
    Kind.INTENT: Intent,
}
KINDS: dict[type[Message], Kind] = {struct: kind for kind, struct in STRUCTS.items()}
