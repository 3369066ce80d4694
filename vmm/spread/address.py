"""Where a daemon is: Spread's own way of writing it, and the stream socket behind it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import time
from typing import Any, NamedTuple

from vmm.spread.constants import COULD_NOT_CONNECT, DEFAULT_SPREAD_PORT, ILLEGAL_SPREAD
from vmm.spread.errors import error

_FORM = re.compile(r"(\d{1,5})(?:@(.+))?", re.ASCII)
_SOCKET_BUFFER_BYTES = 200 * 1024


class DaemonAddress(NamedTuple):
    """`host` empty: the UNIX socket at `path`. Else TCP."""

    host: str
    port: int
    path: str


def parse_daemon(text: str | None) -> DaemonAddress:
    """Read `"4803@host"` (TCP), `"4803"` or `""` (UNIX socket in the system's temporary directory).

    `"4803@/directory"` is ours: the UNIX socket named 4803 in that directory, for daemons whose directory is
    not the default one. Anything else is `error` with code ILLEGAL_SPREAD.
    """
    match = _FORM.fullmatch(text or str(DEFAULT_SPREAD_PORT))
    port = int(match[1]) if match else 0
    if match is None or not 0 < port < 65536:
        raise error(
            ILLEGAL_SPREAD,
            f"{text!r} is not the name of a daemon; write '4803@host' for TCP or '4803' for its UNIX socket",
            lost=True,
        )
    where = match[2] or tempfile.gettempdir()
    if where.startswith("/"):
        return DaemonAddress("", port, os.path.join(where, str(port)))
    return DaemonAddress(where, port, "")


def open_stream(daemon: str | None, deadline: float | None) -> socket.socket:
    """A connected stream socket to a daemon; `deadline` is on `time.monotonic`. Raises `error`."""
    address = parse_daemon(daemon)
    if address.path:
        return _open(socket.AF_UNIX, address.path, daemon, deadline)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        text = f"{daemon!r}: the host does not resolve ({problem})"
        raise error(ILLEGAL_SPREAD, text, lost=True) from problem
    failure: error | None = None
    for family, _, _, _, place in found:
        try:
            return _open(family, place, daemon, deadline)
        except error as problem:
            failure = failure or problem
    raise failure or error(COULD_NOT_CONNECT, f"{daemon!r}: no address", lost=True)


def _open(family: int, place: Any, daemon: str | None, deadline: float | None) -> socket.socket:
    stream = socket.socket(family, socket.SOCK_STREAM)
    try:
        tune(stream, socket.SO_RCVBUF)
        stream.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        stream.connect(place)
    except OSError as problem:
        stream.close()
        text = f"{daemon!r}: {problem.strerror or problem}; is a daemon running there?"
        raise error(COULD_NOT_CONNECT, text, lost=True) from problem
    return stream


def tune(stream: socket.socket, fixed_buffer: int) -> None:
    """Options that both ends of a session set.

    Spread gives all its buffers about 200 KiB. We do so with those from daemon to client only
    (`fixed_buffer`: SO_SNDBUF at the daemon, SO_RCVBUF at the client), so that a slow reader shows as early
    as with Spread. The other direction is left to the kernel: a full small buffer makes it repack its queue
    at each small message, which doubles what sending costs.
    """
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, fixed_buffer, _SOCKET_BUFFER_BYTES)
    if stream.family != socket.AF_UNIX:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
