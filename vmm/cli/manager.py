"""`vmm manager`: the program that decides."""

from __future__ import annotations

from pathlib import Path

import click

from vmm.cli import _beside as beside
from vmm.cli.exits import LOG_LEVELS, set_up_logging, stop_on_signals


@click.command()
@beside.config_as("folder")
@click.option(
    "--journal", type=click.Path(path_type=Path), help="Folder of the journal, instead of [manager] journal."
)
@click.option("--observe", is_flag=True, help="Decide and log, send no command.")
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS))
def manager(folder: Path, journal: Path | None, observe: bool, log_level: str) -> None:
    """Decide by the rules, and send commands.

    Runs until SIGTERM or SIGINT; SIGHUP checks and reloads the rules.

    Exit status: 0 stopped on request, 1 failed, 2 settings are wrong, 3 rules are wrong, 4 another Manager.
    """
    from vmm.config import load_settings
    from vmm.manager.manager import Manager

    set_up_logging(log_level)
    stop = stop_on_signals()
    program = Manager(load_settings(folder), journal=journal, observe=observe)
    program.start()
    program.reload_on_hangup()
    program.wait(stop)
