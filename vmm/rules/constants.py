"""Conditions that read nothing: their truth is known before anything runs."""

from __future__ import annotations

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.interpret import Interpreter

_READS = (
    n.Var,
    n.RowVar,
    n.Lookup,
    n.ColumnRead,
    n.RowField,
    n.Now,
    n.Size,
    n.HasSubject,
    n.Age,
    n.Aggregate,
)


def constant(node: n.Node) -> bool:
    """Whether no data and no time can change the value."""
    return not any(isinstance(part, _READS) for part in n.walk(node))


def always_true(node: n.Node) -> bool:
    """Whether the condition is true whatever the data, as far as that is plain to see."""
    if constant(node):
        return Interpreter(World()).truth(node, {}) is True
    match node:
        case n.Or(operands=operands):
            return any(always_true(o) for o in operands)
        case n.And(operands=operands):
            return all(always_true(o) for o in operands)
    return False


def constantly_not_true(node: n.Node) -> bool:
    """Whether the value is constant, and false or unknown (as 1 / 0 is)."""
    return constant(node) and not always_true(node)
