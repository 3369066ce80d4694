"""Planning against ganeti-htools, in one run: `make bench-plan [INPUTS=DIR]`.

Without --inputs, clusters are generated (vmm.policies.generate); with it, every DIR/*.data is read. All
scores are computed by plan_check.py, which replays each plan step by step and shares no code with the
planners; every plan, and every list of moves that hbal prints, goes through it. Times are medians; ours
are of planning in this process, without reading the file; the peer's are of its whole process.

hbal recomputes the whole score for each guest and host, so its runs are bounded: to the end up to 40 hosts,
above that only the first steps (`-l`), extrapolated to our number of moves; above 200 hosts not at all.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plan_check
import plan_peer
import plan_proof

from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import format_cluster, format_loads, parse_cluster
from vmm.policies.generate import Shape, generate
from vmm.policies.model import Cluster, Guest, HostState, Load
from vmm.policies.objective import GANETI, STATIC
from vmm.policies.place import place
from vmm.policies.plan import Plan

_GENERATED = {
    "s3": Shape(3, 8, 1),
    "s10": Shape(10, 60, 3),
    "s35": Shape(35, 350, 1),
    "new35": Shape(35, 350, 2, "new-hosts"),
    "uneven35": Shape(35, 350, 5, "uneven"),
    "s100": Shape(100, 2000, 1),
    "s400": Shape(400, 8000, 1),
    "s1000": Shape(1000, 20000, 1),
    "p10": Shape(10, 60, 3, "packed"),
    "p20": Shape(20, 160, 2, "packed"),
    "p35": Shape(35, 350, 2, "packed"),
    "p20r64": Shape(20, 160, 2, "packed", 64.0),
}
_FULL, _SOME, _STEPS = 40, 200, 2
_PACK_BELOW = 0.5
"""Clusters whose guests take less than this part of the memory are consolidated too."""


@dataclass
class Row:
    what: str
    ours: str
    ours_s: float
    peer: str = ""
    peer_s: float | None = None

    def cells(self) -> list[str]:
        ratio = f"{self.peer_s / self.ours_s:,.0f}" if self.peer_s else ""
        return [
            self.what,
            self.ours,
            _ms(self.ours_s),
            self.peer,
            _ms(self.peer_s) if self.peer_s else "",
            ratio,
        ]


class Bench:
    """All measurements on one file."""

    def __init__(self, name: str, data: Path, scratch: Path, runs: int) -> None:
        self.name, self.data, self.scratch, self.runs = name, data, scratch, runs
        self.text = data.read_text()
        self.cluster: Cluster = parse_cluster(self.text, str(data))
        self.hosts, self.guests = len(self.cluster.hosts), len(self.cluster.guests)
        self.peer = plan_peer.available()

    def rows(self) -> list[Row]:
        out = [self.descent()]
        if 20 <= self.hosts <= 60:
            out += [self.deep(0.37), self.deep(0.40)]
        if self.hosts >= 8:
            out.append(self.evacuation())
        used = sum(g.memory_mib for g in self.cluster.guests) / sum(h.memory_mib for h in self.cluster.hosts)
        if used < _PACK_BELOW and self.hosts <= 100:
            out.append(self.consolidation())
        return [*out, *self.placements()]

    def timed(self, make: Callable[[], Plan]) -> tuple[Plan, float]:
        times = []
        for _ in range(self.runs):
            start = time.perf_counter()
            plan = make()
            times.append(time.perf_counter() - start)
        return plan, statistics.median(times)

    def replayed(self, plan: Plan, offline: list[str] | None = None) -> tuple[float, int]:
        """Score after the plan and hosts used, by the independent checker."""
        moves = [(a.guest, a.source, a.target) for a in plan.moves]
        _, after, used = plan_check.replay(self.text, moves, static=True, offline=offline or ())
        if plan.policy != "consolidate" and abs(after - plan.score_after) > 1e-6:
            raise SystemExit(f"{self.name}: the plan says {plan.score_after}, the checker {after}")
        return after, used

    def descent(self) -> Row:
        plan, ours_s = self.timed(lambda: balance(self.cluster, STATIC))
        after, _ = self.replayed(plan)
        row = Row("balance", f"S {after:.8f} in {len(plan.moves)}", ours_s)
        if self.peer and self.hosts <= _FULL:
            times, output = [], ""
            for _ in range(self.runs):
                run = plan_peer.hbal(self.data, "-C")
                times.append(run.seconds)
                output = run.output
            moves = plan_peer.moves(output)
            _, score, _ = plan_check.replay(self.text, moves, static=True)
            row.peer, row.peer_s = f"S {score:.8f} in {len(moves)}", statistics.median(times)
        elif self.peer and self.hosts <= _SOME:
            run = plan_peer.hbal(self.data, "-C", "-l", str(_STEPS))
            per_step = run.seconds / _STEPS
            row.peer = f"{per_step:.1f} s a step x {len(plan.moves)} moves"
            row.peer_s = per_step * len(plan.moves)
        return row

    def deep(self, part: float) -> Row:
        limit = int(part * self.guests)
        search = Search(max_moves=limit, swaps=True, budget_s=2.0, clock=time.monotonic)
        plan, ours_s = self.timed(lambda: balance(self.cluster, STATIC, search))
        after, _ = self.replayed(plan)
        return Row(
            f"balance, swaps, at most {limit} moves, 2 s", f"S {after:.8f} in {len(plan.moves)}", ours_s
        )

    def evacuation(self) -> Row:
        names = [h.name for h in self.cluster.hosts[: max(1, round(self.hosts / 9))]]
        plan, ours_s = self.timed(lambda: evacuate(self.cluster, names, STATIC))
        after, _ = self.replayed(plan, names)
        row = Row(f"evacuate {len(names)} hosts", f"S {after:.8f} in {len(plan.moves)}", ours_s)
        if self.peer and self.hosts <= _FULL:
            options = [option for name in names for option in ("-O", name)]
            runs = [plan_peer.hbal(self.data, *options, "--evac-mode", "-C") for _ in range(self.runs)]
            moves = plan_peer.moves(runs[0].output)
            _, score, _ = plan_check.replay(self.text, moves, static=True, offline=names)
            row.peer = f"S {score:.8f} in {len(moves)}"
            row.peer_s = statistics.median(run.seconds for run in runs)
        return row

    def consolidation(self) -> Row:
        plan, ours_s = self.timed(lambda: consolidate(self.cluster, STATIC))
        _, used = self.replayed(plan)
        if used > len(plan.hosts_left):
            raise SystemExit(
                f"{self.name}: the plan leaves {used} hosts in use, it says {len(plan.hosts_left)}"
            )
        row = Row("consolidate", f"{len(plan.hosts_left)} hosts, {len(plan.moves)} migrations", ours_s)
        if plan_proof.available() and self.hosts <= _FULL:
            row.ours += f" (best: {plan_proof.fewest(self.cluster)})"
        if self.peer and self.hosts <= _FULL:
            run = plan_peer.hsqueeze(self.data)
            off = run.output.count("gnt-node power -f off")
            migrations = run.output.count("gnt-instance migrate")
            row.peer = f"{self.hosts - off} hosts, {migrations} migrations" if run.done else "over 60 s"
            row.peer_s = run.seconds
        return row

    def placements(self) -> list[Row]:
        request = self.scratch / "request.json"
        out = []
        for static, objective in ((True, STATIC), (False, GANETI)):
            new = Guest("new0", 2048, 2, load=Load(1, 1, 1, 1))
            plan, ours_s = self.timed(lambda o=objective, g=new: place(self.cluster, g, o))  # type: ignore[misc]
            chosen = plan.actions[0].target if plan.actions else "none"
            row = Row(f"place one, {'static' if static else 'with loads'}", chosen, ours_s)
            if self.peer:
                host, row.peer_s = plan_peer.hail_host(self.data, request, 2048, 2, static=static)
                row.peer = host + ("" if host == chosen else self.compared(plan, host, objective))
            out.append(row)
        many = [Guest(f"new{i}", 2048, 2, load=Load(1, 1, 1, 1)) for i in range(100)]
        plan, ours_s = self.timed(lambda: place(self.cluster, many, GANETI))
        row = Row("place 100", f"{ours_s / 100 * 1e6:.0f} us a guest", ours_s)
        if self.peer and self.hosts <= _SOME:
            row.peer_s = plan_peer.hail_many(self.data, request, 2048, 2, 100)
            row.peer = f"{row.peer_s / 100 * 1e6:,.0f} us a guest"
        return [*out, row]

    def compared(self, plan: Plan, host: str, objective: Any) -> str:
        """How the peer's other choice scores by our objective."""
        if not host or not plan.actions:
            return " (different)"
        others = {h.name: HostState.DRAINING for h in self.cluster.hosts if h.name != host}
        theirs = place(
            self.cluster.with_hosts(others), Guest("new0", 2048, 2, load=Load(1, 1, 1, 1)), objective
        )
        worse = theirs.score_after - plan.score_after if theirs.actions else float("nan")
        return f" (scores {worse:+.1e} against ours)"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _print(title: str, rows: list[Row]) -> None:
    table = [["", "ours", "time", "peer", "time", "ratio"], *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(6)]
    print(f"\n{title}")
    for line in table:
        print(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=Path, help="Directory of clusters in Ganeti's text format (*.data).")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="Names of clusters, separated by commas.")
    args = parser.parse_args()
    if not plan_peer.available():
        print("ganeti-htools is not installed (apt-get install ganeti-htools): no peer in this table.")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if args.inputs is None:
            for name, shape in _GENERATED.items():
                cluster = generate(shape)
                (scratch / f"{name}.data").write_text(format_cluster(cluster))
                (scratch / f"{name}.util").write_text(format_loads(cluster))
        files = sorted((args.inputs or scratch).glob("*.data"), key=lambda f: (f.stat().st_size, f.name))
        wanted = set(filter(None, args.only.split(",")))
        for data in files:
            if wanted and data.stem not in wanted:
                continue
            bench = Bench(data.stem, data, scratch, args.runs)
            _print(f"{data.stem}: {bench.hosts} hosts, {bench.guests} guests", bench.rows())


if __name__ == "__main__":
    main()
