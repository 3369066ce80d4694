"""Processors of this machine: number, load averages, use since the last reading."""

from __future__ import annotations

import threading

from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import read_proc, unknown

KINDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_FIRST_WAIT_S = 0.2


def parse_cpu(text: str) -> tuple[dict[str, int], int]:
    """Clock ticks per kind, summed over all processors, and the number of processors (/proc/stat)."""
    ticks: dict[str, int] = {}
    count = 0
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "cpu":
            ticks = dict(zip(KINDS, map(int, words[1:]), strict=False))
        elif words and words[0].startswith("cpu"):
            count += 1
    return ticks, count


def share_percent(before: dict[str, int], after: dict[str, int], kind: str) -> float:
    """Part of the time between two readings spent in `kind`; `use` is all but idle and iowait."""
    passed = {name: max(0, after[name] - before.get(name, 0)) for name in after}
    total = sum(passed.values())
    if not total:
        return 0.0
    part = total - passed["idle"] - passed["iowait"] if kind == "use" else passed[kind]
    return round(100.0 * part / total, 2)


class CpuUse:
    """Use of the processors since the reading before, per kind; the first one takes a fifth of a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: dict[str, dict[str, int]] = {}

    def read(self, _context: Context, parameters: str) -> float:
        kind = parameters.strip() or "use"
        if kind not in (*KINDS, "use"):
            raise unknown("kind of processor time", kind, ["use", *KINDS])
        with self._lock:
            before = self._before.get(kind)
            if before is None:
                before = parse_cpu(read_proc("stat"))[0]
                threading.Event().wait(_FIRST_WAIT_S)
            after = self._before[kind] = parse_cpu(read_proc("stat"))[0]
        return share_percent(before, after, kind)


def read_load(_context: Context, parameters: str) -> float:
    """The load average over 1 (default), 5 or 15 minutes."""
    minutes = parameters.strip() or "1"
    averages = dict(zip(("1", "5", "15"), read_proc("loadavg").split(), strict=False))
    if minutes not in averages:
        raise unknown("load average over minutes", minutes, ["1", "5", "15"])
    return float(averages[minutes])


def read_cpus(_context: Context, _parameters: str) -> int:
    return parse_cpu(read_proc("stat"))[1]


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [
        Collector(
            "cpu",
            CpuUse().read,
            float,
            "%",
            description="Processor use since the last reading (parameters: use, user, system, iowait, ...)",
        ),
        Collector("load", read_load, float, "", description="Load average over 1 (default), 5, 15 minutes"),
        Collector("cpus", read_cpus, int, "", description="Number of processors"),
    ]
