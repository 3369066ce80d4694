"""One line that says why a condition is true: its text with the values that decided it."""

from __future__ import annotations

from typing import Any

from vmm.rules import nodes as n
from vmm.rules.bounds import Between
from vmm.rules.interpret import Interpreter, Scope

_MAX = 300


def reason(node: n.Node, interpreter: Interpreter, scope: Scope) -> str:
    """The deciding parts, like `share.jobs_waiting > 0 (3 > 0) and share.can_grow`."""
    parts = list(_deciding(node, interpreter, scope))
    text = " and ".join(_part(p, interpreter, scope) for p in parts)
    return text if len(text) <= _MAX else text[: _MAX - 3] + "..."


def show(value: Any, unit: str = "") -> str:
    """A value as people read it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Between):
        text = str(value)
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, str):
        text = repr(value)
    elif isinstance(value, list):
        return f"{len(value)} rows"
    else:
        text = str(value)
    return f"{text} {unit}" if unit and not isinstance(value, str) else text


def _deciding(node: n.Node, interpreter: Interpreter, scope: Scope) -> list[n.Node]:
    if isinstance(node, n.And):
        return [part for o in node.operands for part in _deciding(o, interpreter, scope)]
    if isinstance(node, n.Or):
        for operand in node.operands:
            if interpreter.truth(operand, scope) is True:
                return _deciding(operand, interpreter, scope)
    return [node]


def _part(node: n.Node, interpreter: Interpreter, scope: Scope) -> str:
    if isinstance(node, n.Compare):
        left = show(interpreter.value(node.left, scope), node.left.unit)
        right = show(interpreter.value(node.right, scope), node.right.unit)
        return f"{node.text} ({left} {node.op} {right})"
    return node.text
