"""Independent check of plans: replays moves on a Ganeti text file step by step. Uses nothing of vmm.

Scores by the definition of Ganeti's htools 3.0 for shared storage, in exact rational arithmetic up to the
square root, and refuses a step that is not legal: unknown guest or host, guest not where the step says,
target offline, no more than 0 MiB left, more vCPUs than the policy's ratio allows, or another group.

    python bench/plan_check.py FILE.data PLAN.json [--util FILE.util | --static] [--offline n1,n2]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

Move = tuple[str, str, str]
"""Guest, from, to."""


class Illegal(Exception):
    """A plan takes a step that may not be taken; the message names the step."""


@dataclass
class _Node:
    memory: Fraction
    own: Fraction
    free: Fraction
    disk: Fraction
    disk_free: Fraction
    cpus: Fraction
    offline: bool
    group: str
    vcpus_own: Fraction
    speed: Fraction


@dataclass
class _Vm:
    memory: Fraction
    vcpus: Fraction
    node: str
    load: tuple[Fraction, ...]


class Replay:
    """A cluster from its text, changed move by move."""

    def __init__(
        self, text: str, util: str | None = None, static: bool = False, offline: Iterable[str] = ()
    ) -> None:
        parts = [block.split("\n") if block else [] for block in _blocks(text)]
        gone = set(offline)
        self.nodes = {f[0]: _node(f, gone) for f in (line.split("|") for line in parts[1])}
        loads = {f[0]: f[1:5] for f in (line.split() for line in (util or "").split("\n")) if f}
        ones = ["0"] * 4 if static else ["1"] * 4
        self.vms: dict[str, _Vm] = {}
        for f in (line.split("|") for line in parts[2]):
            load = tuple(Fraction(x) for x in (ones if static else loads.get(f[0], ones)))
            self.vms[f[0]] = _Vm(Fraction(f[1]), Fraction(f[3]), f[6], load)
        self.used = dict.fromkeys(self.nodes, (Fraction(0), Fraction(0)))
        for vm in self.vms.values():
            memory, vcpus = self.used[vm.node]
            self.used[vm.node] = (memory + vm.memory, vcpus + vm.vcpus)
        for name, node in self.nodes.items():  # memory that nobody accounts for stays used
            node.own += max(Fraction(0), node.memory - node.own - self.used[name][0] - node.free)
        names = {f[1]: f[0] for f in (line.split("|") for line in parts[0]) if len(f) > 1}
        ratio = {
            f[0]: Fraction(f[4]) for f in (line.split("|") for line in (parts[4] if len(parts) > 4 else []))
        }
        default = ratio.get("", Fraction(4))
        self.ratio = {
            node.group: ratio.get(names.get(node.group, ""), default) for node in self.nodes.values()
        }

    def move(self, step: int, guest: str, source: str, target: str) -> None:
        """Carry out one move; Illegal if it may not be."""
        vm, node = self.vms.get(guest), self.nodes.get(target)
        if vm is None or node is None or source not in self.nodes:
            raise Illegal(f"step {step}: unknown guest or host in {guest} {source} -> {target}")
        if vm.node != source:
            raise Illegal(f"step {step}: {guest} is on {vm.node}, not on {source}")
        if source == target:
            raise Illegal(f"step {step}: {guest} goes where it is")
        if node.offline:
            raise Illegal(f"step {step}: {target} is offline")
        if node.group != self.nodes[source].group:
            raise Illegal(f"step {step}: {target} is in another group")
        memory, vcpus = self.used[target]
        if node.memory - node.own - memory - vm.memory <= 0:
            raise Illegal(f"step {step}: {target} has no memory for {guest}")
        if (vcpus + vm.vcpus + node.vcpus_own) / node.cpus > self.ratio[node.group]:
            raise Illegal(f"step {step}: {target} has no vCPUs for {guest}")
        vm.node = target
        self.used[target] = (memory + vm.memory, vcpus + vm.vcpus)
        memory, vcpus = self.used[source]
        self.used[source] = (memory - vm.memory, vcpus - vm.vcpus)

    def score(self) -> float:
        """Ganeti's score of the cluster as it is now."""
        on = [name for name, node in self.nodes.items() if not node.offline]
        sums = {name: [Fraction(0)] * 7 for name in self.nodes}
        for vm in self.vms.values():
            row = sums[vm.node]
            for i, amount in enumerate((vm.memory, vm.vcpus, *vm.load, Fraction(1))):
                row[i] += amount
        free = {n: self.nodes[n].memory - self.nodes[n].own - sums[n][0] for n in self.nodes}
        total = _deviation([free[n] / self.nodes[n].memory for n in on])
        total += _deviation(
            [(sums[n][1] + self.nodes[n].vcpus_own) / self.nodes[n].cpus / self.nodes[n].speed for n in on]
        )
        total += _deviation(
            [self.nodes[n].disk_free / self.nodes[n].disk if self.nodes[n].disk else Fraction(1) for n in on]
        )
        for i in range(2, 6):
            total += _deviation([sums[n][i] for n in on])
        total += float(sum(sums[n][6] for n in on if free[n] < 0))
        total += 20 * float(sum(sums[n][6] for n in self.nodes if self.nodes[n].offline))
        return total

    def hosts_used(self) -> int:
        """Hosts that run at least one guest."""
        return len({vm.node for vm in self.vms.values()})


