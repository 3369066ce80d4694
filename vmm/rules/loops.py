"""The part of the analysis that reads comprehensions: any, all, count, sum, mean, min, max, len."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from vmm.rules import nodes as n
from vmm.rules.schema import PLURALS

if TYPE_CHECKING:
    from vmm.rules.analyse import Analyser

_TRUE = n.Const(type="bool", value=True, text="True")


def mapping_kind(tree: ast.expr) -> str | None:
    """`manager.hosts` -> host; None for anything else."""
    if isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Name) and tree.value.id == "manager":
        return PLURALS.get(tree.attr)
    return None


class Comprehensions:
    """Reads one aggregate call at a time in the analyser's scope."""

    def __init__(self, analyser: Analyser) -> None:
        self.analyser = analyser
        self._count = 0

    def aggregate(self, tree: ast.Call, fn: str, argument: ast.expr) -> n.Node:
        """The node of `fn(argument)`. Raises ExpressionError."""
        kind = mapping_kind(argument)
        if kind is None and isinstance(argument, ast.Call) and isinstance(argument.func, ast.Attribute):
            kind = mapping_kind(argument.func.value)  # len(manager.hosts.values())
        if kind is not None:
            if fn in ("len", "count"):
                return n.Size(type="int", kind=kind)
            raise self.analyser.error(
                tree, f"{fn} needs a condition or value for each {kind}.",
                f"Write {fn}({kind}.... for {kind} in manager.{kind}s.values()).",
            )  # fmt: skip
        if isinstance(argument, ast.GeneratorExp | ast.ListComp):
            return self._comprehension(tree, fn, argument)
        if fn == "len":
            return self._length(tree, argument)
        raise self.analyser.error(
            tree, f"{fn} needs something to loop over.", f"Write {fn}(... for x in manager.hosts.values())."
        )

    def _length(self, tree: ast.Call, argument: ast.expr) -> n.Node:
        node = self.analyser.value(argument)
        if node.type not in ("table", "str", "any"):
            raise self.analyser.error(tree, f"{node.text!r} is {node.type} and has no length.")
        return n.Func(type="int", name="len", args=(node,))

    def _comprehension(self, tree: ast.Call, fn: str, comp: ast.GeneratorExp | ast.ListComp) -> n.Node:
        outer = dict(self.analyser.scope)
        try:
            loops = tuple(self._loop(g) for g in comp.generators)
            element = self._element(fn, comp.elt)
        finally:
            self.analyser.scope = outer
        if fn == "len":
            if isinstance(comp, ast.GeneratorExp):
                raise self.analyser.error(tree, "len needs a list.", "Write len([...]) or count(...).")
            fn, element = "count", _TRUE
        if fn == "sum" and element.type == "bool":
            fn = "count"
        if fn == "sum" and isinstance(element, n.Const) and element.value == 1 and element.type == "int":
            fn, element = "count", _TRUE
        return n.Aggregate(
            type=self._type(fn, element), unit=element.unit, fn=fn, element=element, loops=loops
        )

    @staticmethod
    def _type(fn: str, element: n.Node) -> str:
        if fn in ("any", "all"):
            return "bool"
        if fn == "count":
            return "int"
        if fn == "mean":
            return "float"
        return element.type

    def _element(self, fn: str, elt: ast.expr) -> n.Node:
        if fn in ("any", "all", "count", "len"):
            node = self.analyser.expression(elt)
            return _TRUE if isinstance(node, n.Var | n.RowVar) else node
        node = self.analyser.value(elt)
        if fn in ("sum", "mean") or node.type != "str":
            self.analyser.need_number(elt, node, fn)
        return node

    def _loop(self, generator: ast.comprehension) -> n.Loop:
        var, source = self._bind(generator.target, generator.iter)
        tests = [self.analyser.condition(test) for test in generator.ifs]
        if not tests:
            condition = None
        elif len(tests) == 1:
            condition = tests[0]
        else:
            text = " and ".join(test.text for test in tests)
            condition = n.And(type="bool", operands=tuple(tests), text=text)
        return n.Loop(type="loop", var=var, source=source, condition=condition)

    def _bind(self, target: ast.expr, iterable: ast.expr) -> tuple[n.Var | n.RowVar, n.Node | None]:
        method, base = "", iterable
        if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Attribute):
            method, base = iterable.func.attr, iterable.func.value
            if iterable.args or iterable.keywords or method not in ("values", "items", "keys"):
                raise self.analyser.error(iterable, f"cannot loop over {self.analyser.text(iterable)!r}.",
                                          "Write .values(), .items() or .keys().")  # fmt: skip
        kind = mapping_kind(base)
        if kind is None:
            return self._bind_rows(target, iterable)
        names = self._targets(target, 2 if method == "items" else 1)
        self._count += 1
        var = n.Var(type="subject", name=f"{names[-1]}{self._count}", kind=kind, text=names[-1])
        name = n.ColumnRead(type="str", subject=var, kind=kind, column="name", text=names[0])
        if method == "values":
            self.analyser.scope[names[0]] = var
        else:  # the mapping itself and .keys() give names, .items() both
            self.analyser.scope[names[0]] = name
            if method == "items":
                self.analyser.scope[names[1]] = var
        return var, None

    def _bind_rows(self, target: ast.expr, iterable: ast.expr) -> tuple[n.RowVar, n.Node]:
        source = self.analyser.expression(iterable)
        if not isinstance(source, n.ColumnRead) or source.type != "table":
            raise self.analyser.error(
                iterable,
                f"cannot loop over {source.text!r}.",
                "Loop over manager.clients.values(), .hosts, .guests, .shares, or over a table.",
            )
        (name,) = self._targets(target, 1)
        self._count += 1
        columns = self.analyser.schema.kinds[source.kind][source.column].columns
        var = n.RowVar(type="row", name=f"{name}{self._count}", columns=columns, text=name)
        self.analyser.scope[name] = var
        return var, source

    def _targets(self, target: ast.expr, count: int) -> list[str]:
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        found = [t.id for t in names if isinstance(t, ast.Name)]
        if len(found) != count or len(found) != len(names):
            raise self.analyser.error(
                target,
                f"this loop binds {count} name{'s' if count > 1 else ''}, not {self.analyser.text(target)}.",
            )
        for name in found:
            if name in ("manager", "sender"):
                raise self.analyser.error(target, f"{name!r} is taken.")
        return found
