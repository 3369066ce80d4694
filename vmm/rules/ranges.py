"""What a condition demands of each quantity it compares with a constant, as a range of numbers or texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vmm.rules import nodes as n
from vmm.rules.programs import SUBJECT, rename

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`; an open end does not belong. `texts`: the only texts allowed."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    texts: frozenset[str] | None = None

    @property
    def empty(self) -> bool:
        if self.texts is not None:
            return not self.texts
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def meet(self, other: Range) -> Range:
        """What belongs to both."""
        texts = self.texts
        if other.texts is not None:
            texts = other.texts if texts is None else texts & other.texts
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Range(low, high, low_open, not closed, texts)

    def gap(self, other: Range) -> float:
        """The distance between two ranges that do not meet; 0 where they touch."""
        return max(0.0, other.low - self.high, self.low - other.high)

    def __str__(self) -> str:
        if self.texts is not None:
            return " or ".join(sorted(map(repr, self.texts)))
        if self.low == self.high:
            return f"{self.low:g}"
        parts = []
        if self.low > -math.inf:
            parts.append(f"above {self.low:g}" if self.low_open else f"at least {self.low:g}")
        if self.high < math.inf:
            parts.append(f"below {self.high:g}" if self.high_open else f"at most {self.high:g}")
        return " and ".join(parts) or "anything"


Demands = dict[n.Node, Range]


def demands(node: n.Node) -> Demands:
    """Quantity -> range, for every condition that must hold for the node to be true.

    Quantities of the rule's own subject are equal between rules, whatever the subject is called.
    """
    out: Demands = {}
    for part in _conjuncts(node, False):
        found = _demand(part)
        if found is not None:
            quantity, allowed = found
            before = out.get(quantity)
            out[quantity] = allowed if before is None else before.meet(allowed)
    return out


def _conjuncts(node: n.Node, negated: bool) -> list[n.Node]:
    match node:
        case n.And(operands=operands) if not negated:
            return [p for o in operands for p in _conjuncts(o, False)]
        case n.Or(operands=operands) if negated:
            return [p for o in operands for p in _conjuncts(o, True)]
        case n.Not(operand=operand):
            return _conjuncts(operand, not negated)
        case n.Compare(op=op, left=left, right=right) if negated:
            return [n.Compare(type="bool", op=_NEGATED[op], left=left, right=right)]
    return [n.Not(type="bool", operand=node)] if negated else [node]


def _demand(node: n.Node) -> tuple[n.Node, Range] | None:
    match node:
        case n.Compare(op=op, left=left, right=n.Const(value=value)):
            return _compared(left, op, value)
        case n.Compare(op=op, left=n.Const(value=value), right=right):
            return _compared(right, _FLIPPED[op], value)
        case n.OneOf(item=item, choices=choices):
            values = [c.value for c in choices if isinstance(c, n.Const)]
            if len(values) == len(choices) and all(isinstance(v, str) for v in values):
                return _named(item), Range(texts=frozenset(str(v) for v in values))
        case n.ColumnRead(type="bool"):
            return _named(node), Range(1.0, 1.0)
        case n.Not(operand=n.ColumnRead(type="bool") as read):
            return _named(read), Range(0.0, 0.0)
    return None


def _compared(quantity: n.Node, op: str, value: bool | int | float | str) -> tuple[n.Node, Range] | None:
    if isinstance(value, str):
        return (_named(quantity), Range(texts=frozenset({value}))) if op == "==" else None
    ranges = {
        "<": Range(high=value, high_open=True),
        "<=": Range(high=value),
        ">": Range(low=value, low_open=True),
        ">=": Range(low=value),
        "==": Range(value, value),
    }
    if op not in ranges:
        return None
    allowed = ranges[op]
    if quantity.type == "int":  # above 0 means at least 1
        low = math.floor(value) + 1.0 if allowed.low_open else allowed.low
        high = math.ceil(value) - 1.0 if allowed.high_open else allowed.high
        allowed = Range(low, high)
    return _named(quantity), allowed


def _named(quantity: n.Node) -> n.Node:
    """With its variables under common names, so that the same quantity of two rules is equal."""
    variables = sorted(
        {part.name for part in n.walk(quantity) if isinstance(part, n.Var)},
        key=lambda name: (not name.isidentifier(), name),
    )
    for index, name in enumerate(variables):
        quantity = rename(quantity, name, f"{SUBJECT}{index}")
    return quantity
