"""`vmm daemon`: the embedded messaging daemon, for one machine."""

from __future__ import annotations

import click

from vmm.cli.exits import LOG_LEVELS, set_up_logging, stop_on_signals
from vmm.errors import ConfigError


@click.command()
@click.option("--listen", default="127.0.0.1:4803", show_default=True, metavar="HOST:PORT")
@click.option(
    "--name", default="localhost", show_default=True, help="The daemon's name, in every private group."
)
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS))
def daemon(listen: str, name: str, log_level: str) -> None:
    """Carry messages, on one machine.

    The embedded single-node messaging daemon. It speaks the Spread protocol to clients; several machines
    want real Spread daemons. Runs until SIGTERM or SIGINT.
    """
    from vmm import spread
    from vmm.spread.daemon import run_daemon

    set_up_logging(log_level)
    try:
        run_daemon(listen, name, stop_on_signals())
    except spread.error as exc:
        raise ConfigError(f"{exc.args[-1]}.", next_step="see --listen and --name of `vmm daemon`") from exc
