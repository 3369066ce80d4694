"""`vmm client`: the program on every host, in every guest and beside the batch system."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from vmm.cli.exits import LOG_LEVELS, set_up_logging, stop_on_signals

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--role", required=True, type=click.Choice(["dom0", "domU", "batch"]), help="What it runs on.")
@click.option(
    "-c", "--config", "folder", type=_PATH, help="Folder of the settings.  [default: etc; /etc/vmm for domU]"
)
@click.option("--name", default="", help="Name of the client.  [default: the host's name]")
@click.option("--bus", default="", metavar="PORT@HOST", help="The daemon, instead of [bus] daemon.")
@click.option("--token", default="", help="A new guest's token.")
@click.option("--key", type=_PATH, help="The client's private key.  [default: keys/clients/NAME.key]")
@click.option("--state", type=_PATH, help="Folder of the record of commands, instead of [client] state.")
@click.option(
    "--cmdline",
    default="/proc/cmdline",
    show_default=True,
    type=_PATH,
    help="domU only: vmm.name=, vmm.bus=, vmm.token= ... are read from here; options go first.",
)
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS))
def client(
    role: str,
    folder: Path | None,
    name: str,
    bus: str,
    token: str,
    key: Path | None,
    state: Path | None,
    cmdline: Path,
    log_level: str,
) -> None:
    """Report properties, carry out commands.

    Runs on every host, in every guest and beside the batch system, until SIGTERM or SIGINT.

    Exit status: 0 stopped on request, 1 failed, 2 settings or keys are wrong, 3 properties.ini is wrong,
    4 the name is taken.
    """
    from vmm.client.options import build_options, read_cmdline
    from vmm.client.program import run_client

    set_up_logging(log_level)
    stop = stop_on_signals()
    guest = role == "domU"
    identity = read_cmdline(cmdline) if guest else {}
    options = build_options(
        folder=folder or Path("/etc/vmm" if guest else "etc"),
        role=role,
        name=name or identity.get("name", "") or socket.gethostname(),
        bus=bus,
        token=token,
        key=key,
        state=state,
        identity=identity,
    )
    run_client(options, stop)
