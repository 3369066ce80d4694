"""Running commands and waiting for conditions, with errors that show what was printed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Debian keeps ip, munged, slurmctld and mke2fs where only root's PATH looks.
SEARCH_PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"

# The machine is shared and emulates its guests: limits are several times what a step usually takes.
DEFAULT_TIMEOUT_S = 60.0


class CommandFailed(AssertionError):
    """A command of the testbed ended with another status than 0; the message holds its output."""


class WaitedTooLong(AssertionError):
    """A condition did not become true in time."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every command of the testbed."""
    return {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> str:
    """Run a command, return what it printed on standard output without the last newline.

    Raises CommandFailed for a status other than 0 (unless `check` is false) and for a time-out.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=cwd,
            env=environment(env),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise CommandFailed(f"{' '.join(words)}: no end within {timeout_s:g} s") from exc
    out = done.stdout.decode(errors="replace")
    if check and done.returncode:
        err = done.stderr.decode(errors="replace")
        raise CommandFailed(f"{' '.join(words)}: status {done.returncode}\n{out[-2000:]}{err[-2000:]}")
    return out.rstrip("\n")


def wait_for(
    what: str,
    condition: Callable[[], T],
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    interval_s: float = 0.05,
    on_timeout: Callable[[], str] | None = None,
) -> T:
    """Call `condition` until it returns something true, and return that.

    Raises WaitedTooLong with `what`, the last value and the text of `on_timeout` (a log's tail, say).
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            detail = f"\n{on_timeout()}" if on_timeout else ""
            raise WaitedTooLong(f"waited {timeout_s:g} s for: {what}; last value {value!r}{detail}")
        time.sleep(interval_s)


def tail(path: Path, characters: int = 3000) -> str:
    """The end of a log file; an empty string when it is not there (yet)."""
    try:
        return path.read_bytes()[-characters:].decode(errors="replace")
    except OSError:
        return ""
