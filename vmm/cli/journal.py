"""`vmm journal`: read what the Manager recorded, and replay it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from vmm import journal as store
from vmm.decide.events import Entry, decode_event, tag_of


@click.group()
def journal() -> None:
    """The ordered stream, as the Manager wrote it down."""


def _entries(folder: Path, first: int, last: int | None, follow: bool = False) -> Iterator[Entry]:
    for record in store.read(folder, from_position=first, to=last, follow=follow):
        yield Entry(record.position, record.time_s, decode_event(record.payload, record.position))


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--from", "first", default=1, show_default=True, help="First position.")
@click.option("--to", "last", type=int, help="Last position.")
@click.option("--kind", multiple=True, help="Only events of this kind; repeatable.")
@click.option("--client", help="Only events of this client.")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(
    folder: Path, first: int, last: int | None, kind: tuple[str, ...], client: str | None, form: str
) -> None:
    """Print the events of the journal in FOLDER, one a line."""
    for entry in _entries(folder, first, last):
        _print(entry, kind, client, form)


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def stats(folder: Path) -> None:
    """How much is in it."""
    click.echo(str(store.stats(folder)))


def _print(entry: Entry, kinds: tuple[str, ...], client: str | None, form: str) -> None:
    tag = tag_of(entry.event)
    if kinds and tag not in kinds:
        return
    fields = _fields(entry)
    if client and client not in (fields.get("client"), fields.get("to"), fields.get("name")):
        return
    if form == "json":
        row = {"position": entry.position, "time_s": entry.time_s, "kind": tag, **fields}
        click.echo(json.dumps(row, default=str))
        return
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time_s))
    body = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
    click.echo(f"{entry.position:8d} {stamp} {tag:8s} {body}")


def _fields(entry: Entry) -> dict[str, Any]:
    """The event's fields, with the struct inside it flattened."""
    out: dict[str, Any] = {}
    event = entry.event
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, msgspec.Struct):
            out |= {inner: getattr(value, inner) for inner in value.__struct_fields__}
        else:
            out[name] = value
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in out.items()}


def _short(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
