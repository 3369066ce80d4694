"""The Manager program: Listener, TriggerWatch and Sender around one core, one journal, one bus connection."""

from __future__ import annotations

import dataclasses
import getpass
import logging
import queue
import signal
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from vmm import __version__
from vmm.config import Settings
from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.events import Entry, Started
from vmm.decide.outputs import Note
from vmm.decide.rulebook import FILES, check_rules
from vmm.errors import ConfigError, VmmError
from vmm.ini import Finding, FindingsError, read_text
from vmm.journal import Journal, JournalLocked
from vmm.manager.errors import SecondManager, StartFailed
from vmm.manager.line import Line
from vmm.manager.listener import Intake, Listener
from vmm.manager.picture import Picture
from vmm.manager.recovery import recover
from vmm.manager.sender import Outgoing, Sender
from vmm.manager.trust import Trust
from vmm.manager.watch import TriggerWatch
from vmm.messages import keys
from vmm.messages.bus import SpreadBus, bus_name
from vmm.messages.structs import Intent
from vmm.plugins.manager import arguments_of, load_plugins

log = logging.getLogger("vmm.manager")

STOP_ORDER = ("TriggerWatch", "Sender", "Listener")
"""No new decisions; what was decided goes out; then the connection and the journal are closed."""


class Manager:
    """`start()` recovers from the journal and starts the threads; `stop()` ends them in STOP_ORDER.

    Raises ConfigError/FindingsError (configuration), SecondManager (another one), JournalError (disk).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        journal: Path | None = None,
        observe: bool = False,
        on_notes: Callable[[list[Note]], None] | None = None,
    ) -> None:
        self._settings = settings
        self._journal_folder = journal or settings.path(settings.manager.journal)
        self._observe, self._on_notes = observe, on_notes
        self._stop = threading.Event()
        self._inbox: queue.SimpleQueue[list[Entry]] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        self._threads: dict[str, threading.Thread] = {}
        self._failure: BaseException | None = None
        self._journal: Journal | None = None
        self._files: dict[str, str] = {}
        self.ended = threading.Event()

    def start(self) -> None:
        settings = self._settings
        files, findings = read_rules(settings.folder)
        for finding in findings:
            log.warning("%s", finding)
        trust = Trust(settings.keys_folder)
        signer = keys.Signer.load(settings.keys_folder / f"{keys.MANAGER}.key")
        try:
            self._journal = Journal.open(
                self._journal_folder,
                sync=settings.manager.journal_sync,  # type: ignore[arg-type]
                retain_s=settings.manager.journal_retain_s or None,
                retain_mib=settings.manager.journal_retain_mib or None,
            )
        except JournalLocked as exc:
            raise SecondManager(
                f"another Manager writes the journal {self._journal_folder}: {exc.message}",
                next_step="stop it first, or give this one its own -c and journal",
            ) from exc
        try:
            core = recover(self._journal_folder)
            refuse_vanished(core.rules.files, files, settings.folder)
        except VmmError:
            self._journal.close()
            raise
        self._files = files
        if core.state.position:
            log.info(
                "recovered from the journal up to position %d: %d guests, %d clients",
                core.state.position,
                len(core.state.guests),
                len(core.state.clients),
            )
        trust.remember(core.state.clients)
        line = Line()
        manager = settings.manager
        self._watch = TriggerWatch(
            core,
            self._inbox,
            self._outbox,
            self._journal,
            self._stop,
            manager=manager.name,
            tick_s=manager.tick_s,
            beat_s=manager.beat_s,
            on_notes=self._on_notes,
        )
        self._sender = Sender(
            line,
            signer,
            self._outbox,
            shards=settings.bus.shards,
            token=trust.token,
            guest_bus=settings.bus.guests or settings.bus.daemon,
        )
        name = bus_name(manager.name)
        self._listener = Listener(
            lambda: SpreadBus(settings.bus.daemon, name, membership=True),
            line,
            self._journal,
            trust,
            self._inbox,
            self._stop,
            shards=settings.bus.shards,
            now_s=core.state.now_s,
            reconnect_max_s=settings.bus.reconnect_max_s,
        )
        self._listener.store_first(
            Started(
                self._journal.journal_id[:8], files, _decision_settings(settings, self._observe), __version__
            )
        )
        self._launch("Sender", self._sender.run)
        self._launch("TriggerWatch", self._watch.run)
        self._launch("Listener", self._listener.run)

    def stop(self) -> None:
        """Idempotent; returns when all threads have ended and the journal is closed."""
        self._stop.set()
        self._outbox.put(None)
        for name in STOP_ORDER:
            thread = self._threads.get(name)
            if thread is not None and thread is not threading.current_thread():
                thread.join(timeout=5.0)
        journal, self._journal = self._journal, None
        if journal is not None:
            self._watch.save()
            journal.close()

    def wait(self, stop: threading.Event) -> None:
        """Until `stop` is set or a thread failed; then stop. Re-raises what a thread died of."""
        while not stop.is_set() and not self.ended.is_set():
            stop.wait(0.1)
        self.stop()
        if self._failure is not None:
            raise self._failure

    def reload_on_hangup(self) -> None:
        """SIGHUP reads the rule files again. Only from the main thread."""
        signal.signal(signal.SIGHUP, lambda *_: self.reload("SIGHUP"))

    def reload(self, reason: str) -> None:
        """Check the rule files and put them into the stream; on errors the old rules stay, and it is said."""
        try:
            files, findings = read_rules(self._settings.folder)
            refuse_vanished(self._files, files, self._settings.folder)
        except VmmError as exc:
            log.error("the rules are not reloaded, the old ones stay: %s", exc)
            return
        for finding in findings:
            log.warning("%s", finding)
        self._files = files
        self._outbox.put(Intent(uuid.uuid4().hex[:12], "reload", {"files": files}, getpass.getuser(), reason))

    @property
    def picture(self) -> Picture:
        return self._watch.picture

    @property
    def intake(self) -> Intake:
        return self._listener.intake

    @property
    def ready(self) -> threading.Event:
        """Set when the Manager leads: connected, joined, in the stream."""
        return self._listener.ready

    def _launch(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._supervised, args=(name, run), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _supervised(self, name: str, run: Callable[[], None]) -> None:
        """A thread that dies ends the program with its reason, never silently."""
        try:
            run()
        except VmmError as exc:
            self._failure = exc
            self.ended.set()
        except Exception as exc:
            log.exception("%s died", name)
            self._failure = StartFailed(
                f"{name} died: {type(exc).__name__}: {exc}.",
                next_step="report this with the log; it is a bug",
            )
            self.ended.set()


def read_rules(folder: Path) -> tuple[dict[str, str], list[Finding]]:
    """The rule files' texts, checked; returned with the warnings.

    Raises FindingsError on errors in them, ConfigError for a file that cannot be read.
    """
    paths = {name: folder / name for name in FILES}
    files = {name: read_text(path) for name, path in paths.items() if path.exists()}
    plugins = load_plugins()
    for problem in plugins.problems:
        log.warning("plugin: %s", problem)
    files[CATALOGUE] = encode_catalogue(plugins.collectors)
    rules, findings = check_rules(files, str(folder), arguments_of(plugins.commands))
    if rules is None:
        raise FindingsError(findings)
    return files, findings


def refuse_vanished(before: Mapping[str, str], files: Mapping[str, str], folder: Path) -> None:
    """A rule file that was in force and is not there now is rather lost, or being saved, than meant."""
    for name in FILES:
        if before.get(name, "").strip() and name not in files:
            raise ConfigError(
                f"{folder / name}: no such file, but its content is in force.",
                next_step="bring it back; an empty file says that you mean it",
            )


def _decision_settings(settings: Settings, observe: bool) -> dict[str, float]:
    """The numbers that decisions depend on; DecisionSettings picks those it knows."""
    values = {
        name: float(value)
        for name, value in dataclasses.asdict(settings.manager).items()
        if isinstance(value, int | float)
    }
    return {**values, "shards": float(settings.bus.shards), "observe": float(observe)}
