"""The client as a whole: what it is made of, the order in which it starts and stops."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import vmm
from vmm.client.backends import close_context, open_context
from vmm.client.complaints import Complaints
from vmm.client.crew import Crew
from vmm.client.identity import load_manager_key, load_signer
from vmm.client.link import Link
from vmm.client.options import ClientOptions
from vmm.client.outbox import Outbox
from vmm.client.properties import Item, load_items
from vmm.client.readers import Readers
from vmm.client.receiver import Hooks, Receiver
from vmm.client.record import Record
from vmm.client.reporter import Read, ReadAll, Reporter
from vmm.client.sender import Sender
from vmm.client.workers import Workers
from vmm.messages.bus import Bus, SpreadBus, bus_name, shard_of
from vmm.messages.keys import Signer
from vmm.messages.structs import Hello
from vmm.plugins.hookspecs import CommandPlugin, Context
from vmm.plugins.manager import PluginSet, load_plugins
from vmm.plugins.run import Outcome, PluginRunner

log = logging.getLogger(__name__)

RECORD_FILE = "commands.sqlite"
_READERS = 8
_CONNECT_S = 5.0
_FIRST_GRACE_S = 3.0
_GUEST_GRACE_S = 60.0
"""A guest that was reset comes back before the daemon knows that it went."""


class Client:
    """One client. `start` opens the record and starts the threads; `wait` returns when it is to end; `stop`.

    The stop order: Reporter and Readers (nothing new is read), Workers (a command that runs gets a moment,
    then it is left, recorded as begun), Sender (what is ready is still sent), Receiver (leaves the bus).
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        signer: Signer,
        manager_key: bytes,
        context: Context,
        items: Mapping[str, Item],
        plugins: PluginSet,
        open_bus: Callable[[], Bus] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        session: int | None = None,
        stop: threading.Event | None = None,
        poll_s: float = 0.2,
        patience_s: float = 1.0,
    ) -> None:
        self._options, self._signer, self._context = options, signer, context
        self._items, self._plugins = items, plugins
        self._session = secrets.randbits(62) if session is None else session
        self._runner = PluginRunner()
        self.stopping = threading.Event() if stop is None else stop
        self._crew = Crew(self.stopping)
        self.outbox = Outbox()
        self._complaints = Complaints(clock)
        self._record: Record | None = None
        self._workers: Workers | None = None
        self._clock = clock
        self._readers = Readers(self._read, lambda name, outcome: self.reporter.tell(Read(name, outcome)))
        self.reporter = Reporter(
            periods_s={name: item.ticks_s for name, item in items.items()},
            submit=self._readers.submit,
            outbox=self.outbox,
            session=self._session,
            stop=self.stopping,
            clock=clock,
            patience_s=patience_s,
        )
        settings = options.settings
        self.receiver = Receiver(
            open_bus or self._open_bus,
            name=options.name,
            shard=shard_of(options.name, settings.bus.shards),
            manager_key=manager_key,
            link=Link(settings.client.link_timeout_s, clock()),
            outbox=self.outbox,
            hooks=Hooks(
                hello=self._hello,
                report_all=lambda: self.reporter.tell(ReadAll()),
                query=self.reporter.tell,
                command=lambda command, stream_s: self._started_workers().accept(command, stream_s),
            ),
            complaints=self._complaints,
            stop=self.stopping,
            clock=clock,
            random=jitter,
            reconnect_max_s=settings.bus.reconnect_max_s,
            poll_s=poll_s,
            first_grace_s=_GUEST_GRACE_S if options.role == "domU" else _FIRST_GRACE_S,
        )

    def start(self) -> None:
        """Raises RecordError or StateInUse when the record of commands cannot be used."""
        self._record = Record(self._options.state / RECORD_FILE)
        self._workers = Workers(
            name=self._options.name,
            role=self._options.role,
            plugins=self._plugins.commands,
            record=self._record,
            run=self._execute,
            answer=self.outbox.put,
            clock=self._clock,
        )
        for problem in self._plugins.problems:
            log.warning("%s", problem)
        log.info(
            "client %s, role %s, bus %s: %d properties, %d commands",
            self._options.name,
            self._options.role,
            self._options.settings.bus.daemon,
            len(self._items),
            len(self._plugins.commands),
        )
        for name in self._reader_names():
            self._crew.start(name, self._readers.run)
        for name in self._worker_names():
            self._crew.start(name, self._workers.run)
        self._crew.start("Reporter", self.reporter.run)
        self._crew.start("Sender", Sender(self.outbox, self._options.name, self._signer).run)
        self._crew.start("Receiver", self.receiver.run)

    def wait(self) -> None:
        """Until somebody sets `stopping`, or a thread died."""
        self.stopping.wait()

    def stop(self) -> None:
        """End all threads in order, in less than two seconds. Raises what made a thread die, if one did."""
        self.stopping.set()
        end_s = time.monotonic() + 0.8
        self.reporter.wake()
        self._readers.close(_READERS)
        self._crew.join("Reporter", 0.3)
        if self._workers is not None:
            self._workers.close()
            for name in self._worker_names():
                self._crew.join(name, max(end_s - time.monotonic(), 0.01))
            for running in self._workers.running():
                log.warning("%s is left running; it stays in the record as begun", running)
        self.outbox.close()
        self._crew.join("Sender", 0.4)
        self.receiver.hang_up.set()
        self._crew.join("Receiver", 0.4)
        if self._record is not None:
            self._record.close()
        log.info("client %s stopped", self._options.name)
        if self._crew.failure is not None:
            raise self._crew.failure

    def _started_workers(self) -> Workers:
        assert self._workers is not None, "the Receiver runs before the Workers"
        return self._workers

    def _reader_names(self) -> list[str]:
        return [f"Reader-{n + 1}" for n in range(min(_READERS, len(self._items)))]

    def _worker_names(self) -> list[str]:
        return [f"Worker-{n + 1}" for n in range(max(1, self._options.settings.client.workers))]

    def _open_bus(self) -> Bus:
        daemon = self._options.settings.bus.daemon
        return SpreadBus(daemon, bus_name(self._options.name), membership=False, timeout_s=_CONNECT_S)

    def _hello(self) -> Hello:
        return Hello(
            self._options.name,
            self._options.role,
            self._session,
            self._signer.public_key,
            self._options.token,
            {
                **self._options.facts,
                "version": vmm.__version__,
                "properties": sorted(self._items),
                "commands": sorted(self._plugins.commands),
                "connections": self.receiver.connections,
                "refused_messages": dict(self._complaints.counts),
                "dropped_messages": self.outbox.dropped,
            },
        )

    def _read(self, name: str) -> Outcome:
        item = self._items[name]
        return item.convert(self._runner.collect(item.collector, self._context, item.parameters))

    def _execute(self, plugin: CommandPlugin, args: Mapping[str, Any]) -> Outcome:
        return self._runner.execute(plugin, self._context, args)


def run_client(options: ClientOptions, stop: threading.Event) -> None:
    """Build a client, run it until `stop` is set, stop it. Raises the VmmError that ended it, if one did."""
    signer, manager_key = load_signer(options), load_manager_key(options)
    plugins = load_plugins()
    items = load_items(options, plugins)
    context = open_context(options)
    client = Client(
        options,
        signer=signer,
        manager_key=manager_key,
        context=context,
        items=items,
        plugins=plugins.for_role(options.role),
        stop=stop,
    )
    try:
        client.start()
        client.wait()
    finally:
        client.stop()
        close_context(context)
