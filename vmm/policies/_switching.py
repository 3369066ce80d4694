"""Switching off hosts that a plan has emptied, one after another, with the score after each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vmm.policies._problem import compile_problem
from vmm.policies._state import State
from vmm.policies.model import Cluster, HostState
from vmm.policies.objective import Objective
from vmm.policies.plan import Action, Kind


def switched_off(cluster: Cluster, objective: Objective, hosts: Sequence[int], group: int) -> list[Action]:
    """POWER_OFF actions for hosts (indices) without guests, of one parallel group."""
    names = [cluster.hosts[h].name for h in hosts]
    if objective.ceilings:  # their limits depend on how many hosts there are
        after = [_score(cluster, objective, names[: i + 1]) for i in range(len(names))]
    else:
        rest = _score(cluster, objective, names)
        deviations = _deviations(cluster, objective, hosts)
        after = [rest + d - deviations[-1] for d in deviations]
    return [
        Action(Kind.POWER_OFF, source=name, group=group, score_after=score)
        for name, score in zip(names, after, strict=True)
    ]


def _score(cluster: Cluster, objective: Objective, off: Sequence[str]) -> float:
    return State(
        compile_problem(cluster.with_hosts(dict.fromkeys(off, HostState.OFFLINE)), objective)
    ).score()


def _deviations(cluster: Cluster, objective: Objective, hosts: Sequence[int]) -> list[float]:
    """The part of the score that is deviations, after each of these hosts has gone off."""
    place = cluster.columns.host
    there = place >= 0
    rows = []
    for term in objective.deviations:
        metric = term.metric
        amounts = np.asarray(metric.amounts(cluster), dtype=np.float64)[there]
        total = np.bincount(place[there], amounts, minlength=len(cluster.hosts))
        base = np.array([metric.base(h) for h in cluster.hosts], dtype=np.float64)
        scale = np.array([metric.scale(h) for h in cluster.hosts], dtype=np.float64)
        rows.append(scale * (base + total))
    values = np.array(rows).reshape(len(rows), len(cluster.hosts))
    weights = np.array([term.weight for term in objective.deviations])
    on = np.array([h.state is not HostState.OFFLINE for h in cluster.hosts], dtype=np.bool_)
    out = []
    for host in hosts:
        on[host] = False
        out.append(float(weights @ values[:, on].std(axis=1)) if on.any() else 0.0)
    return out
