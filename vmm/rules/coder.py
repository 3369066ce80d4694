"""Writes Python source for typed nodes: the compiled form of an expression.

The source is made from nodes alone, never from the rule's text, and runs with no builtins but those bound
here. Unknown is None at every step, as in interpret.py, whose results it must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from vmm.cluster.tables import World
from vmm.rules import bounds, interpret
from vmm.rules import nodes as n
from vmm.rules.programs import Program
from vmm.rules.totals import arith_about

if TYPE_CHECKING:
    from vmm.rules.array_aggregates import VectorAggregate

_HELPERS: dict[str, Any] = {
    "truth": bounds.truth,
    "compare": bounds.compare,
    "arith": bounds.arith,
    "arith_about": arith_about,
    "finite": bounds.finite,
    "between": bounds.between,
    "extreme": bounds.extreme,
    "total_of": bounds.total_of,
    "Between": bounds.Between,
    "opposite": interpret.opposite,
    "cell": interpret.cell,
    "within": interpret.within,
    "function": interpret.function,
    "inf": float("inf"),
    "len": len,
    "abs": abs,
    "bool": bool,
    "float": float,
    "int": int,
    "type": type,
    "OverflowError": OverflowError,
}


KeepTruth = Callable[[str, n.Node, str], Program]
"""Has a condition over a subject of a kind kept for all of them; the text is the variable's name."""


class Atom(NamedTuple):
    """Source of a value that is worked out already.

    `nullable`: it may be None; `loose`: it may be a Between, or of any type.
    """

    code: str
    nullable: bool = False
    loose: bool = False


class Names:
    """Objects that generated code refers to, under names of their own."""

    def __init__(self) -> None:
        self.globals: dict[str, Any] = {"__builtins__": {}, **_HELPERS}
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []

    def bind(self, value: Any, prefix: str = "g") -> str:
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"{prefix}{len(self._names)}"
            self.globals[name] = value
            self._kept.append(value)  # an id is one object's as long as the object lives
        return name

    def unique(self, name: str) -> str:
        """A name that nothing has yet."""
        return f"{name}_{len(self.globals)}"

    def define(self, name: str, source: str) -> Callable[..., Any]:
        """Run the source and take out the function `name`."""
        exec(compile(source, f"<rules {name}>", "exec"), self.globals)
        made: Callable[..., Any] = self.globals[name]
        return made


