"""Balancing several groups at once: how many of the plan's moves and how much of its time each may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from vmm.policies.groups import joined
from vmm.policies.model import Cluster
from vmm.policies.plan import Limits, Plan

if TYPE_CHECKING:
    from vmm.policies.balance import Search

One = Callable[[Cluster, "Search"], Plan]
"""Balances one group."""


def balanced(cluster: Cluster, parts: Sequence[Cluster], search: Search, limits: Limits, one: One) -> Plan:
    """Each group's plan, joined. `max_moves` and `min_gain` are of the whole plan."""
    guests = max(sum(len(part.guests) for part in parts), 1)
    least = None if search.min_gain is None else 0.0
    searches = [
        replace(
            search,
            min_gain=least,
            budget_s=search.budget_s and search.budget_s * max(len(part.guests), 1) / guests,
        )
        for part in parts
    ]
    if search.max_moves is not None:
        shares = _shares(parts, searches, search.max_moves, one)
        searches = [replace(s, max_moves=share) for s, share in zip(searches, shares, strict=True)]
    plan = joined(cluster, [one(part, s) for part, s in zip(parts, searches, strict=True)], limits)
    if search.max_moves is not None:  # the plan without a limit, if it keeps it all the same
        free = [
            one(part, replace(s, max_moves=None, swaps=False))
            for part, s in zip(parts, searches, strict=True)
        ]
        cheap = joined(cluster, free, limits)
        if len(cheap.actions) <= search.max_moves and cheap.score_after < plan.score_after:
            plan = cheap
    gain = plan.score_before - plan.score_after
    if plan.actions and search.min_gain is not None and gain < search.min_gain:
        why = f"the best plan found gains {gain:.6f}, less than {search.min_gain:.6f}"
        return replace(plan, actions=(), score_after=plan.score_before, why_empty=why)
    return plan


def _shares(parts: Sequence[Cluster], searches: Sequence[Search], most: int, one: One) -> list[int]:
    """Moves for each group: the next move goes where it gains most, by plans without a deep search."""
    gains = []
    for part, search in zip(parts, searches, strict=True):
        plan = one(part, replace(search, swaps=False, max_moves=most))
        scores = [plan.score_before, *(a.score_after or 0.0 for a in plan.actions)]
        gains.append([before - after for before, after in pairwise(scores)])
    if sum(map(len, gains)) <= most and not any(s.swaps for s in searches):
        return [most] * len(parts)
    taken = [0] * len(parts)
    for _ in range(most):
        rest = [row[at] if at < len(row) else -1.0 for row, at in zip(gains, taken, strict=True)]
        best = max(range(len(parts)), key=lambda i: rest[i])
        if rest[best] < 0 and all(at >= len(row) for row, at in zip(gains, taken, strict=True)):
            best = min(range(len(parts)), key=lambda i: taken[i] / max(len(parts[i].guests), 1))
        taken[best] += 1
    return taken