def replay(
    text: str,
    moves: Sequence[Move],
    util: str | None = None,
    static: bool = False,
    offline: Iterable[str] = (),
) -> tuple[float, float, int]:
    """Score before, score after and hosts used after all the moves; Illegal if one may not be made."""
    cluster = Replay(text, util, static, offline)
    before = cluster.score()
    for step, (guest, source, target) in enumerate(moves, 1):
        cluster.move(step, guest, source, target)
    return before, cluster.score(), cluster.hosts_used()


def moves_of(plan: dict[str, object]) -> list[Move]:
    """The moves of a plan as `-o json` prints it."""
    rows = plan["moves"]
    assert isinstance(rows, list)
    return [(row["guest"], row["from"], row["to"]) for row in rows]


def _blocks(text: str) -> list[str]:
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line:
            blocks[-1].append(line)
        else:
            blocks.append([])
    return ["\n".join(block) for block in blocks]


def _node(f: Sequence[str], gone: set[str]) -> _Node:
    memory, own, free, disk, disk_free, cpus = (Fraction(x) for x in f[1:7])
    vcpus_own = Fraction(f[13]) if len(f) > 13 else Fraction(1)
    speed = Fraction(f[14]) if len(f) > 14 else Fraction(1)
    return _Node(
        memory, own, free, disk, disk_free, cpus, f[7] == "Y" or f[0] in gone, f[8], vcpus_own, speed
    )


def _deviation(values: Sequence[Fraction]) -> float:
    if not values:
        return 0.0
    mean = sum(values, Fraction(0)) / len(values)
    return math.sqrt(sum(((v - mean) ** 2 for v in values), Fraction(0)) / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay a plan step by step on a Ganeti text file.")
    parser.add_argument("data", type=Path)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--util", type=Path)
    parser.add_argument("--static", action="store_true")
    parser.add_argument("--offline", default="")
    args = parser.parse_args()
    plan = json.loads(args.plan.read_text())
    before, after, used = replay(
        args.data.read_text(),
        moves_of(plan),
        args.util.read_text() if args.util else None,
        args.static,
        [name for name in args.offline.split(",") if name],
    )
    print(f"{len(plan['moves'])} legal moves, score {before:.8f} -> {after:.8f}, {used} hosts used")
    for what, own, found in (("before", plan["score_before"], before), ("after", plan["score_after"], after)):
        if abs(own - found) > 1e-6:
            print(f"note: the plan says {own:.8f} for the score {what}")


if __name__ == "__main__":
    main()
