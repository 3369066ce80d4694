"""Rules, and commands of one rule, that undo one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, permutations
from math import isclose, isfinite

from vmm.ini import Finding
from vmm.rules import nodes as n
from vmm.rules.calls import CallSpec
from vmm.rules.feedback import any_guest, implied, of_one_share, rise, takes_a_job, takes_idle
from vmm.rules.ranges import Demands, Range, demands, named
from vmm.rules.rule import Rule

MAKES = {"create_guest": "makes guests", "restart_guest": "starts guests anew"}
UNMAKES = {
    "retire_guest": "takes guests away",
    "destroy_guest": "takes guests away",
    "drain_host": "takes guests away",
}
FILLS = {"create_guest": "makes guests there", "migrate_guest": "moves guests there"}
CLOSES = {"drain_host": "empties the host", "hold_host": "closes the host"}
ADJUSTS = {
    "resize_guest": ("resizes guests", "gives them another size"),
    "migrate_guest": ("moves guests", "moves them elsewhere"),
}
"""Operations that undo themselves when they are called with other arguments."""
_PLACES = {
    "create_guest": ("share", "host"), "migrate_guest": ("guest", "host"), "drain_host": ("host",),
    "hold_host": ("host",),
}  # fmt: skip
_NARROW = 0.05
"""A dead band narrower than this part of its bounds is none in practice."""
_NEXT = "Move the bounds apart, or give one of them an `until`."


def warn(rule: Rule, key: str, message: str, suggestion: str) -> Finding:
    """A warning at the line where the rule's key stands."""
    line = rule.lines.get(key, rule.line)
    return Finding(rule.file, line, f"[{rule.name}] {message}", suggestion, "warning")


def does(rule: Rule, operations: Collection[str]) -> bool:
    """Whether one of its commands is one of these."""
    return any(call.operation in operations for call in rule.cmd)


