"""`vmm rules explain|backtest|reload` and `vmm why`: rules beside a journal, live or past."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vmm.cli import _beside as beside
from vmm.cli.params import Duration
from vmm.cli.rules import rules
from vmm.config import load_settings
from vmm.durations import show_duration
from vmm.ini import read_text

if TYPE_CHECKING:
    from vmm.api.backtest import Backtest, Fired

_form = click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


@rules.command()
@click.argument("name")
@click.option(
    "--on",
    "subject",
    help="The host, guest, client or share, for a rule with `each`; without it, a line for each.",
)
@beside.at
@beside.journal
@beside.config
@_form
def explain(
    name: str, subject: str | None, at: int | None, folder: Path | None, etc: Path, form: str
) -> None:
    """Say why the rule NAME fires or not.

    Prints its condition with all values, its gates, and what its last firing did.

    Works beside a running Manager and on any past moment of a journal.
    """
    from vmm.api.why import as_json, explain_all, explain_rule
    from vmm.manager.recovery import recover

    core = recover(beside.place_of(folder, etc), at)
    if form == "text":
        beside.warn_of_standstill(core, at)
    rule = core.rules.book.rules.get(name)
    if rule is not None and rule.each is not None and subject is None:
        every = explain_all(core, name)
        if form == "json":
            click.echo(json.dumps([as_json(explanation, []) for explanation in every], default=str))
            return
        for explanation in every:
            click.echo(explanation.head)
        told = f"--on NAME tells all of one {rule.each}" if every else f"there is no {rule.each} yet"
        click.echo(f"rule {name} is evaluated for each {rule.each}; {told}", err=True)
        return
    explanation, aftermath = explain_rule(core, name, subject)
    if form == "json":
        click.echo(json.dumps(as_json(explanation, aftermath), default=str))
        return
    click.echo(str(explanation))
    for line in aftermath:
        click.echo(f"  {line}")


@click.command()
@click.argument("share")
@beside.at
@beside.journal
@beside.config
@_form
def why(share: str, at: int | None, folder: Path | None, etc: Path, form: str) -> None:
    """Say why SHARE has its guests, or none.

    Demand, failed creations, room on each host, and the rules about shares.
    """
    from vmm.api.why import share_as_json, why_share
    from vmm.manager.recovery import recover

    core = recover(beside.place_of(folder, etc), at)
    if form == "json":
        click.echo(json.dumps(share_as_json(core, share), default=str))
        return
    beside.warn_of_standstill(core, at)
    for line in why_share(core, share):
        click.echo(line)


@rules.command()
@click.argument("triggers", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--since", type=Duration(), help="Only the last so long, e.g. 7d.")
@click.option(
    "--flap-window",
    type=Duration(),
    default="10m",
    show_default=True,
    help="Firing, false and firing again within it is a flap.",
)
@click.option("--list", "listing", is_flag=True, help="Also every firing that differs: + more, - fewer.")
@beside.journal
@beside.config
@_form
def backtest(
    triggers: Path,
    since: float | None,
    flap_window: float,
    listing: bool,
    folder: Path | None,
    etc: Path,
    form: str,
) -> None:
    """Try the changed rules in TRIGGERS on the past.

    What they would have done on the recorded stream, beside what happened.
    """
    from vmm import journal
    from vmm.api.backtest import backtest as run

    place = beside.place_of(folder, etc)
    since_s = None if since is None else journal.stats(place).max_time_s - since
    began_s = time.perf_counter()
    result = run(place, read_text(triggers), str(triggers), since_s)
    took_s = time.perf_counter() - began_s
    rows = result.rows(flap_window)
    if form == "json":
        out = {"events": result.events, "seconds": took_s, "rules": rows, "would": result.would}
        click.echo(msgspec.json.encode(out).decode())
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("rule", overflow="fold", min_width=min(30, max((len(r.rule) for r in rows), default=4)))
    for column in ("fired", "would fire", "more", "fewer", "flaps", "would flap", "held by limits"):
        table.add_column(column)
    for row in rows:
        cells = (row.recorded, row.would, row.more, row.fewer, row.flaps_recorded, row.flaps, row.limited)
        table.add_row(row.rule, *map(str, cells))
    Console().print(table)
    if listing:
        for sign, firing in _differing(result):
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(firing.time_s))
            why = f" ({firing.why})" if firing.why else ""
            text = f"{firing.at}: {'; '.join(firing.calls)}{why}"
            click.echo(f"{sign} {firing.position:8d} {stamp} {text}")
    span = show_duration(result.last_s - result.first_s)
    click.echo(f"{result.events} events over {span} in {took_s:.1f} s: {result.events / took_s:.0f} events/s")


def _differing(result: Backtest) -> list[tuple[str, Fired]]:
    """Firings that only the changed rules have (+), and that only those of then have (-), in order."""
    then, now = ({(f.at, f.position): f for f in fired} for fired in (result.recorded, result.would))
    found = [("+", f) for key, f in now.items() if key not in then]
    found += [("-", f) for key, f in then.items() if key not in now]
    return sorted(found, key=lambda pair: pair[1].position)


@rules.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", default="reload", show_default=True)
@beside.journal
@beside.config
def reload(yes: bool, reason: str, folder: Path | None, etc: Path) -> None:
    """Hand changed rule files to the Manager.

    Checks them, shows what changes in rules, shares, profiles and properties,
    and which rules keep their timers, and asks. If nothing changes, that is all.

    They take effect as one event in the stream. On an error the old rules stay.
    """
    from vmm.cli.wishes import wish
    from vmm.decide.changes import NOTHING, describe
    from vmm.decide.rulebook import compile_rules
    from vmm.manager.manager import read_rules, refuse_vanished
    from vmm.manager.recovery import recover

    settings = load_settings(etc)
    files, findings = read_rules(settings.folder)
    for finding in findings:
        click.echo(str(finding), err=True)
    present = recover(beside.place_of(folder, etc))
    refuse_vanished(present.rules.files, files, settings.folder)
    changes = describe(present.rules, compile_rules(files))
    for line in changes:
        click.echo(line)
    if changes == [NOTHING]:
        return
    if not yes and not click.confirm("Apply?"):
        click.echo("nothing is changed: the old rules stay", err=True)
        raise SystemExit(130)
    wish(etc, "reload", {"files": files}, reason, subject="the rule files", journal=folder)
