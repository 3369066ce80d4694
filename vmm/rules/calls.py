"""The commands of a rule: `sender.NAME(...)` checked against the published operations."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from vmm.ini import suggest
from vmm.rules import nodes as n
from vmm.rules.analyse import Analyser, as_value
from vmm.rules.errors import ExpressionError
from vmm.rules.schema import KINDS, Operation, Parameter, Schema
from vmm.rules.syntax import parse_calls


@dataclass(frozen=True, slots=True)
class CallSpec:
    """One command as written: an operation and typed expressions for its arguments."""

    operation: str
    args: tuple[n.Node, ...]
    kwargs: tuple[tuple[str, n.Node], ...]
    text: str
    line: int


def analyse_calls(text: str, schema: Schema, each: str | None) -> tuple[CallSpec, ...]:
    """The typed commands of a braced `cmd`. Raises ExpressionError."""
    trees, source = parse_calls(text)
    return tuple(_call(tree, schema, Analyser(schema, each, source)) for tree in trees)


def _call(tree: ast.Call, schema: Schema, analyser: Analyser) -> CallSpec:
    func = tree.func
    base = func.value if isinstance(func, ast.Attribute) else None
    if not (isinstance(func, ast.Attribute) and isinstance(base, ast.Name) and base.id == "sender"):
        raise ExpressionError(
            f"{analyser.text(tree)!r} is not a command.", tree.lineno, "Write sender.NAME(...)."
        )
    operation = schema.operations.get(func.attr)
    if operation is None:
        raise ExpressionError(
            f"sender has no {func.attr!r}.", tree.lineno, suggest(func.attr, schema.operations)
        )
    args = tuple(
        _argument(operation, _positional(operation, i, tree), a, analyser) for i, a in enumerate(tree.args)
    )
    kwargs: list[tuple[str, n.Node]] = []
    for keyword in tree.keywords:
        parameter = _named(operation, keyword, len(args))
        if keyword.arg is None or keyword.arg in dict(kwargs):
            raise ExpressionError(f"{keyword.arg!r} is given twice.", tree.lineno)
        kwargs.append((keyword.arg, _argument(operation, parameter, keyword.value, analyser)))
    given = {p.name for p in operation.parameters[: len(args)]} | {name for name, _ in kwargs}
    for parameter in operation.parameters:
        if parameter.required and parameter.name not in given:
            raise ExpressionError(
                f"sender.{operation.name} needs {parameter.name!r} ({parameter.type}).", tree.lineno,
                f"Write {signature(operation)}.",
            )  # fmt: skip
    return CallSpec(operation.name, args, tuple(kwargs), analyser.text(tree), tree.lineno)


def signature(operation: Operation) -> str:
    """`sender.create_guest(share, host=...)`, for messages and documents."""
    parts = [p.name if p.required else f"{p.name}=..." for p in operation.parameters]
    if operation.rest:
        parts.append("name, ...")
    if operation.keywords:
        parts.append("key=value, ...")
    return f"sender.{operation.name}({', '.join(parts)})"


def _positional(operation: Operation, index: int, tree: ast.Call) -> Parameter:
    if index < len(operation.parameters):
        return operation.parameters[index]
    if operation.rest:
        return Parameter("name", operation.rest)
    raise ExpressionError(
        f"sender.{operation.name} takes no {index + 1}. argument.",
        tree.lineno,
        f"Write {signature(operation)}.",
    )


def _named(operation: Operation, keyword: ast.keyword, positional: int) -> Parameter:
    for index, parameter in enumerate(operation.parameters):
        if parameter.name == keyword.arg:
            if index < positional:
                raise ExpressionError(f"{keyword.arg!r} is given twice.", keyword.value.lineno)
            return parameter
    if operation.keywords:
        return Parameter(str(keyword.arg), "any")
    raise ExpressionError(
        f"sender.{operation.name} has no argument {keyword.arg!r}.",
        keyword.value.lineno,
        suggest(str(keyword.arg), [p.name for p in operation.parameters]),
    )


def _argument(operation: Operation, parameter: Parameter, tree: ast.expr, analyser: Analyser) -> n.Node:
    node = analyser.expression(tree)
    where = f"sender.{operation.name}: {parameter.name}"
    wanted = parameter.type
    if wanted in KINDS:
        if isinstance(node, n.Var | n.Lookup):
            if node.kind != wanted:
                raise ExpressionError(f"{where} is a {wanted}, {node.text!r} is a {node.kind}.", tree.lineno)
        elif node.type != "str":
            raise ExpressionError(f"{where} is a {wanted} or its name, not {node.type}.", tree.lineno)
        return as_value(node)
    node = as_value(node)
    fits = wanted == "any" or node.type in (wanted, "any") or (wanted == "float" and node.type == "int")
    if not fits:
        raise ExpressionError(
            f"{where} is {wanted}, {node.text!r} is {node.type}.", tree.lineno,
            "Write an f-string: f'... {x}'." if wanted == "str" else "",
        )  # fmt: skip
    return node
