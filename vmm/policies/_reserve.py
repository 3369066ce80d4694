"""N+1: the room kept so that the guests of one more lost host could be started on the others.

Only what is possible is asked for: a guest that no other host could take even if nobody else were there (it
is pinned, its disk is local, it is too large, no other host is up) is lost with its host anyway and counts
for nothing. So with one host up there is no reserve to keep. Guests that must stay apart are asked for room
alone: half of a pair would else stay down for want of a fourth host, however much room the others have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vmm.policies._packing import packed
from vmm.policies._problem import Ints, Problem, Tags, compile_problem
from vmm.policies.constraints import SLACK
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.objective import Objective


def survives_loss(cluster: Cluster) -> bool:
    """Is there room for the guests of any one host that is up, as far as another host could take them?

    Found by best fit, the largest first: a "no" may be wrong in rare cases, a "yes" never is.
    """
    alive = {h.name for h in cluster.hosts if h.state is not HostState.OFFLINE}
    guests = [
        replace(
            g,
            immovable=f"its disk is local to {g.host}" if g.disk_local or g.disk_bound else "",
            anti_affinity=frozenset(),
        )
        for g in cluster.guests
        if g.host in alive
    ]
    problem = compile_problem(Cluster(cluster.hosts, guests), Objective("none"))
    up = np.array([h.takes_guests for h in cluster.hosts], dtype=np.bool_)
    capacity = problem.room + problem.need @ problem.counts
    could = problem.reach.copy()
    for need, most in zip(problem.need, capacity, strict=True):
        could &= need[:, None] <= most + SLACK
    for host in np.flatnonzero(up & (problem.counts.sum(axis=0) > 0)).tolist():
        keep = np.array([h.name in alive for h in cluster.hosts], dtype=np.bool_)
        keep[host] = False
        rows = np.flatnonzero(problem.counts[:, host])
        rows = rows[could[np.ix_(rows, keep)].any(axis=1)]
        if len(rows) and packed(_only(problem, rows, host), keep, 0, 0) is None:
            return False
    return True


def _only(problem: Problem, rows: Ints, host: int) -> Problem:
    """The problem of these kinds on one host; all other guests stay where they are."""
    counts = np.zeros((len(rows), problem.hosts), dtype=np.int64)
    counts[:, host] = problem.counts[rows, host]
    return replace(
        problem,
        samples=tuple(problem.samples[row] for row in rows.tolist()),
        counts=counts,
        need=problem.need[:, rows],
        reach=problem.reach[rows],
        apart=Tags(problem.apart.member[rows], problem.apart.fixed),
    )


def within_reserve(
    cluster: Cluster, guests: Sequence[Guest], puts: Sequence[tuple[int, int]], kinds: Sequence[int]
) -> list[tuple[int, int]]:
    """Those placements (guest, host), taken in order, that leave room for the loss of one more host.

    One that does not is skipped, as are later ones of its kind. When that room is missing already, all stay.
    """

    def survives(taken: Sequence[tuple[int, int]]) -> bool:
        return survives_loss(cluster.moved({guests[i].name: cluster.hosts[host].name for i, host in taken}))

    kept: list[tuple[int, int]] = []
    left = list(puts)
    if not survives(kept):
        return left
    while left and not survives(kept + left):
        low, high = 0, len(left) - 1  # so many of them can be taken before the first that cannot
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if survives(kept + left[:middle]) else (low, middle - 1)
        kept += left[:low]
        refused = kinds[left[low][0]]
        left = [put for put in left[low + 1 :] if kinds[put[0]] != refused]
    return kept + left
