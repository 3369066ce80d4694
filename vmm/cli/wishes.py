"""What people ask of a running Manager: pause, resume, retire a guest, maintenance, retry a share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vmm.cli import _beside as beside
from vmm.config import load_settings

_config = beside.config_as("folder")
_reason = click.option("--reason", default="", help="Why; it stands in the reason trail.")


def wish(
    etc: Path, name: str, args: dict[str, Any], reason: str, *, subject: str = "", journal: Path | None = None
) -> None:
    """Ask the Manager, and say what became of it. `subject` stands for arguments too long to print.

    Raises Refused, NobodyThere, BusLost, ConfigError.
    """
    from vmm.api.wish import ask

    settings = load_settings(etc)
    place = journal or settings.path(settings.manager.journal)
    granted = ask(settings, place, name, args, reason or name)
    words = " ".join([name, subject or " ".join(str(v) for v in args.values())]).strip()
    if not granted.known:
        click.echo(f"asked: {words} (wish {granted.wish}); there is no journal here: see the Manager's log")
        return
    click.echo(f"granted: {words} (wish {granted.wish})")
    for note in granted.notes:
        click.echo(f"  {note.kind} {note.subject}: {note.text}")


@click.command()
@click.option("--rule", default="", help="Only this rule.")
@_reason
@_config
def pause(rule: str, reason: str, folder: Path) -> None:
    """Stop all rules, or one, from firing.

    What is under way goes on.
    """
    wish(folder, "pause", {"rule": rule}, reason)


@click.command()
@click.option("--rule", default="", help="Only this rule.")
@_reason
@_config
def resume(rule: str, reason: str, folder: Path) -> None:
    """Let paused rules fire again."""
    wish(folder, "resume", {"rule": rule}, reason)


@click.group()
def guest() -> None:
    """Retire, move, resize, restart or remove one guest."""


@click.group()
def host() -> None:
    """Maintenance of a host, its death and its return."""


@click.group()
def share() -> None:
    """Grow or retry one share."""


def _command(
    group: click.Group, name: str, operation: str, subject: str, text: str, **fixed: Any
) -> Callable[..., None]:
    @group.command(name, help=text)
    @click.argument(subject)
    @_reason
    @_config
    def command(reason: str, folder: Path, **args: Any) -> None:
        wish(folder, operation, {**args, **fixed}, reason)

    return command


_command(guest, "retire", "retire_guest", "guest", "Drain GUEST, let its jobs end, remove it.")
_command(guest, "destroy", "destroy_guest", "guest", "Remove GUEST at once; refused while it may have a job.")
_command(
    guest,
    "kill",
    "destroy_guest",
    "guest",
    "Remove GUEST at once, jobs or not.",
    even_if_busy=True,
)


@guest.command("migrate")
@click.argument("guest")
@click.argument("host")
@click.option("--from", "source", default="", help="Only if it is on this host.")
@_reason
@_config
def migrate(guest: str, host: str, source: str, reason: str, folder: Path) -> None:
    """Move GUEST to HOST while it runs, jobs and all."""
    args = {"guest": guest, "host": host} | ({"source": source} if source else {})
    wish(folder, "migrate_guest", args, reason)


@guest.command("restart")
@click.argument("guest")
@click.argument("host", required=False)
@click.option("--from", "source", default="", help="Only if it was on this host.")
@_reason
@_config
def restart(guest: str, host: str | None, source: str, reason: str, folder: Path) -> None:
    """Start GUEST of a dead host anew, on HOST or where it fits best.

    It is made from its template again, with its name and address. See `vmm host dead`.
    """
    args = {"guest": guest} | ({"host": host} if host else {}) | ({"source": source} if source else {})
    wish(folder, "restart_guest", args, reason)


@guest.command("resize")
@click.argument("guest")
@click.option("--memory-mib", type=click.IntRange(1), help="Memory, in MiB.")
@click.option("--vcpus", type=click.IntRange(1), help="Virtual CPUs.")
@click.option("--cpu-weight", type=float, help="Its part where processors are short; 1: as everybody.")
@click.option("--cpu-cap", type=float, help="Processors' time that it gets at most, in CPUs; 0: no cap.")
@click.option("--even-if-busy", is_flag=True, help="Make it smaller also under a job.")
@_reason
@_config
def resize(guest: str, even_if_busy: bool, reason: str, folder: Path, **sizes: Any) -> None:
    """Give GUEST more or less while it runs, as its profile allows.

    Its host asks it and looks whether it followed; the log and `vmm status` say what became of it.
    """
    args = {"guest": guest, **{key: value for key, value in sizes.items() if value is not None}}
    if len(args) == 1:
        raise click.UsageError("say what it is to have: --memory-mib, --vcpus, --cpu-weight or --cpu-cap.")
    wish(folder, "resize_guest", args | ({"even_if_busy": True} if even_if_busy else {}), reason)


_command(host, "hold", "hold_host", "host", "Maintenance: no new guests on HOST, present ones run on.")
_command(host, "drain", "drain_host", "host", "Maintenance: no new guests on HOST, present ones retire.")
_command(host, "undrain", "end_maintenance", "host", "End the maintenance of HOST.")


@host.command("dead")
@click.argument("host")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--reason", required=True, help="How you know; it stands in the reason trail.")
@_config
def dead(host: str, yes: bool, reason: str, folder: Path) -> None:
    """Give your word that HOST is dead: its power is off, and stays off.

    Its guests are lost: their jobs go back to the batch system, and `vmm plan recover` proposes where to
    start them anew. If it lives after all, guests may run twice. Whatever still runs there when it comes
    back is destroyed. Refused while it, or a guest on it, is heard.
    """
    if not yes:
        click.confirm(f"Is {host} switched off, and does it stay so? Its guests are given up.", abort=True)
    wish(folder, "fence_host", {"host": host}, reason)


_command(host, "alive", "unfence_host", "host", "A dead HOST is back: let it take guests again.")
_command(share, "grow", "create_guest", "share", "Create one guest for SHARE now.")
_command(share, "retry", "retry_share", "share", "Try again after vmm gave up on SHARE.")
