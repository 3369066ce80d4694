"""The session half of the daemon: names, handshakes, the checks on requests, queues and their limit.

It hands legal requests to the ordering and queues what comes back. It does not wait: an event loop tells it
when a connection can be read or written, and when time is up.
"""

from __future__ import annotations

import logging
import socket
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from vmm.spread import constants as c
from vmm.spread.codec import Frame, hint_is_legal, pad_name, strip_name
from vmm.spread.daemon.groups import GroupTable, Member
from vmm.spread.daemon.ordering import Deliver, LocalOrdering, Ordering
from vmm.spread.daemon.session import Session, State
from vmm.spread.handshake import ServerHandshake

log = logging.getLogger("vmm.spread.daemon")

_PIECE_BYTES = 65536
_SERVICES = frozenset(1 << bit for bit in range(6))
_REQUEST_BITS = c.REGULAR_MESS | c.JOIN_MESS | c.LEAVE_MESS | c.KILL_MESS


@dataclass(frozen=True)
class Limits:
    """What the daemon allows. Times in seconds; the message limit is Spread's MaxSessionMessages."""

    session_messages: int = c.MAX_SESSION_MESSAGES
    sessions: int = 10_000
    handshake_s: float = 5.0
    linger_s: float = 1.0
    goodbye_s: float = 5.0


class Watcher(Protocol):
    """What the sessions need of the event loop."""

    def set_deadline(self, session: Session, seconds: float) -> None:
        """Report when so much time has passed; the last call counts, 0 takes it back."""

    def forget(self, session: Session) -> None:
        """Report nothing about this connection any more: it will be closed."""


def make_local_ordering(name: bytes, started_s: int, deliver: Deliver) -> Ordering:
    """The ordering of a daemon that is alone."""
    return LocalOrdering(GroupTable(zlib.crc32(name), started_s), deliver)


