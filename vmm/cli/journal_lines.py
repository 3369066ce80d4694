"""Events of a journal as lines of text or JSON, and which of them are asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import msgspec

from vmm.decide.events import Commanded, Entry, Event, Reported, tag_of

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty fields ask for everything. `prop` names a property, `cause` a text in a reason trail."""

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
        trail = event.command.trail if isinstance(event, Commanded) else []
        by_rule = not self.rule or any(step.source == f"rule {self.rule}" for step in trail)
        return by_rule and any(self.cause in f"{step.source}: {step.reason}" for step in trail)


def filter_options(command: _Command) -> _Command:
    """The options of a Filter, as keyword arguments of its fields' names."""
    for option in (
        click.option("--cause", default="", help="Only commands with this text in their reason trail."),
        click.option("--rule", default="", help="Only commands that this rule set off."),
        click.option("--property", "prop", default="", help="Only reports of this property."),
        click.option("--client", default="", help="Only events of this client."),
        click.option("--kind", "kinds", multiple=True, help="Only events of this kind; repeatable."),
    ):
        command = option(command)
    return command


def as_json(entry: Entry) -> str:
    """One line; the event's own fields beside position, time_s (stream time) and kind."""
    row = {"position": entry.position, "time_s": entry.time_s, "kind": tag_of(entry.event)}
    return json.dumps({**row, **_fields(entry.event)})


def as_text(entry: Entry, prop: str = "") -> str:
    """One line for people, long values cut; with `prop` only that property's value."""
    fields = _fields(entry.event)
    if prop and isinstance(entry.event, Reported):
        fields = {"client": entry.event.client, **_reported_one(entry.event, prop)}
    body = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
    return f"{entry.position:8d} {stamp(entry.time_s)} {tag_of(entry.event):8s} {body}"


def stamp(time_s: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s is not None else "?"


def _parties(event: Event) -> set[object]:
    fields = _fields(event)
    return {fields.get(name) for name in ("client", "to", "name")}


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
