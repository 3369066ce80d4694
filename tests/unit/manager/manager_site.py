"""A real Manager on a real embedded daemon, with clients that the test plays itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from vmm.config import load_settings
from vmm.decide.outputs import Note
from vmm.manager.manager import Manager
from vmm.messages import codec, keys
from vmm.messages.bus import MANAGERS, Data, SpreadBus, bus_name, shard_of
from vmm.messages.structs import Command, Hello, Kind, Message, Report, Result, Value
from vmm.spread.daemon import EmbeddedDaemon

ETC = Path(__file__).parents[3] / "etc"
WAIT_S = 15.0


def wait_for(condition: Callable[[], object], what: str, limit_s: float = WAIT_S) -> None:
    """Until the condition holds; the limit is only for a broken build."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"waited {limit_s:g} s for {what}"
        time.sleep(0.01)


class PlayedClient:
    """A client by hand: signs with its own key, sends what the test says, collects what it gets."""

    def __init__(self, site: Site, name: str, role: str, *, signer: keys.Signer | None = None) -> None:
        self.name, self.role, self.seq = name, role, 0
        self.signer = signer or keys.Signer.load(site.folder / "keys" / "clients" / f"{name}.key")
        self.bus = SpreadBus(site.daemon.address, bus_name(name), membership=False)
        self.bus.join(shard_of(name, 8))

    def say(self, message: Message) -> None:
        kind, body = codec.seal(message, self.name, self.signer)
        self.bus.multicast([MANAGERS], kind, body)

    def hello(self, **more: object) -> None:
        self.say(Hello(self.name, self.role, 7, self.signer.public_key, **more))

    def report(self, **values: Value) -> None:
        self.say(Report(7, self.seq, dict(values)))
        self.seq += 1

    def next_of(self, kind: Kind, limit_s: float = WAIT_S) -> Message:
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            message = self.bus.receive(0.2)
            if isinstance(message, Data) and message.kind == kind:
                return codec.decode_body(kind, codec.open_envelope(kind, message.body).body)
        raise AssertionError(f"{self.name} got no {kind.name}")

    def answer(self, command: Command, status: str = "done", **more: str) -> None:
        self.say(Result(command.id, status, None, **more))

    def close(self) -> None:
        self.bus.close()


class Site:
    """A folder of configuration, a daemon, and Managers started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = EmbeddedDaemon("127.0.0.1:0", "localhost").start()
        self.notes: list[Note] = []
        self._made: list[Manager | PlayedClient] = []
        for name in ("properties.ini", "triggers.ini", "profiles.ini", "shares.ini"):
            (folder / name).write_text((ETC / name).read_text())
        self.write_settings()
        keys.init_keys(folder / "keys", ["host1", "batch"])

    def write_settings(self, extra: str = "") -> None:
        (self.folder / "vmm.ini").write_text(
            f"[bus]\ndaemon = {self.daemon.address}\nreconnect_max_s = 0.3\n"
            f"[manager]\njournal = journal\ntick_s = 0.1\nbeat_s = 0.2\nresend_s = 0.5\n{extra}"
        )

    def manager(self, *, start: bool = True, **more: object) -> Manager:
        manager = Manager(load_settings(self.folder), on_notes=self.notes.extend, **more)
        if start:
            manager.start()
            self._made.append(manager)
            wait_for(manager.ready.is_set, "the Manager to lead")
        return manager

    def client(self, name: str = "host1", role: str = "dom0", **more: object) -> PlayedClient:
        client = PlayedClient(self, name, role, **more)
        self._made.append(client)
        return client

    def told(self, text: str) -> bool:
        return any(text in f"{n.kind} {n.subject}: {n.text}" for n in list(self.notes))

    def close(self) -> None:
        for made in reversed(self._made):
            made.stop() if isinstance(made, Manager) else made.close()
        self.daemon.stop()
