"""A small batch system as a calculation: first come, first served per queue, on nodes that come and go.

Nothing runs here: a job that started ends when the time reaches its end. Time is an argument in the
workload's seconds and never goes back; what happened in between is worked off in order, so results do not
depend on how often one looks.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from vmm.batch.interface import NodeFailed
from vmm.batch.swf import Work


@dataclass(slots=True)
class Task:
    """A job's life. `start_s` is that of the present run, `wait_s` the time until the first start."""

    work: Work
    order: int
    state: str = "pending"
    node: str = ""
    start_s: float = 0.0
    wait_s: float | None = None
    runs: int = 0
    reason: str = "Resources"


@dataclass(slots=True)
class Execution:
    """A node. `up` false: its connection is gone and it was not deleted yet."""

    name: str
    features: tuple[str, ...]
    cpus: int
    free: int
    up: bool = True
    drain: str | None = None
    tasks: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Counts:
    submitted: int = 0
    done: int = 0
    lost: int = 0
    started: int = 0
    waited_s: float = 0.0


class Engine:
    """Queues, nodes and the clockwork. A queue's jobs run on nodes that have its name as a feature."""

    def __init__(self, works: Iterable[Work] = ()) -> None:
        self.now_s = 0.0
        self.tasks: dict[str, Task] = {}
        self.nodes: dict[str, Execution] = {}
        self.counts: dict[str, Counts] = {}
        self._waiting: dict[str, deque[Task]] = {}
        self._events: list[tuple[float, int, str, int]] = []
        """(time, order, job, run): run 0 is the submission, run n the end of its n-th run."""
        self._order = 0
        self._future: dict[str, Work] = {}
        for work in works:
            self.add(work)

    def add(self, work: Work) -> None:
        """A job that is submitted at `submit_s`, or now when that has passed. Its id must be new."""
        if work.id in self.tasks or work.id in self._future:
            raise ValueError(f"job {work.id} is there already")
        self._future[work.id] = work
        self.counts.setdefault(work.queue, Counts())
        self._waiting.setdefault(work.queue, deque())
        self._push(max(work.submit_s, self.now_s), work.id, 0)

    def advance(self, now_s: float) -> None:
        """Work off everything up to `now_s`."""
        while self._events and self._events[0][0] <= now_s:
            at, _, job, run = heapq.heappop(self._events)
            self.now_s = max(self.now_s, at)
            if run == 0:
                self._submit(self._future.pop(job))
            elif self.tasks[job].state == "running" and self.tasks[job].runs == run:
                self._end(self.tasks[job])
            self._assign()
        self.now_s = max(self.now_s, now_s)

    def register(self, name: str, features: Iterable[str], cpus: int) -> None:
        """A node comes. One that is up already is refused; one that was lost comes back, fresh."""
        old = self.nodes.get(name)
        if old is not None and old.up:
            raise NodeFailed(
                "name-taken", f"a node {name!r} is connected already.", next_step="choose another name"
            )
        drain = old.drain if old is not None else None
        self.nodes[name] = Execution(name, tuple(features), cpus, cpus, drain=drain)
        self._assign()

    def lose(self, name: str) -> None:
        """A node's connection is gone: its runs are lost, and those jobs wait again, first in their queue."""
        node = self.nodes.get(name)
        if node is None or not node.up:
            return
        node.up = False
        lost = sorted((self.tasks[job] for job in node.tasks), key=lambda task: -task.order)
        node.tasks.clear()
        node.free = node.cpus
        for task in lost:
            task.state, task.node, task.reason = "pending", "", f"NodeFail on {name}"
            self.counts[task.work.queue].lost += 1
            self._waiting[task.work.queue].appendleft(task)
        self._assign()

    def drain(self, name: str, reason: str) -> None:
        self._node(name).drain = reason

    def down(self, name: str, reason: str) -> None:
        """The node is said to be dead: as if its connection were gone."""
        self._node(name).drain = reason
        self.lose(name)

    def resume(self, name: str) -> None:
        self._node(name).drain = None
        self._assign()

    def delete(self, name: str) -> None:
        """Forget a node without jobs; one that is not there is a success."""
        node = self.nodes.get(name)
        if node is None:
            return
        if node.tasks:
            raise NodeFailed(
                "node-busy",
                f"node {name} has jobs: {', '.join(sorted(node.tasks))}.",
                next_step="drain it and wait for their end",
            )
        del self.nodes[name]

    def queues_of(self, node: Execution) -> list[str]:
        return [queue for queue in self._waiting if queue in node.features]

    def waiting(self, queue: str) -> int:
        return len(self._waiting.get(queue, ()))

    def finished(self) -> bool:
        """Nothing is submitted, waits or runs any more."""
        return not self._future and all(task.state == "done" for task in self.tasks.values())

    def _node(self, name: str) -> Execution:
        if name not in self.nodes:
            raise NodeFailed("no-such-node", f"there is no node {name!r}.", next_step="see the list of nodes")
        return self.nodes[name]

    def _submit(self, work: Work) -> None:
        task = self.tasks[work.id] = Task(work, self._order)
        self._waiting[work.queue].append(task)
        self.counts[work.queue].submitted += 1

    def _end(self, task: Task) -> None:
        node = self.nodes[task.node]
        node.tasks.discard(task.work.id)
        node.free += task.work.cpus
        task.state = "done"
        self.counts[task.work.queue].done += 1

    def _assign(self) -> None:
        """Start what can start: queues by the age of their first job, on the fullest node that fits."""
        heads = sorted((q for q in self._waiting.values() if q), key=lambda q: q[0].order)
        for queue in heads:
            while queue:
                task = queue[0]
                fitting = [
                    node
                    for node in self.nodes.values()
                    if node.up
                    and node.drain is None
                    and task.work.queue in node.features
                    and node.free >= task.work.cpus
                ]
                if not fitting:
                    break
                self._start(queue.popleft(), min(fitting, key=lambda node: node.free))

    def _start(self, task: Task, node: Execution) -> None:
        node.free -= task.work.cpus
        node.tasks.add(task.work.id)
        task.state, task.node, task.start_s, task.reason = "running", node.name, self.now_s, ""
        task.runs += 1
        if task.wait_s is None:
            task.wait_s = self.now_s - max(task.work.submit_s, 0.0)
            counts = self.counts[task.work.queue]
            counts.started += 1
            counts.waited_s += task.wait_s
        self._push(self.now_s + task.work.runtime_s, task.work.id, task.runs)

    def _push(self, at_s: float, job: str, run: int) -> None:
        self._order += 1
        heapq.heappush(self._events, (at_s, self._order, job, run))
