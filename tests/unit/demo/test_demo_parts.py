"""Processes of the demo: whatever happens, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from vmm.demo.errors import PartFailed
from vmm.demo.parts import Parts

SHELL = ("/bin/sh", "-c")
IDLE = "echo up; exec sleep 60"
STUBBORN = "trap '' TERM; sleep 60 & echo $!; wait; wait; sleep 60"


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for(condition, limit_s: float = 10.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come true in time"
        threading.Event().wait(0.01)


@pytest.fixture
def parts(tmp_path: Path):
    made = Parts(tmp_path, program=SHELL)
    yield made
    made.stop(0.1)


def test_a_part_that_ended_is_named_with_the_end_of_its_log(parts: Parts) -> None:
    part = parts.start("manager", "Manager", 1, "for n in $(seq 40); do echo line $n; done; exit 3")
    wait_for(lambda: part.process.poll() is not None)
    with pytest.raises(PartFailed, match="the Manager ended with exit status 3") as caught:
        parts.check()
    assert "line 40" in str(caught.value)
    assert "line 20" not in str(caught.value)


def test_a_killed_part_is_said_to_be_killed(parts: Parts) -> None:
    part = parts.start("batch", "batch client", 1, IDLE)
    part.process.kill()
    part.process.wait()
    with pytest.raises(PartFailed, match=r"killed by signal 9[^0-9]*\(nothing\)|killed by signal 9"):
        parts.check()


def test_the_end_comes_by_rank_and_takes_offspring_along(parts: Parts, tmp_path: Path) -> None:
    order = tmp_path / "order"
    say = "trap 'echo {0} >> {1}; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    pids = []
    for rank, name in ((0, "daemon"), (2, "manager"), (1, "client")):
        pids.append(parts.start(name, name, rank, say.format(name, order)).process.pid)
    stubborn = parts.start("deaf", "deaf", 1, STUBBORN)
    wait_for(lambda: all((tmp_path / f"{name}.log").read_text() for name in ("daemon", "manager", "client")))
    wait_for(lambda: stubborn.tail() != "")
    child = int(stubborn.tail())
    parts.stop(0.2)
    assert order.read_text().split() == ["manager", "client", "daemon"]
    assert not any(map(lives, [*pids, stubborn.process.pid, child]))


def test_parts_die_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from vmm.demo.parts import Parts
        parts = Parts(Path({str(tmp_path)!r}), program=("/bin/sh", "-c"))
        print(parts.start("one", "one", 0, "exec sleep 60").process.pid, flush=True)
        sys.stdin.read()
    """)
    demo = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    pid = int(demo.stdout.readline())
    assert lives(pid)
    os.kill(demo.pid, signal.SIGKILL)
    demo.communicate()
    wait_for(lambda: not lives(pid))
