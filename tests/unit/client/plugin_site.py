"""A third-party plugin for the process tests: commands that count, hang or lie."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from vmm.plugins.hookspecs import Collector, CommandPlugin, Context, hookimpl

ROLES = ("dom0",)


def append(context: Context, path: str) -> int:
    """Adds a line to a file and returns the number of lines."""
    with Path(path).open("a") as out:
        out.write("ran\n")
    return len(Path(path).read_text().splitlines())


def append_and_die(context: Context, path: str) -> int:
    """The first run ends the whole client in the middle."""
    count = append(context, path)
    if count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def hang(context: Context) -> None:
    threading.Event().wait()


def hang_read(context: Context, parameters: str) -> int:
    hang(context)
    return 0


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [
        Collector("hangs", hang_read, int, timeout_s=0.5),
        Collector("lies", lambda context, parameters: "text", int),
    ]


@hookimpl
def vmm_commands() -> list[CommandPlugin]:
    named: dict[str, type] = {"path": str}
    return [
        CommandPlugin("append", append, named, ROLES),
        CommandPlugin("append_and_die", append_and_die, named, ROLES),
        CommandPlugin("append_and_die_again", append_and_die, named, ROLES, repeatable=True),
        CommandPlugin("hang", hang, {}, ROLES, timeout_s=600.0),
    ]
