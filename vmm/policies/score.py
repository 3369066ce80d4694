"""The score of a cluster as it is."""

from __future__ import annotations

from vmm.policies._problem import compile_problem
from vmm.policies._state import State
from vmm.policies.model import Cluster
from vmm.policies.objective import Objective


def score_of(cluster: Cluster, objective: Objective) -> float:
    """What the objective says of it; smaller is better."""
    return State(compile_problem(cluster, objective)).score()