class Coder:
    """Writes one function body. `ready` gives source for nodes that are kept up to date elsewhere."""

    def __init__(
        self, world: World, names: Names, ready: Mapping[n.Node, Atom], keep: KeepTruth | None = None
    ) -> None:
        self.world = world
        self.names = names
        self.keep = keep
        self.vectors: dict[n.Aggregate, VectorAggregate | None] = {}
        """Aggregates in their array form; None has none."""
        self.lines: list[str] = []
        self.depth = 1
        self.complete: frozenset[tuple[str, str]] = frozenset()
        """Columns of which every value is known where the code now written runs."""
        self._vars = 0
        self._atoms: dict[n.Node, Atom] = dict(ready)
        self._rows: dict[str, str] = {}

    # -- writing ------------------------------------------------------------------------------------

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def fresh(self) -> str:
        self._vars += 1
        return f"t{self._vars}"

    def bind_row(self, variable: str, code: str) -> None:
        """The row number (or the row) that a variable stands for."""
        self._rows[variable] = code

    def let(self, code: str, nullable: bool = False, loose: bool = False) -> Atom:
        name = self.fresh()
        self.put(f"{name} = {code}")
        return Atom(name, nullable, loose)

    def guarded(self, operands: list[Atom], code: str, loose: bool = False) -> Atom:
        """`code`, or None when an operand is."""
        tests = [f"{a.code} is None" for a in operands if a.nullable]
        if not tests:
            return self.let(code, loose=loose)
        return self.let(f"None if {' or '.join(tests)} else {code}", True, loose)

    def table(self, kind: str) -> str:
        return self.names.bind(self.world.table(kind).rows, "rows")

    # -- values -------------------------------------------------------------------------------------

    def truth(self, node: n.Node) -> Atom:
        """The node's truth: True, False or (if nullable) None."""
        atom = self.value(node)
        if atom.loose or node.type == "any":
            return self.let(f"truth({atom.code})", True)
        if node.type == "bool":
            return atom
        return self.guarded([atom], f"bool({atom.code})")

    def is_ready(self, node: n.Node) -> bool:
        return node in self._atoms

    def value(self, node: n.Node) -> Atom:
        found = self._atoms.get(node)
        if found is not None:
            return found
        method = getattr(self, f"_{type(node).__name__.lower()}")
        atom: Atom = method(node)
        return atom

    def _const(self, node: n.Const) -> Atom:
        return Atom(repr(node.value))

    def _now(self, _node: n.Now) -> Atom:
        return self.let(f"{self.names.bind(self.world)}.now_s")

    def _size(self, node: n.Size) -> Atom:
        return self.let(f"len({self.table(node.kind)})")

    def _hassubject(self, node: n.HasSubject) -> Atom:
        key = self.value(node.key)
        return self.guarded([key], f"{key.code} in {self.table(node.kind)}")

    def _row(self, subject: n.Var | n.Lookup) -> Atom:
        """The subject's row number."""
        if isinstance(subject, n.Var):
            return Atom(self._rows[subject.name])
        key = self.value(subject.key)
        get = self.names.bind(self.world.table(subject.kind).rows.get, "get")
        return self.guarded([key], f"{get}({key.code})")._replace(nullable=True)

    def _columnread(self, node: n.ColumnRead) -> Atom:
        table = self.world.table(node.kind)
        values = table.row_names if node.column == "name" else table.columns[node.column].values
        row = self._row(node.subject)
        code = f"{self.names.bind(values, 'col')}[{row.code}]"
        if row.nullable:
            return self.guarded([row], code)
        return self.let(code, node.column != "name" and (node.kind, node.column) not in self.complete)

    def _lookup(self, node: n.Lookup) -> Atom:
        return self.value(
            n.ColumnRead(type="str", subject=node, kind=node.kind, column="name", text=node.text)
        )

    def _age(self, node: n.Age) -> Atom:
        times = self.world.table(node.column.kind).columns[node.column.column].times
        row = self._row(node.column.subject)
        read_s = self.guarded([row], f"{self.names.bind(times, 'times')}[{row.code}]")
        tests = f"{read_s.code} is None or " if read_s.nullable else ""
        now = f"{self.names.bind(self.world)}.now_s"
        return self.let(f"None if {tests}{read_s.code} != {read_s.code} else {now} - {read_s.code}", True)

    def _rowfield(self, node: n.RowField) -> Atom:
        row = node.row
        code = self._rows[row.name] if isinstance(row, n.RowVar) else self.value(row).code
        return self.let(f"cell({code}, {node.column!r})", True)

    def _not(self, node: n.Not) -> Atom:
        operand = self.truth(node.operand)
        return self.guarded([operand], f"not {operand.code}")

    def _and(self, node: n.And) -> Atom:
        return self._junction(node.operands, "False")

    def _or(self, node: n.Or) -> Atom:
        return self._junction(node.operands, "True")

    def _junction(self, operands: tuple[n.Node, ...], decides: str) -> Atom:
        """`and`, decided by the first False; `or`, decided by the first True."""
        other = "True" if decides == "False" else "False"
        first = self.truth(operands[0])
        result, nullable = self.fresh(), first.nullable
        self.put(f"{result} = {first.code}")
        for operand in operands[1:]:
            if nullable:
                self.put(f"if {result} is not {decides}:")
            else:
                self.put(f"if {result}:" if decides == "False" else f"if not {result}:")
            self.depth += 1
            atom = self.truth(operand)
            if nullable:
                self.put(f"if {atom.code} is not {other}: {result} = {atom.code}")
            else:
                self.put(f"{result} = {atom.code}")
            self.depth -= 1
            nullable |= atom.nullable
        return Atom(result, nullable)

    def _compare(self, node: n.Compare) -> Atom:
        from vmm.rules.coded_loops import write_bounds

        quick = write_bounds(self, node)
        if quick is None:
            return self._compare_values(node)
        self.put(f"if {quick.code} is None:")
        self.depth += 1
        self.put(f"{quick.code} = {self._compare_values(node).code}")
        self.depth -= 1
        return quick

    def _compare_values(self, node: n.Compare) -> Atom:
        left, right = self.value(node.left), self.value(node.right)
        if "any" in (node.left.type, node.right.type) or (left.loose and right.loose):
            return self.let(f"compare({node.op!r}, {left.code}, {right.code})", True)
        if left.loose or right.loose:
            loose = self.let(left.code if left.loose else right.code, True)
            first, second = (loose, right) if left.loose else (left, loose)
            tests = " or ".join(f"{a.code} is None" for a in (first, second) if a.nullable)
            plain = f"None if {tests} else {first.code} {node.op} {second.code}"
            slow = f"compare({node.op!r}, {first.code}, {second.code})"
            return self.let(f"{slow} if type({loose.code}) is Between else {plain}", True)
        return self.guarded([left, right], f"{left.code} {node.op} {right.code}")

    def _oneof(self, node: n.OneOf) -> Atom:
        constant = all(isinstance(c, n.Const) for c in node.choices)
        if constant and node.item.type != "any" and not n.may_be_bounded(node.item):
            item = self.value(node.item)
            choices = ", ".join(repr(c.value) for c in node.choices if isinstance(c, n.Const))
            return self.guarded([item], f"{item.code} in ({choices}{',' if choices else ''})")
        tests = tuple(n.Compare(type="bool", op="==", left=node.item, right=c) for c in node.choices)
        return self._junction(tests, "True") if tests else Atom("False")

    def _within(self, node: n.Within) -> Atom:
        item, container = self.value(node.item), self.value(node.container)
        return self.let(f"within({item.code}, {container.code})", True)

    def _arith(self, node: n.Arith) -> Atom:
        left, right = self.value(node.left), self.value(node.right)
        if left.loose or right.loose or node.type == "any":
            return self.let(f"arith({node.op!r}, {left.code}, {right.code})", True, True)
        code = f"{left.code} {node.op} {right.code}"
        if node.op in ("/", "//", "%") and not (isinstance(node.right, n.Const) and node.right.value):
            test = " or ".join(f"{a.code} is None" for a in (left, right) if a.nullable)
            test = f"{test} or " if test else ""
            return self.let(f"None if {test}{right.code} == 0 else {code}", True)
        return self.guarded([left, right], code)

    def _neg(self, node: n.Neg) -> Atom:
        operand = self.value(node.operand)
        if operand.loose or node.type == "any":
            return self.let(f"opposite({operand.code})", True, True)
        return self.guarded([operand], f"-{operand.code}")

    def _ifelse(self, node: n.IfElse) -> Atom:
        condition = self.truth(node.condition)
        result = self.fresh()
        self.put(f"{result} = None")
        loose = nullable = False
        for test, branch in (("True", node.then), ("False", node.other)):
            self.put(f"if {condition.code} is {test}:")
            self.depth += 1
            atom = self.value(branch)
            self.put(f"{result} = {atom.code}")
            self.depth -= 1
            loose, nullable = loose or atom.loose, nullable or atom.nullable
        return Atom(result, nullable or condition.nullable, loose)

    def _func(self, node: n.Func) -> Atom:
        args = [self.value(a) for a in node.args]
        codes = ", ".join(a.code for a in args)
        plain = not any(a.loose for a in args) and all(a.type != "any" for a in node.args)
        if plain and node.name in ("abs", "len"):
            return self.guarded(args, f"{node.name}({codes})")
        if plain and node.name in ("startswith", "endswith"):
            return self.guarded(args, f"{args[0].code}.{node.name}({args[1].code})")
        return self.let(f"function({node.name!r}, [{codes}])", True, node.type == "any")

    def _known(self, node: n.Known) -> Atom:
        operand = self.value(node.operand)
        return self.let(f"{operand.code} is not None" if operand.nullable else "True")

    def _aggregate(self, node: n.Aggregate) -> Atom:
        from vmm.rules.coded_loops import write_aggregate

        return write_aggregate(self, node)

    # -- loops --------------------------------------------------------------------------------------

    @contextmanager
    def hoisted(self, nodes: list[n.Node], inner: set[str]) -> Iterator[None]:
        """Work out before a loop what does not depend on its variables; known within the block only."""
        before = dict(self._atoms)
        for node in nodes:
            for part in _independent(node, inner):
                if part not in self._atoms:
                    self._atoms[part] = self.value(part)
        yield
        self._atoms = before


def _independent(node: n.Node, inner: set[str]) -> list[n.Node]:
    """The largest parts of the node that read something but none of the variables in `inner`."""
    if isinstance(node, n.Const | n.Var | n.RowVar | n.Loop):
        return [p for c in n.children(node) for p in _independent(c, inner)]
    if isinstance(node, n.Aggregate):
        inner = inner | {loop.var.name for loop in node.loops}
    if not n.free_variables(node) & inner:
        return [node]
    return [p for child in n.children(node) for p in _independent(child, inner)]
