"""`vmm demo`: a whole cluster on this machine, to look at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    envvar="DEMO_S",
    show_default=True,
    help="How long it runs; DEMO_S in the environment says the same.",
)
@click.option("--plain", is_flag=True, help="Lines instead of a live view; without a terminal always.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new folder, and leave it there.")
@click.pass_context
def demo(ctx: click.Context, seconds: float, plain: bool, keep: Path | None) -> None:
    """Watch three groups share six hosts.

    Jobs wait, guests are made, make room and go.

    Needs no root rights and no hypervisor. Messaging daemon, Manager, six host clients and a batch client
    run as programs of their own; hypervisor and batch system are in memory. Exit status: 0 when the time is
    over, 1 when a part failed, 128 + the signal that ended it early.
    """
    from vmm.demo.run import run_demo

    try:
        status = run_demo(seconds, plain=plain, keep=keep)
    except BrokenPipeError:  # whoever read our lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    ctx.exit(status)
