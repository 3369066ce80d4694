"""Evacuation: empty one or several hosts with one migration per guest, onto the best of the others.

The hosts to empty count as gone in the score, as in Ganeti. Guests go in order of size, each to the
host with the least score after it; then guests change hosts or places, the best change first. Where that
finds no room for a guest, one of another host makes it by moving on to a third.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vmm.policies._chain import chained
from vmm.policies._fill import arrival_scores, fill
from vmm.policies._order import replay
from vmm.policies._problem import compile_arrivals, compile_problem
from vmm.policies._state import State
from vmm.policies._write import write
from vmm.policies.constraints import why_nowhere
from vmm.policies.errors import BadRequest
from vmm.policies.groups import joined, split
from vmm.policies.model import Cluster, HostState
from vmm.policies.objective import GANETI, OFFLINE_PRICE, Objective
from vmm.policies.plan import Limits, Plan
from vmm.policies.schedule import Step


def evacuate(
    cluster: Cluster,
    hosts: Iterable[str],
    objective: Objective = GANETI,
    *,
    limits: Limits | None = None,
) -> Plan:
    """Plan that leaves no movable guest on these hosts; one that cannot leave is in `unplaced`, with why."""
    names = list(dict.fromkeys(hosts))
    for name in names:
        if name not in cluster.host_by_name:
            raise BadRequest(
                f"host {name!r} to evacuate is not in the cluster", next_step="take a host of the cluster"
            )
    if not names:
        raise BadRequest("no host to evacuate was named", next_step="name at least one host")
    parts = split(cluster)
    if len(parts) < 2:
        return _evacuate(cluster, names, objective, limits or Limits())
    plans = []
    for part in parts:
        named = [name for name in names if name in part.host_by_name]
        score = 0.0 if named else State(compile_problem(part, objective)).score()
        plans.append(
            _evacuate(part, named, objective, limits or Limits())
            if named
            else Plan("evacuate", objective.name, score, score)
        )
    return joined(cluster, plans, limits or Limits())


def _evacuate(cluster: Cluster, names: list[str], objective: Objective, limits: Limits) -> Plan:
    leaving = set(names)
    inside = [i for i, g in enumerate(cluster.guests) if g.host in leaving]
    going = [i for i in inside if not cluster.guests[i].immovable]
    copies: dict[str, list[str]] = {}
    for guest in cluster.guests:
        if guest.secondary in leaving:
            copies.setdefault(guest.secondary, []).append(guest.name)
    reasons = {
        host: f"the second copy of the disk of {_some(guests)} stays on it" for host, guests in copies.items()
    }
    after = tuple(replace(h, state=HostState.OFFLINE) if h.name in leaving else h for h in cluster.hosts)
    if not going:
        stuck = {
            cluster.guests[i].name: f"it may not be moved: {cluster.guests[i].immovable}" for i in inside
        }
        why = f"no guest may leave {', '.join(names)}" if inside else f"no guest is on {', '.join(names)}"
        score = State(compile_problem(Cluster(after, cluster.guests), objective)).score()
        return Plan("evacuate", objective.name, score, score, why_empty=why, unplaced=stuck, reasons=reasons)
    guests = [cluster.guests[i] for i in going]
    problem = compile_arrivals(cluster, objective, guests, hosts=after, gone=going)
    kinds = problem.kind_of.tolist()
    base = State(problem)
    puts = fill(base, kinds)
    scores = arrival_scores(base, [(kinds[i], host) for i, host in puts])
    waiting = [OFFLINE_PRICE * (len(going) - done) for done in range(len(puts) + 1)]
    steps: list[Step] = [(guests[i], guests[i].host or "", after[host].name) for i, host in puts]
    unplaced = {
        g.name: f"it may not be moved: {g.immovable}"
        for g in map(cluster.guests.__getitem__, inside)
        if g.immovable
    }
    if len(puts) < len(going):
        places = {guests[i].name: after[host].name for i, host in puts}
        placed = {i for i, _ in puts}
        left = [g for i, g in enumerate(guests) if i not in placed]
        emptied = Cluster(after, cluster.guests)
        if more := chained(emptied, places, left, leaving):
            with_more = [*places.items(), *more]
            if found := _scored(emptied, objective, with_more):
                steps = [
                    (cluster.guest_by_name[g], cluster.guest_by_name[g].host or "", h) for g, h in with_more
                ]
                scores, waiting = found, [0.0] * len(found)
                places = dict(with_more)
                placed = {i for i, g in enumerate(guests) if g.name in places}
        stay = [h for h in after if h.name not in leaving]
        at = cluster.moved({**places, **{g.name: None for g in left}}).guests
        done = Cluster(stay, (g for g in at if g.host is None or g.host not in leaving))
        if any(h.takes_guests for h in after):
            unplaced |= {
                g.name: why_nowhere(done, replace(g, host=None))
                for i, g in enumerate(guests)
                if i not in placed
            }
        else:
            none = "no host is left that takes guests: all that do are to be emptied"
            unplaced |= {g.name: none for i, g in enumerate(guests) if i not in placed}
    return Plan(
        "evacuate",
        objective.name,
        scores[0] + waiting[0],
        scores[-1] + waiting[-1],
        write(cluster, steps, [a + b for a, b in zip(scores[1:], waiting[1:], strict=True)], limits),
        why_empty="" if steps else "no other host has room for any of its guests",
        unplaced=unplaced,
        reasons=reasons,
    )


def _scored(cluster: Cluster, objective: Objective, moves: Sequence[tuple[str, str]]) -> list[float] | None:
    """Score at the start and after each move (guest, host); None when one is not legal at its turn."""
    problem = compile_problem(cluster, objective)
    index = {g.name: i for i, g in enumerate(cluster.guests)}
    hosts = {h.name: i for i, h in enumerate(cluster.hosts)}
    rows = [
        (int(problem.kind_of[index[name]]), int(cluster.columns.host[index[name]]), hosts[target])
        for name, target in moves
    ]
    scores = replay(problem, rows)
    return None if scores is None else [State(problem).score(), *scores]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
