"""`vmm journal`: read what the Manager recorded, and replay it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import click

from vmm import journal as store
from vmm.cli import _beside as beside
from vmm.cli.journal_lines import Filter, as_json, as_text, filter_options, nothing_matched, stamp
from vmm.decide.events import Entry, decode_event
from vmm.manager.recovery import entries

_folder = click.argument(
    "folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
_skip = click.option(
    "--skip-damage", is_flag=True, help="Read past damaged places; stderr says which positions are lost."
)
_form = click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


def _report(skip_damage: bool) -> Callable[[store.Damage], None] | None:
    return (lambda damage: click.echo(f"damaged: {damage}", err=True)) if skip_damage else None


def _quiet(_damage: store.Damage) -> None:
    """It was said before."""


@click.group()
def journal() -> None:
    """Read and replay what the Manager recorded.

    FOLDER is the journal's; without it, that of the configuration.
    """


@journal.command()
@_folder
@beside.config
@click.option("--from", "first", type=int, help="First position (default: the oldest kept).")
@click.option("--to", "last", type=int, help="Last position.")
@filter_options
@_skip
@_form
def show(
    folder: Path | None,
    etc: Path,
    first: int | None,
    last: int | None,
    form: str,
    skip_damage: bool,
    **asked: Any,
) -> None:
    """Print the events of the journal in FOLDER, one a line."""
    folder = beside.place_of(folder, etc)
    wanted = Filter(**asked)
    found = False
    for entry in entries(folder, first, last, _report(skip_damage)):
        if wanted.wants(entry):
            found = True
            click.echo(as_json(entry) if form == "json" else as_text(entry, wanted))
    if not found:
        click.echo(nothing_matched(entries(folder, lost=_quiet), wanted, first, last), err=True)


@journal.command()
@_folder
@beside.config
@filter_options
@_form
def follow(folder: Path | None, etc: Path, form: str, **asked: Any) -> None:
    """Print events as they are written, until interrupted."""
    from vmm.cli.exits import stop_on_signals

    wanted = Filter(**asked)
    for record in store.read(beside.place_of(folder, etc), follow=True, stop=stop_on_signals()):
        entry = Entry(record.position, record.time_s, decode_event(record.payload, record.position))
        if wanted.wants(entry):
            click.echo(as_json(entry) if form == "json" else as_text(entry, wanted))


@journal.command()
@_folder
@click.argument("out", type=click.File("w"), default="-")
@beside.config
@filter_options
@_skip
def export(folder: Path | None, etc: Path, out: IO[str], skip_damage: bool, **asked: Any) -> None:
    """Write events as JSON lines to OUT (default: standard output)."""
    folder = beside.place_of(folder, etc)
    wanted = Filter(**asked)
    found = False
    for entry in entries(folder, lost=_report(skip_damage)):
        if wanted.wants(entry):
            found = True
            out.write(as_json(entry) + "\n")
    if not found:
        click.echo(nothing_matched(entries(folder, lost=_quiet), wanted, None, None), err=True)


@journal.command()
@_folder
@beside.config
@_form
def stats(folder: Path | None, etc: Path, form: str) -> None:
    """How much is in it, of what kinds, and over which time."""
    found = store.stats(beside.place_of(folder, etc))
    if form == "json":
        click.echo(
            json.dumps({**asdict(found), "kinds": dict(found.kinds), "ratio": found.ratio}, default=str)
        )
        return
    span = f"{stamp(found.min_time_s)} to {stamp(found.max_time_s)}" if found.events else "nothing"
    click.echo(f"journal {found.journal_id}: {found.events} events, {span}")
    click.echo(f"positions {found.first_position}..{found.last_position}")
    size = f"{found.stored_bytes} bytes, compressed {found.ratio:.1f} times"
    click.echo(f"{len(found.segments)} segments, {size}")
    click.echo(f"snapshots at {', '.join(map(str, found.snapshots)) or 'no position'}")
    for kind, count in found.kinds.most_common():
        click.echo(f"{count:10d} {kind}")


@journal.command()
@_folder
@beside.config
@click.option("--verify", "compare", is_flag=True, help="Compare with the digests that the Manager recorded.")
def replay(folder: Path | None, etc: Path, compare: bool) -> None:
    """Decide everything again from the journal in FOLDER.

    Prints the decision log; with --verify compares with what the Manager decided then (exit 1: differs).
    """
    from vmm.api.replay import verify
    from vmm.decide.core import Core
    from vmm.decide.outputs import Note

    folder = beside.place_of(folder, etc)
    if compare:
        verdict = verify(folder)
        click.echo(str(verdict))
        raise SystemExit(0 if verdict.same else 1)
    core = Core()
    for entry in entries(folder):
        for output in core.feed(entry):
            if isinstance(output, Note) and output.level != "debug":
                head = f"{output.position:8d} {stamp(output.time_s)} {output.kind} {output.subject}"
                click.echo(f"{head}: {output.text}")
