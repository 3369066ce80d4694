"""`vmm journal`: read what the Manager recorded, and replay it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from vmm import journal as store
from vmm.decide.events import Entry, Event, decode_event, tag_of
from vmm.manager.recovery import entries


@click.group()
def journal() -> None:
    """The ordered stream, as the Manager wrote it down."""


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
    for entry in entries(folder, first, last):
        _print(entry, kind, client, form)


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def stats(folder: Path) -> None:
    """How much is in it, of what kinds, and over which time."""
    found = store.stats(folder)
    span = f"{_stamp(found.min_time_s)} to {_stamp(found.max_time_s)}" if found.events else "nothing"
    click.echo(f"journal {found.journal_id}: {found.events} events, {span}")
    click.echo(f"positions {found.first_position}..{found.last_position}")
    click.echo(
        f"{len(found.segments)} segments, {found.stored_bytes} bytes, compressed {found.ratio:.1f} times"
    )
    click.echo(f"snapshots at {', '.join(map(str, found.snapshots)) or 'no position'}")
    for kind, count in found.kinds.most_common():
        click.echo(f"{count:10d} {kind}")


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--verify", "compare", is_flag=True, help="Compare with the digests that the Manager recorded.")
@click.option("--notes/--no-notes", default=True, help="Print the decision log.")
def replay(folder: Path, compare: bool, notes: bool) -> None:
    """Decide everything again from the journal in FOLDER; print the decision log, or compare (exit 1)."""
    from vmm.decide.core import Core
    from vmm.decide.outputs import Note
    from vmm.manager.replay import verify

    if compare:
        verdict = verify(folder)
        click.echo(str(verdict))
        raise SystemExit(0 if verdict.same else 1)
    core = Core()
    for entry in entries(folder, 1, None):
        for output in core.feed(entry):
            if notes and isinstance(output, Note) and output.level != "debug":
                head = f"{output.position:8d} {_stamp(output.time_s)} {output.kind} {output.subject}"
                click.echo(f"{head}: {output.text}")


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def follow(folder: Path, form: str) -> None:
    """Print events as they are written, until interrupted."""
    from vmm.cli.exits import stop_on_signals

    stop = stop_on_signals()
    for record in store.read(folder, follow=True, stop=stop):
        event = decode_event(record.payload, record.position)
        _print(Entry(record.position, record.time_s, event), (), None, form)


@journal.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.File("w"), default="-")
def export(folder: Path, out: IO[str]) -> None:
    """Write all events as JSON lines to OUT (default: standard output)."""
    for entry in entries(folder, 1, None):
        row = {"position": entry.position, "time_s": entry.time_s, "kind": tag_of(entry.event)}
        out.write(json.dumps({**row, **_fields(entry)}, default=str) + "\n")


def _stamp(time_s: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s is not None else "?"


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
    stamp = _stamp(entry.time_s)
    body = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
    click.echo(f"{entry.position:8d} {stamp} {tag:8s} {body}")


def _fields(entry: Entry) -> dict[str, Any]:
    """The event's fields, with the struct inside it flattened."""
    out: dict[str, Any] = {}
    event = entry.event
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, msgspec.Struct):
            out |= {_apart(inner, event): getattr(value, inner) for inner in value.__struct_fields__}
        else:
            out[name] = value
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in out.items()}


def _apart(name: str, event: Event) -> str:
    """A beat's own position and time are not the entry's."""
    return f"{tag_of(event)}_{name}" if name in ("position", "time_s", "kind") else name


def _short(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
