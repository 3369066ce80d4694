"""What the two ends say before the first frame. State machines without I/O.

The client sends version, flags and name; the daemon lists ways of authentication; the client picks; the
daemon accepts with the private group name, or refuses with one negative byte. Only the way NULL (nothing
further) is offered by our daemon; a client also goes along with IP, in which it has nothing to send either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.spread.constants import (
    ACCEPT_SESSION,
    CONNECTION_CLOSED,
    ILLEGAL_MESSAGE,
    LIBRARY_VERSION,
    MAX_PRIVATE_NAME,
    REJECT_AUTH,
    REJECT_ILLEGAL_NAME,
    REJECT_VERSION,
)
from vmm.spread.errors import error, refusal

_METHOD_SIZE: Final = 30
_CHOICE_SIZE: Final = 3 * _METHOD_SIZE
_FLAG_MEMBERSHIP: Final = 0x01
_OLDEST: Final = (3, 1)
_NO_METHODS_BEFORE: Final = (3, 16)  # older libraries know no authentication phase
_TWO_BYTES_UP_TO: Final = (3, 14)  # and these say and want two version bytes


class ClientHandshake:
    """The client's side: send `hello()`, then whatever `feed` returns, until `done`."""

    def __init__(self, name: bytes, *, membership: bool, priority: int, daemon: str = "daemon") -> None:
        self._name = name[:MAX_PRIVATE_NAME]
        self._flags = (priority & 0x0F) << 4 | (_FLAG_MEMBERSHIP if membership else 0)
        self._daemon = daemon
        self._buffer = b""
        self._methods_seen = False
        self.done = False
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.private_group = b""
        self.rest = b""
        """Bytes after the handshake: the first frames."""

    def hello(self) -> bytes:
        """The first bytes. They must go out in one write: real daemons read them only once."""
        return bytes((*LIBRARY_VERSION, self._flags, len(self._name))) + self._name

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the daemon and return those to send. Raises `error` when refused."""
        self._buffer += data
        answer = b""
        if not self._methods_seen:
            part = self._counted(0)
            if part is None:
                return b""
            answer = self._choose(part)
            self._methods_seen = True
        if not self._buffer:
            return answer
        if self._buffer[0] != ACCEPT_SESSION:
            self._refuse_if_negative()
            raise error(ILLEGAL_MESSAGE, f"{self._daemon} does not speak Spread's protocol", lost=True)
        version = self._buffer[1:4]
        group = self._counted(4)
        if group is not None:
            self.version = (version[0], version[1], version[2])
            self.private_group = group
            self.rest, self._buffer = self._buffer, b""
            self.done = True
        return answer

    def torn(self) -> error:
        """The `error` for a stream that ended before `done`."""
        text = f"{self._daemon} closed the connection in the middle of the handshake"
        return error(CONNECTION_CLOSED, text, lost=True)

    def _counted(self, at: int) -> bytes | None:
        """A string with its length byte at `at`, taken out of the buffer with all before it."""
        if len(self._buffer) <= at:
            return None
        if at == 0:
            self._refuse_if_negative()
        end = at + 1 + self._buffer[at]
        if len(self._buffer) < end:
            return None
        part, self._buffer = self._buffer[at + 1 : end], self._buffer[end:]
        return part

    def _refuse_if_negative(self) -> None:
        code = int.from_bytes(self._buffer[:1], "big", signed=True)
        if code < 0:
            name = self._name.decode("latin-1")
            raise refusal(code, what=f"{self._daemon} refused the session of {name!r}")

    def _choose(self, methods: bytes) -> bytes:
        offered = methods.split()
        for method in (b"NULL", b"IP"):
            if method in offered:
                return method.ljust(_CHOICE_SIZE, b"\0")
        text = f"{self._daemon} wants one of {offered}, we can NULL and IP; see its list of methods"
        raise error(REJECT_AUTH, text, lost=True)


class ServerHandshake:
    """The daemon's side, buffered: pieces and pipelined bytes are understood where real daemons refuse them.

    `claim(name)` returns the name the session gets (a made-up one for an empty `name`), or a negative code. A
    claimed name stays claimed when the handshake fails later: whoever owns the connection gives it back.
    """

    def __init__(self, claim: Callable[[bytes], bytes | int], daemon_name: bytes) -> None:
        self._claim = claim
        self._daemon_name = daemon_name
        self._buffer = b""
        self._library = LIBRARY_VERSION[:2]
        self.user = b""
        self.membership = False
        self.priority = 0
        self.done = False
        self.refused = 0
        """The code sent when refused, else 0."""
        self.rest = b""

    @property
    def private_group(self) -> bytes:
        return b"#" + self.user + b"#" + self._daemon_name

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the client and return the answer; then look at `done` and `refused`."""
        if self.refused:
            return b""
        self._buffer += data
        answer = b""
        if not self.user:
            answer = self._read_hello()
            if not self.user:
                return answer
        if len(self._buffer) >= self._choice_size:
            choice, self._buffer = self._buffer[: self._choice_size], self._buffer[self._choice_size :]
            answer += self._read_choice(choice)
        return answer

    def give_up(self) -> bytes:
        """The answer to a client that sends no more: a code where real daemons send one, else nothing."""
        if self.done or self.refused:
            return b""
        if self.user:
            return self._refuse(REJECT_AUTH)
        return self._refuse(REJECT_ILLEGAL_NAME) if len(self._buffer) > self._version_size + 1 else b""

    @property
    def _version_size(self) -> int:
        return 2 if self._library <= _TWO_BYTES_UP_TO else 3

    @property
    def _choice_size(self) -> int:
        return 0 if self._library < _NO_METHODS_BEFORE else _CHOICE_SIZE

    def _refuse(self, code: int) -> bytes:
        self.refused = code
        return code.to_bytes(1, "big", signed=True)

    def _read_hello(self) -> bytes:
        buffer = self._buffer
        if len(buffer) < 2:
            return b""
        self._library = (buffer[0], buffer[1])
        if self._library < _OLDEST:
            return self._refuse(REJECT_VERSION)
        start = self._version_size + 2
        if len(buffer) < start:
            return b""
        flags, length = buffer[start - 2], buffer[start - 1]
        if length > MAX_PRIVATE_NAME:
            return self._refuse(REJECT_ILLEGAL_NAME)
        name = buffer[start : start + length]
        if not all(0x24 <= byte <= 0x7E for byte in name):
            return self._refuse(REJECT_ILLEGAL_NAME)
        if len(name) < length:
            return b""
        self._buffer = buffer[start + length :]
        self.membership = bool(flags & _FLAG_MEMBERSHIP)
        self.priority = flags >> 4
        user = self._claim(name)
        if isinstance(user, int):
            return self._refuse(user)
        self.user = user
        return b"\x05NULL " if self._choice_size else b""

    def _read_choice(self, choice: bytes) -> bytes:
        methods: list[bytes] = []
        for start in range(0, len(choice), _METHOD_SIZE):
            method = choice[start : start + _METHOD_SIZE].partition(b"\0")[0]
            if not method:
                break
            methods.append(method)
        if choice and (not methods or any(method != b"NULL" for method in methods)):
            return self._refuse(REJECT_AUTH)
        self.done = True
        self.rest, self._buffer = self._buffer, b""
        group = self.private_group
        version = bytes(LIBRARY_VERSION[: self._version_size])
        return bytes((ACCEPT_SESSION,)) + version + bytes((len(group),)) + group
