"""The demo's programs as processes: started, watched, and ended with everything that they started.

Each leads a process group of its own, so that a Ctrl-C in the terminal reaches the demo alone, which then
ends them in order. Were the demo itself killed, the kernel ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmm.demo.errors import PartFailed

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 12
_POLL_S = 0.02
PROGRAM = (sys.executable, "-P", "-m", "vmm.cli.main")
"""-P: a folder `vmm` in the current one (a clone of the project) is not the package."""


@dataclass(slots=True)
class Part:
    """One running program: `name` for files, `title` for people, `rank` in the order of the end."""

    name: str
    title: str
    rank: int
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Parts:
    """Start from the main thread only: the kernel ties each part's life to the thread that started it."""

    def __init__(
        self,
        logs: Path,
        *,
        program: Sequence[str] = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._logs, self._program, self._clock = logs, tuple(program), clock
        self._wait = wait or threading.Event().wait
        self._libc = ctypes.CDLL(None)
        self.running: list[Part] = []

    def start(self, name: str, title: str, rank: int, *arguments: str) -> Part:
        """Run `vmm ARGUMENTS`, its output in a log file of its name. Raises OSError."""
        log = self._logs / f"{name}.log"
        parent = os.getpid()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: self._die_with(parent),
            )
        part = Part(name, title, rank, process, log)
        self.running.append(part)
        return part

    def check(self) -> None:
        """Raises PartFailed when one has ended; nobody asked it to."""
        for part in self.running:
            status = part.process.poll()
            if status is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
                raise PartFailed(
                    part.title,
                    how,
                    part.tail(),
                    next_step="mend what its log says, then start the demo again",
                )

    def stop(self, patience_s: float = 3.0) -> None:
        """End all, the highest rank first; what does not end in time is killed, with its offspring."""
        parts, self.running = self.running, []
        try:
            for rank in sorted({part.rank for part in parts}, reverse=True):
                self._end([part for part in parts if part.rank == rank], patience_s)
        finally:
            for part in parts:  # also when a second signal came in the middle
                _signal_group(part, signal.SIGKILL)
                part.process.wait()

    def _end(self, parts: list[Part], patience_s: float) -> None:
        for part in parts:
            _signal_group(part, signal.SIGTERM)
        end_s = self._clock() + patience_s
        while any(_group_lives(part) for part in parts) and self._clock() < end_s:
            self._wait(_POLL_S)

    def _die_with(self, parent: int) -> None:
        """In the child, before its program: be killed when the demo is."""
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died meanwhile
            os._exit(1)


def _signal_group(part: Part, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.process.pid, number)


def _group_lives(part: Part) -> bool:
    """Its leader or anything that the leader started."""
    part.process.poll()
    try:
        os.killpg(part.process.pid, 0)
    except ProcessLookupError:
        return False
    return True
