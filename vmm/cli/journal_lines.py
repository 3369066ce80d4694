"""Events of a journal as lines of text or JSON, and which of them are asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import msgspec

from vmm.decide.events import KINDS, Commanded, Entry, Event, Greeted, Reported, tag_of
from vmm.ini import suggest
from vmm.messages.structs import Reason

_RULE = "rule "
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty fields ask for everything.

    `prop` names a property, `rule` the last rule in a command's reason trail, `cause` a text in the trail.
    """

    kinds: tuple[str, ...] = ()
    client: str = ""
    prop: str = ""
    rule: str = ""
    cause: str = ""

    def wants(self, entry: Entry) -> bool:
        event = entry.event
        if self.kinds and tag_of(event) not in self.kinds:
            return False
        if self.client and self.client not in _parties(event):
            return False
        if self.prop and not (isinstance(event, Reported) and self.prop in _reported(event)):
            return False
        if not (self.rule or self.cause):
            return True
        if not isinstance(event, Commanded):
            return False
        by_rule = not self.rule or rule_of(event) == self.rule
        return by_rule and any(self.cause in _step(step) for step in event.command.trail)


def rule_of(event: Commanded) -> str:
    """The rule that set the command off: the last one in its trail, which may go back through others."""
    for step in reversed(event.command.trail):
        if step.source.startswith(_RULE):
            return step.source.removeprefix(_RULE)
    return ""


def nothing_matched(stream: Iterable[Entry], wanted: Filter, first: int | None, last: int | None) -> str:
    """Why a filter may have let nothing through: which of its names occur nowhere in the whole journal."""
    clients: set[str] = set()
    props: set[str] = set()
    rules: set[str] = set()
    positions: list[int] = []
    for entry in stream:
        positions[1:] = [entry.position]
        clients |= {str(name) for name in _parties(entry.event) if name}
        if isinstance(entry.event, Reported):
            props |= _reported(entry.event)
        elif isinstance(entry.event, Commanded):
            rules.add(rule_of(entry.event))
    rules.discard("")
    parts = []
    for what, name, names in (
        ("client", wanted.client, clients),
        ("property", wanted.prop, props),
    ):
        if name and name not in names:
            parts.append(f"there is no {what} {name!r}. {suggest(name, names)}".rstrip())
    if wanted.rule and wanted.rule not in rules:
        parts.append(
            f"no command was set off by a rule {wanted.rule!r}. {suggest(wanted.rule, rules)}".rstrip()
        )
    if positions and (first is not None or last is not None):
        parts.append(f"the journal holds positions {positions[0]} to {positions[-1]}.")
    return " ".join(["nothing matched:", *(parts or ["no event is of all that was asked for."])])


def filter_options(command: _Command) -> _Command:
    """The options of a Filter, as keyword arguments of its fields' names."""
    for option in (
        click.option("--cause", default="", help="Only commands with this text in their reason trail."),
        click.option(
            "--rule",
            default="",
            help="Only commands that this rule set off. (A firing without a command is no event: "
            "see `vmm journal replay`.)",
        ),
        click.option("--property", "prop", default="", help="Only reports of this property."),
        click.option("--client", default="", help="Only events of this client."),
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            type=click.Choice(KINDS),
            help="Only events of this kind; repeatable.",
        ),
    ):
        command = option(command)
    return command


def as_json(entry: Entry) -> str:
    """One line; the event's own fields beside position, time_s (stream time) and kind."""
    row = {"position": entry.position, "time_s": entry.time_s, "kind": tag_of(entry.event)}
    return json.dumps({**row, **_fields(entry.event)})


def as_text(entry: Entry, wanted: Filter | None = None) -> str:
    """One line for people, long values cut: of a report only the property asked for, of a reason trail the
    step that was asked for, else its last rule."""
    event = entry.event
    fields = _fields(event)
    if wanted is not None and wanted.prop and isinstance(event, Reported):
        fields = {"client": event.client, **_reported_one(event, wanted.prop)}
    elif isinstance(event, Commanded) and event.command.trail:
        fields["trail"] = _step(_telling(event.command.trail, "" if wanted is None else wanted.cause))
        fields["steps"] = len(event.command.trail)
    body = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
    return f"{entry.position:8d} {stamp(entry.time_s)} {tag_of(entry.event):8s} {body}"


def _telling(trail: list[Reason], cause: str) -> Reason:
    asked = [step for step in trail if cause and cause in _step(step)]
    rules = [step for step in trail if step.source.startswith(_RULE)]
    return (asked or rules or trail)[-1]


def _step(step: Reason) -> str:
    return f"{step.source}: {step.reason}"


def stamp(time_s: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s is not None else "?"


def _parties(event: Event) -> set[object]:
    if isinstance(event, Greeted):
        return {event.hello.name}
    fields = _fields(event)
    return {fields.get(name) for name in ("client", "to")}


def _reported(event: Reported) -> set[str]:
    return {*event.report.values, *event.report.errors}


def _reported_one(event: Reported, prop: str) -> dict[str, Any]:
    if prop in event.report.errors:
        return {prop: f"error: {event.report.errors[prop]}"}
    return {prop: event.report.values[prop]}


def _fields(event: Event) -> dict[str, Any]:
    """The event's fields as builtins, with the struct inside it flattened."""
    out: dict[str, Any] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, msgspec.Struct):
            out |= {_apart(inner, event): getattr(value, inner) for inner in value.__struct_fields__}
        else:
            out[name] = value
    plain: dict[str, Any] = {
        name: value.hex() if isinstance(value, bytes) else msgspec.to_builtins(value)
        for name, value in out.items()
    }
    return plain


def _apart(name: str, event: Event) -> str:
    """A beat's own position and time are not the entry's."""
    return f"{tag_of(event)}_{name}" if name in ("position", "time_s", "kind") else name


def _short(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
