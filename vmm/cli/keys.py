"""`vmm keys`: make the keys that sign commands and reports."""

from __future__ import annotations

from pathlib import Path

import click

from vmm.cli import _beside as beside
from vmm.config import load_settings
from vmm.messages.keys import init_keys


@click.group()
def keys() -> None:
    """Make the keys that sign messages."""


@keys.command()
@beside.config_as("folder")
@click.option(
    "--client", "clients", multiple=True, metavar="NAME", help="Also a pair for this client; repeatable."
)
def init(folder: Path, clients: tuple[str, ...]) -> None:
    """Make the keys that are missing.

    The Manager's pair, the guests' enrolment secret, and a pair for each --client. Nothing is overwritten.
    A host needs its own clients/NAME.key and manager.pub, nothing else.
    """
    target = load_settings(folder).keys_folder
    made = init_keys(target, clients)
    for path in made:
        click.echo(f"made {path}")
    if not made:
        click.echo(f"all keys are there already, in {target}")
