"""Reading files of /proc, with errors that say which file and why."""

from __future__ import annotations

from pathlib import Path

from vmm.errors import CommandFailed

PROC = Path("/proc")


class NoSuchProperty(CommandFailed):
    """The parameters ask for something that is not there; the message lists what is."""

    code = "bad-parameters"


def read_proc(name: str) -> str:
    """The text of `/proc/NAME`."""
    try:
        return (PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise CommandFailed(
            f"{PROC / name} cannot be read: {exc.strerror}.", next_step="is /proc mounted?"
        ) from exc


def unknown(what: str, asked: str, known: list[str]) -> NoSuchProperty:
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return NoSuchProperty(f"there is no {what} {asked!r}.", next_step=f"known: {shown}")
