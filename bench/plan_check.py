"""Independent check of plans: replays moves on a Ganeti text file step by step. Uses nothing of vmm.

Scores by the definition of Ganeti's htools 3.0 for shared storage, in exact rational arithmetic up to the
square root (after each step in floating point; of several groups the sum), and refuses a step that is not
legal: unknown guest or host, guest not where the step says or bound to its host by its disk template, target
offline, no more than 0 MiB left, more vCPUs than the policy's ratio allows, another group, two guests with
one exclusion tag on a host, or a host switched off that is not empty.

    python bench/plan_check.py FILE.data PLAN.json [--util FILE.util | --static] [--offline n1,n2]
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

_SHARED = {"ext", "rbd", "gluster", "sharedfile", "blockdev", "diskless"}
"""Disk templates whose guests may run on any host."""
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
    template: str = "ext"
    tags: frozenset[str] = frozenset()


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
        exclusion = [
            tag.removeprefix("htools:iextags:")
            for tag in (parts[3] if len(parts) > 3 else [])
            if tag.startswith("htools:iextags:")
        ]
        for f in (line.split("|") for line in parts[2]):
            load = tuple(Fraction(x) for x in (ones if static else loads.get(f[0], ones)))
            own = f[9].split(",") if len(f) > 9 and f[9] else []
            tags = frozenset(t for t in own if any(t == e or t.startswith(e + ":") for e in exclusion))
            self.vms[f[0]] = _Vm(Fraction(f[1]), Fraction(f[3]), f[6], load, f[8], tags)
        self.scored = all(vm.template in _SHARED for vm in self.vms.values())
        """Are all guests on shared storage? Only then is the score Ganeti's."""
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

        self._at = {name: i for i, name in enumerate(self.nodes)}
        self._sums = np.zeros((7, len(self.nodes)))
        self.tags: Counter[tuple[str, str]] = Counter()
        for vm in self.vms.values():
            self._count(vm, vm.node, 1)
        self._arrays()

    def _count(self, vm: _Vm, name: str, by: int) -> None:
        row = (vm.memory, vm.vcpus, *vm.load, Fraction(1))
        self._sums[:, self._at[name]] += [by * float(x) for x in row]
        for tag in vm.tags:
            self.tags[name, tag] += by

    def _arrays(self) -> None:
        nodes = self.nodes.values()
        rows = [(n.memory, n.own, n.cpus * n.speed, n.vcpus_own) for n in nodes]
        self._node = np.array(rows, dtype=np.float64).T
        self._disk = np.array([n.disk_free / n.disk if n.disk else 1 for n in nodes], dtype=np.float64)
        on = np.array([not n.offline for n in nodes])
        groups = np.array([n.group for n in nodes])
        self._on = on
        self._groups = [np.flatnonzero(on & (groups == g)) for g in dict.fromkeys(groups.tolist())]

    def move(self, step: int, guest: str, source: str, target: str) -> None:
        """Carry out one move; Illegal if it may not be."""
        vm = self.vms.get(guest)
        if vm is None or target not in self.nodes or source not in self.nodes:
            raise Illegal(f"step {step}: unknown guest or host in {guest} {source} -> {target}")
        if vm.node != source:
            raise Illegal(f"step {step}: {guest} is on {vm.node}, not on {source}")
        if source == target:
            raise Illegal(f"step {step}: {guest} goes where it is")
        if vm.template not in _SHARED:
            raise Illegal(f"step {step}: {guest} is bound to its host (disk template {vm.template})")
        if self.nodes[target].group != self.nodes[source].group:
            raise Illegal(f"step {step}: {target} is in another group")
        self._arrive(step, guest, vm, target)
        memory, vcpus = self.used[source]
        self.used[source] = (memory - vm.memory, vcpus - vm.vcpus)
        self._count(vm, source, -1)

    def start(self, step: int, guest: str, target: str, memory: str, vcpus: str, load: Sequence[str]) -> None:
        """A new guest on a host; Illegal if it may not be."""
        if guest in self.vms or target not in self.nodes:
            raise Illegal(f"step {step}: {guest} exists already, or {target} does not")
        vm = _Vm(Fraction(memory), Fraction(vcpus), "", tuple(map(Fraction, load)))
        self._arrive(step, guest, vm, target)
        self.vms[guest] = vm

    def _arrive(self, step: int, guest: str, vm: _Vm, target: str) -> None:
        node = self.nodes[target]
        if node.offline:
            raise Illegal(f"step {step}: {target} is offline")
        memory, vcpus = self.used[target]
        if node.memory - node.own - memory - vm.memory <= 0:
            raise Illegal(f"step {step}: {target} has no memory for {guest}")
        if (vcpus + vm.vcpus + node.vcpus_own) / node.cpus > self.ratio[node.group]:
            raise Illegal(f"step {step}: {target} has no vCPUs for {guest}")
        if clash := [tag for tag in vm.tags if self.tags[target, tag] > 0]:
            raise Illegal(f"step {step}: {target} runs another guest with {clash[0]}, as {guest} has")
        vm.node = target
        self.used[target] = (memory + vm.memory, vcpus + vm.vcpus)
        self._count(vm, target, 1)

    def off(self, step: int, host: str) -> None:
        """Switch a host off; Illegal if guests run there or have their second copy there."""
        if host not in self.nodes or self.nodes[host].offline:
            raise Illegal(f"step {step}: {host} is not on")
        if any(vm.node == host for vm in self.vms.values()):
            raise Illegal(f"step {step}: {host} is switched off with guests")
        self.nodes[host].offline = True
        self._arrays()

    def clashes(self) -> int:
        """Guests beyond the first with an exclusion tag, on hosts that are on."""
        return sum(n - 1 for (host, _), n in self.tags.items() if n > 1 and not self.nodes[host].offline)

    def quick_score(self) -> float:
        """The same as `score` in floating point; a fraction of a millisecond."""
        memory, own, cpus, vcpus_own = self._node
        free = memory - own - self._sums[0]
        rows = np.concatenate(
            [[free / memory], [(self._sums[1] + vcpus_own) / cpus], [self._disk], self._sums[2:6]]
        )
        total = sum(float(rows[:, on].std(axis=1).sum()) for on in self._groups if len(on))
        total += float(self._sums[6][self._on & (free < -1e-6)].sum())
        return total + 20 * float(self._sums[6][~self._on].sum()) + 2 * self.clashes()

    def score(self) -> float:
        """Ganeti's score of the cluster as it is now; of several groups, the sum of theirs."""
        sums = {name: [Fraction(0)] * 7 for name in self.nodes}
        for vm in self.vms.values():
            row = sums[vm.node]
            for i, amount in enumerate((vm.memory, vm.vcpus, *vm.load, Fraction(1))):
                row[i] += amount
        free = {n: self.nodes[n].memory - self.nodes[n].own - sums[n][0] for n in self.nodes}
        online = [name for name, node in self.nodes.items() if not node.offline]
        total = 2.0 * self.clashes()
        for group in dict.fromkeys(node.group for node in self.nodes.values()):
            on = [n for n in online if self.nodes[n].group == group]
            total += _deviation([free[n] / self.nodes[n].memory for n in on])
            total += _deviation(
                [
                    (sums[n][1] + self.nodes[n].vcpus_own) / self.nodes[n].cpus / self.nodes[n].speed
                    for n in on
                ]
            )
            total += _deviation(
                [
                    self.nodes[n].disk_free / self.nodes[n].disk if self.nodes[n].disk else Fraction(1)
                    for n in on
                ]
            )
            for i in range(2, 6):
                total += _deviation([sums[n][i] for n in on])
        total += float(sum(sums[n][6] for n in online if free[n] < 0))
        total += 20 * float(sum(sums[n][6] for n in self.nodes if self.nodes[n].offline))
        return total

    def hosts_used(self) -> int:
        """Hosts that run at least one guest."""
        return len({vm.node for vm in self.vms.values()})


Step = tuple[str, str, str, str, float | None]
"""What ("move", "start" or "off"), guest, from, to (or the host that goes off), score after it."""
_CLOSE = 1e-6


def replay_steps(
    cluster: Replay, steps: Sequence[Step], new: tuple[str, str, Sequence[str]] = ("0", "0", ())
) -> float:
    """Carry out a plan step by step and compare the score after each; the exact score at the end.

    `new` is the memory, vCPUs and load of guests that are started new. Illegal when a step may not be
    taken, has no score, or leads to another score than it says.
    """
    for number, (what, guest, source, target, said) in enumerate(steps, 1):
        if what == "move":
            cluster.move(number, guest, source, target)
        elif what == "start":
            cluster.start(number, guest, target, *new)
        else:
            cluster.off(number, target)
        found = cluster.quick_score()
        if cluster.scored and (said is None or abs(said - found) > _CLOSE):
            raise Illegal(f"step {number}: leads to a score of {found:.8f}, the plan says {said}")
    after = cluster.score()
    if cluster.scored and abs(after - cluster.quick_score()) > _CLOSE:
        raise Illegal(f"the exact score is {after:.8f}, not {cluster.quick_score():.8f}")
    return after


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
