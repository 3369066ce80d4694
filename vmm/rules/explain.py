"""Why a rule fires or does not: its condition as a tree of values, and its gates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from vmm.durations import show_duration, show_moment
from vmm.rules import nodes as n
from vmm.rules.bounds import Between, truth
from vmm.rules.gates import Gate
from vmm.rules.interpret import Interpreter, Scope
from vmm.rules.why import show

MEMBERS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ExplainNode:
    """One node: its text, value, unit, and truth where it is a condition; `age_s` is the age of the oldest
    reading that it follows from, None where it follows from none.

    `member` names the subject that a loop's element was worked out for; `note` says what else matters.
    """

    text: str
    value: Any
    unit: str = ""
    age_s: float | None = None
    truth: bool | None = None
    is_condition: bool = False
    member: str = ""
    note: str = ""
    children: tuple[ExplainNode, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule and subject at one moment. `can_fire_s`: the earliest time, None while it cannot be told."""

    rule: str
    subject: str | None
    state: str
    time_s: float
    truth: bool | None
    tree: ExplainNode
    until: ExplainNode | None
    gates: tuple[Gate, ...]
    can_fire_s: float | None
    last_fired_s: float | None
    next_tick_s: float | None
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Builtins for JSON; a value within bounds is {"at_least": ..., "at_most": ...}."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @property
    def head(self) -> str:
        """One line: what state it is in, and what it waits for."""
        on = f" on {self.subject}" if self.subject is not None else ""
        return f"{self.rule}{on}: {self.state}. {self.verdict}"

    def __str__(self) -> str:
        lines = [self.head, *_lines(self.tree, 1)]
        if self.until is not None:
            lines += ["  until:", *_lines(self.until, 2)]
        for gate in self.gates:
            mark = "open" if gate.open else f"waits for {gate.waits_for}"
            at = f" (at {show_moment(gate.wake_s)})" if gate.wake_s is not None and not gate.open else ""
            lines.append(f"  gate {gate.name}: {mark}{at}")
        return "\n".join(lines)


class Explainer:
    """Works out trees with the reference interpreter."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    def tree(self, node: n.Node, scope: Scope) -> ExplainNode:
        """The node and all below it, loops cut to the members that decide."""
        value = self._interpreter.value(node, scope)
        below: tuple[ExplainNode, ...] = ()
        note = ""
        if isinstance(node, n.Aggregate):
            below, note = self._members(node, scope, value)
        elif not isinstance(node, n.ColumnRead | n.Const):
            below = tuple(self.tree(child, scope) for child in self._inner(node))
        is_condition = node.type == "bool"
        return ExplainNode(
            node.text or type(node).__name__.lower(),
            value,
            node.unit,
            self._oldest(node, scope),
            truth(value) if is_condition else None,
            is_condition,
            note=note or self._note(node, value, scope),
            children=below,
        )

    def _inner(self, node: n.Node) -> Iterator[n.Node]:
        for child in n.children(node):
            if not isinstance(child, n.Const | n.Var | n.RowVar | n.Lookup):
                yield child

    def _oldest(self, node: n.Node, scope: Scope) -> float | None:
        """Age of the oldest reading below a node; of a loop, over those that are in it."""
        if isinstance(node, n.Aggregate):
            below = [
                self._oldest(part, inner)
                for _, inner in self._interpreter.members(node.loops, scope)
                if inner
                for part in (node.element, *(loop.condition for loop in node.loops))
                if part is not None
            ]
        elif isinstance(node, n.ColumnRead):
            return self._age(node, scope)
        else:
            below = [self._oldest(child, scope) for child in self._inner(node)]
        return max((age_s for age_s in below if age_s is not None), default=None)

    def _age(self, node: n.Node, scope: Scope) -> float | None:
        if not isinstance(node, n.ColumnRead) or node.column == "name":
            return None
        read_s = self._interpreter.read_time_s(node, scope)
        return None if read_s is None else self._interpreter.world.now_s - read_s

    def _note(self, node: n.Node, value: Any, scope: Scope) -> str:
        if isinstance(node, n.Now):
            return show_moment(value)
        if value is not None:
            return ""
        if isinstance(node, n.ColumnRead):
            name = self._interpreter.subject(node.subject, scope)
            if name is None or name not in self._interpreter.world.table(node.kind):
                return f"there is no such {node.kind}"
            return "too old or withdrawn" if self._age(node, scope) is not None else "never reported"
        if isinstance(node, n.Arith) and node.op in ("/", "//", "%"):
            right = self._interpreter.value(node.right, scope)
            return "division by zero" if right == 0 else ""
        return ""

    def _members(self, node: n.Aggregate, scope: Scope, value: Any) -> tuple[tuple[ExplainNode, ...], str]:
        """The members that decide: for any the true ones, for all the false ones, else those counted."""
        interesting: list[tuple[int, Scope]] = []
        total = unknown = counted = 0
        for kept, inner in self._interpreter.members(node.loops, scope):
            total += 1
            element = self._interpreter.value(node.element, inner) if inner else None
            if kept is None or element is None:
                unknown += 1
                rank = 1
            else:
                decides = truth(element) is not (node.fn == "all")
                if node.fn in ("min", "max"):
                    decides = element == value
                counted += decides
                rank = 0 if decides else 2
            if inner and rank < 2 and len(interesting) < 50 * MEMBERS_SHOWN:
                interesting.append((rank, inner))
        interesting.sort(key=lambda item: item[0])
        shown = tuple(self._member(node, inner) for _, inner in interesting[:MEMBERS_SHOWN])
        words = {"all": "false", "any": "true", "count": "counted"}.get(node.fn, "in")
        note = f"{counted} {words}, {unknown} unknown, of {total}"
        if counted + unknown > len(shown):
            note += f"; {len(shown)} shown"
        return shown, note

    def _member(self, node: n.Aggregate, inner: Scope) -> ExplainNode:
        names = [inner[loop.var.name] for loop in node.loops]
        member = ", ".join(name if isinstance(name, str) else "row" for name in names)
        tree = self.tree(node.element, inner)
        if isinstance(node.element, n.Const) and node.loops[-1].condition is not None:
            tree = self.tree(node.loops[-1].condition, inner)
        return replace(tree, member=member)


def _lines(node: ExplainNode, depth: int) -> Iterator[str]:
    member = f"{node.member}: " if node.member else ""
    value = show(node.value, node.unit)
    reading = node.age_s is not None and not node.children
    age = f", {show_duration(node.age_s or 0.0)} old" if reading else ""
    note = f" ({node.note})" if node.note else ""
    yield f"{'  ' * depth}{member}{' '.join(node.text.split())} = {value}{age}{note}"
    for child in node.children:
        yield from _lines(child, depth + 1)


def _plain(value: Any) -> Any:
    if isinstance(value, Between):
        low, high = (None if abs(x) == float("inf") else x for x in value)
        return {"at_least": low, "at_most": high}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
