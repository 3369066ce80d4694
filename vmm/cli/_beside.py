"""Options that commands share: which configuration, which journal, which moment of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vmm.config import load_settings


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


def place_of(folder: Path | None, etc: Path) -> Path:
    """The journal's folder. Raises ConfigError."""
    if folder is not None:
        return folder
    settings = load_settings(etc)
    return settings.path(settings.manager.journal)
