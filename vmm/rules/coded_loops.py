"""The compiled form of any, all, count, sum, mean, min, max where programs do not keep them up to date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vmm.rules import nodes as n
from vmm.rules.array_aggregates import FALLBACK, VectorAggregate
from vmm.rules.coder import Atom, Coder
from vmm.rules.row_parts import Fallback


def write_aggregate(coder: Coder, node: n.Aggregate) -> Atom:
    """Lines that work the aggregate out."""
    vectorised = _vectorised(coder, node)
    if vectorised is not None:
        return vectorised
    return _looped(coder, node)


def _vector(coder: Coder, node: n.Aggregate) -> VectorAggregate | None:
    """The array form, the same for the same node; None: there is none."""
    if node in coder.vectors:
        return coder.vectors[node]
    loop, vector = node.loops[0], None
    if len(node.loops) == 1 and loop.source is None and isinstance(loop.var, n.Var):
        kind, keep = loop.var.kind, coder.keep
        keep_truth = None if keep is None else lambda part, variable: keep(kind, part, variable)
        with suppress(Fallback):
            vector = VectorAggregate(node, coder.world.table(kind), loop.var.name, keep_truth)
    coder.vectors[node] = vector
    return vector


def _vectorised(coder: Coder, node: n.Aggregate) -> Atom | None:
    """One call on arrays, and loops for when the values do not allow that. None: there is no array form."""
    vector = _vector(coder, node)
    if vector is None:
        return None
    result = coder.let(_call(coder, vector, ""), True, node.fn in ("count", "min", "max"))
    coder.put(f"if {result.code} is {coder.names.bind(FALLBACK, 'fallback')}:")
    coder.depth += 1
    coder.put(f"{result.code} = {_looped(coder, node).code}")
    coder.depth -= 1
    return result


def _call(coder: Coder, vector: VectorAggregate, method: str) -> str:
    outer = [coder.value(part).code for part in vector.outer]
    return f"{coder.names.bind(vector, 'vector')}{method}([{', '.join(outer)}])"


def write_bounds(coder: Coder, node: n.Compare) -> Atom | None:
    """A comparison decided by bounds that are quick to get: lines for its truth, None where undecided.

    Returns None where there is nothing to gain.
    """
    sides = (node.left, node.right)
    if not any(_gains(coder, side) for side in sides) or not all(_can_bound(coder, s) for s in sides):
        return None
    left, right = (_about(coder, side) for side in sides)
    return coder.let(f"compare({node.op!r}, {left}, {right})", True)


def _gains(coder: Coder, node: n.Node) -> bool:
    match node:
        case n.Aggregate(fn="sum" | "mean" | "min" | "max"):
            return not coder.is_ready(node) and _vector(coder, node) is not None
        case n.Arith(op="+" | "-" | "*" | "/", left=left, right=right) if not coder.is_ready(node):
            return _gains(coder, left) or _gains(coder, right)
        case n.Neg(operand=operand) if not coder.is_ready(node):
            return _gains(coder, operand)
    return False


def _can_bound(coder: Coder, node: n.Node) -> bool:
    """Whether all aggregates in it are kept, or can be bounded."""
    if _gains(coder, node):
        return isinstance(node, n.Aggregate) or all(_can_bound(coder, c) for c in n.children(node))
    return node.type in n.NUMERIC and not any(
        isinstance(part, n.Aggregate) and not coder.is_ready(part) for part in n.walk(node)
    )


def _about(coder: Coder, node: n.Node) -> str:
    if not _gains(coder, node):
        return coder.value(node).code
    match node:
        case n.Aggregate():
            vector = _vector(coder, node)
            assert vector is not None
            return coder.let(_call(coder, vector, ".bounds"), True).code
        case n.Arith(op=op, left=left, right=right):
            first, second = _about(coder, left), _about(coder, right)
            return coder.let(f"arith_about({op!r}, {first}, {second})", True).code
        case n.Neg(operand=operand):
            return coder.let(f"opposite({_about(coder, operand)})", True).code
    raise AssertionError(node)  # pragma: no cover


def _looped(coder: Coder, node: n.Aggregate) -> Atom:
    """Loops; where columns are read, once for when all their values are known, and once for when not."""
    columns = sorted(
        {
            (part.kind, part.column)
            for part in n.walk(node)
            if isinstance(part, n.ColumnRead) and isinstance(part.subject, n.Var) and part.column != "name"
        }
    )
    if not columns or coder.complete:
        return _loops_once(coder, node)
    tables = [coder.world.table(kind).columns[column] for kind, column in columns]
    tests = " or ".join(f"{coder.names.bind(column, 'column')}.unknown" for column in tables)
    result = coder.fresh()
    coder.put(f"if {tests}:")
    coder.depth += 1
    atom = _loops_once(coder, node)
    coder.put(f"{result} = {atom.code}")
    coder.depth -= 1
    coder.put("else:")
    coder.depth += 1
    coder.complete = frozenset(columns)
    coder.put(f"{result} = {_loops_once(coder, node).code}")
    coder.complete = frozenset()
    coder.depth -= 1
    return Atom(result, atom.nullable, atom.loose)


def _loops_once(coder: Coder, node: n.Aggregate) -> Atom:
    variables = {loop.var.name for loop in node.loops}
    parts: list[n.Node] = [node.element, *(x.condition for x in node.loops if x.condition is not None)]
    parts += [loop.source for loop in node.loops[1:] if loop.source is not None]
    write = {"any": _decided, "all": _decided, "count": _counted, "min": _extreme, "max": _extreme}
    with coder.hoisted(parts, variables):
        return write.get(node.fn, _total)(coder, node)


Body = Callable[[str], None]


def _loops(coder: Coder, node: n.Aggregate, body: Body, missing: str, after: str = "") -> None:
    """Writes the loops. `body(kept)` writes what is done with a member; `kept` is its condition's truth:
    `True`, or a variable that is True or None. `missing` is a statement for a table that is unknown, `after`
    one that stands behind each inner loop."""
    depth = coder.depth
    outermost = 0
    kept = "True"
    for index, loop in enumerate(node.loops):
        row = coder.fresh()
        coder.bind_row(loop.var.name, row)
        if loop.source is None:
            assert isinstance(loop.var, n.Var)
            coder.put(f"for {row} in {coder.table(loop.var.kind)}.values():")
        else:
            source = coder.value(loop.source)
            coder.put(f"if {source.code} is None:")
            coder.depth += 1
            coder.put(missing)
            coder.depth -= 1
            coder.put("else:")
            coder.depth += 1
            coder.put(f"for {row} in {source.code}:")
        coder.depth += 1
        outermost = outermost or coder.depth
        if loop.condition is not None:
            test = coder.truth(loop.condition)
            coder.put(f"if {test.code} is False: continue")
            if test.nullable:
                kept = test.code if kept == "True" else coder.let(_both(kept, test.code)).code
        if index == len(node.loops) - 1:
            body(kept)
    if after and len(node.loops) > 1:
        coder.depth = outermost
        coder.put(after)
    coder.depth = depth


def _both(first: str, second: str) -> str:
    return f"True if {first} is True and {second} is True else None"


def _decided(coder: Coder, node: n.Aggregate) -> Atom:
    """any: a known True decides; all: a known False does."""
    decides, start = ("True", "False") if node.fn == "any" else ("False", "True")
    result = coder.fresh()
    coder.put(f"{result} = {start}")

    def body(kept: str) -> None:
        element = coder.truth(node.element)
        coder.put(f"if {element.code} is not {start}:")
        tests = [f"{element.code} is {decides}"] if element.nullable else []
        tests += [] if kept == "True" else [f"{kept} is True"]
        if not tests:
            coder.put(f"    {result} = {decides}")
            coder.put("    break")
            return
        coder.put(f"    if {' and '.join(tests)}:")
        coder.put(f"        {result} = {decides}")
        coder.put("        break")
        coder.put(f"    {result} = None")

    _loops(coder, node, body, f"{result} = None", f"if {result} is {decides}: break")
    return Atom(result, nullable=True)


def _counted(coder: Coder, node: n.Aggregate) -> Atom:
    sure, perhaps = coder.fresh(), coder.fresh()
    coder.put(f"{sure} = {perhaps} = 0")

    def body(kept: str) -> None:
        element = coder.truth(node.element)
        if kept == "True" and not element.nullable:
            coder.put(f"if {element.code}: {sure} += 1")
            return
        test = f"{element.code} is True" + ("" if kept == "True" else f" and {kept} is True")
        coder.put(f"if {element.code} is not False:")
        coder.put(f"    if {test}: {sure} += 1")
        coder.put(f"    else: {perhaps} += 1")

    _loops(coder, node, body, f"{perhaps} = inf")
    return coder.let(f"between({sure}, {sure} + {perhaps}) if {perhaps} else {sure}", True, True)


def _element(coder: Coder, node: n.Aggregate) -> Atom:
    """A number that is finite, or None."""
    atom = coder.value(node.element)
    if atom.loose:
        atom = coder.let(f"None if type({atom.code}) is Between else {atom.code}", True)
    if isinstance(node.element, n.ColumnRead | n.Const) or node.element.type in ("int", "bool", "str"):
        return atom
    if node.element.type == "any":
        return coder.let(f"finite({atom.code})", True)
    test = f"{atom.code} is None or " if atom.nullable else ""
    return coder.let(f"None if {test}{atom.code} - {atom.code} != 0.0 else {atom.code}", True)


def _extreme(coder: Coder, node: n.Aggregate) -> Atom:
    certain, possible, unknown = coder.fresh(), coder.fresh(), coder.fresh()
    coder.put(f"{certain} = []; {possible} = []; {unknown} = False")

    def body(kept: str) -> None:
        element = _element(coder, node)
        if element.nullable:
            coder.put(f"if {element.code} is None: {unknown} = True")
            coder.put(f"elif {kept}: {certain}.append({element.code})")
        else:
            coder.put(f"if {kept}: {certain}.append({element.code})")
        if kept != "True":
            coder.put(f"else: {possible}.append({element.code})")

    _loops(coder, node, body, f"{unknown} = True")
    numeric = node.type in n.NUMERIC
    code = f"extreme({node.fn!r}, {certain}, {possible}, {unknown}, {numeric})"
    return coder.let(code, True, numeric)


def _total(coder: Coder, node: n.Aggregate) -> Atom:
    values, complete = coder.fresh(), coder.fresh()
    coder.put(f"{values} = []; {complete} = True")

    def body(kept: str) -> None:
        element = _element(coder, node)
        coder.put(f"{values}.append({element.code})")
        tests = [f"{kept} is None"] if kept != "True" else []
        tests += [f"{element.code} is None"] if element.nullable else []
        if tests:
            coder.put(f"if {' or '.join(tests)}:")
            coder.put(f"    {complete} = False")
            coder.put("    break")

    _loops(coder, node, body, f"{complete} = False", f"if not {complete}: break")
    floats = node.element.type == "float"
    return coder.let(f"total_of({node.fn!r}, {values}, {floats}) if {complete} else None", True)
