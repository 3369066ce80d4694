"""What a condition demands of each quantity it compares with a constant, as a range of numbers or texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from vmm.rules import nodes as n
from vmm.rules.programs import SUBJECT, rename, truth_of

_MAX_BRANCHES = 32
OWN_SHARE = n.Var(type="subject", name="share", kind="share", text="share")

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`; an open end does not belong.

    `texts`: the only texts allowed (None: any), `not_texts`: those that are not.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    texts: frozenset[str] | None = None
    not_texts: frozenset[str] = frozenset()

    @property
    def of_texts(self) -> bool:
        return self.texts is not None or bool(self.not_texts)

    @property
    def empty(self) -> bool:
        if self.texts is not None:
            return not self.texts - self.not_texts
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def meet(self, other: Range) -> Range:
        """What belongs to both."""
        texts = self.texts
        if other.texts is not None:
            texts = other.texts if texts is None else texts & other.texts
        low, low_open = max((self.low, self.low_open), (other.low, other.low_open))
        high, closed = min((self.high, not self.high_open), (other.high, not other.high_open))
        return Range(low, high, low_open, not closed, texts, self.not_texts | other.not_texts)

    def gap(self, other: Range) -> float:
        """The distance between two ranges that do not meet; 0 where they touch."""
        return max(0.0, other.low - self.high, self.low - other.high)

    def __str__(self) -> str:
        if self.texts is not None:
            return " or ".join(sorted(map(repr, self.texts - self.not_texts)))
        if self.not_texts:
            return f"not {' or '.join(sorted(map(repr, self.not_texts)))}"
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
    for part in conjuncts(node):
        for quantity, allowed in filter(None, (_demand(part), _extreme(part))):
            before = out.get(quantity)
            out[quantity] = allowed if before is None else before.meet(allowed)
    return out


def conjuncts(node: n.Node, negated: bool = False) -> list[n.Node]:
    """The parts that must all be true for the node to be true (or false, with `negated`)."""
    match node:
        case n.And(operands=operands) if not negated:
            return [p for o in operands for p in conjuncts(o, False)]
        case n.Or(operands=operands) if negated:
            return [p for o in operands for p in conjuncts(o, True)]
        case n.Not(operand=operand):
            return conjuncts(operand, not negated)
        case n.Compare(op=op, left=left, right=right) if negated:
            return [n.Compare(type="bool", op=_NEGATED[op], left=left, right=right)]
    return [n.Not(type="bool", operand=node)] if negated else [node]


def branches(node: n.Node) -> list[n.Node]:
    """Conjunctions without `or` of which one must be true for the node to be true; few of them."""
    choices: list[tuple[n.Node, ...]] = []
    for part in conjuncts(node):
        match part:
            case n.Or(operands=operands):
                choices.append(operands)
            case n.Not(operand=n.And(operands=operands)):
                choices.append(tuple(n.Not(type="bool", operand=o) for o in operands))
            case _:
                choices.append((part,))
    if math.prod(map(len, choices)) > _MAX_BRANCHES:
        choices = [choice for choice in choices if len(choice) == 1]
    return [n.And(type="bool", operands=chosen) for chosen in product(*choices)]


def _demand(node: n.Node) -> tuple[n.Node, Range] | None:
    match node:
        case n.Compare(op=op, left=left, right=n.Const(value=value)):
            return _compared(left, op, value)
        case n.Compare(op=op, left=n.Const(value=value), right=right):
            return _compared(right, _FLIPPED[op], value)
        case n.Compare(op=op, left=left, right=right) if _numbers(left, right):
            return _difference(op, left, right)
        case n.OneOf(item=item, choices=choices):
            values = [c.value for c in choices if isinstance(c, n.Const)]
            if len(values) == len(choices) and all(isinstance(v, str) for v in values):
                return named(item), Range(texts=frozenset(str(v) for v in values))
            if values and len(values) == len(choices) and not any(isinstance(v, str) for v in values):
                numbers = [float(v) for v in values]
                return named(item), Range(min(numbers), max(numbers))
        case n.Aggregate(fn="any", loops=(n.Loop(source=None),)):
            return named(_count(node)), Range(low=1.0)
        case n.Not(operand=n.Aggregate(fn="any", loops=(n.Loop(source=None),)) as aggregate):
            return named(_count(aggregate)), Range(0.0, 0.0)
        case n.ColumnRead(type="bool") | n.Known() | n.HasSubject():
            return named(node), Range(1.0, 1.0)
        case n.Not(operand=n.ColumnRead(type="bool") | n.Known() | n.HasSubject() as operand):
            return named(operand), Range(0.0, 0.0)
    return None


def _extreme(node: n.Node) -> tuple[n.Node, Range] | None:
    """What `any` and `all` over one comparison say of the greatest or the smallest value."""
    negated = isinstance(node, n.Not)
    aggregate = node.operand if isinstance(node, n.Not) else node
    if not (isinstance(aggregate, n.Aggregate) and aggregate.fn in ("any", "all")):
        return None
    element, loops = aggregate.element, aggregate.loops
    if not isinstance(element, n.Compare) or len(loops) != 1:
        return None
    op, quantity, bound = element.op, element.left, element.right
    if isinstance(quantity, n.Const):
        op, quantity, bound = _FLIPPED[op], bound, quantity
    op = _NEGATED[op] if negated else op
    if op not in ("<", "<=", ">", ">=") or not (isinstance(bound, n.Const) and _numbers(quantity, bound)):
        return None
    one = (aggregate.fn == "any") != negated
    fn = "max" if one == (op[0] == ">") else "min"
    of = aggregate.text.removeprefix(f"{aggregate.fn}({element.text}")
    text = f"{fn}({quantity.text}{of}"
    extreme = n.Aggregate(type=quantity.type, fn=fn, element=quantity, loops=loops, text=text)
    return _compared(extreme, op, bound.value)


def _count(node: n.Aggregate) -> n.Aggregate:
    """How many there are for which it is true; one form for any, count and sum of 1."""
    loop = replace(node.loops[0], condition=None)
    text = f"count({node.text[4:]}" if node.fn == "any" and node.text.startswith("any(") else node.text
    return replace(node, fn="count", type="int", element=truth_of(node), loops=(loop,), text=text)


def _numbers(*nodes: n.Node) -> bool:
    return all(node.type in ("int", "float") for node in nodes)


def _difference(op: str, left: n.Node, right: n.Node) -> tuple[n.Node, Range] | None:
    """Two quantities compared with each other: their difference, whichever comes first."""
    first, second = named(left), named(right)
    if first == second:
        return (first, Range(1.0, 0.0)) if op in ("<", ">", "!=") else None
    if _shape(first) > _shape(second):
        left, right, op = right, left, _FLIPPED[op]
    type_ = "int" if left.type == right.type == "int" else "float"
    text = f"{left.text} - {right.text}"
    return _compared(n.Arith(type=type_, op="-", left=left, right=right, text=text), op, 0)


def _shape(node: n.Node) -> list[tuple[str, ...]]:
    """What a node is but for its texts, for an order that does not depend on them."""
    keys = ("fn", "op", "kind", "column", "value")
    return [
        (
            type(part).__name__,
            *(str(x) for key in keys if not isinstance(x := getattr(part, key, ""), n.Node)),
        )
        for part in n.walk(node)
    ]


def _compared(quantity: n.Node, op: str, value: bool | int | float | str) -> tuple[n.Node, Range] | None:
    if isinstance(value, str):
        if op == "==":
            return named(quantity), Range(texts=frozenset({value}))
        return (named(quantity), Range(not_texts=frozenset({value}))) if op == "!=" else None
    ranges = {
        "<": Range(high=value, high_open=True),
        "<=": Range(high=value),
        ">": Range(low=value, low_open=True),
        ">=": Range(low=value),
        "==": Range(value, value),
    }
    if op not in ranges:
        return None
    if isinstance(quantity, n.Aggregate) and quantity.fn == "count" and len(quantity.loops) == 1:
        quantity = _count(quantity) if quantity.loops[0].source is None else quantity
    allowed = ranges[op]
    if quantity.type == "int" and math.isfinite(value):  # above 0 means at least 1
        low = math.floor(value) + 1.0 if allowed.low_open else float(math.ceil(value))
        high = math.ceil(value) - 1.0 if allowed.high_open else float(math.floor(value))
        allowed = Range(
            low if allowed.low > -math.inf else allowed.low, high if allowed.high < math.inf else allowed.high
        )
    return named(quantity), allowed


def named(quantity: n.Node) -> n.Node:
    """With its variables under common names, so that the same quantity of two rules is equal."""
    quantity = _own(quantity)
    variables = sorted(
        {part.name for part in n.walk(quantity) if isinstance(part, n.Var)},
        key=lambda name: (not name.isidentifier(), name),
    )
    for index, name in enumerate(variables):
        quantity = rename(quantity, name, f"{SUBJECT}{index}")
    return quantity


def own_share(node: n.Node, key: n.Node) -> n.Node:
    """The node with the share of this name as if it were the rule's own subject."""
    return _replaced(
        node, lambda part: OWN_SHARE if part == n.Lookup(type="subject", kind="share", key=key) else None
    )


def _own(node: n.Node) -> n.Node:
    """The share and the host of a rule's own guest as if they were its own subject."""
    return _replaced(node, _of_guest)


def _of_guest(part: n.Node) -> n.Node | None:
    match part:
        case n.Lookup(kind=kind, key=n.ColumnRead(subject=n.Var(name="guest"), column=column)):
            if kind == column:
                return n.Var(type="subject", name=kind, kind=kind, text=kind)
        case n.ColumnRead(subject=n.Var(name="guest"), column="share", text=text):
            return n.ColumnRead(type="str", subject=OWN_SHARE, kind="share", column="name", text=text)
    return None


def _replaced(node: n.Node, by: Callable[[n.Node], n.Node | None]) -> n.Node:
    other = by(node)
    if other is not None:
        return other
    changes: dict[str, Any] = {}
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, n.Node):
            changes[f.name] = _replaced(value, by)
        elif isinstance(value, tuple) and value and isinstance(value[0], n.Node):
            changes[f.name] = tuple(_replaced(item, by) for item in value)
    return replace(node, **changes) if changes else node
