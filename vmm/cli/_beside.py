"""Options of commands that work beside a Manager: which configuration, which journal, which moment of it."""

from __future__ import annotations

from pathlib import Path

import click

from vmm.config import load_settings

journal = click.option(
    "--journal",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the Manager's journal (default: [manager] journal of the settings).",
)
config = click.option(
    "-c",
    "--config",
    "etc",
    default="etc",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the configuration.",
)
at = click.option("--at", type=int, help="As it was after this journal position (default: now).")


def place_of(folder: Path | None, etc: Path) -> Path:
    """The journal's folder. Raises ConfigError."""
    if folder is not None:
        return folder
    settings = load_settings(etc)
    return settings.path(settings.manager.journal)
