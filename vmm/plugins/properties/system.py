"""This machine as a whole: how long it is up, what it is called, what runs on it."""

from __future__ import annotations

import platform
import socket

from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import read_proc


def read_uptime(_context: Context, _parameters: str) -> float:
    return float(read_proc("uptime").split()[0])


def read_processes(_context: Context, _parameters: str) -> int:
    """Processes and threads that exist (the fourth field of /proc/loadavg, after the slash)."""
    return int(read_proc("loadavg").split()[3].partition("/")[2])


def read_hostname(_context: Context, _parameters: str) -> str:
    return socket.gethostname()


def read_kernel(_context: Context, _parameters: str) -> str:
    return platform.release()


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [
        Collector("uptime", read_uptime, float, "s", description="Time since this machine was started"),
        Collector("processes", read_processes, int, "", description="Processes and threads"),
        Collector("hostname", read_hostname, str, "", description="The machine's own name"),
        Collector("kernel", read_kernel, str, "", description="The kernel's release"),
    ]
