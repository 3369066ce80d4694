"""A session with a daemon: connect, join, leave, send, receive. SpreadModule's calls, and a few of our own.

One thread may receive while others send. Received bytes are read in large pieces, so complete messages can
wait inside the mailbox; `fileno` stays right for `select` because it is readable as long as any of them
waits.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

from vmm.spread import constants as c
from vmm.spread.address import open_stream
from vmm.spread.codec import encode, encode_hint, pad_name
from vmm.spread.errors import error
from vmm.spread.handshake import ClientHandshake
from vmm.spread.inbox import Inbox
from vmm.spread.messages import Message, encode_name
from vmm.spread.outbox import Outbox

_SERVICE_BITS = frozenset(1 << bit for bit in range(6))
_GOODBYE_S = 0.5


def connect(
    daemon: str | None = "4803@localhost",
    name: str | bytes = "",
    priority: int = 0,
    membership: bool | int = True,
    *,
    timeout: float | None = None,
) -> Mailbox:
    """Open a session with a daemon and return its mailbox.

    `daemon`: `"4803@host"` for TCP, `"4803"` or `""` for the UNIX socket. `name`: at most 10 bytes are used;
    empty lets the daemon make one up. `membership`: whether to receive membership messages (of all groups; it
    cannot be chosen for each). `timeout` in seconds bounds connecting and handshake together. Raises `error`
    with ILLEGAL_SPREAD, COULD_NOT_CONNECT, CONNECTION_CLOSED or the daemon's REJECT_* code.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    stream = open_stream(daemon, deadline)
    try:
        handshake = _shake_hands(stream, daemon, encode_name(name), bool(membership), priority, deadline)
    except BaseException:
        stream.close()
        raise
    return Mailbox(stream, handshake)


def _shake_hands(
    stream: socket.socket,
    daemon: str | None,
    name: bytes,
    membership: bool,
    priority: int,
    deadline: float | None,
) -> ClientHandshake:
    where = f"daemon {daemon or c.DEFAULT_SPREAD_PORT}"
    handshake = ClientHandshake(name, membership=membership, priority=priority, daemon=where)
    answer = handshake.hello()
    try:
        while not handshake.done:
            if deadline is not None:
                stream.settimeout(max(0.001, deadline - time.monotonic()))
            if answer:
                stream.sendall(answer)
            data = stream.recv(4096)
            if not data:
                raise handshake.torn()
            answer = handshake.feed(data)
    except TimeoutError as problem:
        raise error(c.COULD_NOT_CONNECT, f"{where} did not answer in time", lost=True) from problem
    except OSError as problem:
        raise error(
            c.CONNECTION_CLOSED, f"{where} ended the handshake: {problem.strerror}", lost=True
        ) from problem
    return handshake


