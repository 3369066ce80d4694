"""Options that commands share: which configuration, which journal, which moment of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmm.config import load_settings
from vmm.durations import show_duration

if TYPE_CHECKING:
    from vmm.decide.core import Core

STILL_S = 30.0
"""A Manager that runs records a beat every second or so."""


def config_as(name: str, says: str = "Folder of the configuration.") -> Callable[[Any], Any]:
    """The option -c, handed over as the argument `name`."""
    kind = click.Path(path_type=Path)
    return click.option("-c", "--config", name, default="etc", show_default=True, type=kind, help=says)


config = config_as("etc")
journal = click.option(
    "--journal",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the Manager's journal (default: [manager] journal of the settings).",
)
at = click.option("--at", type=int, help="As it was after this journal position (default: now).")


def warn_of_standstill(core: Core, at: int | None) -> None:
    """Say on stderr that nothing is decided any more: what follows was true then."""
    age_s = time.time() - core.state.now_s
    if at is not None:
        return
    if core.state.bus_lost:
        click.echo(f"STANDSTILL: nothing is decided: {core.state.bus_lost}", err=True)
    elif age_s > STILL_S:
        told = f"the last event is {show_duration(age_s)} old; is the Manager running?"
        click.echo(f"STANDSTILL: {told} What follows is as it was then.", err=True)


def place_of(folder: Path | None, etc: Path) -> Path:
    """The journal's folder. Raises ConfigError."""
    if folder is not None:
        return folder
    settings = load_settings(etc)
    return settings.path(settings.manager.journal)
