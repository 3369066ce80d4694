"""The bus as the rest of vmm sees it: ordered group messages, nothing else.

`SpreadBus` is the one implementation. A second messaging system would be another class with these methods.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vmm import spread
from vmm.errors import VmmError

MANAGERS = "vmm-managers"
MAX_BODY_BYTES = 128 * 1024


class BusLost(VmmError):
    """The connection to the messaging daemon is gone; reconnect and introduce yourself again."""

    code = "bus-lost"


class NameTaken(VmmError):
    """Another program is connected under this name."""

    code = "name-taken"


class Data(NamedTuple):
    """A message: the sender's private address, the message type, the body."""

    sender: str
    kind: int
    body: bytes


class View(NamedTuple):
    """The ordered members of a group after a change; `who` are those that came or went (`cause`)."""

    group: str
    members: tuple[str, ...]
    cause: str  # join, leave, disconnect, network
    who: tuple[str, ...]


class Bus(Protocol):
    """One connection. One thread may receive while another sends."""

    address: str

    def join(self, group: str) -> None: ...
    def leave(self, group: str) -> None: ...
    def multicast(self, groups: Sequence[str], kind: int, body: bytes) -> None: ...
    def receive(self, timeout_s: float) -> Data | View | None: ...
    def close(self) -> None: ...


def shard_of(client: str, shards: int) -> str:
    """The shard group of a client: a stable spread over `shards` groups (at most 40, see docs)."""
    return f"vmm-s{zlib.crc32(client.encode()) % shards:02d}"


def all_shards(shards: int) -> list[str]:
    return [f"vmm-s{k:02d}" for k in range(shards)]


def bus_name(client: str) -> str:
    """A private name (at most 10 bytes, Spread's limit) for a client's name of any length."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in client)
    if plain == client and len(plain) <= 10:
        return plain
    return f"{plain[:4]}{zlib.crc32(client.encode()):06x}"[:10]


class SpreadBus:
    """The bus over Spread. `daemon` is `PORT@HOST`; `membership` asks for views (Managers do)."""

    def __init__(self, daemon: str, name: str, *, membership: bool, timeout_s: float = 10.0) -> None:
        try:
            self._box = spread.connect(daemon, name, 0, membership, timeout=timeout_s)
        except spread.error as exc:
            if exc.args and exc.args[0] == spread.REJECT_NOT_UNIQUE:
                raise NameTaken(
                    f"the daemon {daemon} already has a client {name!r}.",
                    next_step="stop the other program, or give this one another name",
                ) from exc
            raise BusLost(
                f"no connection to the daemon {daemon}: {exc}.",
                next_step="is it running (`vmm daemon`), and is [bus] daemon right?",
            ) from exc
        except OSError as exc:
            raise BusLost(
                f"no connection to the daemon {daemon}: {exc}.",
                next_step="is it running (`vmm daemon`), and is [bus] daemon right?",
            ) from exc
        self.address: str = self._box.private_group

    def join(self, group: str) -> None:
        self._guard(lambda: self._box.join(group))

    def leave(self, group: str) -> None:
        self._guard(lambda: self._box.leave(group))

    def multicast(self, groups: Sequence[str], kind: int, body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            raise VmmError(
                f"a message of {len(body)} bytes (kind {kind}) is over the limit of {MAX_BODY_BYTES}.",
                next_step="report fewer properties at once, or shorten the table",
            )
        self._guard(lambda: self._box.multigroup_multicast(spread.AGREED_MESS, tuple(groups), body, kind))

    def receive(self, timeout_s: float) -> Data | View | None:
        """The next message or view, None when nothing came in time. Raises BusLost."""
        try:
            message = self._box.receive(timeout=timeout_s)
        except TimeoutError:
            return None
        except (spread.error, OSError) as exc:
            raise BusLost(f"the connection to the daemon ended: {exc}.") from exc
        if isinstance(message, spread.RegularMsg):
            return Data(message.sender, message.msg_type, message.message)
        cause = _CAUSES.get(message.reason)
        if cause is None or not message.members:
            return None  # transitional, or our own leave
        who = tuple(name for group in message.orig_members or () for name in group)
        return View(message.group, tuple(message.members), cause, who)

    def close(self) -> None:
        self._box.disconnect()

    def _guard(self, call: object) -> None:
        assert callable(call)
        try:
            call()
        except (spread.error, OSError) as exc:
            raise BusLost(f"the connection to the daemon ended: {exc}.") from exc


_CAUSES = {
    spread.CAUSED_BY_JOIN: "join",
    spread.CAUSED_BY_LEAVE: "leave",
    spread.CAUSED_BY_DISCONNECT: "disconnect",
    spread.CAUSED_BY_NETWORK: "network",
}