class Sessions:
    """All connections of the daemon."""

    def __init__(
        self,
        name: bytes,
        watcher: Watcher,
        make_ordering: Callable[[Deliver], Ordering],
        limits: Limits,
    ) -> None:
        self._name = name
        self._watcher = watcher
        self._limits = limits
        self._ordering = make_ordering(self._deliver)
        self._all: set[Session] = set()
        self._names: set[bytes] = set()
        self._invented = 0
        self._dirty: list[Session] = []
        self._doomed: list[Session] = []

    def __len__(self) -> int:
        return len(self._all)

    def open(self, stream: socket.socket, peer: str) -> Session:
        """Take on a new connection. The caller watches it for reading."""
        session = Session(stream, peer, ServerHandshake(self._claim_for(stream.fileno()), self._name))
        self._all.add(session)
        if len(self._all) > self._limits.sessions:
            self._refuse(
                session, c.REJECT_QUOTA.to_bytes(1, "big", signed=True), "no room for another session"
            )
        else:
            self._watcher.set_deadline(session, self._limits.handshake_s)
        return session

    def readable(self, session: Session) -> bool:
        """Bytes, the end, or an error wait on the connection. True if that may still be so afterwards."""
        try:
            data = session.stream.recv(_PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError as problem:
            self.end(session, f"connection lost: {problem.strerror}")
            return False
        if session.state is State.OPEN:
            if data:
                self._requests(session, session.decoder.feed(data))
            else:
                held = session.decoder.pending
                torn = f" inside a message, after {held} bytes of it" if held else ""
                self.end(session, f"closed by the client{torn}")
        elif session.state is State.SHAKING:
            if data:
                self._shake(session, session.handshake.feed(data))
            else:
                self._give_up(session, "closed by the client in the handshake")
        elif not data:
            self._close(session)
        return (len(data) == _PIECE_BYTES or session.gone) and session.state is not State.CLOSED

    def writable(self, session: Session) -> None:
        """Give a session what waits for it."""
        try:
            empty = session.flush()
        except OSError as problem:
            session.queue.clear()
            self.end(session, f"connection lost: {problem.strerror}")
            return
        if empty and session.state is State.LEAVING:
            self._linger(session)
        else:
            session.writing = not empty

    def flush(self) -> None:
        """Give every session what was queued since the last call."""
        while self._dirty:
            batch, self._dirty = self._dirty, []
            for session in batch:
                if session.queue and not session.writing and session.state is not State.CLOSED:
                    self.writable(session)

    def expired(self, session: Session) -> None:
        """The time set for the connection is up."""
        if session.state is State.SHAKING:
            self._give_up(session, f"no complete handshake in {self._limits.handshake_s:g} s")
        else:
            self._close(session)

    def close_all(self) -> None:
        """The daemon stops: every client sees the end of its stream, after what was queued for it."""
        for session in tuple(self._all):
            if session.state is State.OPEN:
                try:
                    session.flush()
                    session.stream.shutdown(socket.SHUT_WR)
                except OSError as problem:
                    log.debug("session %s: %s", session, problem)
                log.info("session %s ended: the daemon stops; %s", session, _counts(session))
            self._close(session)

    def end(self, session: Session, reason: str, level: int = logging.INFO, *, polite: bool = False) -> None:
        """End a session and tell the members of its groups. If `polite`, what is queued still goes out."""
        state = session.state
        if state not in (State.OPEN, State.SHAKING):
            self._close(session)
            return
        log.log(level, "session %s ended: %s; %s", session, reason, _counts(session))
        session.state = State.LEAVING
        if state is State.OPEN:
            self._ordering.disconnect(session)
        self._free_name(session)
        if polite:
            self._watcher.set_deadline(session, self._limits.goodbye_s)
            self.writable(session)
        else:
            self._close(session)

    def _linger(self, session: Session) -> None:
        """All is sent; close when the client has closed. Closing first, with bytes of the client unread,
        would reset the connection, and a reset takes away what the client has not read yet."""
        session.state = State.LINGERING
        try:
            session.stream.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(session)
        else:
            self._watcher.set_deadline(session, self._limits.linger_s)

    def _deliver(self, targets: Sequence[Member], raw: bytes) -> None:
        limit = self._limits.session_messages
        dirty = self._dirty
        for session in cast(Sequence[Session], targets):
            queue = session.queue
            if not queue:
                dirty.append(session)
            queue.append(raw)
            if len(queue) >= limit:
                self._overflow(session)

    def _overflow(self, session: Session) -> None:
        """The queue is full. What counts is what the kernel does not take: messages of this very moment may
        only be waiting for the end of the loop's round. The session ends later, between two requests, so that
        all members see the same order."""
        if session.doomed:
            session.queue.pop()
            return
        try:
            session.flush()
        except OSError:
            session.queue.clear()
        if len(session.queue) >= self._limits.session_messages:
            session.doomed = True
            self._doomed.append(session)

    def _expel(self) -> None:
        while self._doomed:
            session = self._doomed.pop()
            waiting = len(session.queue)
            session.queue.clear()
            text = f"reads too slowly: {waiting} messages wait for it, which is the limit"
            self.end(session, text, logging.WARNING, polite=True)

    def _requests(self, session: Session, frames: list[Frame]) -> None:
        multicast = self._ordering.multicast
        field = session.field
        for frame in frames:
            hint = frame.hint
            if (
                frame.kind & _REQUEST_BITS in _SERVICES
                and frame.name == field
                and not (hint[0] | hint[3]) & 0x7F
                and len(frame.raw) <= c.FATAL_MESSAGE_BYTES
            ):
                multicast(session, frame)
                session.received += 1
            else:
                self._request(session, frame)
            if self._doomed:
                self._expel()
            if session.state is not State.OPEN:
                return
        if session.decoder.error is not None:
            text = f"illegal message: {session.decoder.error}"
            self.end(session, text, logging.WARNING, polite=True)

    def _request(self, session: Session, frame: Frame) -> None:
        """A request that is not the usual data message in the usual form."""
        session.received += 1
        kind = frame.kind & _REQUEST_BITS
        problem = ""
        if strip_name(frame.name) != session.private_name:
            problem = f"sent in the name of {strip_name(frame.name)!r}"
        elif not hint_is_legal(frame.hint):
            problem = f"hint {frame.hint.hex()} has forbidden bits"
        elif len(frame.raw) > c.FATAL_MESSAGE_BYTES:
            problem = f"{len(frame.raw)} bytes in all, a real daemon aborts above {c.FATAL_MESSAGE_BYTES}"
        elif kind in _SERVICES:
            self._ordering.multicast(session, frame)
        elif kind == c.JOIN_MESS:
            self._ordering.join(session, frame)
        elif kind == c.LEAVE_MESS:
            self._ordering.leave(session, frame)
        elif kind == c.KILL_MESS:
            self.end(session, "disconnected", polite=True)
        else:
            problem = f"type {frame.kind:#x} is neither one service nor one request"
        if problem:
            self.end(session, f"illegal message: {problem}", logging.WARNING, polite=True)

    def _shake(self, session: Session, answer: bytes) -> None:
        handshake = session.handshake
        if handshake.refused:
            self._refuse(session, answer, f"refused with code {handshake.refused}")
            return
        try:
            session.stream.send(answer)
        except OSError as problem:
            self.end(session, f"connection lost: {problem.strerror}")
            return
        if handshake.done:
            self._watcher.set_deadline(session, 0)
            session.private_name = handshake.private_group
            session.field = pad_name(session.private_name)
            session.membership = handshake.membership
            session.state = State.OPEN
            self._ordering.admit(session)
            log.debug("session %s opened", session)
            if handshake.rest:
                self._requests(session, session.decoder.feed(handshake.rest))

    def _give_up(self, session: Session, reason: str) -> None:
        self._refuse(session, session.handshake.give_up(), reason)

    def _refuse(self, session: Session, answer: bytes, reason: str) -> None:
        log.warning("connection from %s ended: %s", session.peer, reason)
        self._free_name(session)
        if answer:
            session.queue.append(answer)
        session.state = State.LEAVING
        self._watcher.set_deadline(session, self._limits.goodbye_s)
        self.writable(session)

    def _close(self, session: Session) -> None:
        if session.state is not State.CLOSED:
            session.state = State.CLOSED
            self._all.discard(session)
            self._free_name(session)
            self._watcher.forget(session)
            session.stream.close()

    def _claim_for(self, fd: int) -> Callable[[bytes], bytes | int]:
        def claim(name: bytes) -> bytes | int:
            if name in self._names:
                return c.REJECT_NOT_UNIQUE
            while not name or name in self._names:
                self._invented = self._invented % 9998 + 1
                name = b"r%d-%d" % (self._invented, fd % 1000)
            self._names.add(name)
            return name

        return claim

    def _free_name(self, session: Session) -> None:
        self._names.discard(session.handshake.user)
        session.handshake.user = b""


def _counts(session: Session) -> str:
    return (
        f"{session.received} messages received, {session.delivered} delivered, {len(session.queue)} waiting"
    )
