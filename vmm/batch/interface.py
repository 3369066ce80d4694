"""The narrow interface to a batch system: look at jobs and nodes; drain, resume and delete nodes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from vmm.errors import CommandFailed


class BatchDown(CommandFailed):
    """The batch system does not answer; the message says what was tried."""

    code = "batch-down"


class NodeFailed(CommandFailed):
    """An operation on a node failed. Codes: `no-such-node`, `node-busy`, `bad-node`, `node-failed`."""

    def __init__(self, code: str, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


class Job(msgspec.Struct, frozen=True):
    """One job that waits or runs. `state` is `pending` or `running`; times are seconds since the epoch.

    `node` is where it runs; a job over several nodes names them with commas. A job that holds its node in
    any way (starting, ending, suspended) counts as running.
    """

    id: str
    queue: str
    state: str
    cpus: int = 1
    node: str = ""
    user: str = ""
    submitted_s: float = 0.0
    started_s: float = 0.0
    reason: str = ""
    held: bool = False
    """A pending job that a new node would not help: held, dependent, not yet due, over a limit."""


class Node(msgspec.Struct, frozen=True):
    """One execution node. `state`: idle, busy, draining (has a job, takes none), drained, down."""

    name: str
    state: str
    queues: list[str] = []
    features: list[str] = []
    cpus: int = 1
    jobs: int = 0
    raw_state: str = ""
    reason: str = ""


class QueueStats(msgspec.Struct, frozen=True):
    """Counts of one queue since the start. `lost`: runs that ended with their node (the job waits again)."""

    queue: str
    submitted: int = 0
    waiting: int = 0
    running: int = 0
    done: int = 0
    lost: int = 0
    mean_wait_s: float = 0.0
    """Mean time from submission to the first start, of the jobs that started; in the workload's seconds."""


class BatchSystem(Protocol):
    """Every call may raise BatchDown; node operations may raise CommandFailed. All can be run twice."""

    def jobs(self) -> list[Job]: ...

    def nodes(self) -> list[Node]: ...

    def drain(self, node: str, reason: str) -> None:
        """Let running jobs end, start none. A node that is not there: CommandFailed, code `no-such-node`."""

    def resume(self, node: str) -> None:
        """Take a drain back."""

    def down(self, node: str, reason: str) -> None:
        """The node is known to be dead: its runs end now, their jobs wait again as the batch has it."""

    def delete(self, node: str) -> None:
        """Forget the node; a node that is not there is a success. A busy one: CommandFailed `node-busy`."""

    def close(self) -> None: ...
