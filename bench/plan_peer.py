"""Running ganeti-htools as the peer: wall time of the whole process, and the moves that it prints."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_HAIL = "/usr/lib/ganeti/iallocators/hail"
_MOVE = re.compile(r"^\s*\d+\.\s+(\S+)\s+(\S+?)(?::\S+)?\s+=>\s+(\S+?)(?::\S+)?\s")


_SLOW_S = 10.0
"""What takes longer than this is not run again."""
T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """Seconds of each run, and what the first printed."""

    seconds: tuple[float, ...]
    output: str = ""
    done: bool = True

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def timed(make: Callable[[], T], runs: int) -> tuple[T, Timed]:
    """What `make` gives, and the times of so many runs, or of fewer when it is slow."""
    times: list[float] = []
    while not times or (len(times) < runs and times[0] < _SLOW_S):
        start = time.perf_counter()
        made = make()
        times.append(time.perf_counter() - start)
    return made, Timed(tuple(times))


def several(one: Callable[[], Run], runs: int) -> Timed:
    """The same for runs of the peer."""
    first = one()
    times = [first.seconds]
    while len(times) < runs and first.seconds < _SLOW_S:
        times.append(one().seconds)
    return Timed(tuple(times), first.output, first.done)


@dataclass(frozen=True)
class Run:
    seconds: float
    output: str
    done: bool
    """False when the time was up."""


def available() -> bool:
    return all(shutil.which(tool) for tool in ("hbal", "hsqueeze")) and Path(_HAIL).exists()


def run(command: Sequence[str], timeout_s: float) -> Run:
    """One run; a time-out is a result, not an error."""
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        return Run(time.perf_counter() - start, done.stdout, True)
    except subprocess.TimeoutExpired:
        return Run(time.perf_counter() - start, "", False)


def hbal(data: Path, *options: str, timeout_s: float = 120.0) -> Run:
    return run(["hbal", "-t", str(data), *options], timeout_s)


def hsqueeze(data: Path, timeout_s: float = 60.0) -> Run:
    return run(["hsqueeze", "-t", str(data), "--target-resources=0", "-C"], timeout_s)


def moves(output: str) -> list[tuple[str, str, str]]:
    """Guest, source and target of each step that hbal prints."""
    return [(m[1], m[2], m[3]) for m in map(_MOVE.match, output.split("\n")) if m]


def hail_host(
    data: Path, request: Path, memory_mib: int, vcpus: int, *, static: bool, runs: int
) -> tuple[str, Timed]:
    """The host that hail chooses for one new guest, and the times."""
    body = {
        "memory": memory_mib,
        "disk_space_total": 10240,
        "vcpus": vcpus,
        "tags": [],
        "disk_template": "ext",
    }
    body |= {"spindle_use": 1, "nics": [], "disks": [{"size": 10240, "mode": "w"}], "hypervisor": "xenpvm"}
    body |= {"os": "x", "admin_state": "up", "auto_balance": True, "required_nodes": 1}
    policy_free: dict[str, object] = {
        "version": 2,
        "cluster_name": "c",
        "cluster_tags": [],
        "enabled_hypervisors": [],
    }
    policy_free |= {"ipolicy": {}, "nodegroups": {}, "nodes": {}, "instances": {}}
    request.write_text(json.dumps(policy_free | {"request": body | {"type": "allocate", "name": "new0"}}))
    options = ["--ignore-dynu"] if static else []
    command = [_HAIL, "-t", str(data), "--no-capacity-checks", *options, str(request)]
    result = several(lambda: run(command, 120.0), runs)
    answer = json.loads(result.output or "{}")
    return (answer.get("result") or [""])[0], result


def hail_many(data: Path, request: Path, memory_mib: int, vcpus: int, count: int, *, runs: int) -> Timed:
    """Times that hail takes for a batch of equal new guests."""
    body = {
        "memory": memory_mib,
        "disk_space_total": 10240,
        "vcpus": vcpus,
        "tags": [],
        "disk_template": "ext",
    }
    body |= {"spindle_use": 1, "nics": [], "disks": [{"size": 10240, "mode": "w"}], "hypervisor": "xenpvm"}
    body |= {"os": "x", "admin_state": "up", "auto_balance": True, "required_nodes": 1}
    wanted = [body | {"type": "allocate", "name": f"new{i}"} for i in range(count)]
    whole: dict[str, object] = {
        "version": 2,
        "cluster_name": "c",
        "cluster_tags": [],
        "enabled_hypervisors": [],
    }
    whole |= {"ipolicy": {}, "nodegroups": {}, "nodes": {}, "instances": {}}
    request.write_text(json.dumps(whole | {"request": {"type": "multi-allocate", "instances": wanted}}))
    command = [_HAIL, "-t", str(data), "--no-capacity-checks", str(request)]
    return several(lambda: run(command, 120.0), runs)
