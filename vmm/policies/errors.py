"""Errors of planning. Each names the object (host, guest, file and line) that is at fault."""

from __future__ import annotations

from vmm.errors import ConfigError, VmmError


class PlanError(VmmError):
    """A plan could not be made; the message names the object at fault."""

    code = "plan"


class BadCluster(PlanError):
    """The description of the cluster makes no sense (NaN load, zero capacity, unknown host...)."""

    code = "plan.cluster"


class Contradiction(PlanError):
    """Hard constraints of one object exclude each other, so that no plan can obey them."""

    code = "plan.contradiction"


class NoRoom(PlanError):
    """No plan exists under the hard constraints: the message says which guest found no host, and why."""

    code = "plan.no-room"


class BadRequest(PlanError):
    """An argument of a planner is wrong (unknown host, negative limit...)."""

    code = "plan.request"


class BadFile(ConfigError):
    """A cluster, load, plan or policy file is malformed; the message starts with `file:line:`."""

    code = "plan.file"

    def __init__(self, file: str, line: int, message: str, *, next_step: str = "") -> None:
        super().__init__(f"{file}:{line}: {message}", next_step=next_step)
        self.file = file
        self.line = line
