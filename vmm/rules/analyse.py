"""Gives names and types to a syntax tree: ast -> nodes. Every name must be published, every type must fit."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace

from vmm.ini import suggest
from vmm.rules import nodes as n
from vmm.rules.errors import ExpressionError
from vmm.rules.loops import Comprehensions, mapping_kind
from vmm.rules.schema import PLURALS, ColumnSpec, Schema
from vmm.rules.syntax import parse_expression, source_of

_COMPARE = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_ARITH = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
FUNCTIONS = (
    "len", "any", "all", "sum", "mean", "min", "max", "count", "abs", "round", "age", "known", *_SECONDS,
)  # fmt: skip


def analyse(text: str, schema: Schema, each: str | None) -> n.Node:
    """The typed tree of a braced condition; `each` is the kind of the rule's subject.

    Raises ExpressionError.
    """
    tree, source = parse_expression(text)
    return Analyser(schema, each, source).condition(tree)


class Analyser:
    """Holds the names in scope while one expression is read."""

    def __init__(self, schema: Schema, each: str | None, source: str) -> None:
        self.schema = schema
        self.source = source
        self.each = each
        self.scope: dict[str, n.Node] = {}
        if each is not None:
            self.scope[each] = n.Var(type="subject", name=each, kind=each, text=each)
        self.loops = Comprehensions(self)

    def condition(self, tree: ast.expr) -> n.Node:
        """An expression used for its truth."""
        node = self.expression(tree)
        if node.type in ("row", "dict"):
            raise self.error(tree, f"{node.text} is not a condition.", "Compare one of its columns.")
        return node

    def value(self, tree: ast.expr) -> n.Node:
        """An expression used as a value: a subject counts as its name."""
        return as_value(self.expression(tree))

    def expression(self, tree: ast.expr) -> n.Node:
        """Any expression. Raises ExpressionError."""
        node = self._expression(tree)
        return replace(node, text=self.text(tree), line=getattr(tree, "lineno", 1))

    def _expression(self, tree: ast.expr) -> n.Node:
        match tree:
            case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
                return n.Const(type=type(value).__name__, value=value)
            case ast.Name(id=name):
                return self._name(tree, name)
            case ast.Attribute(value=base, attr=attr):
                return self._attribute(tree, base, attr)
            case ast.Subscript(value=base, slice=key):
                return self._subscript(tree, base, key)
            case ast.BoolOp(op=op, values=values):
                parts = tuple(self.condition(v) for v in values)
                make = n.And if isinstance(op, ast.And) else n.Or
                return make(type="bool", operands=parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return n.Not(type="bool", operand=self.condition(operand))
            case ast.UnaryOp(op=op, operand=operand):
                return self._sign(tree, op, operand)
            case ast.Compare():
                return self._comparison(tree)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(tree, _ARITH[type(op)], self.value(left), self.value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._if_else(tree, test, body, orelse)
            case ast.JoinedStr(values=values):
                return n.Func(type="str", name="join", args=tuple(self._piece(v) for v in values))
            case ast.Call():
                return self._call(tree)
        raise self.error(
            tree, f"{self.text(tree)!r} cannot stand here.", "Use it within any(...), all(...), count(...)."
        )

    def text(self, tree: ast.AST) -> str:
        return source_of(tree, self.source)

    def error(self, tree: ast.AST, message: str, suggestion: str = "") -> ExpressionError:
        return ExpressionError(message, getattr(tree, "lineno", 1), suggestion)

    def _name(self, tree: ast.AST, name: str) -> n.Node:
        node = self.scope.get(name)
        if node is not None:
            return node
        if name == "manager":
            raise self.error(tree, "`manager` alone has no value.", "Write manager.clients, .hosts, ...")
        if name in PLURALS.values():
            raise self.error(
                tree, f"{name!r} is known only in a rule for each {name}.", f"Add `each = {name}`."
            )
        if name in FUNCTIONS:
            raise self.error(tree, f"{name} is a function.", f"Write {name}(...).")
        if name == "sender":
            raise self.error(tree, "`sender` is for cmd.", "A condition only reads.")
        raise self.error(
            tree, f"there is no name {name!r}.", suggest(name, [*self.scope, "manager", *FUNCTIONS])
        )

    def _attribute(self, tree: ast.expr, base: ast.expr, attr: str) -> n.Node:
        if isinstance(base, ast.Name) and base.id == "manager" and "manager" not in self.scope:
            if attr == "now":
                return n.Now(type="float", unit="s")
            if attr in PLURALS:
                raise self.error(
                    tree,
                    f"manager.{attr} is all {attr}, not a condition or value.",
                    f"Write len(manager.{attr}) or any(... for x in manager.{attr}.values()).",
                )
            raise self.error(tree, f"manager has no {attr!r}.", suggest(attr, [*PLURALS, "now"]))
        return self._read(tree, self.expression(base), attr)

    def _subscript(self, tree: ast.expr, base: ast.expr, key: ast.expr) -> n.Node:
        kind = mapping_kind(base)
        if kind is not None:
            name = self.value(key)
            if name.type not in ("str", "any"):
                raise self.error(key, f"a {kind} is named by a text, not by {name.type}.")
            return n.Lookup(type="subject", kind=kind, key=name)
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise self.error(tree, "what stands in [...] is a column's name.", "Write ['ram_free'].")
        return self._read(tree, self.expression(base), key.value)

    def _read(self, tree: ast.AST, base: n.Node, column: str) -> n.Node:
        if isinstance(base, n.RowVar) or (isinstance(base, n.ColumnRead) and base.type == "dict"):
            known = base.columns if isinstance(base, n.RowVar) else self._spec(base).columns
            if known and column not in known:
                raise self.error(tree, f"{base.text} has no column {column!r}.", suggest(column, known))
            return n.RowField(type="any", row=base, column=column)
        if not isinstance(base, n.Var | n.Lookup):
            raise self.error(
                tree,
                f"{base.text} is a {base.type} and has no {column!r}.",
                "Loop over .values() to get at the columns." if base.type == "str" else "",
            )
        spec = self.schema.kinds[base.kind].get(column)
        if spec is None:
            raise self.error(
                tree, f"a {base.kind} has no column {column!r}.", suggest(column, self._columns(base.kind))
            )
        return n.ColumnRead(type=spec.type, unit=spec.unit, subject=base, kind=base.kind, column=column)

    def _spec(self, read: n.ColumnRead) -> ColumnSpec:
        return self.schema.kinds[read.kind][read.column]

    def _columns(self, kind: str) -> Mapping[str, ColumnSpec]:
        return self.schema.kinds[kind]

    def _sign(self, tree: ast.AST, op: ast.unaryop, operand: ast.expr) -> n.Node:
        node = self.value(operand)
        self.need_number(tree, node, "a sign")
        if isinstance(op, ast.UAdd):
            return node
        type_ = "int" if node.type == "bool" else node.type
        return n.Neg(type=type_, unit=node.unit, operand=node)

    def need_number(self, tree: ast.AST, node: n.Node, what: str) -> None:
        if node.type not in (*n.NUMERIC, "any"):
            raise self.error(tree, f"{what} needs numbers, {node.text!r} is {node.type}.")

    def _comparison(self, tree: ast.Compare) -> n.Node:
        parts: list[n.Node] = []
        left = tree.left
        for op, right in zip(tree.ops, tree.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                part = self._membership(tree, self.value(left), right)
                negated = n.Not(type="bool", operand=part, text=self.text(tree))
                parts.append(negated if isinstance(op, ast.NotIn) else part)
            else:
                parts.append(self._pair(tree, _COMPARE[type(op)], self.value(left), self.value(right)))
            left = right
        if len(parts) == 1:
            return parts[0]
        return n.And(type="bool", operands=tuple(parts))

    def _pair(self, tree: ast.AST, op: str, left: n.Node, right: n.Node) -> n.Node:
        numbers = left.type in n.NUMERIC and right.type in n.NUMERIC
        if not (numbers or left.type == right.type or "any" in (left.type, right.type)):
            raise self.error(
                tree,
                f"{left.text!r} is {left.type} and {right.text!r} is {right.type}: they do not compare.",
                "Mind the quotes: numbers have none." if "str" in (left.type, right.type) else "",
            )
        if op not in ("==", "!=") and left.type in ("table", "dict", "row"):
            raise self.error(tree, f"{left.text!r} is a {left.type} and has no order.")
        for read, const in ((left, right), (right, left)):
            if op in ("==", "!=") and isinstance(const, n.Const):
                self._check_choice(tree, read, const)
        return n.Compare(
            type="bool", op=op, left=left, right=right, text=f"{left.text} {op} {right.text}", line=left.line
        )

    def _check_choice(self, tree: ast.AST, read: n.Node, const: n.Const) -> None:
        """A text that a column never has is a typo."""
        if isinstance(read, n.ColumnRead) and isinstance(const.value, str):
            allowed = self.schema.kinds[read.kind][read.column].values
            if allowed and const.value not in allowed:
                raise self.error(
                    tree, f"{read.text} is never {const.value!r}.", suggest(const.value, allowed)
                )

    def _membership(self, tree: ast.AST, item: n.Node, right: ast.expr) -> n.Node:
        kind = mapping_kind(right)
        if kind is not None:
            if item.type not in ("str", "any"):
                raise self.error(tree, f"a {kind} is named by a text, not by {item.type}.")
            return n.HasSubject(type="bool", kind=kind, key=item)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            choices = tuple(self.value(e) for e in right.elts)
            for choice in choices:
                self._pair(tree, "==", item, choice)
            return n.OneOf(type="bool", item=item, choices=choices)
        container = self.value(right)
        if container.type not in ("str", "table", "any") or (container.type == "str" and item.type != "str"):
            raise self.error(tree, f"{item.text!r} cannot be in {container.text!r}.")
        return n.Within(type="bool", item=item, container=container)

    def _arithmetic(self, tree: ast.AST, op: str, left: n.Node, right: n.Node) -> n.Node:
        types = {left.type, right.type}
        if op == "+" and types == {"str"}:
            return n.Arith(type="str", op=op, left=left, right=right)
        for node in (left, right):
            self.need_number(tree, node, op)
        if "any" in types:
            result = "any"
        elif op == "/" or "float" in types:
            result = "float"
        else:
            result = "int"
        unit = left.unit if op in "+-" else ""
        return n.Arith(type=result, unit=unit, op=op, left=left, right=right)

    def _if_else(self, tree: ast.AST, test: ast.expr, body: ast.expr, orelse: ast.expr) -> n.Node:
        condition, then, other = self.condition(test), self.value(body), self.value(orelse)
        if then.type == other.type:
            type_ = then.type
        elif then.type in n.NUMERIC and other.type in n.NUMERIC:
            type_ = "float" if "float" in (then.type, other.type) else "int"
        else:
            raise self.error(tree, f"{then.text!r} and {other.text!r} are of different types.")
        return n.IfElse(type=type_, unit=then.unit, condition=condition, then=then, other=other)

    def _piece(self, tree: ast.expr) -> n.Node:
        return self.value(tree.value if isinstance(tree, ast.FormattedValue) else tree)

    def _call(self, tree: ast.Call) -> n.Node:
        if isinstance(tree.func, ast.Attribute):
            return self._method(tree, tree.func)
        if not isinstance(tree.func, ast.Name):
            raise self.error(tree, f"{self.text(tree.func)} cannot be called.")
        name = tree.func.id
        if name not in FUNCTIONS:
            raise self.error(tree, f"there is no function {name!r}.", suggest(name, FUNCTIONS))
        if tree.keywords:
            raise self.error(tree, f"{name} takes no named arguments.")
        if name in ("any", "all", "sum", "mean", "count", "min", "max", "len") and len(tree.args) == 1:
            return self.loops.aggregate(tree, name, tree.args[0])
        return self._function(tree, name)

    def _function(self, tree: ast.Call, name: str) -> n.Node:
        self._arity(tree, name)
        if name in ("known", "age"):
            node = self.expression(tree.args[0])
            if name == "known":
                return n.Known(type="bool", operand=node)
            if not isinstance(node, n.ColumnRead):
                raise self.error(tree, f"age needs a column, not {node.text!r}.", "Write age(host.state).")
            return n.Age(type="float", unit="s", column=node)
        args = tuple(self.value(a) for a in tree.args)
        for arg in args:
            self.need_number(tree, arg, name)
        if name in _SECONDS:
            factor = n.Const(type="int", value=_SECONDS[name], text=str(_SECONDS[name]))
            return n.Arith(
                type="float" if args[0].type == "float" else "int",
                unit="s",
                op="*",
                left=args[0],
                right=factor,
            )
        if name == "round":
            if len(args) == 2 and not isinstance(args[1], n.Const):
                raise self.error(tree, "round's number of digits is a plain number.")
            type_ = "float" if len(args) == 2 and args[0].type == "float" else "int"
            type_ = "any" if args[0].type == "any" else type_
            return n.Func(type=type_, name=name, args=args, unit=args[0].unit)
        types = {a.type for a in args}
        type_ = "any" if "any" in types else "float" if "float" in types else "int"
        return n.Func(type=type_, name=name, args=args, unit=args[0].unit)

    def _arity(self, tree: ast.Call, name: str) -> None:
        least, most = {"round": (1, 2), "min": (2, 20), "max": (2, 20)}.get(name, (1, 1))
        if not least <= len(tree.args) <= most:
            raise self.error(tree, f"{name} takes {least}{'' if least == most else f' to {most}'} arguments.")

    def _method(self, tree: ast.Call, func: ast.Attribute) -> n.Node:
        if isinstance(func.value, ast.Name) and func.value.id == "sender":
            raise self.error(tree, "`sender` is for cmd.", "A condition only reads.")
        if mapping_kind(func.value) is not None:
            raise self.error(
                tree, f"{self.text(tree)} is not a condition or value.", "Loop over it within any(...)."
            )
        base = self.value(func.value)
        if func.attr not in ("startswith", "endswith") or base.type not in ("str", "any"):
            raise self.error(
                tree,
                f"{base.text!r} has no method {func.attr!r}.",
                suggest(func.attr, ("startswith", "endswith")),
            )
        if len(tree.args) != 1 or tree.keywords:
            raise self.error(tree, f"{func.attr} takes one text.")
        part = self.value(tree.args[0])
        if part.type != "str":
            raise self.error(tree, f"{func.attr} takes a text, {part.text!r} is {part.type}.")
        return n.Func(type="bool", name=func.attr, args=(base, part))


def as_value(node: n.Node) -> n.Node:
    """A subject used as a value is its name."""
    if isinstance(node, n.Var | n.Lookup):
        return n.ColumnRead(
            type="str", text=node.text, line=node.line, subject=node, kind=node.kind, column="name"
        )
    return node
