"""The sending half of a mailbox: whole frames onto a non-blocking socket, one thread at a time."""

from __future__ import annotations

import select
import socket
import threading
import time

from vmm.spread.codec import pad_name
from vmm.spread.constants import CONNECTION_CLOSED, GROUP_NAME_BYTES, ILLEGAL_GROUP
from vmm.spread.errors import error
from vmm.spread.messages import encode_name

_CACHE_LIMIT = 4096


class Outbox:
    """Sends frames whole or, after `finish`, not at all."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._closed = False
        self._fields: dict[str | bytes, bytes] = {}

    def group(self, name: str | bytes) -> bytes:
        """The 32-byte field of a name to send to."""
        field = self._fields.get(name)
        if field is None:
            raw = encode_name(name)
            if not raw:
                raise error(ILLEGAL_GROUP, "the name of a group is empty")
            try:
                field = pad_name(raw)
            except ValueError as problem:
                text = f"{name!r} is no group: a name has 1 to {GROUP_NAME_BYTES} bytes, none of them NUL"
                raise error(ILLEGAL_GROUP, text) from problem
            if len(self._fields) >= _CACHE_LIMIT:
                self._fields.clear()
            self._fields[name] = field
        return field

    def send(self, call: str, frame: bytes) -> None:
        """Send one frame; blocks while the daemon takes nothing. `call` is named in the error."""
        with self._lock:
            if self._closed:
                raise error(f"{call}() called on closed mbox", lost=True)
            try:
                sent = self._try(frame)
                if sent < len(frame):
                    self._send_rest(memoryview(frame)[sent:], None)
            except OSError as problem:
                if self._closed:
                    raise error(f"{call}() ended by disconnect()", lost=True) from problem
                text = f"{call}(): the daemon closed the connection ({problem.strerror})"
                raise error(CONNECTION_CLOSED, text, lost=True) from problem

    def finish(self, frame: bytes, timeout_s: float) -> bool:
        """Send a last frame and refuse all further. False if it did not get out in time: another is stuck."""
        self._closed = True
        deadline = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            return False
        try:
            self._send_rest(memoryview(frame), deadline)
        except OSError:
            return False
        finally:
            self._lock.release()
        return True

    def refuse(self) -> None:
        """The session ended: refuse what would be sent from now on."""
        self._closed = True

    def close(self) -> None:
        """Close the socket once no thread sends any more; it has been shut down before."""
        self._closed = True
        with self._lock:
            self._stream.close()

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0

    def _send_rest(self, rest: memoryview, deadline: float | None) -> None:
        poller = select.poll()
        poller.register(self._stream, select.POLLOUT)
        while rest:
            left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not poller.poll(left_ms):
                raise TimeoutError("the daemon takes no more bytes")
            rest = rest[self._try(rest) :]
