"""What a decision produces: messages to send, and notes for people. Nothing here acts by itself."""

from __future__ import annotations

import msgspec

from vmm.messages.structs import Command, Query, Reason


class Send(msgspec.Struct, frozen=True, array_like=True, tag="send"):
    """Multicast this command to the client's address and to the managers' group."""

    command: Command
    address: str


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Ask for properties: one address, or all shard groups when it is empty."""

    query: Query
    address: str = ""


class Note(msgspec.Struct, frozen=True, array_like=True, tag="note"):
    """One line of the decision log. `kind`: rule, guest, client, command, share, manager. `level`: info,
    warning, error. `shadow` marks what a dry run would have done."""

    kind: str
    subject: str
    text: str
    time_s: float
    position: int
    level: str = "info"
    trail: list[Reason] = []
    shadow: bool = False


Output = Send | Ask | Note

encode_output = msgspec.msgpack.Encoder().encode
