"""Clusters of several node groups: each is a planning problem of its own, its score adds to the others'.

Hosts of different groups never exchange guests, so one deviation over all of them would blame a plan for what
no move can change. Planners split the cluster here, plan each part, and join the plans: steps of
different groups run at the same time as far as the limits allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vmm.policies.errors import BadRequest
from vmm.policies.model import Cluster, Guest
from vmm.policies.plan import Action, Kind, Limits, Plan
from vmm.policies.schedule import Step, group_numbers


def group_names(cluster: Cluster) -> list[str]:
    """Names of the groups, in the order of their first hosts."""
    return list(dict.fromkeys(h.group for h in cluster.hosts))


def split(cluster: Cluster) -> list[Cluster]:
    """One cluster for each group (guests without a host in none); the cluster itself when it has but one."""
    names = group_names(cluster)
    return [cluster] if len(names) < 2 else [_part(cluster, name) for name in names]


def only(cluster: Cluster, name: str) -> Cluster:
    """The hosts of one group, their guests, and those without a host; BadRequest for an unknown name."""
    names = group_names(cluster)
    if name not in names:
        known = ", ".join(n for n in names if n)
        raise BadRequest(
            f"group {name!r} is not in the cluster",
            next_step=f"use one of {known}" if known else "leave --group out: its hosts have no groups",
        )
    return _part(cluster, name, [g for g in cluster.guests if g.host is None])


def _part(cluster: Cluster, name: str, more: Sequence[Guest] = ()) -> Cluster:
    hosts = [h for h in cluster.hosts if h.group == name]
    inside = {h.name for h in hosts}
    guests = [g for g in cluster.guests if g.host in inside] + list(more)
    return Cluster(hosts, [_confined(g, inside) for g in guests])


def _confined(guest: Guest, inside: set[str]) -> Guest:
    """The guest with what it says of hosts of other groups left out."""
    if guest.pinned - inside:
        pins = guest.pinned & inside
        why = guest.immovable or ("" if pins else f"it is pinned to {min(guest.pinned)} of another group")
        guest = replace(guest, pinned=pins, immovable=why)
    if guest.secondary and guest.secondary not in inside:
        guest = replace(guest, secondary="")
    return guest


def share_of(plan: Plan, part: Cluster) -> Plan:
    """The plan with the actions alone that concern this part of the cluster."""
    inside = part.host_by_name
    return replace(plan, actions=tuple(a for a in plan.actions if (a.target or a.source) in inside))


def joined(cluster: Cluster, plans: Sequence[Plan], limits: Limits) -> Plan:
    """One plan from those of the cluster's parts (as `split` gives them); scores are their sums."""
    first = plans[0]
    steps = sorted(
        ((a.group, i, a) for i, p in enumerate(plans) for a in p.actions if a.kind is not Kind.POWER_OFF),
        key=lambda step: step[:2],
    )
    guests = cluster.guest_by_name
    asked: list[Step] = [(guests[a.guest], a.source, a.target) for _, _, a in steps]
    scores = [p.score_before for p in plans]
    actions: list[Action] = []
    for (_, i, action), group in zip(steps, group_numbers(cluster, asked, limits), strict=True):
        scores[i] = scores[i] if action.score_after is None else action.score_after
        actions.append(replace(action, group=group, score_after=sum(scores)))
    last = actions[-1].group if actions else 0
    for i, plan in enumerate(plans):
        offs = [a for a in plan.actions if a.kind is Kind.POWER_OFF]
        for a in offs:
            scores[i] = a.score_after or 0.0
            actions.append(replace(a, group=last + a.group - offs[0].group + 1, score_after=sum(scores)))
    left = {name for p in plans for name in p.hosts_left}
    why = {name: p.why_empty for name, p in zip(group_names(cluster), plans, strict=True) if p.why_empty}
    return replace(
        first,
        score_before=sum(p.score_before for p in plans),
        score_after=sum(p.score_after for p in plans),
        actions=tuple(actions),
        why_empty="" if actions else "; ".join(f"group {name}: {said}" for name, said in why.items()),
        hosts_left=tuple(h.name for h in cluster.hosts if h.name in left),
        unplaced={name: why for p in plans for name, why in p.unplaced.items()},
        reasons={name: why for p in plans for name, why in p.reasons.items()},
        cut_by_clock=any(p.cut_by_clock for p in plans),
    )
