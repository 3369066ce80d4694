"""The typed tree of an expression: what analyse.py makes and every evaluator reads.

Types are `bool`, `int`, `float`, `str`, `any` (a cell of a reported table), `table`, `dict`, `row` and
`subject`. All nodes are immutable; two evaluators given the same node and the same world must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

NUMERIC = ("bool", "int", "float")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`text` is the source, `line` counts within the expression, `unit` is for people."""

    type: str
    text: str = field(default="", compare=False)
    line: int = field(default=1, compare=False)
    unit: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Const(Node):
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Var(Node):
    """A subject: the rule's own (`each`) or a loop's. `name` is unique within the expression."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class RowVar(Node):
    """A row of a reported table, bound by a loop."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lookup(Node):
    """`manager.hosts[key]`; unknown when there is no such subject."""

    kind: str
    key: Node


@dataclass(frozen=True, slots=True)
class ColumnRead(Node):
    subject: Var | Lookup
    kind: str
    column: str


@dataclass(frozen=True, slots=True)
class RowField(Node):
    """A cell of a table's row, or of a property that is one row by itself (a dict)."""

    row: RowVar | ColumnRead
    column: str


@dataclass(frozen=True, slots=True)
class Now(Node):
    """Stream time in seconds."""


@dataclass(frozen=True, slots=True)
class Size(Node):
    """`len(manager.hosts)`."""

    kind: str


@dataclass(frozen=True, slots=True)
class HasSubject(Node):
    """`name in manager.hosts`."""

    kind: str
    key: Node


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class And(Node):
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`op` is one of < <= > >= == !=."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class OneOf(Node):
    """`item in (a, b, c)`."""

    item: Node
    choices: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Within(Node):
    """`item in text_or_list`."""

    item: Node
    container: Node


@dataclass(frozen=True, slots=True)
class Arith(Node):
    """`op` is one of + - * / // %; `+` also joins texts."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Neg(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class IfElse(Node):
    condition: Node
    then: Node
    other: Node


@dataclass(frozen=True, slots=True)
class Func(Node):
    """abs, round, len, min, max (of several values), startswith, endswith, join (of an f-string)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Known(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class Age(Node):
    """Seconds since the column was last read."""

    column: ColumnRead


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """`for var in source if condition`. Source: all subjects of the variable's kind, or a table's rows."""

    var: Var | RowVar
    source: Node | None
    condition: Node | None


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """any, all, count, sum, mean, min, max of `element` over the loops, the last being the innermost."""

    fn: str
    element: Node
    loops: tuple[Loop, ...]


def children(node: Node) -> Iterator[Node]:
    """Direct sub-nodes, in source order."""
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Node):
                    yield item


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def may_be_bounded(node: Node) -> bool:
    """Whether the value can be known only within bounds (see bounds.Between)."""
    match node:
        case Aggregate(fn=fn):
            return fn in ("count", "min", "max") and node.type in NUMERIC
        case Arith(left=left, right=right):
            return may_be_bounded(left) or may_be_bounded(right)
        case Neg(operand=operand):
            return may_be_bounded(operand)
        case IfElse(then=then, other=other):
            return may_be_bounded(then) or may_be_bounded(other)
    return False


def free_variables(node: Node) -> set[str]:
    """Names of the variables that the node reads but does not bind itself."""
    match node:
        case Var(name=name) | RowVar(name=name):
            return {name}
        case Aggregate(element=element, loops=loops):
            names = free_variables(element)
            for loop in reversed(loops):
                if loop.condition is not None:
                    names |= free_variables(loop.condition)
                names.discard(loop.var.name)
                if loop.source is not None:
                    names |= free_variables(loop.source)
            return names
    out: set[str] = set()
    for child in children(node):
        out |= free_variables(child)
    return out
