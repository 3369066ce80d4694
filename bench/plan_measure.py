"""Measurements of the planners on one cluster file, each with the peer's in the same run.

Every plan, ours and the peer's, is replayed through plan_check.py. Our times are of planning in this process,
without reading the file; the peer's are of its whole process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plan_check
import plan_peer
import plan_proof
from plan_aims import Figures
from plan_peer import Timed, timed

from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import parse_cluster, parse_loads
from vmm.policies.model import Cluster, Guest, HostState, Load
from vmm.policies.objective import GANETI, STATIC
from vmm.policies.place import place
from vmm.policies.plan import Kind, Plan

_FULL, _SOME, _STEPS = 40, 200, 2
_PACK_BELOW = 0.5
"""Clusters whose guests take less than this part of the memory are consolidated too."""
_KINDS = {Kind.MIGRATE: "move", Kind.START: "move", Kind.POWER_OFF: "off"}


@dataclass
class Row:
    """A line of the table; `ours` and `peer` are what was reached, with the times of all runs."""

    what: str
    ours: str
    time: Timed
    peer: str = ""
    peer_time: Timed | None = None
    figures: Figures | None = None


class Bench:
    """All measurements on one file."""

    def __init__(self, data: Path, scratch: Path, runs: int) -> None:
        self.name, self.data, self.scratch, self.runs = data.stem, data, scratch, runs
        self.text = data.read_text()
        util = data.with_suffix(".util")
        self.util = util.read_text() if util.exists() else None
        self.cluster: Cluster = parse_cluster(self.text, str(data))
        self.loaded: Cluster | None = None
        if self.util is not None:
            self.loaded = parse_cluster(self.text, str(data), parse_loads(self.util, str(util)))
        self.hosts, self.guests = len(self.cluster.hosts), len(self.cluster.guests)
        self.peer = plan_peer.available()

    def rows(self) -> list[Row]:
        """All rows for this file; which ones depends on its size only."""
        out = [self.balanced()]
        if self.loaded is not None:
            out.append(self.balanced(loaded=True))
        if self.hosts <= 4:
            out += [self.limited(most) for most in (1, 2, 3, None)]
        elif self.hosts <= 14:
            out.append(self.limited(8))
        if 20 <= self.hosts <= 60:
            out += [self.deep(int(0.3715 * self.guests)), self.deep(int(0.4 * self.guests))]
        if self.hosts >= 8:
            out.append(self.evacuation())
        used = sum(g.memory_mib for g in self.cluster.guests) / sum(h.memory_mib for h in self.cluster.hosts)
        if used < _PACK_BELOW and self.hosts <= 100:
            out.append(self.consolidation())
        return [*out, *self.placements()]

    def replayed(
        self, plan: Plan, *, loaded: bool = False, offline: Sequence[str] = (), new: Any = ("0", "0", ())
    ) -> tuple[float, int]:
        """Score after the plan and hosts used, by the independent checker, step by step."""
        world = plan_check.Replay(
            self.text, self.util if loaded else None, new[2][:1] != ("1",) and not loaded, offline
        )
        steps = [
            (
                "start" if a.kind is Kind.START and not a.source else _KINDS[a.kind],
                a.guest,
                a.source,
                a.target or a.source,
                a.score_after,
            )
            for a in plan.actions
        ]
        after = plan_check.replay_steps(world, steps, new)
        return after, world.hosts_used()

    def balanced(self, *, loaded: bool = False) -> Row:
        cluster, objective = (self.loaded or self.cluster, GANETI) if loaded else (self.cluster, STATIC)
        plan, ours = self.made(lambda: balance(cluster, objective))
        after, _ = self.replayed(plan, loaded=loaded)
        what = "balance, loads" if loaded else "balance"
        row = Row(what, f"S {after:.8f} in {len(plan.moves)}", ours, figures=Figures(after, len(plan.moves)))
        options = ["-U", str(self.data.with_suffix(".util"))] if loaded else ["--ignore-dynu"]
        if self.peer and self.hosts <= _FULL:
            runs = plan_peer.several(lambda: plan_peer.hbal(self.data, "-C", *options), self.runs)
            moves = plan_peer.moves(runs.output)
            _, score, _ = plan_check.replay(
                self.text, moves, self.util if loaded else None, static=not loaded
            )
            row.peer, row.peer_time = f"S {score:.8f} in {len(moves)}", runs
        elif self.peer and self.hosts <= _SOME and not loaded:
            runs = plan_peer.several(
                lambda: plan_peer.hbal(self.data, "-C", "-l", str(_STEPS), *options), self.runs
            )
            each = [s / _STEPS * len(plan.moves) for s in runs.seconds]
            row.peer = f"{runs.median / _STEPS:.1f} s a step x {len(plan.moves)} moves"
            row.peer_time = Timed(tuple(each), runs.output)
        return row

    def limited(self, most: int | None) -> Row:
        search = Search(max_moves=self.guests if most is None else most, min_gain=0.0)
        plan, ours = self.made(lambda: balance(self.cluster, STATIC, search))
        after, _ = self.replayed(plan)
        what = "balance, any number of moves" if most is None else f"balance, at most {most} moves"
        row = Row(what, f"S {after:.8f} in {len(plan.moves)}", ours, figures=Figures(after, len(plan.moves)))
        if self.peer and most is not None:
            runs = plan_peer.several(
                lambda: plan_peer.hbal(self.data, "-C", "-l", str(most), "--ignore-dynu"), self.runs
            )
            moves = plan_peer.moves(runs.output)[:most]
            _, score, _ = plan_check.replay(self.text, moves, static=True)
            row.peer, row.peer_time = f"S {score:.8f} in {len(moves)}", runs
        return row

    def deep(self, most: int) -> Row:
        search = Search(max_moves=most, swaps=True, budget_s=2.0, clock=time.monotonic)
        plan, ours = self.made(lambda: balance(self.cluster, STATIC, search))
        after, _ = self.replayed(plan)
        figures = Figures(after, len(plan.moves))
        what = f"balance, swaps, at most {most} moves, 2 s"
        return Row(what, f"S {after:.8f} in {len(plan.moves)}", ours, figures=figures)

    def evacuation(self) -> Row:
        names = [h.name for h in self.cluster.hosts[: max(1, round(self.hosts / 9))]]
        plan, ours = self.made(lambda: evacuate(self.cluster, names, STATIC))
        after, _ = self.replayed(plan, offline=names)
        figures = Figures(after, len(plan.moves))
        row = Row(
            f"evacuate {len(names)} hosts", f"S {after:.8f} in {len(plan.moves)}", ours, figures=figures
        )
        if self.peer and self.hosts <= _FULL:
            options = [option for name in names for option in ("-O", name)]
            runs = plan_peer.several(
                lambda: plan_peer.hbal(self.data, *options, "--evac-mode", "-C", "--ignore-dynu"), self.runs
            )
            moves = plan_peer.moves(runs.output)
            _, score, _ = plan_check.replay(self.text, moves, static=True, offline=names)
            row.peer, row.peer_time = f"S {score:.8f} in {len(moves)}", runs
        return row

    def consolidation(self) -> Row:
        plan, ours = self.made(lambda: consolidate(self.cluster, STATIC))
        _, used = self.replayed(plan)
        left, moves = len(plan.hosts_left), len(plan.moves)
        if used > left:
            raise plan_check.Illegal(f"the plan leaves {used} hosts in use, it says {left}")
        row = Row("consolidate", f"{left} hosts, {moves} migrations", ours, figures=Figures(left, moves))
        if plan_proof.available() and self.hosts <= _FULL:
            row.ours += f" (best: {plan_proof.fewest(self.cluster)})"
        if self.peer and self.hosts <= _FULL:
            runs = plan_peer.several(lambda: plan_peer.hsqueeze(self.data), self.runs)
            off = runs.output.count("gnt-node power -f off")
            migrations = runs.output.count("gnt-instance migrate")
            row.peer = f"{self.hosts - off} hosts, {migrations} migrations" if runs.done else "over 60 s"
            row.peer_time = runs
        return row

    def placements(self) -> list[Row]:
        request = self.scratch / "request.json"
        out = []
        for static, objective in ((True, STATIC), (False, GANETI)):
            new = Guest("new0", 2048, 2, load=Load(1, 1, 1, 1))
            plan, ours = self.made(lambda o=objective, g=new: place(self.cluster, g, o))  # type: ignore[misc]
            self.replayed(plan, new=("2048", "2", ("0",) * 4 if static else ("1",) * 4))
            chosen = plan.actions[0].target if plan.actions else "none"
            row = Row(f"place one, {'static' if static else 'with loads'}", chosen, ours)
            if self.peer:
                host, row.peer_time = plan_peer.hail_host(
                    self.data, request, 2048, 2, static=static, runs=self.runs
                )
                same = host == chosen
                worse = 0.0 if same else self.compared(plan, host, objective)
                row.peer = host + ("" if same else f" (scores {worse:+.1e} against ours)")
                row.figures = Figures(worse)
            out.append(row)
        many = [Guest(f"new{i}", 2048, 2, load=Load(1, 1, 1, 1)) for i in range(100)]
        plan, ours = self.made(lambda: place(self.cluster, many, GANETI))
        self.replayed(plan, new=("2048", "2", ("1",) * 4))
        each_us = ours.median / len(many) * 1e6
        row = Row("place 100", f"{each_us:.0f} us a guest", ours, figures=Figures(each_us))
        if self.peer and self.hosts <= _SOME:
            row.peer_time = plan_peer.hail_many(self.data, request, 2048, 2, 100, runs=self.runs)
            row.peer = f"{row.peer_time.median / 100 * 1e6:,.0f} us a guest"
        return [*out, row]

    def made(self, make: Callable[[], Plan]) -> tuple[Plan, Timed]:
        """The plan, and the times of several runs (of one, when it takes long)."""
        return timed(make, self.runs)

    def compared(self, plan: Plan, host: str, objective: Any) -> float:
        """How the peer's other choice scores by our objective, against ours."""
        if not host or not plan.actions:
            return float("nan")
        others = {h.name: HostState.DRAINING for h in self.cluster.hosts if h.name != host}
        new = Guest("new0", 2048, 2, load=Load(1, 1, 1, 1))
        theirs = place(self.cluster.with_hosts(others), new, objective)
        # Draining hosts have prices for their guests in the score: compare what the placement adds.
        ours = plan.score_after - plan.score_before
        return (theirs.score_after - theirs.score_before) - ours if theirs.actions else float("nan")