def opposed(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Every pair of rules of which one undoes what the other does."""
    acting = [rule for rule in rules if does(rule, {**MAKES, **UNMAKES, **FILLS, **CLOSES, **ADJUSTS})]
    wanted = {rule.name: demands(rule.expr) for rule in acting}
    for first, second in permutations(acting, 2):
        if first.until is None and second.until is None:
            yield from _between(first, wanted[first.name], second, wanted[second.name])
    for first, second in combinations(acting, 2):
        if first.until is None and second.until is None and first.each == second.each:
            yield from _adjusting(first, wanted[first.name], second, wanted[second.name])


def undone(rule: Rule) -> Iterator[Finding]:
    """Pairs of commands of one rule of which one undoes the other."""
    for first, second in combinations(rule.cmd, 2):
        if _undoes(first, second, rule) or _undoes(second, first, rule):
            text = f"{first.text} and {second.text} undo one another."
            yield warn(rule, "cmd", text, "Make it two rules.")


def no_dead_band(first: Range, second: Range, rises: int = 0) -> bool:
    """Whether values go from one range to the other by next to nothing.

    `rises`: the rule of the first range acts, and that makes the value larger (1) or smaller (-1) by one.
    """
    if not first.meet(second).empty:
        return True
    if first.of_texts or second.of_texts:
        return False
    gap = first.gap(second)
    towards = (second.low > first.high) - (second.high < first.low)
    if rises * towards > 0:
        return gap <= abs(rises)
    ends = [abs(x) for x in (first.low, first.high, second.low, second.high) if isfinite(x)]
    return gap == 0.0 or gap < _NARROW * max(ends, default=0.0)


def _close(first: Range, second: Range) -> bool:
    """Whether two of their bounds are the same but for little."""
    ends = [(a, b) for a in (first.low, first.high) for b in (second.low, second.high)]
    return any(isclose(a, b, rel_tol=_NARROW) for a, b in ends if isfinite(a) and isfinite(b))


def text_of(quantity: n.Node) -> str:
    return quantity.text or "it"


def _between(maker: Rule, wanted: Demands, unmaker: Rule, unwanted: Demands) -> Iterator[Finding]:
    """One rule makes guests where the other takes them away, or one more or less is all that lies between."""
    acts, counters = MAKES, UNMAKES
    if not (does(maker, acts) and does(unmaker, counters)):
        acts, counters = FILLS, CLOSES
        if not _same_host(maker, unmaker):
            return
    wanted, unwanted = of_one_share(maker, wanted, unmaker, unwanted)
    shared = [q for q in wanted if q in unwanted]
    if any(not no_dead_band(wanted[q], unwanted[q], rise(q)) for q in shared):
        return
    found: Demands = {}
    bounds = [q for q in shared if _bounds(q, wanted[q])]
    apart = [q for q in bounds if wanted[q].meet(unwanted[q]).empty]
    same = wanted.keys() == unwanted.keys()
    if apart:
        if not (takes_a_job(maker, unmaker) and any(map(rise, apart))):
            found = {q: unwanted[q] for q in apart}
    elif same and shared:
        found = {q: unwanted[q] for q in bounds or shared}
    elif bounds and any_guest(unmaker, wanted):
        busy = takes_a_job(maker, unmaker)
        found = {q: unwanted[q] for q in bounds if not busy or _close(wanted[q], unwanted[q])}
    elif acts is MAKES:
        told = implied(maker, wanted, unmaker).items()
        found = {q: allowed for q, allowed in told if no_dead_band(wanted[q], allowed, rise(q))}
    for quantity, second in list(found.items())[:1]:
        act, counter = _act(maker, acts), _act(unmaker, counters)
        yield _opposed(maker, act, wanted[quantity], unmaker, counter, second, text_of(quantity))


def _opposed(
    maker: Rule, act: str, first: Range, unmaker: Rule, counter: str, second: Range, quantity: str
) -> Finding:
    both = first.meet(second)
    if both.empty:
        text = (
            f"{act} when {quantity} is {first}, {_place(unmaker)} {counter} when it is {second}: "
            "there is no dead band between."
        )
    else:
        text = f"{act} and {_place(unmaker)} {counter} when {quantity} is {both}."
    return warn(maker, "expr", text, _NEXT)


def _adjusting(first: Rule, wanted: Demands, second: Rule, other: Demands) -> Iterator[Finding]:
    """Two rules that call the same operation with other arguments, where their ranges all but touch."""
    pair = next(((a, b) for a in first.cmd for b in second.cmd if _contradicts(a, b)), None)
    shared = [q for q in wanted if q in other and _bounds(q, wanted[q])]
    if pair is None or any(not no_dead_band(wanted[q], other[q]) for q in wanted if q in other):
        return
    act, counter = ADJUSTS[pair[0].operation]
    for quantity in shared:
        one, two = wanted[quantity], other[quantity]
        steps = pair[0].operation == "resize_guest" and one.meet(two) in (one, two)
        if not steps or one.meet(two).empty:
            yield _opposed(first, act, one, second, counter, two, text_of(quantity))
            return
    if wanted == other:
        text = f"{pair[0].text} and {pair[1].text} of {_place(second)} undo one another, at the same time."
        yield warn(first, "cmd", text, "Let only one of them act.")


def _undoes(first: CallSpec, second: CallSpec, rule: Rule) -> bool:
    if _contradicts(first, second):
        return True
    if first.operation in FILLS and second.operation in CLOSES:
        host = _argument(first, "host")
        return host is None or host == _argument(second, "host")
    if first.operation not in MAKES or second.operation not in UNMAKES:
        return False
    # A new guest in place of the rule's own is no contradiction, unless that was as good as new.
    return (
        first.operation != "create_guest"
        or takes_idle(rule)
        or not isinstance(_argument(second, "guest"), n.Var)
    )


def _contradicts(first: CallSpec, second: CallSpec) -> bool:
    """The same operation on the same guest, with other arguments of the same names."""
    if first.operation != second.operation or first.operation not in ADJUSTS:
        return False
    if _named(first.args[:1]) != _named(second.args[:1]):
        return False
    others = dict(second.kwargs)
    differ = any(name in others and value != others[name] for name, value in first.kwargs)
    return differ or first.args[1:2] != second.args[1:2]


def _same_host(maker: Rule, unmaker: Rule) -> bool:
    """Whether one brings guests to the very host that the other empties or closes."""
    if maker.each != unmaker.each:
        return False
    hosts = [host for c in maker.cmd if c.operation in FILLS and (host := _argument(c, "host")) is not None]
    return any(c.operation in CLOSES and _argument(c, "host") in hosts for c in unmaker.cmd)


def _argument(call: CallSpec, name: str) -> n.Node | None:
    names = _PLACES.get(call.operation, ("guest",))
    given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
    return given.get(name)


def _named(args: Sequence[n.Node]) -> list[n.Node]:
    return [named(arg) for arg in args]


def _bounds(quantity: n.Node, allowed: Range) -> bool:
    """Whether it is a bound of a number: what is only true or false, or a name, tells rules apart at most."""
    return quantity.type != "bool" and allowed != Range() and not allowed.of_texts


def _act(rule: Rule, operations: Mapping[str, str]) -> str:
    return next(operations[call.operation] for call in rule.cmd if call.operation in operations)


def _place(rule: Rule) -> str:
    return f"[{rule.name}] ({rule.file}:{rule.lines.get('expr', rule.line)})"
