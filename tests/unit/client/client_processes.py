"""A daemon and clients as real processes, and a hand-driven Manager on the real bus."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vmm.messages import keys
from vmm.messages.bus import MANAGERS, BusLost, Data, SpreadBus, all_shards
from vmm.messages.codec import decode_body, open_sealed, seal
from vmm.messages.structs import Beat, Command, Hello, Message, Result

M = TypeVar("M", bound=Message)
LIMIT_S = 60.0
BEAT_S = 0.3
SETTINGS = """
[bus]
daemon = {daemon}
[client]
link_timeout_s = 3
[hypervisor]
driver = memory
boot_s = 0
"""
PROPERTIES = """
[up]
command = uptime
roles = dom0 domU
ticks = 1

[about_host]
command = host_facts
ticks = 1
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """One of vmm's programs, with its log in a file."""

    def __init__(self, log: Path, *words: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vmm.cli.main", *words],
                stdout=out,
                stderr=out,
                env={**os.environ, **environment},
            )

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, times: int = 1) -> None:
        end = time.monotonic() + LIMIT_S
        while len(re.findall(pattern, self.text())) < times:
            assert self.process.poll() is None, f"it ended, status {self.process.returncode}: {self.text()}"
            assert time.monotonic() < end, f"no {pattern!r} in {self.text()}"
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


class Site:
    """A folder of configuration, a daemon, clients, and a Manager that beats."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.etc = folder, folder / "etc"
        self.etc.mkdir()
        self.port = free_port()
        self.daemon_address = f"{self.port}@127.0.0.1"
        (self.etc / "vmm.ini").write_text(SETTINGS.format(daemon=self.daemon_address))
        (self.etc / "properties.ini").write_text(PROPERTIES)
        keys.init_keys(self.etc / "keys", ["h1"])
        self.signer = keys.Signer.load(self.etc / "keys/manager.key")
        self.known = keys.load_clients(self.etc / "keys")
        self.programs: list[Program] = []
        self.hello: Hello | None = None
        self.address = ""
        self.daemon = self.start_daemon()
        self.bus = self.connect()
        self._stop = threading.Event()
        self._beater = threading.Thread(target=self._beat, name="test-beats", daemon=True)
        self._beater.start()

    def start_daemon(self) -> Program:
        log = self.folder / "daemon.log"
        log.touch()
        said = len(re.findall("listens on", log.read_text()))
        daemon = self._started(log, "daemon", "--listen", f"127.0.0.1:{self.port}")
        daemon.wait_for("listens on", said + 1)
        return daemon

    def client(self, name: str = "h1", role: str = "dom0", *words: str, **environment: str) -> Program:
        with contextlib.suppress(BusLost):  # what a client that ended said late is not the new one's hello
            while self.bus.receive(0.05) is not None:
                pass
        log = self.folder / f"{name}.log"
        common = ("--role", role, "--name", name, "-c", str(self.etc))
        return self._started(log, "client", *common, *words, **environment)

    def connect(self) -> SpreadBus:
        bus = SpreadBus(self.daemon_address, "manager", membership=False)
        bus.join(MANAGERS)
        return bus

    def reconnect(self) -> None:
        self.bus.close()
        self.bus = self.connect()

    def send(self, message: Message, to: str = "") -> None:
        self.bus.multicast((to or self.address,), *seal(message, "manager", self.signer))

    def command(self, key: str, name: str, /, **args: Any) -> Command:
        command = Command(key, "h1", name, args, time.time() + 3600)
        self.send(command)
        return command

    def heard(self) -> Iterator[Message]:
        """What clients send, in order."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            data = self.bus.receive(0.05)
            if isinstance(data, Data):
                _, message = open_sealed(data.kind, data.body, self._key)
                if isinstance(message, Hello):
                    self.address, self.hello = data.sender, message
                yield message
        raise AssertionError(f"nothing fits within {LIMIT_S} s")

    def next(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True) -> M:
        return next(m for m in self.heard() if isinstance(m, kind) and fits(m))

    def answer(self, key: str) -> Result:
        return self.next(Result, lambda result: result.id == key)

    def close(self) -> None:
        self._stop.set()
        self._beater.join(LIMIT_S)
        self.bus.close()
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.process.kill()
            program.process.wait(LIMIT_S)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            beat = seal(Beat(time.time(), "m1", "e1"), "manager", self.signer)
            with contextlib.suppress(BusLost):  # a test has ended the daemon
                self.bus.multicast(all_shards(8), *beat)

    def _started(self, log: Path, *words: str, **environment: str) -> Program:
        self.programs.append(Program(log, *words, **environment))
        return self.programs[-1]

    def _key(self, sender: str, kind: int, body: bytes) -> bytes | None:
        if sender in self.known:
            return self.known[sender]
        message = decode_body(kind, body)
        if isinstance(message, Hello):  # a guest brings its own key
            self.known[sender] = message.public_key
        return self.known.get(sender)
