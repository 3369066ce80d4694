"""The demo's cluster in simulation: the shipped rules and workload, a minute of stream in a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmm.batch.swf import parse_swf
from vmm.decide.events import Reported
from vmm.decide.outputs import Note
from vmm.demo.folder import HOSTS, MEMORY_MIB, RULE_FILES, WORKLOAD, read_data
from vmm.demo.follow import STATS, Seen
from vmm.demo.story import Line
from vmm.messages.structs import Report
from vmm.simulate import SimHost, SimJob, Simulation

SETTINGS = {"boot_deadline_s": 20.0, "promise_s": 10.0, "resend_s": 3.0}


@dataclass(frozen=True)
class Minute:
    seen: Seen
    lines: list[Line]
    notes: list[Note]
    totals: dict[str, int]
    fired: dict[str, int]
    middle: Seen


def simulate(rules: dict[str, str] | None = None, **options: Any) -> Simulation:
    files = {name: read_data(name) for name in RULE_FILES} | (rules or {})
    works, _ = parse_swf(read_data(WORKLOAD).splitlines())
    jobs = [SimJob(w.id, w.queue, w.submit_s, w.runtime_s, w.cpus) for w in works]
    hosts = [SimHost(name, mib, 8, 512) for name, mib in zip(HOSTS, MEMORY_MIB, strict=True)]
    timing = {"boot_s": 1.8, "create_s": 0.1, "report_s": 1.0, "tick_s": 0.5}
    return Simulation(files, hosts, jobs, settings=SETTINGS, **{**timing, **options})


def report_stats(sim: Simulation) -> None:
    """The simulated batch client reports no statistics by itself."""
    rows = []
    for queue in ("groupA", "groupB", "groupC"):
        jobs = [j for j in sim.batch.jobs if j.queue == queue and j.submit_s <= sim.now_s]
        waits = [j.wait_s for j in jobs if j.wait_s is not None]
        row = {"submitted": len(jobs), "waiting": len(jobs) - len(waits)}
        row["done"] = sum(1 for j in jobs if j.ended_s is not None)
        rows.append({"queue": queue, **row, "mean_wait_s": sum(waits) / len(waits) if waits else 0.0})
    sim.emit(Reported("batch", Report(1, 10**6 + int(sim.now_s), {STATS: rows})))
