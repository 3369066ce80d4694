"""The meaning of every node, one plain function each: the reference that the fast evaluators must equal.

It walks the tree anew for each value, so it is slow; explanations and commands use it, and the tests
compare the compiled, incremental and vectorised forms with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.bounds import (
    MANY,
    Between,
    arith,
    between,
    compare,
    conjunction,
    disjunction,
    extreme,
    finite,
    negate,
    total_of,
    truth,
)

Scope = Mapping[str, Any]
"""Variable -> name of the subject, or the row itself."""


class Interpreter:
    """Evaluates nodes over one world. Values are Python values, None (unknown) or Between."""

    def __init__(self, world: World) -> None:
        self.world = world

    def truth(self, node: n.Node, scope: Scope) -> bool | None:
        return truth(self.value(node, scope))

    def value(self, node: n.Node, scope: Scope) -> Any:
        """The node's value where `scope` binds its free variables."""
        match node:
            case n.Const(value=value):
                return value
            case n.ColumnRead():
                return self.column(node, scope)
            case n.RowField(row=row, column=column):
                found = scope[row.name] if isinstance(row, n.RowVar) else self.column(row, scope)
                return cell(found, column)
            case n.Var(name=name):
                return scope[name]
            case n.Lookup(kind=kind):
                subject = self.subject(node, scope)
                return subject if subject in self.world.table(kind) else None
            case n.Compare(op=op, left=left, right=right):
                return compare(op, self.value(left, scope), self.value(right, scope))
            case n.And(operands=operands):
                return conjunction(self.truth(o, scope) for o in operands)
            case n.Or(operands=operands):
                return disjunction(self.truth(o, scope) for o in operands)
            case n.Not(operand=operand):
                return negate(self.truth(operand, scope))
            case n.Arith(op=op, left=left, right=right):
                return arith(op, self.value(left, scope), self.value(right, scope))
            case n.Neg(operand=operand):
                return opposite(self.value(operand, scope))
            case n.IfElse(condition=condition, then=then, other=other):
                decided = self.truth(condition, scope)
                return None if decided is None else self.value(then if decided else other, scope)
            case n.Known(operand=operand):
                return self.value(operand, scope) is not None
            case n.Now():
                return self.world.now_s
            case n.Size(kind=kind):
                return len(self.world.table(kind))
        return self._rare(node, scope)

    def _rare(self, node: n.Node, scope: Scope) -> Any:
        match node:
            case n.Aggregate():
                return self._aggregate(node, scope)
            case n.Age(column=column):
                read_s = self.read_time_s(column, scope)
                return None if read_s is None else self.world.now_s - read_s
            case n.HasSubject(kind=kind, key=key):
                name = self.value(key, scope)
                return None if name is None else name in self.world.table(kind)
            case n.OneOf(item=item, choices=choices):
                value = self.value(item, scope)
                return disjunction(compare("==", value, self.value(c, scope)) for c in choices)
            case n.Within(item=item, container=container):
                return within(self.value(item, scope), self.value(container, scope))
            case n.Func(name=name, args=args):
                return function(name, [self.value(a, scope) for a in args])
        raise AssertionError(f"no meaning for {node!r}")  # pragma: no cover

    def subject(self, node: n.Var | n.Lookup, scope: Scope) -> str | None:
        """The name of the subject, which need not exist; None when the name itself is unknown."""
        name = scope[node.name] if isinstance(node, n.Var) else self.value(node.key, scope)
        return name if isinstance(name, str) else None

    def column(self, node: n.ColumnRead, scope: Scope) -> Any:
        """The value of the column, None when it or its subject is unknown."""
        name = self.subject(node.subject, scope)
        table = self.world.table(node.kind)
        if name is None or name not in table:
            return None
        if node.column == "name":
            return name
        reading = table.get(name, node.column)
        return None if reading is None else reading.value

    def read_time_s(self, node: n.ColumnRead, scope: Scope) -> float | None:
        """When the column was last read, also when that value has grown too old since."""
        name = self.subject(node.subject, scope)
        table = self.world.table(node.kind)
        if name is None or name not in table or node.column not in table.columns:
            return None
        read_s = table.columns[node.column].times[table.rows[name]]
        return None if read_s != read_s else read_s

    def members(self, loops: tuple[n.Loop, ...], scope: Scope) -> Iterator[tuple[bool | None, Scope]]:
        """(whether it is in, scope) for all that may be in; what is certainly out is left out.

        A table that is unknown yields one member that is neither in nor out, without its variable.
        """
        if not loops:
            yield True, scope
            return
        loop, rest = loops[0], loops[1:]
        for value in self._source(loop, scope):
            if value is None:
                yield None, {}
                continue
            inner = {**scope, loop.var.name: value}
            kept = True if loop.condition is None else self.truth(loop.condition, inner)
            if kept is False:
                continue
            for deeper, deepest in self.members(rest, inner):
                yield conjunction((kept, deeper)), deepest

    def _source(self, loop: n.Loop, scope: Scope) -> list[Any]:
        if loop.source is None:
            assert isinstance(loop.var, n.Var)
            return self.world.table(loop.var.kind).names()
        rows = self.value(loop.source, scope)
        return [None] if rows is None else [{} if row is None else row for row in rows]

    def _aggregate(self, node: n.Aggregate, scope: Scope) -> Any:
        found = [
            (kept, self.value(node.element, inner) if inner else MANY)
            for kept, inner in self.members(node.loops, scope)
        ]
        return fold(node, found)


