"""Names in rules that nothing has: shares, profiles, queues, properties and commands. Warnings.

triggers.ini alone cannot tell; this looks at all rule files together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vmm.cluster.profiles import Entitlements
from vmm.ini import Finding, suggest
from vmm.rules import Operation, PropertySpec, Rule, RuleBook
from vmm.rules import nodes as n
from vmm.rules.calls import CallSpec

Commands = Mapping[str, Collection[str]]
"""Command plugin -> the names of its arguments."""


def doubts(
    book: RuleBook, entitlements: Entitlements, properties: Mapping[str, PropertySpec], commands: Commands
) -> list[Finding]:
    """What is named and does not exist. Without `commands` those are not looked at."""
    known = _Known(entitlements)
    found: list[Finding] = []
    for rule in book.rules.values():
        found += _in_conditions(rule, known)
        for call in rule.cmd:
            found += _in_call(rule, call, book.schema.operations[call.operation], known, properties)
            if commands and call.operation == "run":
                found += _command(rule, call, commands)
    return found


class _Known:
    """The names that the files give out, by the column that holds such a name."""

    def __init__(self, entitlements: Entitlements) -> None:
        shares, profiles = entitlements.shares, entitlements.profiles
        self.shares = list(shares)
        self.by_column: dict[tuple[str, str], tuple[str, list[str]]] = {
            ("share", "name"): ("share", self.shares),
            ("guest", "share"): ("share", self.shares),
            ("share", "profile"): ("profile", list(profiles)),
            ("guest", "profile"): ("profile", list(profiles)),
            ("share", "queue"): ("queue of a share", [share.queue for share in shares.values()]),
        }


def _in_conditions(rule: Rule, known: _Known) -> Iterator[Finding]:
    for key, node in (("expr", rule.expr), ("until", rule.until)):
        if node is not None:
            line = rule.lines.get(key, rule.line)
            for part in n.walk(node):
                yield from _in_node(rule, key, line + part.line - 1, part, known)


def _in_node(rule: Rule, key: str, line: int, node: n.Node, known: _Known) -> Iterator[Finding]:
    pairs: list[tuple[n.Node, n.Node]] = []
    match node:
        case (
            n.Lookup(kind="share", key=n.Const(value=str(name)))
            | n.HasSubject(kind="share", key=n.Const(value=str(name)))
        ):
            yield from _unless_in(rule, key, line, "share", name, known.shares)
        case n.Compare(op="==" | "!=", left=left, right=right):
            pairs = [(left, right), (right, left)]
        case n.OneOf(item=item, choices=choices):
            pairs = [(item, choice) for choice in choices]
    for read, value in pairs:
        if isinstance(read, n.ColumnRead) and isinstance(value, n.Const):
            what, names = known.by_column.get((read.kind, read.column), ("", []))
            if what:
                yield from _unless_in(rule, key, line, what, str(value.value), names)


def _in_call(
    rule: Rule,
    call: CallSpec,
    operation: Operation,
    known: _Known,
    properties: Mapping[str, PropertySpec],
) -> Iterator[Finding]:
    line = rule.lines.get("cmd", rule.line) + call.line - 1
    parameters = [p.name for p in operation.parameters]
    named = [*zip(parameters, call.args, strict=False), *call.kwargs]
    for name, node in named:
        wanted = next((p.type for p in operation.parameters if p.name == name), "")
        if wanted == "share" and isinstance(node, n.Const):
            yield from _unless_in(rule, "cmd", line, "share", str(node.value), known.shares)
    for node in (*call.args, *(node for _, node in call.kwargs)):
        for part in n.walk(node):
            yield from _in_node(rule, "cmd", line, part, known)
    if operation.name == "send_get_property":
        for node in call.args:
            if isinstance(node, n.Const):
                yield from _unless_in(rule, "cmd", line, "property", str(node.value), properties)


def _command(rule: Rule, call: CallSpec, commands: Commands) -> Iterator[Finding]:
    line = rule.lines.get("cmd", rule.line) + call.line - 1
    kwargs = dict(call.kwargs)
    node = kwargs.pop("command", call.args[1] if len(call.args) > 1 else None)
    if not isinstance(node, n.Const):
        return
    name = str(node.value)
    yield from _unless_in(rule, "cmd", line, "command plugin", name, commands)
    for argument in kwargs:
        if name in commands and argument != "client" and argument not in commands[name]:
            text = f"[{rule.name}] cmd: the command {name!r} has no argument {argument!r}."
            yield Finding(rule.file, line, text, suggest(argument, commands[name]), "warning")


def _unless_in(
    rule: Rule, key: str, line: int, what: str, name: str, names: Collection[str]
) -> Iterator[Finding]:
    if name not in names:
        text = f"[{rule.name}] {key}: there is no {what} {name!r}."
        yield Finding(rule.file, line, text, suggest(name, names), "warning")
