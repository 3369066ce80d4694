"""The command `vmm`: one group; subcommands are loaded only when used, so that each starts fast."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from vmm import __version__
from vmm.cli.exits import exit_code
from vmm.errors import VmmError

_COMMANDS = {
    "client": "vmm.cli.client:client",
    "daemon": "vmm.cli.daemon:daemon",
    "demo": "vmm.cli.demo:demo",
    "doctor": "vmm.cli.doctor:doctor",
    "guest": "vmm.cli.wishes:guest",
    "host": "vmm.cli.wishes:host",
    "journal": "vmm.cli.journal:journal",
    "keys": "vmm.cli.keys:keys",
    "manager": "vmm.cli.manager:manager",
    "pause": "vmm.cli.wishes:pause",
    "plan": "vmm.cli.plan:plan",
    "resume": "vmm.cli.wishes:resume",
    "rules": "vmm.cli.rules_live:rules",
    "share": "vmm.cli.wishes:share",
    "status": "vmm.cli.status:status",
    "why": "vmm.cli.rules_live:why",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        target = _COMMANDS.get(name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vmm")
def vmm() -> None:
    """Manages virtual machines for a batch system, by rules."""


def main(argv: list[str] | None = None) -> None:
    """Entry point. A VmmError becomes one clear line on stderr and a documented exit status."""
    try:
        code: Any = vmm.main(args=argv, prog_name="vmm", standalone_mode=False)
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except click.Abort:
        code = 130
    except VmmError as exc:
        click.echo(f"vmm: {exc}", err=True)
        code = exit_code(exc)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
