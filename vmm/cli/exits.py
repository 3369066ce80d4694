"""Exit statuses, the same for every subcommand, and the signals that end a long-running one."""

from __future__ import annotations

import logging
import signal
import threading

from vmm.errors import ConfigError, VmmError
from vmm.ini import FindingsError

FAILED = 1
BAD_USAGE = 2
FINDINGS = 3
ALREADY_THERE = 4

LOG_LEVELS = ("debug", "info", "warning", "error")

_BY_CODE = {"second-manager": ALREADY_THERE, "name-taken": ALREADY_THERE}


def exit_code(error: VmmError) -> int:
    """1: it failed; 2: settings or usage; 3: findings in rule files; 4: such a program runs already."""
    if isinstance(error, FindingsError):
        return FINDINGS
    if isinstance(error, ConfigError):
        return BAD_USAGE
    return _BY_CODE.get(error.code, FAILED)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def set_up_logging(level: str) -> None:
    """One line a happening, on stderr."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
