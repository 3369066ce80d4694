"""Jobs, nodes and queues of the batch system (batch clients)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from vmm.batch.interface import BatchSystem, Job, Node, QueueStats
from vmm.messages.structs import Value
from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import NoSuchProperty

_ROLES = ("batch",)
_TIMEOUT_S = 25.0
"""Two calls of Slurm's tools with a controller that is down."""


def _batch(context: Context) -> BatchSystem:
    if context.batch is None:
        raise NoSuchProperty(
            f"client {context.client} has no batch system.", next_step="ask the client of role batch"
        )
    return context.batch


def _jobs(context: Context, queue: str) -> list[Job]:
    return [job for job in _batch(context).jobs() if not queue or job.queue == queue]


def _nodes(context: Context, queue: str) -> list[Node]:
    return [node for node in _batch(context).nodes() if not queue or queue in node.queues]


def read_jobs(context: Context, parameters: str) -> Value:
    return [msgspec.to_builtins(job) for job in _jobs(context, parameters.strip())]


def read_nodes(context: Context, parameters: str) -> Value:
    return [msgspec.to_builtins(node) for node in _nodes(context, parameters.strip())]


def read_stats(context: Context, parameters: str) -> Value:
    """Counts per queue, of the batch systems that keep them; no rows from the others."""
    stats: Callable[[], list[QueueStats]] | None = getattr(_batch(context), "stats", None)
    queue = parameters.strip()
    rows = stats() if stats is not None else []
    return [msgspec.to_builtins(row) for row in rows if not queue or row.queue == queue]


def read_pending(context: Context, parameters: str) -> int:
    """Jobs that wait for a node; held, dependent and not yet due ones do not count."""
    jobs = _jobs(context, parameters.strip())
    return sum(1 for job in jobs if job.state == "pending" and not job.held)


def read_held(context: Context, parameters: str) -> int:
    return sum(1 for job in _jobs(context, parameters.strip()) if job.held)


def read_running(context: Context, parameters: str) -> int:
    return sum(1 for job in _jobs(context, parameters.strip()) if job.state == "running")


def _count(state: str) -> Callable[[Context, str], Any]:
    def read(context: Context, parameters: str) -> int:
        return sum(1 for node in _nodes(context, parameters.strip()) if node.state == state)

    return read


@hookimpl
def vmm_collectors() -> list[Collector]:
    which = "(parameters: queue; all if empty)"

    def number(name: str, read: Callable[[Context, str], Any], text: str) -> Collector:
        return Collector(name, read, int, "", _ROLES, _TIMEOUT_S, f"{text} {which}")

    def table(name: str, read: Callable[[Context, str], Value], text: str, row: Any) -> Collector:
        columns = row.__struct_fields__
        return Collector(name, read, list, "", _ROLES, _TIMEOUT_S, f"{text} {which}", columns)

    return [
        table("batch_jobs", read_jobs, "Jobs that wait or run", Job),
        table("batch_nodes", read_nodes, "Execution nodes", Node),
        table("batch_stats", read_stats, "Counts per queue since the start", QueueStats),
        number("queue_pending", read_pending, "Jobs that wait for a node"),
        number("queue_held", read_held, "Waiting jobs that a new node would not help"),
        number("queue_running", read_running, "Jobs that hold a node"),
        *(
            number(f"nodes_{state}", _count(state), f"Nodes that are {state}")
            for state in ("idle", "busy", "draining", "drained", "down")
        ),
    ]
