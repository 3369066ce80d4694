"""Warnings at load: rules that can never be true, that undo one another, that leave no dead band."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmm.ini import Finding
from vmm.rules import nodes as n
from vmm.rules.constants import always_true, constantly_not_true
from vmm.rules.ranges import Demands, Range, demands
from vmm.rules.rule import Rule

_MAKES = frozenset({"create_guest"})
_UNMAKES = frozenset({"retire_guest", "destroy_guest", "drain_host"})
_NARROW = 0.05
"""A dead band narrower than this part of its bounds is none in practice."""


def conflicts(rules: Iterable[Rule]) -> list[Finding]:
    """Everything doubtful about the rules, each by itself and taken together."""
    active = [rule for rule in rules if rule.enabled]
    found: list[Finding] = []
    for rule in active:
        found += _alone(rule)
    wanted = {rule.name: demands(rule.expr) for rule in active}
    for maker in active:
        for unmaker in active:
            if maker is not unmaker and _does(maker, _MAKES) and _does(unmaker, _UNMAKES):
                found += _between(maker, wanted[maker.name], unmaker, wanted[unmaker.name])
    return found


def never_true(node: n.Node) -> bool:
    """Whether no data can make the condition true, as far as that is plain to see."""
    if constantly_not_true(node):
        return True
    match node:
        case n.Not(operand=operand):
            return always_true(operand)
        case n.And(operands=operands):
            return any(never_true(o) for o in operands) or any(r.empty for r in demands(node).values())
        case n.Or(operands=operands):
            return all(never_true(o) for o in operands)
        case n.Aggregate(fn="any", element=element, loops=loops):
            conditions = [loop.condition for loop in loops if loop.condition is not None]
            return never_true(n.And(type="bool", operands=(element, *conditions)))
        case n.Compare():
            return any(allowed.meet(_possible(quantity)).empty for quantity, allowed in demands(node).items())
    return False


def _possible(quantity: n.Node) -> Range:
    match quantity:
        case n.Aggregate(fn="count") | n.Size() | n.Age() | n.Func(name="len" | "abs"):
            return Range(low=0.0)
    return Range()


def _alone(rule: Rule) -> Iterator[Finding]:
    if never_true(rule.expr):
        yield _warn(rule, "expr", "expr can never be true.", "Look at its bounds.")
    if always_true(rule.expr) and rule.ticks_s is None:
        text = "expr is always true: without ticks the rule fires once, and never again."
        yield _warn(rule, "expr", text, "Write a condition, or add ticks.")
    if rule.until is not None:
        yield from _until(rule, rule.until)
    if _does(rule, _MAKES) and _does(rule, _UNMAKES):
        yield _warn(rule, "cmd", "one command of cmd undoes another.", "Make it two rules.")
    for key, node in (("expr", rule.expr), ("until", rule.until)):
        yield from _units(rule, key, node)


def _until(rule: Rule, until: n.Node) -> Iterator[Finding]:
    """The clearing condition must be false, with a gap, where the condition is true."""
    if never_true(until):
        yield _warn(rule, "until", "until can never be true: the rule fires once.", "Look at its bounds.")
    if always_true(until):
        yield _warn(rule, "until", "until is always true: the rule can never fire.", "Write a condition.")
    wanted, cleared = demands(rule.expr), demands(until)
    for quantity in wanted.keys() & cleared.keys():
        if _no_dead_band(wanted[quantity], cleared[quantity]):
            text = (
                f"until ({_text(quantity)} {cleared[quantity]}) leaves no dead band to expr "
                f"({wanted[quantity]}): the rule will flap."
            )
            yield _warn(rule, "until", text, "Move the bounds apart.")


def _between(maker: Rule, wanted: Demands, unmaker: Rule, unwanted: Demands) -> Iterator[Finding]:
    shared = [q for q in wanted if q in unwanted]
    if not shared or maker.until is not None or unmaker.until is not None:
        return
    if any(not _no_dead_band(wanted[q], unwanted[q]) for q in shared):
        return
    quantity = next(
        (q for q in shared if not wanted[q].meet(unwanted[q]).empty and _limits(wanted[q])), shared[0]
    )
    first, second = wanted[quantity], unwanted[quantity]
    both = first.meet(second)
    place = f"[{unmaker.name}] ({unmaker.file}:{unmaker.lines.get('expr', unmaker.line)})"
    if both.empty:
        text = (
            f"makes guests when {_text(quantity)} is {first}, {place} takes guests away when it is {second}: "
            "there is no dead band between."
        )
    else:
        text = f"makes guests and {place} takes guests away when {_text(quantity)} is {both}."
    yield _warn(maker, "expr", text, "Move the bounds apart, or give one of them an `until`.")


def _limits(allowed: Range) -> bool:
    return allowed != Range()


def _no_dead_band(first: Range, second: Range) -> bool:
    if first.texts is not None or second.texts is not None:
        return not first.meet(second).empty
    if not first.meet(second).empty:
        return True
    ends = [abs(x) for x in (first.low, first.high, second.low, second.high) if abs(x) != float("inf")]
    return first.gap(second) < _NARROW * max(ends, default=0.0)


def _units(rule: Rule, key: str, node: n.Node | None) -> Iterator[Finding]:
    for part in n.walk(node) if node is not None else ():
        if isinstance(part, n.Compare):
            first, second = part.left.unit, part.right.unit
            if first and second and first != second:
                yield _warn(rule, key, f"{part.text} compares {first} with {second}.", "Convert one of them.")


def _does(rule: Rule, operations: frozenset[str]) -> bool:
    return any(call.operation in operations for call in rule.cmd)


def _text(quantity: n.Node) -> str:
    return quantity.text or "it"


def _warn(rule: Rule, key: str, message: str, suggestion: str) -> Finding:
    line = rule.lines.get(key, rule.line)
    return Finding(rule.file, line, f"[{rule.name}] {message}", suggestion, "warning")
