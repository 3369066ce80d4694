"""A client in this process, on an ordered in-process bus, and a hand-driven Manager."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from client_bus import LocalDaemon

from vmm.client.options import ClientOptions
from vmm.client.program import Client
from vmm.client.properties import Item
from vmm.config import ClientSettings, Settings
from vmm.messages.bus import MANAGERS, Data, shard_of
from vmm.messages.codec import open_sealed, seal
from vmm.messages.keys import Signer
from vmm.messages.structs import Beat, Command, Hello, Message, Report, Result
from vmm.plugins.hookspecs import Collector, CommandPlugin, Context
from vmm.plugins.manager import PluginSet

M = TypeVar("M", bound=Message)
LIMIT_S = 20.0


class Clock:
    """Real time plus what a test adds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Manager:
    """Signs and sends what a test says; hands out what clients send, in order."""

    def __init__(self, daemon: LocalDaemon, clock: Clock) -> None:
        self.signer, self.clock, self.daemon = Signer.generate(), clock, daemon
        self.bus = daemon.connect("manager")
        self.bus.join(MANAGERS)
        self.keys: dict[str, bytes] = {}
        self.addresses: dict[str, str] = {}

    def time_s(self) -> float:
        return self.clock() + 1_000_000.0

    def beat(self, epoch: str = "e1", client: str = "h1", time_s: float | None = None) -> None:
        beat = Beat(self.time_s() if time_s is None else time_s, "m1", epoch)
        self.send(beat, shard_of(client, 8))

    def command(self, key: str, name: str, /, **args: Any) -> Command:
        command = Command(key, "h1", name, args, self.time_s() + 60)
        self.send(command)
        return command

    def send(self, message: Message, to: str = "", signer: Signer | None = None) -> None:
        self.raw(*seal(message, "manager", signer or self.signer), to=to)

    def raw(self, kind: int, body: bytes, to: str = "") -> None:
        self.bus.multicast((to or "#h1#local",), kind, body)

    def next(self, kind: type[M], fits: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of this kind; others in between are dropped."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            message = self._receive(end)
            if isinstance(message, kind) and fits(message):
                return message
        raise AssertionError(f"no such {kind.__name__} within {LIMIT_S} s")

    def answer(self, key: str) -> Result:
        return self.next(Result, lambda result: result.id == key)

    def drain(self) -> list[Message]:
        """Everything that has arrived so far."""
        got = []
        while True:
            try:
                data = self.bus.inbox.get_nowait()
            except queue.Empty:
                return got
            assert isinstance(data, Data)
            got.append(self._open(data))

    def _receive(self, end: float) -> Message | None:
        data = self.bus.receive(max(end - time.monotonic(), 0.01))
        return self._open(data) if isinstance(data, Data) else None

    def _open(self, data: Data) -> Message:
        def key(sender: str, kind: int, body: bytes) -> bytes:
            return self.keys[sender]

        sender, message = open_sealed(data.kind, data.body, key)
        self.addresses[sender] = data.sender
        return message


@dataclass
class World:
    folder: Path
    daemon: LocalDaemon = field(default_factory=LocalDaemon)
    clock: Clock = field(default_factory=Clock)
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.manager = Manager(self.daemon, self.clock)

    def client(
        self,
        *,
        collectors: dict[str, Collector] | None = None,
        commands: list[CommandPlugin] | None = None,
        name: str = "h1",
        ticks_s: float = 1000.0,
        link_timeout_s: float = 10.0,
        patience_s: float = 10.0,
    ) -> Client:
        """A client that is not started yet. Its properties are named like their collectors."""
        signer = Signer.generate()
        self.manager.keys[name] = signer.public_key
        settings = Settings(self.folder, client=ClientSettings(link_timeout_s=link_timeout_s))
        client = Client(
            ClientOptions(name, "dom0", settings, self.folder / name),
            signer=signer,
            manager_key=self.manager.signer.public_key,
            context=Context(name, "dom0"),
            items={key: Item(key, c, "", ticks_s) for key, c in (collectors or {}).items()},
            plugins=PluginSet(commands={c.name: c for c in commands or []}),
            open_bus=lambda: self.daemon.connect(name),
            clock=self.clock,
            jitter=lambda: 0.0,
            poll_s=0.02,
            patience_s=patience_s,
        )
        self.clients.append(client)
        return client

    def joined(self, **options: Any) -> Client:
        """A started client that has introduced itself, has been heard in full, and knows the time."""
        client = self.client(**options)
        client.start()
        self.manager.next(Hello)
        self.manager.beat()
        self.manager.next(Hello)
        self.manager.next(Report)
        return client


def reads(value: Any, **more: Any) -> Collector:
    """A collector that gives `value`, or calls it."""
    read = value if callable(value) else lambda *_: value
    kind = more.pop("returns", int if callable(value) else type(value))
    return Collector(more.pop("name", "reads"), read, kind, **more)


def does(
    name: str, run: Callable[..., Any], args: dict[str, type] | None = None, **more: Any
) -> CommandPlugin:
    return CommandPlugin(name, run, args or {}, ("dom0",), **more)
