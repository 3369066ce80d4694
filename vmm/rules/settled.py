"""How far a kept sum may go before a condition that compares it with a constant can have another truth.

`mean(c.load for ...) > 0.9` is the same for all sums well below 0.9 times the number of clients. While the
sum stays there, its changes need not wake the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.programs import Kept, Total

_MARGIN = 2.0**-30
"""Of the edge; far more than all roundings on the way from the sum to the comparison."""
_FAR = 10**290
_ORDERS = ("<", "<=", ">", ">=")


class Settled:
    """One condition's hold on a sum: from `settle` to `release`, or until members come, go or are unknown."""

    def __init__(self, total: Total, edge: Callable[[], float]) -> None:
        self._total = total
        self._edge = edge

    def settle(self) -> None:
        """The condition was just found as it was: note how far its truth reaches."""
        total = self._total
        total.ranges.pop(self, None)
        total.low, total.high = 1, 0
        if total.unknown or not total.count or not total.scale:
            return
        edge = self._edge()
        if not abs(edge) < _FAR:
            return
        margin = abs(edge) * _MARGIN + 1.0
        below, above = math.floor(edge - margin), math.ceil(edge + margin)
        if -_FAR < total.total <= below:
            total.ranges[self] = -_FAR, below
        elif above <= total.total < _FAR:
            total.ranges[self] = above, _FAR
        else:
            return
        if len(total.ranges) == len(total.dependents):
            total.low = max(low for low, _ in total.ranges.values())
            total.high = min(high for _, high in total.ranges.values())

    def release(self) -> None:
        """Every change of the sum is to be told again."""
        self._total.ranges.pop(self, None)
        self._total.low, self._total.high = 1, 0


def settled(node: n.Node, kept: Mapping[n.Node, Kept], world: World) -> Settled | None:
    """For a condition that is one comparison of a sum, or of a mean, of floats with a constant; else None."""
    match node:
        case n.Compare(op=op, left=left, right=n.Const(value=value)) if op in _ORDERS:
            quantity = left
        case n.Compare(op=op, left=n.Const(value=value), right=right) if op in _ORDERS:
            quantity = right
        case _:
            return None
    if isinstance(value, str):
        return None
    size: str | None = None
    match quantity:
        case n.Arith(op="/", left=n.Aggregate(fn="sum") as aggregate, right=n.Size(kind=size)):
            pass
        case n.Aggregate(fn="sum" | "mean") as aggregate:
            pass
        case _:
            return None
    total = kept.get(aggregate)
    if not isinstance(total, Total) or not total.floats:
        return None
    unit = value * total.scale
    if size is not None:
        rows = world.table(size).rows
        return Settled(total, lambda: unit * len(rows))
    if aggregate.fn == "mean":
        return Settled(total, lambda: unit * total.count)
    return Settled(total, lambda: unit)
