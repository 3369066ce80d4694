"""A gate that jobs wait at: a test decides when a job inside a guest may end."""

from __future__ import annotations

import sys

from .controller import Controller
from .pod import PodProcess

_SERVER = """
import socket
with socket.create_server(("0.0.0.0", {port})) as server:
    while True:
        server.accept()[0].close()
"""


class Gate:
    """A port of the controller: closed (connections are refused) until `open` is called."""

    def __init__(self, ctl: Controller, port: int) -> None:
        self._ctl, self._port = ctl, port
        self._process: PodProcess | None = None

    @property
    def script(self) -> str:
        """Shell text for a job: wait at the gate."""
        return f"until nc {self._ctl.address} {self._port} </dev/null 2>/dev/null; do sleep 0.3; done"

    def open(self) -> None:
        if self._process is None:
            argv = [sys.executable, "-c", _SERVER.format(port=self._port)]
            self._process = self._ctl.start(f"gate-{self._port}", argv)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
