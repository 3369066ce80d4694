"""The narrow interface to a batch system: look at jobs and nodes; drain, resume and delete nodes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from vmm.errors import CommandFailed


class BatchDown(CommandFailed):
    """The batch system does not answer; the message says what was tried."""

    code = "batch-down"


class Job(msgspec.Struct, frozen=True):
    """One job that waits or runs. `state` is `pending` or `running`; times are seconds since the epoch."""

    id: str
    queue: str
    state: str
    cpus: int = 1
    node: str = ""
    user: str = ""
    submitted_s: float = 0.0
    started_s: float = 0.0
    reason: str = ""


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


class BatchSystem(Protocol):
    """Every call may raise BatchDown; node operations may raise CommandFailed. All can be run twice."""

    def jobs(self) -> list[Job]: ...

    def nodes(self) -> list[Node]: ...

    def drain(self, node: str, reason: str) -> None:
        """Let running jobs end, start none. A node that is not there: CommandFailed, code `no-such-node`."""

    def resume(self, node: str) -> None:
        """Take a drain back."""

    def delete(self, node: str) -> None:
        """Forget the node; a node that is not there is a success. A busy one: CommandFailed `node-busy`."""

    def close(self) -> None: ...
