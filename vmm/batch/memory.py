"""A batch system in memory for demos and tests: jobs from a workload file, nodes that connect over a socket.

It behaves as Slurm with dynamic nodes does: a node is there as long as its agent is connected, takes jobs of
the queues that it has as features, and can be drained, resumed and deleted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count

from vmm.batch.interface import BatchDown, Job, Node, QueueStats
from vmm.batch.memory_engine import Engine, Execution
from vmm.batch.memory_server import NodeServer
from vmm.batch.swf import Work

_log = logging.getLogger(__name__)


class MemoryBatch:
    """A `BatchSystem` over `Engine`. `speed` workload seconds pass in one second of `clock` (epoch seconds).

    `start()` opens the socket and begins the workload's time at zero.
    """

    def __init__(
        self,
        works: Iterable[Work] = (),
        address: str = "127.0.0.1:0",
        speed: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = Engine(works)
        self._speed = speed
        self._clock = clock
        self._origin_s = clock()
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._closed = False
        self._server = NodeServer(address, self.register, self.lose)

    def start(self) -> None:
        """Raises ConfigError when the socket cannot be had."""
        self._server.start()
        self._origin_s = self._clock()

    @property
    def address(self) -> str:
        """Where nodes connect to."""
        return self._server.address

    def jobs(self) -> list[Job]:
        with self._lock:
            engine = self._advance()
            live = [task for task in engine.tasks.values() if task.state != "done"]
            return [
                Job(
                    id=task.work.id,
                    queue=task.work.queue,
                    state=task.state,
                    cpus=task.work.cpus,
                    node=task.node,
                    user=task.work.user,
                    submitted_s=self._epoch_s(task.work.submit_s),
                    started_s=self._epoch_s(task.start_s) if task.state == "running" else 0.0,
                    reason=task.reason,
                )
                for task in live
            ]

    def nodes(self) -> list[Node]:
        with self._lock:
            engine = self._advance()
            return [self._show(engine, node) for node in engine.nodes.values()]

    def stats(self) -> list[QueueStats]:
        """Counts per queue since the start."""
        with self._lock:
            engine = self._advance()
            return [
                QueueStats(
                    queue=queue,
                    submitted=counts.submitted,
                    waiting=engine.waiting(queue),
                    running=counts.submitted - counts.done - engine.waiting(queue),
                    done=counts.done,
                    lost=counts.lost,
                    mean_wait_s=counts.waited_s / counts.started if counts.started else 0.0,
                )
                for queue, counts in sorted(engine.counts.items())
            ]

    def drain(self, node: str, reason: str) -> None:
        with self._lock:
            self._advance().drain(node, reason)

    def down(self, node: str, reason: str) -> None:
        with self._lock:
            self._advance().down(node, reason)

    def resume(self, node: str) -> None:
        with self._lock:
            self._advance().resume(node)

    def delete(self, node: str) -> None:
        with self._lock:
            self._advance().delete(node)
        self._server.forget(node)

    def submit(self, queue: str, runtime_s: float, cpus: int = 1, user: str = "") -> str:
        """A job of one's own beside the workload; returns its id."""
        with self._lock:
            engine = self._advance()
            job = f"s{next(self._numbers)}"
            engine.add(Work(job, queue, engine.now_s, runtime_s, cpus, user))
            engine.advance(engine.now_s)
            return job

    def finished(self) -> bool:
        """Every job of the workload has run."""
        with self._lock:
            return self._advance().finished()

    def register(self, name: str, features: Iterable[str], cpus: int) -> None:
        """A node's agent connected. Raises NodeFailed `name-taken`."""
        with self._lock:
            self._advance().register(name, features, cpus)
        _log.info("node %s registered", name)

    def lose(self, name: str) -> None:
        """A node's agent is gone."""
        with self._lock:
            if self._closed:
                return
            self._advance().lose(name)
        _log.info("node %s lost", name)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._server.stop()

    def _advance(self) -> Engine:
        if self._closed:
            raise BatchDown("the in-memory batch system is closed.", next_step="start it again")
        self._engine.advance((self._clock() - self._origin_s) * self._speed)
        return self._engine

    def _epoch_s(self, workload_s: float) -> float:
        return self._origin_s + workload_s / self._speed

    def _show(self, engine: Engine, node: Execution) -> Node:
        if not node.up:
            state = "down"
        elif node.drain is not None:
            state = "draining" if node.tasks else "drained"
        else:
            state = "busy" if node.tasks else "idle"
        return Node(
            name=node.name,
            state=state,
            queues=engine.queues_of(node),
            features=list(node.features),
            cpus=node.cpus,
            jobs=len(node.tasks),
            raw_state=state,
            reason="connection lost" if not node.up else node.drain or "",
        )
