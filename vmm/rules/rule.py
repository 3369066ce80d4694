"""What a checked triggers.ini holds: rules with typed keys and analysed expressions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from vmm.rules import nodes as n
from vmm.rules.calls import CallSpec
from vmm.rules.nodes import Node
from vmm.rules.schema import Schema

ON_UNKNOWN = ("hold", "false", "fire")
MODES = ("single", "parallel", "queued", "restart")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` firings within any `period_s`."""

    count: int
    period_s: float


@dataclass(frozen=True, slots=True)
class NOf:
    """True in at least `n` of the last `m` evaluations."""

    n: int
    m: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One section of triggers.ini. `source` holds each key's text, `lines` where it stands."""

    name: str
    file: str
    line: int
    expr: Node
    cmd: tuple[CallSpec, ...]
    ticks_s: float | None = None
    on_update_check: bool = True
    for_s: float = 0.0
    until: Node | None = None
    cooldown_s: float = 0.0
    limit: Limit | None = None
    each: str | None = None
    n_of: NOf | None = None
    on_unknown: str = "hold"
    mode: str = "single"
    max_running: int | None = None
    enabled: bool = True
    dry_run: bool = False
    description: str = ""
    priority: int = 0
    source: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def reads(self) -> set[tuple[str, str]]:
        """Kind and name of every column that conditions and commands read."""
        arguments = [arg for call in self.cmd for arg in (*call.args, *(arg for _, arg in call.kwargs))]
        nodes = [node for node in (self.expr, self.until, *arguments) if node is not None]
        parts = (part for node in nodes for part in n.walk(node))
        return {(part.kind, part.column) for part in parts if isinstance(part, n.ColumnRead)}

    @property
    def content_hash(self) -> str:
        """Same for the same meaning of the text: description, layout and order of keys do not count."""
        content = {k: " ".join(v.split()) for k, v in self.source.items() if k != "description"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules of one file, in file order, and the names they were checked against."""

    rules: Mapping[str, Rule]
    schema: Schema
    file: str = ""
    text: str = ""

    def ordered(self) -> list[Rule]:
        """The order in which rules are evaluated and fire: priority first, then file order."""
        return sorted(self.rules.values(), key=lambda rule: -rule.priority)


@dataclass(frozen=True, slots=True)
class Edit:
    """One key's text before and after; empty where it is not set."""

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old or '(not set)'} -> {self.new or '(not set)'}"


def edits(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Edit, ...]:
    """The keys whose text differs in more than blanks and line ends, in the new order."""
    keys = [*new, *(key for key in old if key not in new)]
    pairs = [
        Edit(key, " ".join(old.get(key, "").split()), " ".join(new.get(key, "").split())) for key in keys
    ]
    return tuple(edit for edit in pairs if edit.old != edit.new)


@dataclass(frozen=True, slots=True)
class Diff:
    """What a reload changes. `kept` rules keep their timers; `edits` holds the keys that differ, by rule."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    edits: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)
    reordered: bool = False

    @property
    def nothing(self) -> bool:
        return not (self.added or self.removed or self.changed or self.edits or self.reordered)

    def __str__(self) -> str:
        lines = [
            f"{sign} {name}" for sign, names in (("+", self.added), ("-", self.removed)) for name in names
        ]
        for name in self.changed:
            lines.append(f"~ {name} (starts anew: its timers, latches and counts are lost)")
            lines += [f"    {edit}" for edit in self.edits.get(name, ())]
        for name in self.kept:
            lines += [f"~ {name} {edit} (timers kept)" for edit in self.edits.get(name, ())]
        if self.reordered:
            lines.append("~ the order in which rules are evaluated")
        if self.kept:
            lines.append(f"= {', '.join(self.kept)} (timers kept)")
        return "\n".join(lines)


def diff(old: RuleBook, new: RuleBook) -> Diff:
    """What is different in `new`."""
    same = [name for name in new.rules if name in old.rules]
    kept = [n for n in same if new.rules[n].content_hash == old.rules[n].content_hash]
    found = {name: edits(old.rules[name].source, new.rules[name].source) for name in same}
    orders = [[rule.name for rule in book.ordered() if rule.name in same] for book in (old, new)]
    return Diff(
        tuple(n for n in new.rules if n not in old.rules),
        tuple(n for n in old.rules if n not in new.rules),
        tuple(n for n in same if n not in kept),
        tuple(kept),
        {name: changes for name, changes in found.items() if changes},
        orders[0] != orders[1],
    )
