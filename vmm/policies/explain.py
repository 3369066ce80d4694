"""Why a plan leaves a guest where it is and does not choose a host. Costs more than the plan: ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from vmm.policies._descent import Neighbourhood
from vmm.policies._problem import compile_arrivals, compile_problem
from vmm.policies._state import INF, State
from vmm.policies.balance import GANETI_LIMIT, GANETI_LIMIT_GAIN, WORTH
from vmm.policies.constraints import why_nowhere
from vmm.policies.groups import share_of, split
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.objective import Objective
from vmm.policies.plan import Kind, Plan

_NOTHING = 5e-7
"""What a move gains is said in six digits."""
_TRIED = 8
"""Targets tried exactly for each kind of guest on a host: the best by the linearised score."""


def explain(
    cluster: Cluster,
    plan: Plan,
    objective: Objective,
    *,
    leaving: Iterable[str] = (),
    new: Sequence[Guest] = (),
    min_gain: float | None = None,
) -> dict[str, str]:
    """Reason by name for each guest that the plan does not move and each host that it brings no guest to.

    Hosts that an evacuation empties are `leaving`, guests that a placement was asked for are `new`. What a
    move would gain is measured in the state that the plan leads to.
    """
    parts = split(cluster)
    if len(parts) > 1:
        return {
            k: v
            for part in parts
            for k, v in explain(
                part,
                replace(share_of(plan, part), why_empty=plan.why_empty or _elsewhere(plan)),
                objective,
                leaving=[name for name in leaving if name in part.host_by_name],
                new=new,
                min_gain=min_gain,
            ).items()
        }
    moved = {a.guest: a.target for a in plan.actions if a.guest and a.kind is not Kind.RESIZE}
    after = cluster.moved({name: host for name, host in moved.items() if name in cluster.guest_by_name})
    gone = frozenset(leaving)
    guests = {g.name: why for g in after.guests if (why := _stays(plan, g, gone, cluster))}
    if plan.policy == "balance":
        guests |= _gains(after, objective, min_gain)
    changed = {a.guest for a in plan.actions}
    reasons = {name: why for name, why in guests.items() if name not in changed}
    reasons |= _hosts(after, plan, objective, moved, gone, new)
    return {**reasons, **plan.unplaced}


def _elsewhere(plan: Plan) -> str:
    """Why a group of hosts that has no part in the plan has none."""
    return {
        "place": "another group of hosts is as good or better for every new guest",
        "recover": "no guest of this group of hosts is lost, or none can be started",
        "evacuate": "no guest of this group of hosts is to leave, or none can",
    }.get(plan.policy, "nothing in this group of hosts is worth a move")


def _stays(plan: Plan, guest: Guest, leaving: frozenset[str], cluster: Cluster) -> str:
    """Why a planner other than balancing leaves a guest alone."""
    if guest.host is None:
        return "it runs nowhere"
    if guest.immovable:
        return f"it may not be moved: {guest.immovable}"
    match plan.policy:
        case "evacuate":
            return "it is to leave" if guest.host in leaving else "its host is not being emptied"
        case "consolidate":
            off = guest.host not in plan.hosts_left
            return "its host is off" if off else f"its host {guest.host} stays on"
        case "place":
            return "a placement moves no guest"
        case "recover":
            dead = cluster.host_by_name[guest.host].state is HostState.OFFLINE
            return "it found no host" if dead else "its host is not dead"
        case "scale":
            return "it uses what it has within the bands, or nothing is known of its use"
    return ""


def _gains(after: Cluster, objective: Objective, min_gain: float | None) -> dict[str, str]:
    """What the best move of each guest would gain, against what a plan has to gain."""
    problem = compile_problem(after, objective)
    state = State(problem)
    score = state.score()
    least = WORTH * score if min_gain is None else min_gain
    if score <= GANETI_LIMIT:
        least = max(least, GANETI_LIMIT_GAIN)
    best = _best_moves(state)
    out = {}
    for guest, kind, at in zip(
        after.guests, problem.kind_of.tolist(), after.columns.host.tolist(), strict=True
    ):
        if kind < 0:
            continue
        change, target = best[kind, at]
        name = after.hosts[target].name
        if change == INF:
            out[guest.name] = f"no other host takes it: {why_nowhere(after, guest)}"
        elif abs(change) < _NOTHING:
            out[guest.name] = f"its best move, to {name}, would gain nothing"
        elif change > 0:
            out[guest.name] = f"its best move, to {name}, would cost {change:.6f}"
        elif -change < least:
            said = f"would gain only {-change:.6f}, and a plan has to gain {least:.6f}"
            out[guest.name] = f"its best move, to {name}, {said}"
        else:
            said = f"would gain {-change:.6f}, but the search ended before (its limits, or what follows)"
            out[guest.name] = f"its best move, to {name}, {said}"
    return out


def _hosts(
    after: Cluster,
    plan: Plan,
    objective: Objective,
    moved: dict[str, str],
    leaving: frozenset[str],
    new: Sequence[Guest],
) -> dict[str, str]:
    """Why the plan brings no guest to these hosts."""
    chosen = set(moved.values())
    wanted = [g for g in (*after.guests, *new) if g.name in moved] or [
        g for g in (*after.guests, *new) if g.host is None or not g.immovable
    ]
    placed = {g.name: moved.get(g.name) for g in new}
    full = after.with_guests(g for g in new if g.name not in after.guest_by_name).moved(placed)
    arrive = State(compile_arrivals(full, objective, wanted)).arrive
    fits: list[bool] = [bool(np.isfinite(arrive[:, i]).any()) for i in range(len(after.hosts))]
    verb = {"place": "places", "recover": "starts"}.get(plan.policy, "moves")
    out = {}
    for host, fit in zip(after.hosts, fits, strict=True):
        if host.name in chosen:
            continue
        if host.name in leaving:
            out[host.name] = "it is being emptied"
        elif plan.policy == "consolidate" and plan.hosts_left:
            on = host.name in plan.hosts_left
            out[host.name] = "it stays on, and needs no more guests" if on else "it is to be switched off"
            if not host.takes_guests:
                out[host.name] = f"the host is {host.state.value}"
        elif not host.takes_guests:
            out[host.name] = f"the host is {host.state.value}"
        elif not fit and moved:
            out[host.name] = f"none of the guests that the plan {verb} fits or may run there"
        elif not fit:
            out[host.name] = "no movable guest fits or may run there"
        elif plan.policy == "scale":
            out[host.name] = "scaling brings a guest here only from a host that has too little for it"
        elif moved:
            out[host.name] = f"other hosts are as good or better for every guest that the plan {verb}"
        else:
            out[host.name] = f"nothing is moved: {plan.why_empty or 'no guest was asked for'}"
    return out


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
