"""Placement: the best host for a new guest, or for a batch of them one after another.

Pure: takes a model and guests, returns a plan of START actions. The host chosen is the one with the
least score after the placement, among those that keep every hard constraint; a tie goes to the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vmm.policies._check import check_guests
from vmm.policies._problem import Floats, compile_arrivals
from vmm.policies._state import INF, State
from vmm.policies.constraints import SLACK, why_nowhere
from vmm.policies.errors import BadRequest, NoRoom
from vmm.policies.model import Cluster, Guest
from vmm.policies.objective import GANETI, Objective
from vmm.policies.plan import Action, Kind, Limits, Plan


def place(
    cluster: Cluster,
    guests: Guest | Iterable[Guest],
    objective: Objective = GANETI,
    *,
    limits: Limits | None = None,
    strict: bool = False,
) -> Plan:
    """Plan of one START per guest, in the order given, each knowing those before it.

    A guest that fits nowhere is in `unplaced` with the reason; with `strict` it raises NoRoom instead.
    """
    wanted = (guests,) if isinstance(guests, Guest) else tuple(guests)
    for guest in wanted:
        if guest.host is not None:
            raise BadRequest(f"guest {guest.name!r} to be placed is on host {guest.host!r} already")
        if guest.name in cluster.guest_by_name:
            raise BadRequest(
                f"guest {guest.name!r} is in the cluster already", next_step="choose another name"
            )
    check_guests(wanted, cluster.host_by_name)
    problem = compile_arrivals(cluster, objective, wanted)
    state = State(problem)
    before = score = state.score()
    kinds = problem.kind_of.tolist()
    overhead_s = (limits or Limits()).overhead_s
    names = [h.name for h in cluster.hosts]
    actions: list[Action] = []
    unplaced: dict[str, str] = {}
    refused: dict[int, str] = {}
    row = _Row(state)
    for guest, kind in zip(wanted, kinds, strict=True):
        host, change = row.best(kind)
        if host < 0:
            if kind not in refused:  # room only shrinks: what no host takes now, none takes later
                done: dict[str, str | None] = {a.guest: a.target for a in actions}
                refused[kind] = why_nowhere(cluster.with_guests(wanted).moved(done), guest)
            unplaced[guest.name] = refused[kind]
            if strict:
                raise NoRoom(
                    f"guest {guest.name!r} fits on no host: {refused[kind]}",
                    next_step="free room, add a host, or ask for less",
                )
            continue
        score += change
        row.add(kind, host)
        actions.append(Action(Kind.START, guest.name, "", names[host], 0.0, overhead_s, 0, score))
    return Plan(
        policy="place",
        objective=objective.name,
        score_before=before,
        score_after=score,
        actions=tuple(actions),
        why_empty=""
        if actions
        else ("no guest was asked for" if not wanted else "no guest fits on any host"),
        unplaced=unplaced,
    )


class _Row:
    """Scores of arriving on each host, for runs of equal guests: a dozen array operations a guest.

    While the kind stays the same and only deviations matter, only one host's room changes per placement;
    anything else goes through the state.
    """

    def __init__(self, state: State) -> None:
        p = state.problem
        self.state = state
        tagged = any(tags.member.any() for tags in (p.apart, p.near, p.wide))
        self.simple = not p.caps and not tagged
        self.kind = -1
        self.pending: list[int] = []
        self.n = state.n_online
        self.variance = state.variance
        self.y = state.y
        self.work = np.empty_like(self.y)
        self.prices: Floats = np.empty(0)

    def best(self, kind: int) -> tuple[int, float]:
        """Host with the least score after an arrival of this kind, and the change; (-1, inf) if none."""
        if not self.simple:
            scores = self.state.arrivals(kind)
            host = int(scores.argmin())
            return (host, float(scores[host])) if scores[host] < INF else (-1, INF)
        if kind != self.kind:
            self._switch(kind)
        # variance + into * (2 y + into) / n - (into / n)^2, with all that stays constant in `fixed`
        work = self.work
        np.multiply(self.y, self.twice, out=work)
        work += self.fixed
        work += self.variance[:, None]
        np.sqrt(work, out=work)
        scores = self.weight @ work
        scores += self.prices
        host = int(scores.argmin())
        after = float(scores[host])
        return (host, after - self.deviation) if after < INF else (-1, INF)

    def add(self, kind: int, host: int) -> None:
        """Carry out a placement."""
        if not self.simple:
            self.state.add(kind, host)
            return
        self.pending.append(host)
        self.variance = self.work[:, host] ** 2
        self.deviation = float(self.weight @ self.work[:, host])
        into = self.into[:, host]
        self.y[:, host] += into
        self.y -= (into / self.n)[:, None] * self.state.problem.online
        self.fit[host] -= 1
        if self.fit[host] < 1:
            self.prices[host] = INF

    def _switch(self, kind: int) -> None:
        state, p = self.state, self.state.problem
        for host in self.pending:
            state.add(self.kind, host)
        self.pending.clear()
        self.kind = kind
        self.weight = p.weight
        self.y = state.y.copy()
        self.variance = state.variance
        self.deviation = state.deviation()
        self.into: Floats = p.amount[:, kind, None] * p.scale
        self.twice = 2 * self.into / self.n
        self.fixed = self.into**2 / self.n - (self.into / self.n) ** 2
        self.prices = state.arrive[kind].copy()
        # How many more units each host takes; only one host's number changes per placement.
        fits = [
            (room + SLACK) // need for room, need in zip(state.room, p.need[:, kind], strict=True) if need
        ]
        self.fit = np.minimum.reduce(fits) if fits else np.full(p.hosts, INF)
