"""Placement: the best host for a new guest, or for a batch of them one after another.

Pure: takes a model and guests, returns a plan of START actions. The host chosen is the one with the
least score after the placement, among those that keep every hard constraint; a tie goes to the first.
"""

from __future__ import annotations

from collections.abc import Iterable

from vmm.policies._check import check_guests
from vmm.policies._fill import Filler
from vmm.policies._problem import compile_arrivals
from vmm.policies._state import State
from vmm.policies.constraints import why_nowhere
from vmm.policies.errors import BadRequest, NoRoom
from vmm.policies.groups import split
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

    They are new, or in the cluster without a host. A guest that fits nowhere is in `unplaced` with the
    reason; with `strict` it raises NoRoom instead.
    """
    wanted = (guests,) if isinstance(guests, Guest) else tuple(guests)
    for guest in wanted:
        if guest.host is not None:
            raise BadRequest(f"guest {guest.name!r} to be placed is on host {guest.host!r} already")
        known = cluster.guest_by_name.get(guest.name)
        if known is not None and known.host is not None:
            raise BadRequest(
                f"guest {guest.name!r} is in the cluster already", next_step="choose another name"
            )
    check_guests(wanted, cluster.host_by_name)
    parts = split(cluster)
    states = [State(compile_arrivals(part, objective, wanted)) for part in parts]
    before = score = sum(state.score() for state in states)
    kinds = states[0].problem.kind_of.tolist()
    overhead_s = (limits or Limits()).overhead_s
    actions: list[Action] = []
    unplaced: dict[str, str] = {}
    refused: dict[int, str] = {}
    fillers = [Filler(state) for state in states]
    filler, part = fillers[0], parts[0]
    for guest, kind in zip(wanted, kinds, strict=True):
        if len(parts) > 1:  # the group whose own score rises least; a tie goes to the first
            found = [f.best(kind)[1] for f in fillers]
            filler, part = min(zip(found, fillers, parts, strict=True), key=lambda row: row[0])[1:]
        host, change = filler.best(kind)
        if host < 0:
            if kind not in refused:  # room only shrinks: what no host takes now, none takes later
                done: dict[str, str | None] = {a.guest: a.target for a in actions}
                new = [g for g in wanted if g.name not in cluster.guest_by_name]
                refused[kind] = why_nowhere(cluster.with_guests(new).moved(done), guest)
            unplaced[guest.name] = refused[kind]
            if strict:
                raise NoRoom(
                    f"guest {guest.name!r} fits on no host: {refused[kind]}",
                    next_step="free room, add a host, or ask for less",
                )
            continue
        score += change
        filler.add(kind, host)
        sizes = {"memory_mib": guest.memory_mib, "vcpus": guest.vcpus}
        actions.append(
            Action(Kind.START, guest.name, "", part.hosts[host].name, 0.0, overhead_s, 1, score, sizes=sizes)
        )
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
