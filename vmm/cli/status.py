"""`vmm status`: the cluster as the journal says it is; needs no running Manager."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from vmm.cli import _beside as beside
from vmm.config import load_settings
from vmm.durations import show_duration
from vmm.manager.picture import Picture, picture_of
from vmm.manager.recovery import recover


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@beside.config_as("etc", "Folder of the configuration, which says where the journal is if FOLDER does not.")
@click.option("--at", type=int, help="As it was after this journal position (default: now).")
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(folder: Path | None, etc: Path, at: int | None, form: str) -> None:
    """Show hosts, guests, shares and clients.

    As the journal says: the one in FOLDER, else that of the configuration. Works beside a running Manager and
    without one.
    """
    if folder is None:
        settings = load_settings(etc)
        folder = settings.path(settings.manager.journal)
    picture = picture_of(recover(folder, at))
    age_s = time.time() - picture.now_s if at is None else 0.0
    if form == "json":
        click.echo(msgspec.json.encode(picture).decode())
        return
    Console().print(render(picture, age_s))


def render(picture: Picture, age_s: float = 0.0) -> Group:
    """The picture as tables, one a kind of thing; `age_s`: how long ago the journal's last event was."""
    now_s = picture.now_s
    head = f"journal position {picture.position}, {picture.commands_under_way} commands under way"
    paused = [escape(f"PAUSED {'all rules' if r == '*' else r}: {why}") for r, why in picture.paused.items()]
    if picture.bus_lost:
        paused.insert(0, f"STANDSTILL: nothing is decided: {escape(picture.bus_lost)}")
    elif age_s > beside.STILL_S:
        paused.insert(0, f"STANDSTILL: the last event is {show_duration(age_s)} old; is the Manager running?")
    if picture.observing:
        paused.insert(0, "OBSERVING: the Manager decides and logs, and sends no command")
    shares = _table("share", "queue", "waiting", "running", "guests", "guaranteed", "trouble")
    for s in picture.shares:
        trouble = f"{s.failures} failures: {s.last_failure}" if s.failures else ""
        trouble = f"gave up: {s.last_failure}" if s.gave_up else trouble
        _row(shares, s.name, s.queue, s.jobs_waiting, s.jobs_running, s.guests, s.guaranteed, trouble)
    hosts = _table("host", "state", "memory MiB", "free MiB", "cpus", "guests")
    for h in picture.hosts:
        state = "maintenance" if h.maintenance and h.state != "dead" else h.state
        _row(hosts, h.name, state, h.memory_mib, h.memory_free_mib, h.cpus, ", ".join(h.guests))
    guests = _table("guest", "share", "host", "state", "since", "jobs", "why")
    away = {h.name: f"{h.name} ({h.state})" for h in picture.hosts if h.state != "up"}
    for g in picture.guests:
        _row(
            guests,
            g.name,
            g.share,
            away.get(g.host, g.host),
            g.state,
            show_duration(now_s - g.since_s),
            g.jobs,
            g.why,
        )
    clients = _table("client", "role", "state", "since")
    for c in picture.clients:
        _row(clients, c.name, c.role, c.state, show_duration(now_s - c.since_s))
    return Group(head, *paused, shares, hosts, guests, clients)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(escape(str(cell)) for cell in cells))
