"""Reads triggers.ini into a RuleBook, or says with file and line what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vmm.ini import Finding, FindingsError, Section, parse_ini
from vmm.rules.analyse import analyse
from vmm.rules.calls import analyse_calls
from vmm.rules.conflicts import conflicts
from vmm.rules.errors import ExpressionError
from vmm.rules.keys import (
    limit,
    n_of,
    one_of,
    plain_text,
    positive_duration,
    positive_number,
    read_keys,
    whole_number,
    yes_no,
)
from vmm.rules.nodes import Age, Node, Now, walk
from vmm.rules.rule import MODES, ON_UNKNOWN, Rule, RuleBook
from vmm.rules.schema import KINDS, Schema

_NAME = re.compile(r"[^\W\d][\w.-]{0,62}")
_READERS: dict[str, Callable[[str], Any]] = {
    "expr": str,
    "cmd": str,
    "ticks": positive_duration,
    "on_update_check": yes_no,
    "for": positive_duration,
    "until": str,
    "cooldown": positive_duration,
    "limit": limit,
    "each": one_of(KINDS),
    "n_of": n_of,
    "on_unknown": one_of(ON_UNKNOWN),
    "mode": one_of(MODES),
    "max_running": positive_number,
    "enabled": yes_no,
    "dry_run": yes_no,
    "description": plain_text,
    "priority": whole_number,
}

KEYS: dict[str, str] = {
    "expr": "The condition, in braces (required).",
    "cmd": "The commands, in braces, separated by `;` or line ends (required).",
    "ticks": "Evaluate at this interval; while the condition is true the rule fires each time.",
    "on_update_check": "Evaluate when something the condition reads has changed; then the rule fires "
    "when the condition has become true. Default yes.",
    "for": "The condition must hold so long without a break before the rule fires.",
    "until": "A clearing condition, in braces: once fired, the rule rests until this was true.",
    "cooldown": "After firing, rest so long (per subject).",
    "limit": "Fire at most so often in a period, like `3/hour` or `10/15m` (per subject).",
    "each": "Evaluate once for each client, host, guest or share, with timers of its own.",
    "n_of": "Like `3 of 5`: the condition counts as true when it was true in 3 of the last 5 evaluations.",
    "on_unknown": "What a missing or too old value does: `hold` (default), `false` or `fire`.",
    "mode": "While commands of the last firing run (per subject): `single` (default) waits, `parallel` "
    "fires all the same, `queued` fires when they have ended (at most 10 wait), `restart` replaces them.",
    "max_running": "Wait while so many commands of this rule run, all subjects together.",
    "enabled": "no: the rule is not evaluated.",
    "dry_run": "yes: the rule goes through all motions, but its commands are only reported.",
    "description": "For people.",
    "priority": "Rules with a higher number come first; default 0, then the order in the file.",
}


def check_triggers(text: str, file: str, schema: Schema) -> tuple[RuleBook | None, list[Finding]]:
    """The rules, or None when there is an error; and all findings, warnings too. Never raises on bad text."""
    sections, findings = parse_ini(text, file)
    rules: dict[str, Rule] = {}
    for section in sections:
        rule = _rule(section, schema, findings)
        if rule is not None:
            rules[rule.name] = rule
    findings += conflicts(rules.values())
    findings.sort(key=lambda f: f.line)
    if any(f.severity == "error" for f in findings):
        return None, findings
    return RuleBook(rules, schema, file, text), findings


def load_triggers(text: str, file: str, schema: Schema) -> RuleBook:
    """The rules of a file without errors. Raises FindingsError with everything that is wrong."""
    book, findings = check_triggers(text, file, schema)
    if book is None:
        raise FindingsError([f for f in findings if f.severity == "error"])
    return book


def _rule(section: Section, schema: Schema, findings: list[Finding]) -> Rule | None:
    before = len(findings)
    if not _NAME.fullmatch(section.name):
        message = f"[{section.name}] is not a name of a rule."
        hint = "Write a letter, then up to 62 letters, digits, `_`, `-` or `.`."
        findings.append(Finding(section.file, section.line, message, hint))
    values = read_keys(section, _READERS, findings)
    for key in ("expr", "cmd"):
        if key not in section.items:
            message = f"[{section.name}] has no {key}."
            findings.append(Finding(section.file, section.line, message, f"Write {key} = {{ ... }}."))
    each = values.get("each")
    expr = _parsed(section, "expr", findings, lambda text: analyse(text, schema, each))
    until = _parsed(section, "until", findings, lambda text: analyse(text, schema, each))
    cmd = _parsed(section, "cmd", findings, lambda text: analyse_calls(text, schema, each))
    _check_times(section, values, expr, findings)
    if len(findings) > before and any(f.severity == "error" for f in findings[before:]):
        return None
    return Rule(
        name=section.name,
        file=section.file,
        line=section.line,
        expr=expr,
        cmd=cmd,
        until=until,
        ticks_s=values.get("ticks"),
        on_update_check=values.get("on_update_check", True),
        for_s=values.get("for", 0.0),
        cooldown_s=values.get("cooldown", 0.0),
        limit=values.get("limit"),
        each=each,
        n_of=values.get("n_of"),
        on_unknown=values.get("on_unknown", "hold"),
        mode=values.get("mode", "single"),
        max_running=values.get("max_running"),
        enabled=values.get("enabled", True),
        dry_run=values.get("dry_run", False),
        description=values.get("description", ""),
        priority=values.get("priority", 0),
        source={key: item.value for key, item in section.items.items()},
        lines={key: item.line for key, item in section.items.items()},
    )


def _parsed(section: Section, key: str, findings: list[Finding], parse: Callable[[str], Any]) -> Any:
    item = section.items.get(key)
    if item is None:
        return None
    try:
        return parse(item.value)
    except ExpressionError as exc:
        line = item.line_of(exc.line - 1)
        message = f"[{section.name}] {key}: {exc.message}"
        findings.append(Finding(section.file, line, message, exc.suggestion))
        return None


def reads_time(node: Node | None) -> bool:
    """Whether the value changes with time alone."""
    return node is not None and any(isinstance(x, Now | Age) for x in walk(node))


def _check_times(
    section: Section, values: dict[str, Any], expr: Node | None, findings: list[Finding]
) -> None:
    """Combinations of keys that cannot work as the writer thinks."""

    def say(key: str, message: str, suggestion: str, severity: str = "error") -> None:
        line = section.items[key].line if key in section.items else section.line
        findings.append(Finding(section.file, line, f"[{section.name}] {message}", suggestion, severity))

    if "ticks" not in values and not values.get("on_update_check", True):
        say("on_update_check", "is never evaluated: no ticks, and on_update_check = no.", "Add ticks = 60.")
    elif "ticks" not in values and reads_time(expr):
        say("expr", "expr reads the time, but without ticks it is evaluated only at updates.",
            "Add ticks = 60.", "warning")  # fmt: skip
