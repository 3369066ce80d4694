"""Recovery: start the guests of dead hosts elsewhere, the important ones first, and keep the reserve.

Whether a host is dead is not decided here: the caller has proof (a fence, an expired lease, an
administrator's word) and says so with HostState.OFFLINE.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np

from vmm.policies._fill import Filler, arrival_scores, rearranged
from vmm.policies._packing import packed
from vmm.policies._problem import Bools, Problem, compile_arrivals, compile_problem
from vmm.policies._reserve import survives_loss, within_reserve
from vmm.policies._state import State
from vmm.policies._write import write
from vmm.policies.constraints import why_nowhere
from vmm.policies.groups import joined, split
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.objective import GANETI, OFFLINE_PRICE, Objective
from vmm.policies.plan import Limits, Plan
from vmm.policies.schedule import Step

__all__ = ["recover", "survives_loss"]

_REPAIR_STEPS = 300


def recover(
    cluster: Cluster,
    objective: Objective = GANETI,
    *,
    keep_reserve: bool = True,
    limits: Limits | None = None,
) -> Plan:
    """Plan of starts for the guests on offline hosts, by priority (higher first), then by size.

    A guest whose disk is local to the dead host cannot be started elsewhere, one with a second copy of it
    only there. With `keep_reserve`, those guests of lowest priority are left out that would take the room
    needed to survive the loss of one more host; if that room is missing already, or only one host is left,
    it does not hold anybody back.
    Each group of hosts recovers by itself.
    """
    parts = split(cluster)
    plans = [_recover(part, objective, keep_reserve, limits or Limits()) for part in parts]
    return plans[0] if len(parts) == 1 else joined(cluster, plans, limits or Limits())


def _recover(cluster: Cluster, objective: Objective, keep_reserve: bool, limits: Limits) -> Plan:
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
        if guest.disk_local or (guest.disk_bound and not guest.secondary):
            unplaced[guest.name] = f"its disk is local to {guest.host}"
        elif guest.disk_bound and (guest.secondary in dead or guest.secondary not in cluster.host_by_name):
            unplaced[guest.name] = f"both copies of its disk, on {guest.host} and {guest.secondary}, are gone"
        else:
            wanted.append(i)
    wanted.sort(key=lambda i: (-cluster.guests[i].priority, -cluster.guests[i].memory_mib))
    guests = [_startable(cluster.guests[i]) for i in wanted]
    cluster = _standby_used(cluster, {g.secondary for g in guests if g.disk_bound})
    problem = compile_arrivals(cluster, objective, guests, gone=wanted)
    base = State(problem)
    before = base.score() + OFFLINE_PRICE * len(wanted)
    kinds = problem.kind_of.tolist()
    puts = _puts(problem, kinds)
    placed = {position for position, _ in puts}
    missing = _after(cluster, guests, puts)
    for position, guest in enumerate(guests):
        if position not in placed:
            unplaced[guest.name] = why_nowhere(missing, guest)
    if keep_reserve and puts:
        kept = within_reserve(cluster, guests, puts, kinds)
        for position in {position for position, _ in puts} - {position for position, _ in kept}:
            unplaced[guests[position].name] = (
                "starting it would use the room kept for the loss of one more host (--use-reserve takes it)"
            )
        puts = kept
    names = [h.name for h in cluster.hosts]
    steps: list[Step] = [(guests[i], guests[i].host or "", names[host]) for i, host in puts]
    scores = _scores(base, [(kinds[i], host) for i, host in puts], len(wanted))
    return replace(
        empty,
        score_before=before,
        score_after=scores[-1] if scores else before,
        actions=write(cluster, steps, scores, limits),
        why_empty="" if puts else "no lost guest can be started",
        unplaced=unplaced,
    )


def _startable(guest: Guest) -> Guest:
    """The guest as it can be started: its host is dead, so nothing holds it there but its disk."""
    if not guest.disk_bound:
        return replace(guest, immovable="")
    return replace(guest, immovable="", pinned=frozenset({guest.secondary}))


def _standby_used(cluster: Cluster, secondaries: Set[str]) -> Cluster:
    """The memory that these hosts keep for guests with a second copy there is for now."""
    hosts = (
        replace(h, memory_reserve_mib=max(h.memory_reserve_mib - h.standby_mib, 0.0))
        if h.name in secondaries
        else h
        for h in cluster.hosts
    )
    return Cluster(hosts, cluster.guests) if secondaries else cluster


def _puts(problem: Problem, kinds: Sequence[int]) -> list[tuple[int, int]]:
    """Guests, by position, and their hosts: each in its turn where the score is least.

    When one finds no room, all those with a host and this one are packed anew, and stay so if that works:
    an important guest keeps its start, though not its host.
    """
    filler = Filler(State(problem))
    hosts: dict[int, int] = {}
    hopeless: set[int] = set()
    for position, kind in enumerate(kinds):
        host, _ = filler.best(kind)
        if host >= 0:
            filler.add(kind, host)
            hosts[position] = host
        elif kind not in hopeless:
            anew = _packed(problem, kinds, [*hosts, position])
            if anew is None:
                hopeless.add(kind)
                continue
            hosts = anew
            filler = Filler(State(problem))
            for i, at in hosts.items():
                filler.add(kinds[i], at)
    return list(hosts.items())


def _packed(problem: Problem, kinds: Sequence[int], wanted: Sequence[int]) -> dict[int, int] | None:
    """Hosts for all of these positions, as evenly spread as exchanges can; None when no packing was found."""
    waiting = int(np.flatnonzero(problem.online == 0)[0])  # any dead host: they come from there
    counts = np.zeros_like(problem.counts)
    np.add.at(counts[:, waiting], [kinds[i] for i in wanted], 1)
    takes: Bools = np.asarray(problem.reach.any(axis=0))
    found = packed(replace(problem, counts=counts), takes, _REPAIR_STEPS, 0)
    if found is None:
        return None
    queues = [np.repeat(np.arange(problem.hosts), row).tolist()[::-1] for row in found]
    at = [queues[kinds[i]].pop() for i in wanted]
    base = State(problem)
    if base.plain and len(problem.weight) and len(wanted) > 1:
        filler = Filler(base)
        units = np.array([kinds[i] for i in wanted], dtype=np.int64)
        for kind, host in zip(units.tolist(), at, strict=True):
            filler.add(kind, host)
        at = rearranged(filler, units, np.array(at, dtype=np.int64)).tolist()
    return dict(zip(wanted, at, strict=True))


def _scores(base: State, puts: Sequence[tuple[int, int]], waiting: int) -> list[float]:
    scores = arrival_scores(base, puts)
    return [score + OFFLINE_PRICE * (waiting - done) for done, score in enumerate(scores)][1:]


def _after(cluster: Cluster, guests: Sequence[Guest], puts: Sequence[tuple[int, int]]) -> Cluster:
    return cluster.moved({guests[i].name: cluster.hosts[host].name for i, host in puts})
