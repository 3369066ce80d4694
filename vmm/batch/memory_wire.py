"""How nodes talk to the in-memory batch system: a JSON object a line, over a Unix or TCP socket.

    node   {"op": "register", "name": "vm1", "features": ["groupA"], "cpus": 1}
    server {"op": "registered"} | {"op": "error", "message": "..."}
    server {"op": "deleted"}      the node is forgotten and must not come back

The connection then stays open; its end is the node's end.
"""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from vmm.errors import BadMessage, ConfigError

MAX_LINE_BYTES = 16 * 1024
_TCP = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


def parse_address(text: str) -> str | tuple[str, int]:
    """A path (it has a slash) or HOST:PORT."""
    if "/" in text:
        return text
    found = _TCP.fullmatch(text)
    if not found or int(found["port"]) > 65535:
        raise ConfigError(
            f"{text!r} is neither a socket's path nor HOST:PORT.",
            next_step="set `socket` in [batch] of vmm.ini, e.g. ../var/batch.sock or 127.0.0.1:4810",
        )
    return found["host"].strip("[]"), int(found["port"])


def connect(text: str, timeout_s: float) -> socket.socket:
    """A connected socket. Raises OSError."""
    address = parse_address(text)
    if isinstance(address, str):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout_s)
        try:
            link.connect(address)
        except OSError:
            link.close()
            raise
        return link
    return socket.create_connection(address, timeout_s)


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Splits a byte stream into messages. Raises BadMessage on what is not one; then the stream is dead."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > MAX_LINE_BYTES:
            raise BadMessage(
                f"a line of more than {MAX_LINE_BYTES} bytes.", next_step="send one object a line"
            )
        messages = []
        for line in lines:
            if not line.strip():
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError) as exc:
                raise BadMessage(
                    f"{line[:80]!r} is not JSON: {exc}.", next_step="send one object a line"
                ) from exc
            if not isinstance(message, dict) or not isinstance(message.get("op"), str):
                raise BadMessage(f"{line[:80]!r} has no `op`.", next_step="see vmm.batch.memory_wire")
            messages.append(message)
        return messages
