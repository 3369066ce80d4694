"""From moves of kinds to the actions of a plan, with names, cost, scores and groups."""

from __future__ import annotations

from collections.abc import Sequence

from vmm.policies._descent import Move
from vmm.policies._order import replay
from vmm.policies._problem import Problem
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.plan import Action, Kind, Limits, migration_seconds
from vmm.policies.schedule import Step, group_numbers


def migrations(problem: Problem, moves: Sequence[Move], limits: Limits) -> tuple[Action, ...]:
    """Migrations for legal moves: of the guests of a kind on a host, the first in the cluster goes first.

    A guest on an offline host is started on the target instead; it has nothing to copy but a local disk.
    """
    cluster = problem.cluster
    scores = replay(problem, moves)
    if scores is None:
        raise AssertionError("a planner made a move that is not legal at its turn")
    wanted = {(kind, source) for kind, source, _ in moves}
    there: dict[tuple[int, int], list[Guest]] = {pair: [] for pair in wanted}
    for guest, kind, host in zip(
        cluster.guests, problem.kind_of.tolist(), cluster.columns.host.tolist(), strict=True
    ):
        if (kind, host) in wanted:
            there[kind, host].append(guest)
    for queue in there.values():
        queue.reverse()
    steps: list[Step] = []
    for kind, source, target in moves:
        guest = there[kind, source].pop()
        if (kind, target) in wanted:
            there[kind, target].insert(0, guest)
        steps.append((guest, cluster.hosts[source].name, cluster.hosts[target].name))
    return write(cluster, steps, scores, limits)


def write(
    cluster: Cluster, steps: Sequence[Step], scores: Sequence[float], limits: Limits
) -> tuple[Action, ...]:
    """Actions for these steps of guests, which lead to these scores one after another."""
    groups = group_numbers(cluster, steps, limits)
    return tuple(
        _migration(cluster, step, score, group, limits)
        for step, score, group in zip(steps, scores, groups, strict=True)
    )


def _migration(cluster: Cluster, step: Step, score: float, group: int, limits: Limits) -> Action:
    guest, source, target = step
    assert guest is not None
    live = bool(source) and cluster.host_by_name[source].state is not HostState.OFFLINE
    data_mib = (guest.memory_mib if live else 0.0) + (guest.disk_mib if guest.disk_local else 0.0)
    kind = Kind.MIGRATE if live else Kind.START
    return Action(
        kind, guest.name, source, target, data_mib, migration_seconds(data_mib, limits), group, score
    )
