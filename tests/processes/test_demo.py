"""`vmm demo` for real: its programs over real sockets, its endings, and nothing left behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

DEMO = (sys.executable, "-m", "vmm.cli.main", "demo")


def processes() -> dict[int, tuple[int, str]]:
    """pid -> (parent, command line) of everything that runs, zombies left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if status[0] != "Z":
                found[int(entry.name)] = (int(status[1]), words)
    return found


def offspring(pid: int) -> dict[int, str]:
    """All that descends from `pid`: pid -> command line."""
    alive = processes()
    found: dict[int, str] = {}
    fresh = {pid}
    while fresh:
        fresh = {child for child, (parent, _) in alive.items() if parent in fresh}
        found |= {child: alive[child][1] for child in fresh}
    return found


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 30.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"not in time: {what}"
        threading.Event().wait(0.05)


class Running:
    """A demo under way, with its output in a file."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.root, self._out = folder / "demo", folder / "out.txt"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*DEMO, "--plain", "--seconds", str(seconds), "--keep", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def until(self, pattern: str) -> None:
        def there() -> bool:
            assert self.process.poll() is None or re.search(pattern, self.text()), self.text()
            return re.search(pattern, self.text()) is not None

        wait_for(there, f"{pattern!r} in {self._out}")

    def end(self) -> int:
        return self.process.wait(40)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[float], Running]]:
    made: list[Running] = []

    def begin(seconds: float) -> Running:
        made.append(Running(tmp_path, seconds))
        return made[-1]

    yield begin
    for demo in made:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def test_a_demo_runs_its_time_serves_jobs_and_leaves_nothing(start, tmp_path: Path) -> None:
    demo = start(20)
    demo.until("serves group")
    seen = offspring(demo.process.pid)
    assert sum(" client " in words for words in seen.values()) == 7
    assert sum("memory_guest" in words for words in seen.values()) >= 1
    assert demo.end() == 0, demo.text()
    text = demo.text()
    assert re.search(r"grow +groupA: 1 job waits -> creates groupa-\d+ on host\d", text)
    assert int(re.search(r"groupA +(\d+) +\d+ +\d", text)[1]) >= 1  # type: ignore[index]
    assert int(re.search(r"VMs created +(\d+)", text)[1]) >= 5  # type: ignore[index]
    assert int(re.search(r"triggers fired +(\d+)", text)[1]) >= 5  # type: ignore[index]
    wait_for(lambda: not set(seen) & set(processes()), "the end of all processes", 5)
    shown = subprocess.run(
        [*DEMO[:3], "status", str(demo.root / "journal")], capture_output=True, text=True, timeout=30
    )
    assert "groupA" in shown.stdout, shown.stderr


def test_a_part_that_fails_ends_the_demo_with_its_log(start) -> None:
    demo = start(60)
    demo.until("serves group")
    seen = offspring(demo.process.pid)
    manager = next(pid for pid, words in seen.items() if " manager -c " in words)
    os.kill(manager, signal.SIGKILL)
    assert demo.end() == 1
    assert "the Manager was killed by signal 9. The end of its log:" in demo.text()
    assert "vmm.manager" in demo.text()
    wait_for(lambda: not set(seen) & set(processes()), "the end of all processes", 5)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_signals_leave_no_process(start, number: signal.Signals, status: int) -> None:
    demo = start(60)
    demo.until("creates groupa")
    wait_for(lambda: "memory_guest" in " ".join(offspring(demo.process.pid).values()), "a guest")
    seen = offspring(demo.process.pid)
    demo.process.send_signal(number)
    assert demo.end() == status
    wait_for(lambda: not set(seen) & set(processes()), "the end of all processes", 10)
    if status > 0:
        assert "VMs created" in demo.text()


def test_the_live_view_is_drawn_on_a_terminal() -> None:
    master, slave = pty.openpty()
    demo = subprocess.Popen(
        [*DEMO, "--seconds", "6"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(slave)
    drawn = b""
    end_s = time.monotonic() + 40
    while time.monotonic() < end_s:
        if select.select([master], [], [], 0.5)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:  # the last writer has gone
                break
            drawn += data
    os.close(master)
    assert demo.wait(10) == 0
    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", drawn).decode()
    assert "what was decided, and why" in plain
    assert "host6" in plain
    assert "VMs created" in plain.rpartition("what was decided")[2]
    assert b"\x1b[?1049h" in drawn, "the screen is taken"
    assert drawn.index(b"\x1b[?1049l") < drawn.index(b"VMs created"), "and given back before the summary"


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = subprocess.run(
        [*DEMO, "--seconds", "5", "--keep", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "precious"
