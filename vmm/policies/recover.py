"""Recovery: start the guests of dead hosts elsewhere, the important ones first, and keep the reserve.

Whether a host is dead is not decided here: the caller has proof (a fence, an expired lease, an
administrator's word) and says so with HostState.OFFLINE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vmm.policies._fill import Filler, arrival_scores
from vmm.policies._packing import packed
from vmm.policies._problem import compile_arrivals, compile_problem
from vmm.policies._state import State
from vmm.policies._write import write
from vmm.policies.constraints import why_nowhere
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.objective import GANETI, OFFLINE_PRICE, Objective
from vmm.policies.plan import Limits, Plan
from vmm.policies.schedule import Step


def recover(
    cluster: Cluster,
    objective: Objective = GANETI,
    *,
    keep_reserve: bool = True,
    limits: Limits | None = None,
) -> Plan:
    """Plan of starts for the guests on offline hosts, by priority (higher first), then by size.

    A guest whose disk is local to the dead host cannot be started elsewhere. With `keep_reserve`, those
    guests of lowest priority are left out that would take the room needed to survive the loss of one more
    host; if that room is missing already, or only one host is left, it does not hold anybody back.
    """
    dead = {h.name for h in cluster.hosts if h.state is HostState.OFFLINE}
    lost = [i for i, g in enumerate(cluster.guests) if g.host in dead]
    score = State(compile_problem(cluster, objective)).score()
    empty = Plan("recover", objective.name, score, score)
    if not lost:
        why = "no host is offline" if not dead else f"no guest was on {', '.join(sorted(dead))}"
        return replace(empty, why_empty=why)
    unplaced: dict[str, str] = {}
    wanted: list[int] = []
    for i in lost:
        guest = cluster.guests[i]
        if guest.disk_local:
            unplaced[guest.name] = f"its disk is local to {guest.host}"
        else:
            wanted.append(i)
    wanted.sort(key=lambda i: (-cluster.guests[i].priority, -cluster.guests[i].memory_mib))
    guests = [replace(cluster.guests[i], immovable="") for i in wanted]
    problem = compile_arrivals(cluster, objective, guests, gone=wanted)
    base = State(problem)
    before = base.score() + OFFLINE_PRICE * len(wanted)
    filler = Filler(State(problem))
    puts: list[tuple[int, int]] = []
    for position, kind in enumerate(problem.kind_of.tolist()):
        host, _ = filler.best(kind)
        if host < 0:
            continue
        filler.add(kind, host)
        puts.append((position, host))
    placed = {position for position, _ in puts}
    missing = _after(cluster, guests, puts)
    for position, guest in enumerate(guests):
        if position not in placed:
            unplaced[guest.name] = why_nowhere(missing, guest)
    if keep_reserve and puts:
        kept = _within_reserve(cluster, guests, puts)
        for position, _ in puts[kept:]:
            unplaced[guests[position].name] = (
                "starting it would use the room kept for the loss of one more host"
            )
        puts = puts[:kept]
    names = [h.name for h in cluster.hosts]
    steps: list[Step] = [(guests[i], guests[i].host or "", names[host]) for i, host in puts]
    kinds = problem.kind_of.tolist()
    scores = _scores(base, [(kinds[i], host) for i, host in puts], len(wanted))
    return replace(
        empty,
        score_before=before,
        score_after=scores[-1] if scores else before,
        actions=write(cluster, steps, scores, limits or Limits()),
        why_empty="" if puts else "no lost guest can be started",
        unplaced=unplaced,
    )


def _scores(base: State, puts: Sequence[tuple[int, int]], waiting: int) -> list[float]:
    scores = arrival_scores(base, puts)
    return [score + OFFLINE_PRICE * (waiting - done) for done, score in enumerate(scores)][1:]


def _after(cluster: Cluster, guests: Sequence[Guest], puts: Sequence[tuple[int, int]]) -> Cluster:
    return cluster.moved({guests[i].name: cluster.hosts[host].name for i, host in puts})


def _within_reserve(cluster: Cluster, guests: Sequence[Guest], puts: Sequence[tuple[int, int]]) -> int:
    """How many of the placements, from the first, leave room for the loss of one more host."""
    if sum(host.takes_guests for host in cluster.hosts) < 2 or not survives_loss(_after(cluster, guests, [])):
        return len(puts)
    low, high = 0, len(puts)
    while low < high:
        middle = (low + high + 1) // 2
        if survives_loss(_after(cluster, guests, puts[:middle])):
            low = middle
        else:
            high = middle - 1
    return low


def survives_loss(cluster: Cluster) -> bool:
    """N+1: could the guests of any one host that is up be started on the other hosts that are up?

    Found by best fit, the largest first: a "no" may be wrong in rare cases, a "yes" never is.
    """
    free = Cluster(
        cluster.hosts,
        [replace(g, immovable="") for g in cluster.guests if g.host is not None and _on(cluster, g)],
    )
    problem = compile_problem(free, Objective("none"))
    up = np.array([h.takes_guests for h in cluster.hosts], dtype=np.bool_)
    for host in np.flatnonzero(up & (problem.counts.sum(axis=0) > 0)).tolist():
        keep = np.array([h.state is not HostState.OFFLINE for h in cluster.hosts], dtype=np.bool_)
        keep[host] = False
        if packed(problem, keep, 0, 0) is None:
            return False
    return True


def _on(cluster: Cluster, guest: Guest) -> bool:
    return cluster.host_by_name[guest.host or ""].state is not HostState.OFFLINE
