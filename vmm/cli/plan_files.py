"""`vmm plan make` and `vmm plan check`, and the files that planning reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vmm.policies import apply as stepwise
from vmm.policies.errors import BadFile, BadRequest
from vmm.policies.ganeti import format_cluster, format_loads, parse_cluster
from vmm.policies.generate import PATTERNS, Shape, generate
from vmm.policies.model import Cluster, Load


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadFile(str(path), 1, "no such file", next_step="give the path of an existing file") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BadFile(
            str(path), 1, f"cannot be read: {exc}", next_step="give a readable UTF-8 text"
        ) from None


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise BadRequest(
            f"{path} cannot be written: {exc.strerror}", next_step="give a path in a folder that is there"
        ) from None


def tell_unmeasured(cluster: Cluster, loads: Mapping[str, Load], file: Path | None) -> None:
    missing = [g.name for g in cluster.guests if g.name not in loads]
    if missing:
        click.echo(
            f"{file}: no load of {len(missing)} of {len(cluster.guests)} guests (e.g. {missing[0]}):"
            " each counts 1 in every load; `scale` leaves it as it is",
            err=True,
        )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("name")
@click.option("--hosts", type=int, default=35, show_default=True)
@click.option("--guests", type=int, default=350, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--pattern", type=click.Choice(PATTERNS), default="skewed", show_default=True)
@click.option("--vcpu-ratio", type=float, default=4.0, show_default=True)
@click.option("--groups", type=int, default=1, show_default=True, help="Deal hosts and guests to so many.")
@click.option(
    "--tagged", type=float, default=0.0, show_default=True, help="Part of the guests with exclusion tags."
)
def make(folder: Path, name: str, **shape: Any) -> None:
    """Write a generated cluster: FOLDER/NAME.data and FOLDER/NAME.util."""
    if not name or "/" in name:
        raise BadRequest(f"{name!r} is no name for files", next_step="give a name without a slash")
    cluster = generate(Shape(**shape))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BadRequest(
            f"{folder} cannot be made: {exc.strerror}", next_step="name another folder"
        ) from None
    write(folder / f"{name}.data", format_cluster(cluster))
    write(folder / f"{name}.util", format_loads(cluster))
    click.echo(f"{folder / name}.data: {len(cluster.hosts)} hosts, {len(cluster.guests)} guests")


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--ganeti",
    "data",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Cluster in Ganeti's text format.",
)
def check(file: Path, data: Path) -> None:
    """Rehearse a plan from FILE (`-o json`) on a cluster, checking each step as `apply` would."""
    world = parse_cluster(read(data), str(data))
    actions = stepwise.read_actions(read(file), str(file))
    for done in range(len(actions) + 1):
        step = stepwise.next_step(actions, done, world)
        if isinstance(step, stepwise.Stop):
            raise BadRequest(f"step {step.position + 1}: {step.reason}", next_step="make a new plan")
        if isinstance(step, stepwise.Do):
            world = stepwise.done_in(world, step.actions)
    click.echo(f"{len(actions)} steps: each can be carried out")