def fold(node: n.Aggregate, found: list[tuple[bool | None, Any]]) -> Any:
    """The aggregate of (whether it is in, value) pairs."""
    if node.fn == "any":
        return disjunction(conjunction((kept, truth(v))) for kept, v in found)
    if node.fn == "all":
        return conjunction(disjunction((negate(kept), truth(v))) for kept, v in found)
    if node.fn == "count":
        marks = [conjunction((kept, truth(v))) for kept, v in found]
        sure = marks.count(True)
        return between(sure, inf if any(v is MANY for _, v in found) else sure + marks.count(None))
    found = [(kept, finite(v)) for kept, v in found]
    if node.fn in ("min", "max"):
        certain = [v for kept, v in found if kept and v is not None and type(v) is not Between]
        possible = [v for kept, v in found if kept is None and v is not None and type(v) is not Between]
        unknown = len(found) > len(certain) + len(possible)
        return extreme(node.fn, certain, possible, unknown, node.type in n.NUMERIC)
    if any(kept is None or v is None or type(v) is Between for kept, v in found):
        return None
    return total_of(node.fn, [v for _, v in found], node.element.type == "float")


def opposite(value: Any) -> Any:
    """`-value`."""
    if type(value) is Between:
        return Between(-value.hi, -value.lo)
    return None if value is None or isinstance(value, str) else -value


def cell(row: Any, column: str) -> Any:
    """A cell of a reported table; anything but a finite number, truth value or text is unknown."""
    value = row.get(column) if isinstance(row, dict) else None
    return finite(value) if isinstance(value, bool | int | float | str) else None


def within(item: Any, container: Any) -> bool | None:
    """`item in container` of a text or list."""
    if item is None or container is None:
        return None
    try:
        return item in container
    except TypeError:
        return None


def function(name: str, args: list[Any]) -> Any:
    """abs, round, min, max, len, startswith, endswith, join. Unknown arguments give unknown."""
    if any(a is None or type(a) is Between for a in args):
        if name == "join":
            return "".join("unknown" if a is None else str(a) for a in args)
        return None
    try:
        match name:
            case "abs":
                return abs(args[0])
            case "round":
                return round(*args)
            case "min":
                return min(args)
            case "max":
                return max(args)
            case "len":
                return len(args[0])
            case "startswith":
                return args[0].startswith(args[1])
            case "endswith":
                return args[0].endswith(args[1])
            case "join":
                return "".join(str(a) for a in args)
    except (TypeError, AttributeError, OverflowError, ValueError):
        return None
    raise AssertionError(f"no function {name}")  # pragma: no cover
