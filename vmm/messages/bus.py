"""The bus as the rest of vmm sees it: ordered group messages, nothing else.

`SpreadBus` is the one implementation. A second messaging system would be another class with these methods.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from vmm import spread
from vmm.errors import VmmError

log = logging.getLogger(__name__)

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
    """A private name (at most 10 bytes, Spread's limit) for a client's name of any length.

    A long name keeps three characters for people and gets 35 bits of hash: among ten thousand clients two
    share a private name with a chance of 1 in 700.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in client)
    if plain == client and 0 < len(plain) <= 10:
        return plain
    digest = hashlib.blake2b(client.encode(), digest_size=5).digest()
    return f"{plain[:3]}{base64.b32encode(digest).decode().lower()[:7]}"


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
            why = str(exc.args[-1]).partition(";")[0].removeprefix(f"{daemon!r}: ")
            raise BusLost(
                f"no connection to the daemon {daemon}: {why}.",
                next_step="is it running (`vmm daemon`), and is [bus] daemon right?",
            ) from exc
        except OSError as exc:
            raise BusLost(
                f"no connection to the daemon {daemon}: {exc}.",
                next_step="is it running (`vmm daemon`), and is [bus] daemon right?",
            ) from exc
        self.address: str = self._box.private_group
        self._members: dict[str, tuple[str, ...]] = {}

    def join(self, group: str) -> None:
        with _losses():
            self._box.join(group)

    def leave(self, group: str) -> None:
        with _losses():
            self._box.leave(group)

    def multicast(self, groups: Sequence[str], kind: int, body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            raise VmmError(
                f"a message of {len(body)} bytes (kind {kind}) is over the limit of {MAX_BODY_BYTES}.",
                next_step="report fewer properties at once, or shorten the table",
            )
        with _losses():
            self._box.multigroup_multicast(spread.AGREED_MESS, tuple(groups), body, kind)

    def receive(self, timeout_s: float) -> Data | View | None:
        """The next message or view, None when nothing (of use) came in time. Raises BusLost."""
        try:
            message = self._box.receive(timeout=timeout_s)
        except TimeoutError:
            return None
        except spread.error as exc:
            if not exc.lost and exc.code not in _ENDED:
                log.warning("dropped what the daemon delivered: %s", exc)
                return None
            raise BusLost(f"the connection to the daemon ended: {exc}.") from exc
        except OSError as exc:
            raise BusLost(f"the connection to the daemon ended: {exc}.") from exc
        if isinstance(message, spread.RegularMsg):
            return Data(message.sender, message.msg_type, message.message)
        return self._view(message)

    def close(self) -> None:
        """End the connection, from any thread; a blocked `receive` ends with BusLost. Never raises."""
        with contextlib.suppress(spread.error, OSError):
            self._box.disconnect()

    def _view(self, message: spread.MembershipMsg) -> View | None:
        before = self._members.pop(message.group, ())
        cause = _CAUSES.get(message.reason)
        if cause is None:  # transitional: the view itself follows
            self._members[message.group] = before
            return None
        if not message.members:  # our own leave
            return None
        members = tuple(message.members)
        self._members[message.group] = members
        if cause == "network":  # Spread names those who stayed together; we want those who came or went
            who = tuple(sorted(set(before) ^ set(members)))
        else:
            who = tuple(name for group in message.orig_members or () for name in group)
        return View(message.group, members, cause, who)


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """Turn spread's errors into ours: BusLost when the connection is gone, else VmmError."""
    try:
        yield
    except spread.error as exc:
        if not exc.lost and exc.code not in _ENDED:
            raise VmmError(f"the bus refuses: {exc}.", next_step="report this; vmm never sends that") from exc
        raise BusLost(f"the connection to the daemon ended: {exc}.") from exc
    except OSError as exc:
        raise BusLost(f"the connection to the daemon ended: {exc}.") from exc


_ENDED = (spread.CONNECTION_CLOSED, spread.NET_ERROR_ON_SESSION)
_CAUSES = {
    spread.CAUSED_BY_JOIN: "join",
    spread.CAUSED_BY_LEAVE: "leave",
    spread.CAUSED_BY_DISCONNECT: "disconnect",
    spread.CAUSED_BY_NETWORK: "network",
}
