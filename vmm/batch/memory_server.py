"""The door of the in-memory batch system: nodes connect here and stay, and are down when they do not."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from vmm.batch.memory_wire import Lines, encode, parse_address
from vmm.errors import BadMessage, ConfigError, VmmError

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_NODES = 1000


@dataclass(slots=True)
class _Peer:
    link: socket.socket
    lines: Lines = field(default_factory=Lines)
    node: str = ""


class NodeServer:
    """Listens on `address`; `register` and `lose` are called from its one thread.

    `register(name, features, cpus)` refuses by raising a VmmError, which is sent to the node.
    """

    def __init__(
        self,
        address: str,
        register: Callable[[str, Iterable[str], int], None],
        lose: Callable[[str], None],
    ) -> None:
        self._address = address
        self._register = register
        self._lose = lose
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = None
        self._wake, self._woken = socket.socketpair()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}

    def start(self) -> None:
        """Raises ConfigError when the address cannot be had."""
        self._listener = _listen(self._address)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="batch-nodes", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, with the port that was chosen for port 0."""
        assert self._listener is not None
        name = self._listener.getsockname()
        return name if isinstance(name, str) else f"{name[0]}:{name[1]}"

    def forget(self, node: str) -> None:
        """Tell a deleted node, so that it does not come back."""
        with self._lock:
            peer = self._peers.pop(node, None)
            if peer is not None:
                peer.node = ""
                self._send(peer, {"op": "deleted"})

    def stop(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        if self._thread is not None:
            self._thread.join(2.0)
        if self._listener is not None:
            self._listener.close()
            if "/" in self._address:
                with contextlib.suppress(OSError):
                    os.unlink(self._address)
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Peer):
                    self._read(key.data)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Peer):
                key.data.link.close()
        self._selector.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        if len(self._selector.get_map()) > MAX_NODES:
            link.close()
            return
        link.setblocking(False)
        self._selector.register(link, selectors.EVENT_READ, _Peer(link))

    def _read(self, peer: _Peer) -> None:
        try:
            data = peer.link.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return
        try:
            for message in peer.lines.feed(data):
                self._handle(peer, message)
        except VmmError as exc:
            _log.warning("a node was refused: %s", exc)
            self._send(peer, {"op": "error", "message": str(exc)})
            self._drop(peer)

    def _handle(self, peer: _Peer, message: dict[str, Any]) -> None:
        if message["op"] != "register" or peer.node:
            raise BadMessage(f"{message['op']!r} has no place here.", next_step="register once, then stay")
        name, cpus, features = message.get("name"), message.get("cpus", 1), message.get("features", [])
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadMessage(
                f"{name!r} cannot be a node's name.", next_step="use letters, digits, '.', '_', '-'"
            )
        if not isinstance(cpus, int) or isinstance(cpus, bool) or not 1 <= cpus <= 4096:
            raise BadMessage(f"node {name}: cpus = {cpus!r} cannot be.", next_step="give 1 to 4096")
        if not isinstance(features, list) or not all(isinstance(f, str) and f for f in features):
            raise BadMessage(f"node {name}: features = {features!r} are not words.", next_step="give a list")
        self._register(name, features, cpus)
        peer.node = name
        with self._lock:
            self._peers[name] = peer
        self._send(peer, {"op": "registered"})

    def _send(self, peer: _Peer, message: dict[str, Any]) -> None:
        # A node that does not read its few bytes is no node: its connection ends by itself.
        with contextlib.suppress(OSError):
            peer.link.send(encode(message))

    def _drop(self, peer: _Peer) -> None:
        self._selector.unregister(peer.link)
        peer.link.close()
        with self._lock:
            gone = bool(peer.node) and self._peers.get(peer.node) is peer
            if gone:
                del self._peers[peer.node]
        if gone:
            self._lose(peer.node)


def _listen(text: str) -> socket.socket:
    address = parse_address(text)
    try:
        if isinstance(address, tuple):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            return socket.create_server(address, family=family)
        os.makedirs(os.path.dirname(address), exist_ok=True)
        _remove_stale(address)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(address)
        listener.listen()
    except OSError as exc:
        raise ConfigError(
            f"the batch system cannot listen on {text}: {exc.strerror or exc}.",
            next_step="stop the other one there, or change `socket` in [batch] of vmm.ini",
        ) from exc
    return listener


def _remove_stale(path: str) -> None:
    """A socket file that nobody listens on is left over from a crash."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
    finally:
        probe.close()
