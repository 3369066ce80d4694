"""One client's connection: its socket, what it has sent of a frame, and what waits for it."""

from __future__ import annotations

import enum
import socket
from collections import deque

from vmm.spread.codec import FrameDecoder
from vmm.spread.constants import HEADER_CHECK_BYTES, HEADER_CHECK_GROUPS
from vmm.spread.handshake import ServerHandshake

_CHUNK_BYTES = 131072


class State(enum.Enum):
    """Life of a connection. Only an OPEN one is a session that others see."""

    SHAKING = "handshake"
    OPEN = "open"
    LEAVING = "leaving"  # over; what is queued still goes out
    LINGERING = "lingering"  # all is sent; waits for the client to close, so that no reset eats it
    CLOSED = "closed"


class Session:
    """A connection and its queue. `queue` holds whole frames not yet taken by the kernel."""

    __slots__ = (
        "deadline",
        "decoder",
        "delivered",
        "doomed",
        "fd",
        "field",
        "gone",
        "handshake",
        "membership",
        "offset",
        "peer",
        "private_name",
        "queue",
        "received",
        "state",
        "stream",
        "writing",
    )

    def __init__(self, stream: socket.socket, peer: str, handshake: ServerHandshake) -> None:
        self.stream = stream
        self.fd = stream.fileno()
        self.peer = peer
        self.handshake = handshake
        self.decoder = FrameDecoder(max_groups=HEADER_CHECK_GROUPS, max_payload=HEADER_CHECK_BYTES)
        self.queue: deque[bytes] = deque()
        self.offset = 0
        """Bytes of `queue[0]` that the kernel has."""
        self.state = State.SHAKING
        self.private_name = b""
        self.field = b""
        self.membership = False
        self.writing = False
        """Whether the kernel's buffer was full: the loop says when there is room again."""
        self.gone = False
        """Whether the client will send no more than what already waits to be read."""
        self.doomed = False
        self.deadline = 0.0
        self.received = 0
        self.delivered = 0

    def __str__(self) -> str:
        name = self.private_name.decode("ascii", "replace")
        return f"{name} ({self.peer})" if name else self.peer

    def flush(self) -> bool:
        """Give the kernel what it takes. True if nothing is left. Raises OSError when the peer is gone."""
        queue = self.queue
        while queue:
            if len(queue) == 1:
                count, chunk = 1, queue[0]
            else:
                parts: list[bytes] = []
                size = 0
                for frame in queue:
                    parts.append(frame)
                    size += len(frame)
                    if size >= _CHUNK_BYTES:
                        break
                count, chunk = len(parts), b"".join(parts)
            try:
                sent = self.stream.send(memoryview(chunk)[self.offset :] if self.offset else chunk)
            except BlockingIOError:
                return False
            sent += self.offset
            if sent < len(chunk):
                while sent >= len(queue[0]):
                    sent -= len(queue.popleft())
                    self.delivered += 1
                self.offset = sent
                return False
            self.offset = 0
            self.delivered += count
            if count == len(queue):
                queue.clear()
            else:
                for _ in range(count):
                    queue.popleft()
        return True
