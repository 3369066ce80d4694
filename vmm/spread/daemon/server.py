"""The event loop of the daemon: listens, accepts, waits for connections and for time to pass.

One thread does everything, so the order of requests needs no lock. It uses epoll directly, edge-triggered:
connections are served in the order in which their bytes arrived, nothing is registered anew to write, and one
wait, one read and one write are all that a message costs in system calls when nothing else is going on.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from vmm.spread.address import tune
from vmm.spread.daemon.session import Session, State
from vmm.spread.daemon.sessions import Limits, Sessions, make_local_ordering

log = logging.getLogger("vmm.spread.daemon")

_ACCEPTS_A_ROUND = 64
_SPARE_DESCRIPTORS = 64
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READ = select.EPOLLIN | _GONE
_WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Server:
    """Serves the sessions of some listening sockets, which it takes over and closes at the end."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        name: str,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        started_s: int | None = None,
    ) -> None:
        self._clock = clock
        started = int(time.time()) if started_s is None else started_s
        raw = name.encode("ascii")
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._connections: dict[int, Session] = {}
        self._timers: list[tuple[float, int, Session]] = []
        self._serial = itertools.count()
        self._stopping = False
        self._reserve = socket.socket()
        self._stop_lock = threading.Lock()
        self._unread: list[Session] = []
        self.sessions = Sessions(
            raw,
            self,
            lambda deliver: make_local_ordering(raw, started, deliver),
            _fitting(limits or Limits()),
        )
        for fd, listener in self._listeners.items():
            listener.setblocking(False)
            self._epoll.register(fd, select.EPOLLIN)
        self._epoll.register(self._event, select.EPOLLIN)

    def stop(self) -> None:
        """Make `run` return; from any thread or signal handler."""
        with self._stop_lock:
            if not self._stopping:
                self._stopping = True
                os.eventfd_write(self._event, 1)

    def run(self) -> None:
        """Serve until `stop`; then close everything."""
        sessions, connections = self.sessions, self._connections
        try:
            while not self._stopping:
                ready = self._epoll.poll(0 if self._unread else self._wait_s())
                unread = self._read_on() if self._unread else []
                for fd, events in ready:
                    found = connections.get(fd)
                    if found is None:
                        self._other(fd)
                        continue
                    found.gone = found.gone or bool(events & _GONE)
                    if events & _READ and found not in unread and sessions.readable(found):
                        unread.append(found)
                    if found.writing and events & select.EPOLLOUT:
                        sessions.writable(found)
                self._unread = unread
                sessions.flush()
                if self._timers:
                    self._expire()
        finally:
            self._close()

    def _read_on(self) -> list[Session]:
        """Read on where bytes were left in the last round; returns where they were again."""
        still_open = [session for session in self._unread if session.state is not State.CLOSED]
        return [session for session in still_open if self.sessions.readable(session)]

    def set_deadline(self, session: Session, seconds: float) -> None:
        session.deadline = self._clock() + seconds if seconds else 0.0
        if seconds:
            heapq.heappush(self._timers, (session.deadline, next(self._serial), session))

    def forget(self, session: Session) -> None:
        session.deadline = 0.0
        if self._connections.pop(session.fd, None) is not None:
            self._epoll.unregister(session.fd)

    def _other(self, fd: int) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_A_ROUND):
            try:
                stream, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as problem:
                self._shed(listener, problem)
                return
            stream.setblocking(False)
            tune(stream, socket.SO_SNDBUF)
            where = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "UNIX socket"
            session = self.sessions.open(stream, where)
            if session.state is not State.CLOSED:
                self._connections[session.fd] = session
                self._epoll.register(session.fd, _WATCHED)

    def _shed(self, listener: socket.socket, problem: OSError) -> None:
        """No descriptor is left: drop the connection that waits, with the one kept for this, lest it is
        reported again and again."""
        log.warning("cannot accept a connection: %s", problem)
        self._reserve.close()
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        self._reserve = socket.socket()

    def _wait_s(self) -> float:
        return max(0.0, self._timers[0][0] - self._clock()) if self._timers else -1.0

    def _expire(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, session = heapq.heappop(self._timers)
            if session.deadline == due and session.state is not State.CLOSED:
                session.deadline = 0.0
                self.sessions.expired(session)
        self.sessions.flush()

    def _close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self.sessions.close_all()
        self._epoll.close()
        self._reserve.close()
        with self._stop_lock:
            self._stopping = True
            os.close(self._event)


def _fitting(limits: Limits) -> Limits:
    """Limits that the descriptors of this process allow; raises the soft limit of descriptors if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.sessions + _SPARE_DESCRIPTORS
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return replace(limits, sessions=max(1, min(limits.sessions, soft - _SPARE_DESCRIPTORS)))
