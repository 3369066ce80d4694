"""Ways to run the daemon: as a program's main loop, or in a thread of another program."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from vmm.spread.constants import COULD_NOT_CONNECT, DAEMON_NAME_BYTES, ILLEGAL_SPREAD
from vmm.spread.daemon.server import Server
from vmm.spread.daemon.sessions import Limits
from vmm.spread.errors import error

log = logging.getLogger("vmm.spread.daemon")

DEFAULT_LISTEN = "127.0.0.1:4803"
DEFAULT_NAME = "localhost"


def run_daemon(
    listen: str = DEFAULT_LISTEN,
    name: str = DEFAULT_NAME,
    stop: threading.Event | None = None,
    on_ready: Callable[[str], None] | None = None,
    *,
    limits: Limits | None = None,
    nice: int = 0,
) -> None:
    """Serve in this thread until `stop` is set (for ever without it).

    `listen`: `HOST:PORT`, or the path of a UNIX socket, or several of them with commas. `on_ready` gets the
    name that clients use for the first of them, e.g. `4803@127.0.0.1`, once they can connect. Raises `error`
    when the address is taken or not ours, or the name is not allowed.

    `nice` is added to the scheduling priority of the process. Negative values need the right to do so (else a
    warning is logged) and keep the daemon prompt beside busy processes, at the price of throughput.
    """
    if nice:
        try:
            os.nice(nice)
        except PermissionError:
            log.warning("no right to change the priority by %d; going on without", nice)
    daemon = EmbeddedDaemon(listen, name, limits=limits)
    server = daemon.bind()
    if stop is not None:
        threading.Thread(target=_stop_with, args=(stop, server), name="spread-stop", daemon=True).start()
    log.info("daemon %s listens on %s; clients connect to %s", name, listen, daemon.address)
    if on_ready is not None:
        on_ready(daemon.address)
    try:
        server.run()
    finally:
        daemon.unlink()
        log.info("daemon %s stopped", name)


def _stop_with(stop: threading.Event, server: Server) -> None:
    stop.wait()
    server.stop()


class EmbeddedDaemon:
    """The daemon in a thread of its own: for tests, demos, and programs that need no other process.

    `address` is what `connect` wants; it is known after `start` (port 0 picks a free one).
    """

    def __init__(
        self, listen: str = "127.0.0.1:0", name: str = DEFAULT_NAME, *, limits: Limits | None = None
    ) -> None:
        self._listen = listen
        self._name = checked_name(name)
        self._limits = limits
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._paths: list[str] = []
        self.address = ""

    def bind(self) -> Server:
        """Listen, without serving yet."""
        listeners: list[socket.socket] = []
        try:
            listeners.extend(self._open_listener(place.strip()) for place in self._listen.split(","))
        except BaseException:
            for listener in listeners:
                listener.close()
            self.unlink()
            raise
        self.address = _address_of(listeners[0])
        return Server(listeners, self._name, limits=self._limits)

    def start(self) -> EmbeddedDaemon:
        """Listen and serve in a thread; returns when clients can connect."""
        if self._thread is None:
            self._server = self.bind()
            self._thread = threading.Thread(target=self._server.run, name="spread-daemon", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End all sessions and the thread. Again: does nothing."""
        if self._thread is not None and self._server is not None:
            self._server.stop()
            self._thread.join()
            self._thread = self._server = None
            self.unlink()

    def unlink(self) -> None:
        """Remove the UNIX sockets from the file system."""
        while self._paths:
            path = self._paths.pop()
            if os.path.exists(path):
                os.unlink(path)

    def __enter__(self) -> EmbeddedDaemon:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _open_listener(self, place: str) -> socket.socket:
        unix = place.startswith("/")
        host, _, port = place.rpartition(":")
        if not unix and not (host and port.isdecimal() and int(port) < 65536):
            text = f"cannot listen on {place!r}: write HOST:PORT, or the path of a UNIX socket"
            raise error(ILLEGAL_SPREAD, text)
        try:
            return self._listen_unix(place) if unix else _listen_tcp(host.strip("[]"), int(port))
        except OSError as problem:
            text = f"cannot listen on {place}: {problem.strerror}; stop what runs there or choose another"
            raise error(COULD_NOT_CONNECT, text) from problem

    def _listen_unix(self, path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if os.path.exists(path) and _is_stale(path):
                os.unlink(path)
            listener.bind(path)
            self._paths.append(path)
            os.chmod(path, 0o666)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        return listener


def _listen_tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _is_stale(path: str) -> bool:
    """Whether nobody listens on the socket that lies at `path`, left by a daemon that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _address_of(listener: socket.socket) -> str:
    place = listener.getsockname()
    if isinstance(place, str):
        directory, _, port = place.rpartition("/")
        return f"{port}@{directory}"
    return f"{place[1]}@{place[0]}"


def checked_name(name: str) -> str:
    """A daemon's name, which becomes part of every private group name, or `error`."""
    if not 0 < len(name) <= DAEMON_NAME_BYTES or not all("$" <= letter <= "~" for letter in name):
        raise error(
            ILLEGAL_SPREAD,
            f"{name!r} is no name for a daemon: 1 to {DAEMON_NAME_BYTES} printable ASCII characters without "
            "space, '!', '\"' and '#'",
        )
    return name
