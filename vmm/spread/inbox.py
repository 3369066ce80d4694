"""The receiving half of a mailbox: reads large pieces, hands out messages, can be woken by other threads."""

from __future__ import annotations

import array
import contextlib
import fcntl
import math
import os
import select
import socket
import termios
import threading
import time
from collections import deque
from collections.abc import Callable

from vmm.spread.codec import Frame, FrameDecoder
from vmm.spread.constants import CONNECTION_CLOSED, ILLEGAL_MESSAGE, NET_ERROR_ON_SESSION
from vmm.spread.errors import Woken, error
from vmm.spread.messages import Message, is_forged, message_from

_PIECE_BYTES = 65536
_MAX_GROUPS = 16384  # a membership message lists all members: far more than a data message has groups
_MAX_PAYLOAD = 1 << 20


class Inbox:
    """Receives for one mailbox.

    `_receiving` is held by the thread that receives; `_state` guards what others may change meanwhile. The
    event descriptor is readable when the blocked thread shall look up, or, once `fileno` was asked for, when
    complete messages wait here instead of in the kernel.
    """

    def __init__(
        self, stream: socket.socket, first: bytes, *, old_layout: bool, on_end: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._on_end = on_end
        self._old_layout = old_layout
        self._receiving = threading.Lock()
        self._state = threading.Lock()
        self._decoder = FrameDecoder(max_groups=_MAX_GROUPS, max_payload=_MAX_PAYLOAD)
        self._frames: deque[Frame] = deque()
        self._end: error | None = None
        self._stopped = False
        self._woken = False
        self._event = -1
        self._raised = False
        self._poller: select.poll | None = None
        self._outside: select.epoll | None = None
        self.ended = False
        self.forged_dropped = 0
        self._accept(first)

    def receive(self, timeout: float | None) -> Message:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._receiving:
            try:
                while True:
                    self._check_open("receive")
                    while self._frames:
                        message = self._next()
                        if message is not None:
                            return message
                    self._fill(deadline)
            finally:
                if self._outside is not None:
                    self._show_waiting()

    def receive_many(self, limit: int, timeout: float | None) -> list[Message]:
        deadline = None if timeout is None else time.monotonic() + timeout
        messages: list[Message] = []
        with self._receiving:
            try:
                while not messages:
                    self._check_open("receive_many")
                    if not self._frames:
                        self._fill(deadline)
                    self._take(limit, messages)
            except TimeoutError:
                pass
            finally:
                if self._outside is not None:
                    self._show_waiting()
        return messages

    def readable_bytes(self) -> int:
        self._check_open("poll")
        waiting = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._stream, termios.FIONREAD, waiting)
        return waiting[0] + sum(len(frame.raw) for frame in tuple(self._frames)) + self._decoder.pending

    def fileno(self) -> int:
        with self._state:
            self._check_open("fileno")
            if self._outside is None:
                self._open_event()
                self._outside = select.epoll()
                self._outside.register(self._stream, select.EPOLLIN)
                self._outside.register(self._event, select.EPOLLIN)
                if self._frames or self._end is not None:
                    self._signal()
            return self._outside.fileno()

    def wake(self) -> None:
        with self._state:
            self._woken = True
            self._signal()

    def stop(self) -> None:
        """Make the blocked thread, if any, leave; all calls from now on raise `error`."""
        with self._state:
            self._stopped = True
            self._signal()

    def close(self, drain_s: float) -> None:
        """After `stop`: wait for the daemon's end of the stream, then close the descriptors.

        Closing a TCP socket with bytes unread resets it, and a reset can overtake what we sent last.
        """
        deadline = time.monotonic() + drain_s
        with self._receiving:
            poller = select.poll()
            poller.register(self._stream, select.POLLIN)
            with contextlib.suppress(OSError):
                while (left := deadline - time.monotonic()) > 0 and poller.poll(math.ceil(left * 1000)):
                    if not self._stream.recv(_PIECE_BYTES):
                        break
            self._frames.clear()
            with self._state:
                self.abandon()

    def abandon(self) -> None:
        """Close the descriptors that are ours."""
        if self._outside is not None:
            self._outside.close()
            self._outside = None
        if self._event >= 0:
            os.close(self._event)
            self._event = -1

    def _check_open(self, call: str) -> None:
        if self._stopped:
            raise error(f"{call}() called on closed mbox", lost=True)
        if self._end is not None and not self._frames and self.ended:
            raise error(f"{call}() called on closed mbox: {self._end.text}", lost=True)

    def _take(self, limit: int, messages: list[Message]) -> None:
        """Move up to `limit` messages out. One that is an error ends the list, or is raised if first."""
        while self._frames and len(messages) < limit:
            first = self._frames[0]
            try:
                message = self._next()
            except error:
                if not messages:
                    raise
                self._frames.appendleft(first)
                return
            if message is not None:
                messages.append(message)

    def _next(self) -> Message | None:
        frame = self._frames.popleft()
        if is_forged(frame):
            self.forged_dropped += 1
            return None
        return message_from(frame, old_layout=self._old_layout)

    def _fill(self, deadline: float | None) -> None:
        """Wait for bytes and take them in. Raises the end of the session, TimeoutError, or Woken."""
        if self._end is not None:
            self.ended = True
            self._on_end()
            raise self._end
        if not self._wait(deadline):
            raise TimeoutError("no message in time")
        try:
            data = self._stream.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError as problem:
            self._end = self._ending(f"connection lost: {problem.strerror}")
            return
        if data:
            self._accept(data)
        else:
            self._end = self._ending("the daemon closed the connection")

    def _accept(self, data: bytes) -> None:
        self._frames.extend(self._decoder.feed(data))
        if self._decoder.error is not None:
            text = f"the daemon sent bytes that are no message: {self._decoder.error}"
            self._end = error(ILLEGAL_MESSAGE, text, lost=True)

    def _ending(self, how: str) -> error:
        held = self._decoder.pending
        if held:
            text = f"{how} inside a message, after {held} of {self._decoder.needed} bytes"
            return error(NET_ERROR_ON_SESSION, text, lost=True)
        return error(CONNECTION_CLOSED, how, lost=True)

    def _wait(self, deadline: float | None) -> bool:
        """Whether bytes (or the end) are there before `deadline`."""
        if self._poller is None:
            self._poller = self._make_poller()
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._poller.poll(None if left is None else math.ceil(left * 1000))
            if len(ready) == 1 and ready[0][0] != self._event:
                return True
            if not ready:
                return False
            with self._state:
                self._clear_event()
                if self._stopped:
                    raise error("receive() ended by disconnect()", lost=True)
                if self._woken:
                    self._woken = False
                    raise Woken("woken by another thread")
            if len(ready) == 2:
                return True

    def _make_poller(self) -> select.poll:
        with self._state:
            self._check_open("receive")
            self._open_event()
        poller = select.poll()
        poller.register(self._stream, select.POLLIN)
        poller.register(self._event, select.POLLIN)
        return poller

    def _open_event(self) -> None:
        if self._event < 0:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            if self._woken:
                self._signal()

    def _show_waiting(self) -> None:
        """Raise or lower the event for those who `select` on us."""
        with self._state:
            if self._frames or self._end is not None:
                self._signal()
            elif not self._woken and not self._stopped:
                self._clear_event()

    def _signal(self) -> None:
        if self._event >= 0 and not self._raised:
            os.eventfd_write(self._event, 1)
            self._raised = True

    def _clear_event(self) -> None:
        if self._raised:
            os.eventfd_read(self._event)
            self._raised = False
