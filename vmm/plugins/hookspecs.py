"""What a plugin can bring: collectors (they read properties), commands (they act), objectives of planning.

pluggy's project name is `vmm`. A third-party package registers under the entry point group `vmm`:

    [options.entry_points]
    vmm =
        my_site = my_site.vmm_plugin
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pluggy

from vmm.batch.interface import BatchSystem
from vmm.hypervisors.interface import Hypervisor
from vmm.messages.structs import Value

PROJECT = "vmm"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ROLES = ("dom0", "domU", "batch")


@dataclass(frozen=True, slots=True)
class Context:
    """What a plugin function may use. `hypervisor` exists on dom0, `batch` on the batch client."""

    client: str
    role: str
    hypervisor: Hypervisor | None = None
    batch: BatchSystem | None = None


@dataclass(frozen=True, slots=True)
class Collector:
    """Reads one property. `read(context, parameters)`: parameters is the INI's string, often empty.

    `returns` is int, float, str, bool, list or dict; `unit` is what values mean (MiB, s, ...). A read over
    `timeout_s` is given up and reported with the plugin's name.
    """

    name: str
    read: Callable[[Context, str], Value]
    returns: type
    unit: str = ""
    roles: tuple[str, ...] = ROLES
    timeout_s: float = 5.0
    description: str = ""
    columns: tuple[str, ...] = ()
    """For a table (`returns` is list): the names of its columns."""


@dataclass(frozen=True, slots=True)
class CommandPlugin:
    """Does one thing. `run(context, **args)` returns a value or raises CommandFailed with a stable code.

    `repeatable` promises that running it twice does what running it once does: only then is it run again
    after a crash in the middle. `args` maps argument names to types, checked before the call.
    """

    name: str
    run: Callable[..., Value]
    args: dict[str, type]
    roles: tuple[str, ...]
    timeout_s: float = 60.0
    repeatable: bool = False
    description: str = ""


class Specs:
    """The hooks."""

    @hookspec
    def vmm_collectors(self) -> list[Collector]:  # type: ignore[empty-body]
        """Collectors of this plugin."""

    @hookspec
    def vmm_commands(self) -> list[CommandPlugin]:  # type: ignore[empty-body]
        """Commands of this plugin."""

    @hookspec
    def vmm_objectives(self) -> list[Any]:  # type: ignore[empty-body]
        """Objectives of planning (`vmm.policies.objective.Objective`), each with a name of its own."""


AnyArgs = dict[str, Any]
