"""Hosts and a batch system that do what they are told, most of the time: for random recorded streams."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from vmm.messages.structs import Command, Result

CODES = ("no-room", "no-answer", "no-such-node", "node-busy", "plugin-timeout", "hypervisor-down")
ASKED = ("create_guest", "destroy_guest", "migrate_guest", "resize_guest", "drain_node", "delete_node")


@dataclass
class RandomCluster:
    """`guests[host][name]` is (MiB, vCPUs, state) as the host sees it; `nodes[name]` a batch node's state.

    `faults` is how often a command fails, is answered wrongly, or is not answered.
    """

    dice: random.Random
    faults: float
    guests: dict[str, dict[str, tuple[int, int, str]]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """Of guests whose clients are to introduce themselves."""
    left: list[str] = field(default_factory=list)
    """Guests whose clients have left."""
    _open: list[tuple[float, Command]] = field(default_factory=list)
    _said: dict[str, Result] = field(default_factory=dict)

    def take(self, command: Command, now_s: float) -> None:
        if self.dice.random() >= self.faults / 2:
            self._open.append((now_s + self.dice.choice([0.0, 1.0, 1.0, 3.0, 12.0]), command))

    def answers(self, now_s: float) -> list[tuple[Command, Result]]:
        """What is done by now, in any order."""
        due = [command for at_s, command in self._open if at_s <= now_s]
        self._open = [pair for pair in self._open if pair[0] > now_s]
        self.dice.shuffle(due)
        return [(command, self._answer(command)) for command in due]

    def _answer(self, command: Command) -> Result:
        found = self._said.get(command.id)
        if found is None:
            found = self._said[command.id] = self._carry_out(command)
        return found

    def _carry_out(self, command: Command) -> Result:
        dice = self.dice
        if dice.random() < self.faults:
            return Result(command.id, "failed", None, dice.choice(CODES), "it went wrong")
        carry_out = getattr(self, f"_{command.name}", None)
        value = carry_out(command.to, command.args) if carry_out else "some text"
        return Result(command.id, "done", value, "", "")

    def _create_guest(self, host: str, args: dict[str, Any]) -> None:
        spec = args["guest"]
        name = spec["name"]
        self.guests.setdefault(host, {})[name] = (spec["memory_mib"], spec["vcpus"], "running")
        self.tokens[name] = f"{spec.get('identity', {}).get('life', 0)}.abc"
        self.nodes[name] = "idle"

    def _destroy_guest(self, host: str, args: dict[str, Any]) -> None:
        if self.guests.setdefault(host, {}).pop(args["name"], None):
            self.left.append(args["name"])

    def _migrate_guest(self, host: str, args: dict[str, Any]) -> None:
        row = self.guests.setdefault(host, {}).pop(args["name"], None)
        if row is not None:
            self.guests.setdefault(args["target"], {})[args["name"]] = row

    def _resize_guest(self, host: str, args: dict[str, Any]) -> dict[str, Any]:
        here = self.guests.setdefault(host, {})
        memory, cpus, state = here.get(args["name"], (1024, 1, "running"))
        memory, cpus = args.get("memory_mib", memory), args.get("vcpus", cpus)
        if self.dice.random() < 0.7:  # else its next report says the old size still
            here[args["name"]] = (memory, cpus, state)
        return {"memory_mib": memory, "vcpus": cpus}

    def _drain_node(self, _batch: str, args: dict[str, Any]) -> None:
        if args["node"] in self.nodes:
            self.nodes[args["node"]] = "drained" if self.dice.random() < 0.8 else "draining"

    def _delete_node(self, _batch: str, args: dict[str, Any]) -> None:
        self.nodes.pop(args["node"], None)

    def live(self) -> None:
        """Jobs start and end; now and then a guest dies or a node is set back."""
        for node, state in list(self.nodes.items()):
            if self.dice.random() < 0.15:
                ways = {"idle": "busy", "busy": "idle", "draining": "drained"}
                self.nodes[node] = ways.get(state, "idle" if self.dice.random() < self.faults else state)
        if self.dice.random() < self.faults / 10:
            for here in self.guests.values():
                if here:
                    here.pop(self.dice.choice(sorted(here)))
                    break

    def rows(self, host: str) -> list[dict[str, Any]]:
        """What the host reports as its guests."""
        here = self.guests.get(host, {})
        return [{"name": n, "memory_mib": m, "vcpus": v, "state": s} for n, (m, v, s) in here.items()]

    def node_rows(self) -> list[dict[str, Any]]:
        return [
            {"name": n, "state": s, "jobs": int(s in ("busy", "draining"))} for n, s in self.nodes.items()
        ]
