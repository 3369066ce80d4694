"""The demo from start to end: lay out, start the programs, show what they do, end them, sum up."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from vmm.demo.errors import DemoFailed, PartFailed
from vmm.demo.folder import BATCH, HOSTS, DemoFolder, free_ports, temporary
from vmm.demo.follow import Follower, Seen
from vmm.demo.parts import Part, Parts
from vmm.demo.plain import PlainLog
from vmm.demo.story import Line, since
from vmm.demo.summary import summary
from vmm.demo.view import Frame, render

_REFRESH_S = 0.2
_READY_S = 20.0
_LOG_KEPT = 400
_DAEMON, _CLIENT, _MANAGER = range(3)
"""The order of the start; the end goes the other way, so that nothing is decided about the ending."""
PROGRAMS = 3 + len(HOSTS)


class Demo:
    """One run of `seconds`, counted from `run()`. The screen is `console`'s when not `plain`."""

    def __init__(
        self,
        folder: DemoFolder,
        seconds: float,
        console: Console,
        *,
        plain: bool,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._seconds, self._console, self._plain = folder, seconds, console, plain
        self._clock, self._wall_clock = clock, wall_clock
        self._parts = Parts(folder.logs)
        self._follower = Follower(folder.journal)
        self._stop = threading.Event()
        self._signal = 0
        self._lines: list[Line] = []
        self._seen: Seen | None = None
        self._manager: Part | None = None

    def run(self) -> int:
        """Exit status: 0, or 128 + the signal that ended it early. Raises VmmError when a part failed."""
        self._began_s, self._began_wall_s = self._clock(), self._wall_clock()
        with self._signals_caught():
            try:
                self._start()
                self._watch()
                elapsed_s = self._elapsed_s()
            finally:
                self._parts.stop()
                self._follower.stop()
            if self._seen is None and not self._signal and self._manager is not None:
                raise PartFailed(self._manager.title, "decided nothing", self._manager.tail())
            for line in ["", *summary(self._seen, elapsed_s, PROGRAMS)]:
                self._say(line)
        return 128 + self._signal if self._signal else 0

    def _start(self) -> None:
        port, batch_port = free_ports(2)
        self._say(
            f"vmm demo: {len(HOSTS)} hosts without a hypervisor, {PROGRAMS} programs, "
            f"{self._seconds:g} s; files in {self._folder.root}"
        )
        try:
            self._folder.lay_out(port, batch_port, self._seconds)
            self._follower.start()
            self._start_programs(port)
        except OSError as exc:
            raise DemoFailed(
                f"the demo cannot be set up in {self._folder.root}: {exc}.",
                next_step="make room there, or name another folder with --keep",
            ) from exc

    def _start_programs(self, port: int) -> None:
        start, etc = self._parts.start, str(self._folder.etc)
        daemon = start("daemon", "messaging daemon", _DAEMON, "daemon", "--listen", f"127.0.0.1:{port}")
        self._await(daemon, port)
        if self._stop.is_set():
            return
        self._manager = start("manager", "Manager", _MANAGER, "manager", "-c", etc)
        client = ("client", "--log-level", "warning")
        start(BATCH, "batch client", _CLIENT, *client, "--role", "batch", "-c", etc, "--name", BATCH)
        for name in HOSTS:
            folder = str(self._folder.host(name))
            start(name, f"client of {name}", _CLIENT, *client, "--role", "dom0", "-c", folder, "--name", name)

    def _await(self, daemon: Part, port: int) -> None:
        """Until it takes connections: the others then need no second try."""
        end_s = self._clock() + _READY_S
        while not self._stop.is_set():
            self._parts.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                return
            except OSError:
                if self._clock() > end_s:
                    raise PartFailed(
                        daemon.title, f"takes no connections after {_READY_S:g} s", daemon.tail()
                    ) from None
                self._stop.wait(0.02)

    def _watch(self) -> None:
        """Show what happens until the time is over or somebody wants the end."""
        plain = PlainLog(self._say)
        with ExitStack() as stack:
            live = None
            if not self._plain:
                live = stack.enter_context(Live(console=self._console, screen=True, auto_refresh=False))
            while not self._stop.is_set() and self._elapsed_s() < self._seconds:
                self._check()
                fresh = self._drain()
                if live is None:
                    plain.show(self._elapsed_s(), self._seen, fresh)
                else:
                    size = self._console.size
                    live.update(render(self._frame(), size.width, size.height), refresh=True)
                self._stop.wait(min(_REFRESH_S, max(self._seconds - self._elapsed_s(), 0.0)))
            fresh = self._drain()
            if live is None:
                plain.show(self._elapsed_s(), self._seen, fresh)

    def _check(self) -> None:
        self._parts.check()
        if self._follower.failure is not None:
            raise DemoFailed(
                f"the Manager's journal cannot be followed: {self._follower.failure}.",
                next_step="report this; it is a bug",
            ) from self._follower.failure
        if self._seen is None and self._manager is not None and self._elapsed_s() > _READY_S:
            what = f"has decided nothing after {_READY_S:g} s"
            raise PartFailed(self._manager.title, what, self._manager.tail())

    def _drain(self) -> list[Line]:
        """Take what the Follower saw; returns the new lines, in seconds of the demo."""
        fresh: list[Line] = []
        while not self._follower.seen.empty():
            self._seen = self._follower.seen.get()
            fresh += self._seen.lines
        fresh = since(fresh, self._began_wall_s, self._elapsed_s())
        self._lines = (self._lines + fresh)[-_LOG_KEPT:]
        return fresh

    def _elapsed_s(self) -> float:
        return self._clock() - self._began_s

    def _frame(self) -> Frame:
        return Frame(self._seen, self._lines, self._elapsed_s(), self._seconds, PROGRAMS)

    def _say(self, text: str) -> None:
        print(text, file=self._console.file, flush=True)

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        """The first signal ends the demo in order, a second one at once."""

        def caught(number: int, _frame: FrameType | None) -> None:
            if self._signal:
                raise KeyboardInterrupt
            self._signal = number
            self._stop.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, caught) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_demo(seconds: float, *, plain: bool, keep: Path | None, console: Console | None = None) -> int:
    """Exit status. Without a terminal, lines are printed. Raises VmmError when a part failed."""
    console = console or Console(highlight=False)
    plain = plain or not console.is_terminal or console.is_dumb_terminal
    with ExitStack() as stack:
        root = keep.resolve() if keep is not None else Path(stack.enter_context(temporary()))
        status = Demo(DemoFolder(root), seconds, console, plain=plain).run()
    journal = root / "journal"
    hint = f"vmm journal show {journal}" if keep else "vmm demo --keep DIR keeps its files and its journal"
    print(f"\n  Next: {hint}", file=console.file, flush=True)
    return status