class Mailbox:
    """An open session; made by `connect`.

    After `disconnect`, or after an error with `lost` set, every other call raises `error`. `private_group` is
    both our name in what others receive from us and the address that reaches only us.
    """

    def __init__(self, stream: socket.socket, handshake: ClientHandshake) -> None:
        stream.setblocking(False)
        self.private_group = handshake.private_group.decode("utf-8", "surrogateescape")
        self.daemon_version = handshake.version
        self._me = pad_name(handshake.private_group)
        self._stream = stream
        self._goodbye_lock = threading.Lock()
        self._outbox = Outbox(stream)
        old = handshake.version[0] == 3
        self._inbox = Inbox(stream, handshake.rest, old_layout=old, on_end=self._outbox.refuse)
        self._closed = False

    @property
    def forged_dropped(self) -> int:
        """How many forged membership messages were dropped so far."""
        return self._inbox.forged_dropped

    def join(self, group: str | bytes) -> None:
        """Ask to become a member. There is no answer; with membership messages the own join comes as one."""
        self._request("join", c.JOIN_MESS, group)

    def leave(self, group: str | bytes) -> None:
        """Ask to be a member no more; the answer is a self-leave message, if those were asked for."""
        self._request("leave", c.LEAVE_MESS, group)

    def multicast(
        self, service: int, group: str | bytes, message: bytes | bytearray | memoryview, message_type: int = 0
    ) -> int:
        """Send `message` to a group or a private group; returns its length. See multigroup_multicast."""
        return self._multicast("multicast", service, self._outbox.group(group), message, message_type)

    def multigroup_multicast(
        self,
        service: int,
        groups: tuple[str | bytes, ...],
        message: bytes | bytearray | memoryview,
        message_type: int = 0,
    ) -> int:
        """Send one message to several groups, in one place of the order; who is in several gets it once.

        `service` is one service bit, optionally with SELF_DISCARD; `message_type` wraps to signed 16 bit.
        More than 43 groups or 140,000 bytes in all are refused here, because real daemons lose the one and
        die of the other. Blocks while the daemon takes nothing more.
        """
        if not isinstance(groups, tuple):
            raise TypeError("groups must be a tuple of names")
        if not groups:
            raise ValueError("there must be at least one group")
        if len(groups) > c.SAFE_GROUPS:
            raise error(
                c.ILLEGAL_GROUP,
                f"{len(groups)} groups in one message: real daemons deliver to nobody above {c.SAFE_GROUPS}; "
                "send several messages",
            )
        fields = b"".join([self._outbox.group(group) for group in groups])
        return self._multicast("multigroup_multicast", service, fields, message, message_type)

    def receive(self, timeout: float | None = None) -> Message:
        """The next message; blocks until there is one.

        With `timeout` (seconds; 0 means only what is there) raises TimeoutError when none came. Raises
        `error` when the session ended, told apart by its code (see `error`); all messages before the end come
        first.
        """
        return self._inbox.receive(timeout)

    def receive_many(self, max_messages: int = 1024, timeout: float | None = None) -> list[Message]:
        """All messages there are, at most `max_messages`; blocks for the first. Empty after the time."""
        return self._inbox.receive_many(max_messages, timeout)

    def poll(self) -> int:
        """Number of bytes that could be received without waiting; also 0 when the daemon is gone."""
        return self._inbox.readable_bytes()

    def fileno(self) -> int:
        """A descriptor for `select` and the like: readable when `receive` has something to do."""
        return self._inbox.fileno()

    def wake(self) -> None:
        """From any thread: the `receive` that blocks, or else the next one that would, ends with `Woken`."""
        self._inbox.wake()

    def disconnect(self) -> None:
        """End the session; from any thread, and a blocked `receive` ends with `error`. Again: does nothing.

        What was sent before still arrives: the goodbye waits up to half a second for the daemon to close.
        """
        with self._goodbye_lock:
            if self._closed:
                return
            self._closed = True
            self._inbox.stop()
            kill = encode(c.KILL_MESS, self._me, groups_raw=self._me)
            polite = not self._inbox.ended and self._outbox.finish(kill, _GOODBYE_S)
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_WR if polite else socket.SHUT_RDWR)
            self._inbox.close(drain_s=_GOODBYE_S if polite else 0.0)
            self._outbox.close()

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        return f"<Mailbox {self.private_group}{' (disconnected)' if self._closed else ''}>"

    def __del__(self) -> None:
        if hasattr(self, "_closed") and not self._closed:
            self._inbox.abandon()
            self._stream.close()

    def _request(self, call: str, kind: int, group: str | bytes) -> None:
        name = encode_name(group)
        if not 0 < len(name) <= c.GROUP_NAME_BYTES or not all(36 <= byte <= 126 for byte in name):
            raise error(
                c.ILLEGAL_GROUP,
                f"{group!r} cannot be joined or left: a group name has 1 to {c.GROUP_NAME_BYTES} printable "
                "ASCII characters, none of them space, '!', '\"' or '#'",
            )
        self._outbox.send(call, encode(kind, self._me, groups_raw=pad_name(name)))

    def _multicast(
        self,
        call: str,
        service: int,
        groups_raw: bytes,
        message: bytes | bytearray | memoryview,
        message_type: int,
    ) -> int:
        if service & ~(c.REGULAR_MESS | c.SELF_DISCARD):
            raise ValueError("invalid service type")
        if service & c.REGULAR_MESS not in _SERVICE_BITS:
            raise error(c.ILLEGAL_SERVICE, f"service {service:#x}: exactly one service bit is needed")
        if not isinstance(message, bytes):
            if not isinstance(message, bytearray | memoryview):
                raise TypeError(f"message must be bytes, not {type(message).__name__}")
            message = bytes(message)
        size = c.HEADER_SIZE + len(groups_raw) + len(message)
        if size > c.SAFE_MESSAGE_BYTES:
            raise error(
                c.MESSAGE_TOO_LONG,
                f"{size} bytes with header and groups: real daemons abort above {c.FATAL_MESSAGE_BYTES}, "
                f"so the limit is {c.SAFE_MESSAGE_BYTES}; send several messages",
            )
        hint = encode_hint(message_type)
        self._outbox.send(call, encode(service, self._me, groups_raw=groups_raw, hint=hint, body=message))
        return len(message)
