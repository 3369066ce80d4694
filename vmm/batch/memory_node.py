"""The guest's side of the in-memory batch system: an agent that registers a node and stays connected.

python -m vmm.batch.memory_node ADDRESS NAME --feature groupA [--cpus 1]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from vmm.batch.memory_wire import Lines, connect, encode
from vmm.errors import BadMessage

_log = logging.getLogger(__name__)
_TIMEOUT_S = 5.0
_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 5.0


class NodeAgent:
    """Keeps the node `name` registered until `stop()`, or until the batch system deletes it."""

    def __init__(self, address: str, name: str, features: Sequence[str], cpus: int = 1) -> None:
        self.registered = threading.Event()
        self.deleted = threading.Event()
        self._address = address
        self._hello = {"op": "register", "name": name, "features": list(features), "cpus": cpus}
        self._stop = threading.Event()
        self._link: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name="batch-node", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        link = self._link
        if link is not None:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(_TIMEOUT_S)

    def run(self) -> None:
        """Connect, stay, and connect again with growing pauses; returns after `stop` or deletion."""
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set() and not self.deleted.is_set():
            try:
                self._stay()
            except (OSError, BadMessage) as exc:
                _log.info("node %s: %s", self._hello["name"], exc)
            if self.registered.is_set():
                self.registered.clear()
                pause_s = _FIRST_PAUSE_S
            if not self.deleted.is_set():
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _stay(self) -> None:
        with connect(self._address, _TIMEOUT_S) as link:
            self._link = link
            lines = Lines()
            link.sendall(encode(self._hello))
            link.settimeout(None)
            while not self._stop.is_set():
                data = link.recv(4096)
                if not data:
                    return
                for message in lines.feed(data):
                    if message["op"] == "registered":
                        self.registered.set()
                    elif message["op"] == "deleted":
                        self.deleted.set()
                        return
                    else:
                        _log.warning(
                            "node %s: %s", self._hello["name"], message.get("message", message["op"])
                        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vmm.batch.memory_node", description="A node of the in-memory batch system"
    )
    parser.add_argument("address", help="socket path or HOST:PORT of the batch client")
    parser.add_argument("name")
    parser.add_argument("--feature", action="append", default=[], help="a queue it takes jobs of; repeatable")
    parser.add_argument("--cpus", type=int, default=1)
    chosen = parser.parse_args(arguments)
    agent = NodeAgent(chosen.address, chosen.name, chosen.feature, chosen.cpus)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    agent.start()
    while not agent.deleted.is_set():
        if signal.sigtimedwait(ends, 0.5) is not None:
            break
    agent.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
