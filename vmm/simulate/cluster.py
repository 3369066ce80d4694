"""The simulated world: hosts with memory, a batch system with dynamic nodes, guests that boot and die.

It obeys what vmm may not know: a guest that runs a job is busy whatever the Manager believes, and destroying
it then is counted as a killed job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from vmm.errors import CommandFailed
from vmm.messages.guest import GuestSpec, resized, size_of, spec_from_args


@dataclass(slots=True)
class SimJob:
    """One job of the batch system; times in seconds of the simulation."""

    id: str
    queue: str
    submit_s: float
    runtime_s: float
    cpus: int = 1
    started_s: float | None = None
    ended_s: float | None = None
    node: str = ""
    killed: bool = False

    @property
    def wait_s(self) -> float | None:
        return None if self.started_s is None else self.started_s - self.submit_s


@dataclass(slots=True)
class SimGuest:
    spec: GuestSpec
    created_s: float
    state: str = "running"
    serial: int = 0


@dataclass(slots=True)
class SimNode:
    """A node of the batch system; it serves one job at a time."""

    name: str
    queue: str
    draining: bool = False
    down: bool = False
    job: SimJob | None = None

    @property
    def state(self) -> str:
        if self.down:
            return "down"
        if self.draining:
            return "draining" if self.job else "drained"
        return "busy" if self.job else "idle"


class SimHost:
    """A host and what its client does on command."""

    def __init__(self, name: str, memory_mib: int = 8192, cpus: int = 8, reserved_mib: int = 512) -> None:
        self.name, self.memory_mib, self.cpus, self.reserved_mib = name, memory_mib, cpus, reserved_mib
        self.guests: dict[str, SimGuest] = {}
        self.up = True

    def facts(self) -> dict[str, Any]:
        return {
            "memory_mib": self.memory_mib,
            "reserved_mib": self.reserved_mib,
            "cpus": self.cpus,
            "hypervisor": "simulated",
            "image_free_mib": 100_000,
        }

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "memory_mib": guest.spec.memory_mib,
                "vcpus": guest.spec.vcpus,
                "state": guest.state,
            }
            for name, guest in self.guests.items()
        ]

    def create(self, spec: GuestSpec, now_s: float) -> SimGuest | None:
        """The new guest, or None when this very guest is there already."""
        present = self.guests.get(spec.name)
        if present is not None:
            if present.spec.uuid == spec.uuid:
                return None
            raise _failed("name-taken", f"{spec.name} is there with another uuid")
        used = sum(g.spec.memory_mib for g in self.guests.values())
        if used + spec.memory_mib > self.memory_mib - self.reserved_mib:
            raise _failed(
                "no-memory", f"{self.name} has {self.memory_mib - self.reserved_mib - used} MiB left"
            )
        guest = self.guests[spec.name] = SimGuest(spec, now_s)
        return guest


class SimBatch:
    """First come, first served in each queue; a node takes one job at a time."""

    def __init__(self, jobs: list[SimJob]) -> None:
        self.jobs = sorted(jobs, key=lambda job: (job.submit_s, job.id))
        self.nodes: dict[str, SimNode] = {}
        self.killed: list[SimJob] = []

    def job_rows(self, now_s: float) -> list[dict[str, Any]]:
        return [
            {
                "id": job.id,
                "queue": job.queue,
                "state": "pending" if job.started_s is None else "running",
                "cpus": job.cpus,
                "node": job.node,
            }
            for job in self.jobs
            if job.submit_s <= now_s and job.ended_s is None
        ]

    def node_rows(self) -> list[dict[str, Any]]:
        return [
            {"name": node.name, "state": node.state, "jobs": 1 if node.job else 0}
            for node in self.nodes.values()
        ]

    def schedule(self, now_s: float) -> list[SimJob]:
        """Start what can start; returns the started jobs."""
        started = []
        waiting = [j for j in self.jobs if j.submit_s <= now_s and j.started_s is None]
        for node in self.nodes.values():
            if node.state != "idle":
                continue
            job = next((j for j in waiting if j.queue == node.queue), None)
            if job is None:
                continue
            waiting.remove(job)
            job.started_s, job.node, node.job = now_s, node.name, job
            started.append(job)
        return started

    def finish(self, job: SimJob, started_s: float, now_s: float) -> None:
        """The run that began at `started_s` ends, unless it was killed before."""
        node = self.nodes.get(job.node)
        if node is not None and node.job is job and job.started_s == started_s:
            node.job = None
            job.ended_s = now_s

    def drain(self, name: str) -> None:
        self._node(name).draining = True

    def resume(self, name: str) -> None:
        self._node(name).draining = False

    def delete(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        if node.job is not None:
            raise _failed("node-busy", f"{name} runs job {node.job.id}")
        del self.nodes[name]

    def lose(self, name: str) -> None:
        """Its guest is gone: a running job is killed, the node is down."""
        node = self.nodes.get(name)
        if node is None:
            return
        node.down = True
        if node.job is not None:
            node.job.killed = True
            self.killed.append(node.job)
            node.job.started_s, node.job.node, node.job = None, "", None

    def _node(self, name: str) -> SimNode:
        node = self.nodes.get(name)
        if node is None:
            raise _failed("no-such-node", f"there is no node {name}")
        return node


@dataclass(slots=True)
class Faults:
    """What goes wrong: templates that do not come up or are missing, lost answers, no batch system."""

    broken_templates: set[str] = field(default_factory=set)
    missing_templates: set[str] = field(default_factory=set)
    lose_every_nth_result: int = 0
    unreachable: set[str] = field(default_factory=set)
    """Hosts that no guest can be moved to."""
    deaf: set[str] = field(default_factory=set)
    """Guests that do not follow when they are to be resized."""
    batch_down: bool = False


class Executor:
    """What clients do with a command; raises CommandFailed as the real ones do."""

    def __init__(self, hosts: dict[str, SimHost], batch: SimBatch, faults: Faults) -> None:
        self.hosts, self.batch, self.faults = hosts, batch, faults
        self.booting: list[tuple[SimHost, SimGuest]] = []

    def run(self, to: str, name: str, args: dict[str, Any], now_s: float) -> Any:
        if name in ("drain_node", "resume_node", "delete_node") and self.faults.batch_down:
            raise _failed("batch-down", "the batch system does not answer")
        match name:
            case "create_guest":
                spec = spec_from_args(args["guest"])
                if spec.template in self.faults.missing_templates:
                    raise _failed("no-template", f"{to} has no image {spec.template}")
                guest = self.hosts[to].create(spec, now_s)
                if guest is not None and spec.template not in self.faults.broken_templates:
                    self.booting.append((self.hosts[to], guest))
            case "destroy_guest":
                gone = self.hosts[to].guests.pop(args["name"], None)
                if gone is not None and not args.get("keep_shared_disk"):
                    self.batch.lose(args["name"])
            case "migrate_guest":
                self._migrate(self.hosts[to], args)
            case "resize_guest":
                return self._resize(self.hosts[to], **args)
            case "console_tail":
                return "the last lines of the console"
            case "drain_node":
                self.batch.drain(args["node"])
            case "resume_node":
                self.batch.resume(args["node"])
            case "delete_node":
                if args.get("down"):
                    self.batch.lose(args["node"])
                self.batch.delete(args["node"])
            case _:
                raise _failed("unknown-command", f"{to} knows no command {name}")
        return None

    def _resize(self, host: SimHost, name: str, **asked: Any) -> dict[str, Any]:
        guest = host.guests.get(name)
        if guest is None:
            raise _failed("no-such-guest", f"there is no guest {name} on {host.name}")
        wanted = msgspec.structs.replace(size_of(guest.spec), **asked)
        others = sum(g.spec.memory_mib for g in host.guests.values() if g is not guest)
        if wanted.memory_mib > host.memory_mib - host.reserved_mib - others:
            raise _failed("no-memory", f"{host.name} has no {wanted.memory_mib} MiB for {name}")
        if name in self.faults.deaf:
            raise _failed("not-followed", f"{name} has {size_of(guest.spec)} as before")
        guest.spec = resized(guest.spec, wanted)
        return {"name": name, **msgspec.structs.asdict(wanted)}

    def _migrate(self, source: SimHost, args: dict[str, Any]) -> None:
        name, target = args["name"], self.hosts[args["target"]]
        guest = source.guests.get(name)
        if guest is None:
            there = target.guests.get(name)
            if there is None or there.spec.uuid != args["uuid"]:
                raise _failed("no-such-guest", f"{name} is neither on {source.name} nor on {target.name}")
            return
        if target.name in self.faults.unreachable or not target.up:
            raise _failed("migration-failed", f"{target.name} does not answer")
        target.guests[name] = source.guests.pop(name)


def _failed(code: str, message: str) -> CommandFailed:
    error = CommandFailed(message)
    error.code = code
    return error
