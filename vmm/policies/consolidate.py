"""Consolidation: the fewest hosts that hold all guests, then the fewest migrations to get there.

Hosts that some guest may not leave stay on, and those with the second copy of a guest's disk. Numbers of
hosts are tried from the lower bound up; for each, sets of hosts in order of how few guests they leave
outside, until one can be packed and reached by moves that are legal one after another.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vmm.policies._anneal import anneal
from vmm.policies._descent import Move
from vmm.policies._exchange import Exchange, exchangeable
from vmm.policies._fewest import best, task_of
from vmm.policies._order import moves_between, ordered
from vmm.policies._problem import Bools, Problem, compile_problem
from vmm.policies._state import State
from vmm.policies._switching import switched_off
from vmm.policies._write import migrations
from vmm.policies.errors import BadRequest
from vmm.policies.groups import joined, split
from vmm.policies.model import Cluster, HostState
from vmm.policies.objective import GANETI, Objective
from vmm.policies.plan import Limits, Plan

_POLISH_STEPS = 120
_MIGRATION_PRICE = 1.0
"""Score that a migration has to gain while the hosts that stay on are balanced: more than it ever can."""


def consolidate(
    cluster: Cluster,
    objective: Objective = GANETI,
    *,
    spare: int = 0,
    seed: int = 0,
    limits: Limits | None = None,
) -> Plan:
    """Plan of migrations that empty as many hosts as possible, then of switching these off.

    `spare` hosts more than needed stay on, in each group of hosts. The score after is that of the hosts left.
    """
    if spare < 0:
        raise BadRequest(f"spare is {spare}", next_step="give a number of hosts >= 0")
    if seed < 0:
        raise BadRequest(f"seed is {seed}", next_step="give a whole number >= 0")
    copies = frozenset(g.secondary for g in cluster.guests if g.secondary)
    parts = split(cluster)
    plans = [_consolidate(part, objective, copies, spare, seed, limits or Limits()) for part in parts]
    return plans[0] if len(parts) == 1 else joined(cluster, plans, limits or Limits())


def _consolidate(
    cluster: Cluster, objective: Objective, copies: frozenset[str], spare: int, seed: int, limits: Limits
) -> Plan:
    """The plan for one group; the hosts in `copies` hold second copies of disks and stay on."""
    problem = compile_problem(cluster, objective)
    before = State(problem).score()
    names = [h.name for h in cluster.hosts]
    on = np.array([h.state is not HostState.OFFLINE for h in cluster.hosts], dtype=np.bool_)
    stay = np.array([name in copies for name in names], dtype=np.bool_)
    idle = not (problem.counts.any() or problem.fixed_counts.any() or stay.any())
    if idle:  # one host is left, that guests can be started on
        up = [h.memory_mib * h.takes_guests for h in cluster.hosts]
        stay |= on & (np.arange(len(up)) == int(np.argmax(up or [0])))
    keep, moves = best(task_of(problem, on, stay, seed), spare)
    if moves:
        moves = _polished(cluster, problem, on & ~keep, moves, seed)
    left = tuple(name for name, k in zip(names, keep.tolist(), strict=True) if k)
    why = {name: "no guest runs here: it stays on so that one can be started" for name in left if idle}
    plan = Plan("consolidate", objective.name, before, before, hosts_left=left, seed=seed, reasons=why)
    off = np.flatnonzero(on & ~keep).tolist()
    if not off:
        return replace(plan, why_empty=_why_none(cluster, problem, on, spare))
    actions = migrations(problem, moves, limits)
    group = actions[-1].group if actions else 0
    after = cluster.moved({a.guest: a.target for a in actions})
    switches = tuple(switched_off(after, objective, off, group + 1))
    return replace(plan, actions=actions + switches, score_after=switches[-1].score_after or 0.0)


def _polished(cluster: Cluster, problem: Problem, off: Bools, moves: list[Move], seed: int) -> list[Move]:
    """No more moves, fewer where exchanges of guests allow, to better ones of the hosts that stay on."""
    names = {h.name: HostState.OFFLINE for h, gone in zip(cluster.hosts, off.tolist(), strict=True) if gone}
    after = compile_problem(cluster.with_hosts(names), problem.objective)
    counts = problem.counts.copy()
    for kind, source, target in moves:
        counts[kind, source] -= 1
        counts[kind, target] += 1
    exchange = Exchange(State(after, counts), len(moves), _MIGRATION_PRICE, seed)
    if not exchangeable(after) or exchange.moved > len(moves):
        return moves
    anneal(exchange, _POLISH_STEPS)
    better = ordered(problem, moves_between(problem, exchange.counts, moves))
    return better if better is not None and len(better) <= len(moves) else moves


def _why_none(cluster: Cluster, problem: Problem, on: Bools, spare: int) -> str:
    if not on.any():
        return "no host is on"
    if int(on.sum()) == 1:
        return "only one host is on"
    if not problem.kinds and cluster.guests:
        return "no guest may be moved"
    if spare:
        return (
            f"no way was found to hold all guests on fewer than {int(on.sum())} hosts, {spare} of them spare"
        )
    return f"no way was found to hold all guests on fewer than {int(on.sum())} hosts"
