"""A discrete-event simulation: virtual clients answer the core's commands, report, and boot guests."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial

from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.core import Core
from vmm.decide.events import (
    Answered,
    BusChanged,
    Commanded,
    Entry,
    Event,
    Greeted,
    Reported,
    Started,
    Ticked,
    Viewed,
)
from vmm.decide.outputs import Note, Output, Send
from vmm.errors import CommandFailed
from vmm.messages.bus import shard_of
from vmm.messages.structs import Beat, Command, Hello, Report, Result, Value
from vmm.plugins.manager import load_plugins
from vmm.simulate.cluster import Executor, Faults, SimBatch, SimGuest, SimHost, SimJob, SimNode

BATCH_CLIENT = "batch"


@cache
def _builtin_catalogue() -> str:
    return encode_catalogue(load_plugins().collectors)


_LATENCY_S = 0.02


class Simulation:
    """Hosts, jobs and rules in; decisions out. The same arguments give the same stream, entry by entry.

    `entries` is the stream so far (what a journal would hold), `notes` the decision log. `sink`, when given,
    gets every entry instead of the list, for long runs.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        hosts: Iterable[SimHost],
        jobs: Iterable[SimJob] = (),
        *,
        settings: Mapping[str, float] | None = None,
        boot_s: float = 5.0,
        create_s: float = 0.5,
        migrate_s: float = 3.0,
        report_s: float = 2.0,
        tick_s: float = 1.0,
        seed: int = 0,
        faults: Faults | None = None,
        sink: Callable[[Entry], None] | None = None,
    ) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.batch = SimBatch(list(jobs))
        self.faults = faults or Faults()
        self.core = Core()
        self.entries: list[Entry] = []
        self.notes: list[Note] = []
        self.now_s = 0.0
        self._files, self._settings = {CATALOGUE: _builtin_catalogue(), **files}, dict(settings or {})
        self._boot_s, self._create_s, self._report_s, self._tick_s = boot_s, create_s, report_s, tick_s
        self._migrate_s = migrate_s
        self._executor = Executor(self.hosts, self.batch, self.faults)
        self._random = random.Random(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._position = 0
        self._results = 0
        self._done: dict[str, Result] = {}
        self._seq: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._lives: dict[str, str] = {}
        self._sink = sink or self.entries.append
        self.manager_up = True
        self._lost: list[Event] = []
        self._begin()

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._heap and self._heap[0][0] <= until_s:
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        self.now_s = until_s

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until the condition holds; False when it did not within `limit_s` from now."""
        end_s = self.now_s + limit_s
        while not condition():
            if not self._heap or self._heap[0][0] > end_s:
                return False
            self.now_s, _, action = heapq.heappop(self._heap)
            action()
        return True

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (time_s, self._serial, action))

    def submit(self, job: SimJob) -> None:
        self.batch.jobs.append(job)
        self.batch.jobs.sort(key=lambda j: (j.submit_s, j.id))

    def emit(self, event: Event) -> list[Output]:
        """Put an event into the stream; while the Manager is down it is lost, as on a bus nobody reads."""
        if not self.manager_up:
            return []
        self._position += 1
        timed = isinstance(event, Ticked | Started | BusChanged)  # as the Listener stamps them
        entry = Entry(self._position, self.now_s if timed else self.core.state.now_s, event)
        self._sink(entry)
        outputs = self.core.feed(entry)
        for output in outputs:
            if isinstance(output, Note):
                self.notes.append(output)
            elif isinstance(output, Send):
                self._deliver(output)
        return outputs

    def kill_manager(self) -> None:
        """kill -9: what it knew is only in the stream recorded so far."""
        self.manager_up = False

    def start_manager(self) -> None:
        """A new Manager with the same journal: replay, then everybody introduces themselves again."""
        self.core = Core()
        self.core.replay(self.entries)
        self.manager_up = True
        self._start_events()

    def kill_guest(self, name: str) -> None:
        """The guest's process dies on its host."""
        for host in self.hosts.values():
            if host.guests.pop(name, None) is not None:
                self.batch.lose(name)
                self._leave(name)

    def add_host(self, host: SimHost) -> None:
        """A new machine joins."""
        self.hosts[host.name] = host
        self._join(host.name)
        self._every(self._report_s, partial(self._report, host.name), first_s=self.now_s + 0.1)

    def kill_host(self, name: str) -> None:
        """Its power fails: its client and guests are gone at once; nobody tells the batch system."""
        host = self.hosts[name]
        host.up = False
        for guest in list(host.guests):
            self._leave(guest)
        host.guests.clear()
        self._leave(name)

    def cut_host(self, name: str) -> None:
        """Its network fails: it is heard no more, and its guests run on."""
        self.hosts[name].up = False
        for gone in (*self.hosts[name].guests, name):
            self._leave(gone)

    def return_host(self, name: str) -> None:
        """It is heard again, with whatever runs there."""
        self.hosts[name].up = True
        self._join(name)
        for guest in self.hosts[name].guests.values():
            self._join(guest.spec.name, life=guest.spec.identity.get("life", ""))

    def texts(self, level: str = "info") -> list[str]:
        """The decision log as `kind subject: text`, debug lines left out."""
        wanted = {"info": ("info", "warning", "error"), "warning": ("warning", "error"), "error": ("error",)}
        return [f"{n.kind} {n.subject}: {n.text}" for n in self.notes if n.level in wanted[level]]

    def _begin(self) -> None:
        self._addresses = {name: f"#{name}#sim" for name in (*self.hosts, BATCH_CLIENT)}
        self._start_events()
        self._every(self._tick_s, self._tick, first_s=0.0)
        for number, name in enumerate(self._addresses):
            self._every(self._report_s, partial(self._report, name), first_s=0.1 + 0.01 * number)
        self._every(0.5, self._schedule_jobs, first_s=0.25)

    def _start_events(self) -> None:
        self.emit(Started("sim", self._files, self._settings, "simulation"))
        self.emit(BusChanged(True, "simulation"))
        for name in self._addresses:
            self._greet(name)

    def _every(self, interval_s: float, action: Callable[[], None], *, first_s: float) -> None:
        def again() -> None:
            action()
            self.at(self.now_s + interval_s, again)

        self.at(first_s, again)

    def _tick(self) -> None:
        state = self.core.state
        self.emit(Ticked(Beat(self.now_s, "sim", state.epoch, state.position, state.digest.hex())))

    def _greet(self, name: str) -> None:
        role = "dom0" if name in self.hosts else "batch" if name == BATCH_CLIENT else "domU"
        life = self._lives.get(name, "")
        session = 1 + int(life or 0)
        self.emit(Greeted(self._addresses[name], Hello(name, role, session, b"", token=f"{life}.")))

    def _join(self, name: str, *, life: str = "") -> None:
        self._addresses[name], self._lives[name] = f"#{name}{life}#sim", life
        self._greet(name)

    def _report(self, name: str) -> None:
        if name not in self._addresses:
            return
        host = self.hosts.get(name)
        if host is not None:
            if not host.up:
                return
            values: dict[str, Value] = {"host_facts": host.facts(), "host_guests": host.rows()}
        elif self.faults.batch_down:
            return
        else:
            jobs, nodes = self.batch.job_rows(self.now_s), self.batch.node_rows()
            values = {"batch_jobs": jobs, "batch_nodes": nodes}
        self._seq[name] = self._seq.get(name, -1) + 1
        self.emit(Reported(name, Report(1, self._seq[name], values)))

    def _deliver(self, send: Send) -> None:
        """The command comes back in the stream, and its client runs it a little later."""
        self.at(self.now_s + _LATENCY_S / 2, lambda: self._commanded(send.command))
        takes_s = {"create_guest": self._create_s, "migrate_guest": self._migrate_s, "resize_guest": 1.0}
        delay_s = takes_s.get(send.command.name, _LATENCY_S)
        self.at(self.now_s + delay_s * self._random.uniform(0.8, 1.2), lambda: self._run(send.command))

    def _commanded(self, command: Command) -> None:
        self.emit(Commanded(command))

    def _run(self, command: Command) -> None:
        """A client's record: a repeated id is answered, not run again."""
        host = self.hosts.get(command.to)
        if host is not None and not host.up:
            return
        result = self._done.get(command.id)
        if result is None:
            result = self._execute(command)
            self._done[command.id] = result
        self._results += 1
        nth = self.faults.lose_every_nth_result
        if nth and self._results % nth == 0:
            return
        self.emit(Answered(command.to, result))

    def _execute(self, command: Command) -> Result:
        try:
            value = self._executor.run(command.to, command.name, command.args, self.now_s)
        except CommandFailed as exc:
            return Result(command.id, "failed", None, exc.code, exc.message)
        if command.name == "destroy_guest":
            self._leave(command.args["name"])
        booting, self._executor.booting = self._executor.booting, []
        for host, guest in booting:
            self.at(self.now_s + self._boot_s, partial(self._booted, host, guest))
        return Result(command.id, "done", value)

    def _booted(self, host: SimHost, guest: SimGuest) -> None:
        name = guest.spec.name
        if host.guests.get(name) is not guest:
            return
        share = self.core.rules.entitlements.shares.get(guest.spec.share)
        self.batch.nodes[name] = SimNode(name, share.queue if share else guest.spec.share)
        self._join(name, life=guest.spec.identity.get("life", ""))

    def _leave(self, name: str) -> None:
        address = self._addresses.pop(name, None)
        if address is None:
            return
        group = shard_of(name, int(self.core.state.settings.shards))
        members = [a for n, a in self._addresses.items() if shard_of(n, 8) == group]
        self.emit(Viewed(group, members, "disconnect", [address]))

    def _schedule_jobs(self) -> None:
        for job in self.batch.schedule(self.now_s):
            ends_s = self.now_s + job.runtime_s
            self.at(ends_s, partial(self.batch.finish, job, self.now_s, ends_s))
