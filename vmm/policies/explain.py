"""Why a plan leaves a guest where it is and does not choose a host. Costs more than the plan: ask for it."""

from __future__ import annotations

import numpy as np

from vmm.policies._descent import Neighbourhood
from vmm.policies._problem import compile_problem
from vmm.policies._state import INF, State
from vmm.policies.constraints import why_nowhere
from vmm.policies.groups import share_of, split
from vmm.policies.model import Cluster
from vmm.policies.objective import Objective
from vmm.policies.plan import Kind, Plan

_TRIED = 8
"""Targets tried exactly for each kind of guest on a host: the best by the linearised score."""


def explain(cluster: Cluster, plan: Plan, objective: Objective) -> dict[str, str]:
    """Reason by name for each guest that the plan does not move and each host that it brings no guest to.

    What a move would gain is measured in the state that the plan leads to.
    """
    parts = split(cluster)
    if len(parts) > 1:
        return {k: v for part in parts for k, v in explain(part, share_of(plan, part), objective).items()}
    moved = {a.guest: a.target for a in plan.actions if a.guest and a.kind is not Kind.RESIZE}
    after = cluster.moved({name: host for name, host in moved.items() if name in cluster.guest_by_name})
    reasons = dict(plan.unplaced)
    problem = compile_problem(after, objective)
    state = State(problem)
    best = _best_moves(state)
    for guest, kind, at in zip(
        after.guests, problem.kind_of.tolist(), after.columns.host.tolist(), strict=True
    ):
        if guest.name in moved or guest.name in reasons:
            continue
        if guest.immovable:
            reasons[guest.name] = f"it may not be moved: {guest.immovable}"
        elif guest.host is None:
            reasons[guest.name] = "it runs nowhere"
        else:
            change, target = best[kind, at]
            name = after.hosts[target].name
            if change == INF:
                reasons[guest.name] = f"no other host takes it: {why_nowhere(after, guest)}"
            elif change >= 0:
                reasons[guest.name] = f"its best move, to {name}, would cost {change:.6f}"
            else:
                reasons[guest.name] = f"its best move, to {name}, would gain only {-change:.6f}"
    chosen = set(moved.values())
    arrive = np.isfinite(state.arrive)
    for i, host in enumerate(after.hosts):
        if host.name in chosen:
            continue
        if not host.takes_guests:
            reasons[host.name] = f"the host is {host.state.value}"
        elif not arrive.shape[0] or not arrive[:, i].any():
            reasons[host.name] = "no movable guest fits or may run there"
        elif plan.policy == "consolidate":
            on = host.name in plan.hosts_left
            reasons[host.name] = "it needs no more guests" if on else "it is to be switched off"
        else:
            reasons[host.name] = "other hosts are better for every guest that the plan moves"
    return reasons


def _best_moves(state: State) -> dict[tuple[int, int], tuple[float, int]]:
    """Change and target of the best move of each kind from each host where it is."""
    p = state.problem
    kinds, sources = np.nonzero(p.counts)
    if not len(kinds):
        return {}
    linear = Neighbourhood(p).arrivals(state)[kinds]
    linear[np.arange(len(kinds)), sources] = INF
    tried = min(_TRIED, p.hosts)
    targets = np.argpartition(linear, tried - 1, axis=1)[:, :tried]
    change = state.deltas(np.repeat(kinds, tried), np.repeat(sources, tried), targets.reshape(-1)).reshape(
        -1, tried
    )
    change[targets == sources[:, None]] = INF
    at = change.argmin(axis=1)
    rows = np.arange(len(kinds))
    return {
        (int(t), int(s)): (float(c), int(d))
        for t, s, c, d in zip(kinds, sources, change[rows, at], targets[rows, at], strict=True)
    }
