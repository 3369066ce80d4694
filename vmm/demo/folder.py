"""The demo's folder: one configuration a machine, as on a real site, keys, logs, workload, journal."""

from __future__ import annotations

import socket
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from vmm.demo.errors import FolderTaken
from vmm.demo.workload import repeat
from vmm.messages.keys import init_keys

RULE_FILES = ("properties.ini", "triggers.ini", "profiles.ini", "shares.ini")
WORKLOAD = "workload.swf"
BATCH = "batch"
MEMORY_MIB = (4608, 4608, 4608, 2560, 2560, 2560)
"""Of the hosts, with 512 MiB that guests never get: three with room for two guests, three for one."""
HOSTS = tuple(f"host{n}" for n in range(1, len(MEMORY_MIB) + 1))


class DemoFolder:
    """Where everything is. `etc` is the Manager's and the batch client's, `host(name)` a host's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc, self.logs, self.journal = root / "etc", root / "logs", root / "journal"

    def host(self, name: str) -> Path:
        return self.root / name

    def lay_out(self, port: int, batch_port: int, seconds: float) -> None:
        """Write all files. Raises FolderTaken when the folder is in use, OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        if any(self.root.iterdir()):
            raise FolderTaken(f"{self.root} is not empty.", next_step="name a new folder with --keep")
        for folder in (self.etc, self.logs, *(self.host(name) for name in HOSTS)):
            folder.mkdir()
        for name in RULE_FILES:
            (self.etc / name).write_text(read_data(name), encoding="utf-8")
        words = {"port": port, "socket": f"127.0.0.1:{batch_port}"}
        for name, memory_mib in zip(HOSTS, MEMORY_MIB, strict=True):
            self._settings(self.host(name), memory_mib, words)
            (self.host(name) / "properties.ini").write_text(read_data("properties.ini"), encoding="utf-8")
        self._settings(self.etc, MEMORY_MIB[0], words)
        (self.root / WORKLOAD).write_text(repeat(read_data(WORKLOAD), seconds), encoding="utf-8")
        init_keys(self.root / "keys", (*HOSTS, BATCH))

    def _settings(self, folder: Path, memory_mib: int, words: dict[str, object]) -> None:
        text = Template(read_data("vmm.ini")).substitute(words, memory=f"{memory_mib}MiB")
        (folder / "vmm.ini").write_text(text, encoding="utf-8")


def read_data(name: str) -> str:
    """A file that ships with the demo."""
    return (files("vmm.demo") / "data" / name).read_text(encoding="utf-8")


def temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed with the demo."""
    return tempfile.TemporaryDirectory(prefix="vmm-demo-", ignore_cleanup_errors=True)


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on just now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
