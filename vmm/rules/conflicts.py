"""Warnings at load: rules that can never be true, that undo one another, that leave no dead band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmm.ini import Finding
from vmm.rules import nodes as n
from vmm.rules.constants import always_true, constantly_not_true
from vmm.rules.feedback import never_negative
from vmm.rules.opposed import no_dead_band, opposed, text_of, undone, warn
from vmm.rules.ranges import Range, branches, demands
from vmm.rules.rule import Rule


def conflicts(rules: Iterable[Rule]) -> list[Finding]:
    """Everything doubtful about the rules, each by itself and taken together."""
    active = [rule for rule in rules if rule.enabled]
    return [*(finding for rule in active for finding in _alone(rule)), *opposed(active)]


def never_true(node: n.Node) -> bool:
    """Whether no data can make the condition true, as far as that is plain to see."""
    if constantly_not_true(node):
        return True
    match node:
        case n.Not(operand=operand):
            return always_true(operand) or (isinstance(operand, n.And | n.Or) and _empty(node))
        case n.And(operands=operands):
            return any(never_true(o) for o in operands) or all(map(_empty, branches(node)))
        case n.Or(operands=operands):
            return all(never_true(o) for o in operands)
        case n.Aggregate(fn="any", element=element, loops=loops):
            conditions = [loop.condition for loop in loops if loop.condition is not None]
            return never_true(n.And(type="bool", operands=(element, *conditions)))
    return _empty(node)


def _empty(node: n.Node) -> bool:
    return any(allowed.meet(_possible(quantity)).empty for quantity, allowed in demands(node).items())


def _possible(quantity: n.Node) -> Range:
    return Range(low=0.0) if never_negative(quantity) else Range()


def _alone(rule: Rule) -> Iterator[Finding]:
    if never_true(rule.expr):
        yield warn(rule, "expr", "expr can never be true.", "Look at its bounds.")
    if always_true(rule.expr) and rule.ticks_s is None:
        text = "expr is always true: without ticks the rule fires once, and never again."
        yield warn(rule, "expr", text, "Write a condition, or add ticks.")
    if rule.until is not None:
        yield from _until(rule, rule.until)
    yield from undone(rule)
    for key, node in (("expr", rule.expr), ("until", rule.until)):
        yield from _units(rule, key, node)


def _until(rule: Rule, until: n.Node) -> Iterator[Finding]:
    """The clearing condition must be false, with a gap, where the condition is true."""
    if never_true(until):
        yield warn(rule, "until", "until can never be true: the rule fires once.", "Look at its bounds.")
    if always_true(until):
        yield warn(rule, "until", "until is always true: the rule can never fire.", "Write a condition.")
    wanted, cleared = demands(rule.expr), demands(until)
    shared = [q for q in wanted if q in cleared]
    if not all(no_dead_band(wanted[q], cleared[q]) for q in shared):
        return
    for quantity in [q for q in shared if q.type != "bool"] or shared:
        text = (
            f"until ({text_of(quantity)} {cleared[quantity]}) leaves no dead band to expr "
            f"({wanted[quantity]}): the rule will flap."
        )
        yield warn(rule, "until", text, "Move the bounds apart.")


def _units(rule: Rule, key: str, node: n.Node | None) -> Iterator[Finding]:
    for part in n.walk(node) if node is not None else ():
        if isinstance(part, n.Compare):
            first, second = part.left.unit, part.right.unit
            if first and second and first != second:
                yield warn(rule, key, f"{part.text} compares {first} with {second}.", "Convert one of them.")
