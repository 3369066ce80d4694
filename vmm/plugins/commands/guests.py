"""Commands of dom0 clients: make, remove, start and stop guests."""

from __future__ import annotations

from typing import Any

import msgspec

from vmm.errors import CommandFailed
from vmm.hypervisors.interface import GuestFailed, Hypervisor
from vmm.messages.guest import spec_from_args
from vmm.messages.structs import Value
from vmm.plugins.hookspecs import CommandPlugin, Context, hookimpl

_ROLES = ("dom0",)
SHUTDOWN_GRACE_S = 30.0
MIGRATION_LIMIT_S = 3600.0
"""Longer than the Manager waits: a migration that goes on is waited for by the next one that is asked."""

RESIZE_LIMIT_S = 80.0
"""Longer than a hypervisor waits for a guest to follow."""


def _hypervisor(context: Context) -> Hypervisor:
    if context.hypervisor is None:
        raise CommandFailed(
            f"client {context.client} has no hypervisor.", next_step="send it to a client of role dom0"
        )
    return context.hypervisor


def create_guest(context: Context, guest: dict[str, Any]) -> Value:
    """Make and start the guest that `guest` (a GuestSpec as a dict) describes."""
    try:
        spec = spec_from_args(guest)
    except msgspec.ValidationError as exc:
        raise GuestFailed(
            "bad-guest", f"create_guest: not a guest: {exc}.", next_step="see the fields of GuestSpec"
        ) from exc
    _hypervisor(context).create(spec)
    return {"name": spec.name, "uuid": spec.uuid}


def destroy_guest(context: Context, name: str, grace_s: float = 0.0, keep_shared_disk: bool = False) -> Value:
    """Remove the guest and its disk; with a grace, ask it to power off first.

    `keep_shared_disk`: the guest runs on another host now, with a disk of the same name.
    """
    _hypervisor(context).destroy(name, grace_s, keep_shared_disk)
    return {"name": name}


def start_guest(context: Context, name: str) -> Value:
    """Switch a guest on that is off."""
    _hypervisor(context).start(name)
    return {"name": name}


def shutdown_guest(context: Context, name: str, grace_s: float = SHUTDOWN_GRACE_S) -> Value:
    """Ask the guest to power off and wait for it; it stays defined."""
    _hypervisor(context).shutdown(name, grace_s)
    return {"name": name}


def migrate_guest(context: Context, name: str, target: str, uuid: str = "") -> Value:
    """Move a running guest to the host `target`; it is a success when it is there already."""
    _hypervisor(context).migrate(name, target, uuid)
    return {"name": name, "host": target}


def resize_guest(
    context: Context,
    name: str,
    memory_mib: int | None = None,
    vcpus: int | None = None,
    cpu_weight: float | None = None,
    cpu_cap: float | None = None,
) -> Value:
    """Change a running guest's memory, vCPUs, CPU weight and cap (those named); what it has afterwards."""
    size = _hypervisor(context).resize(
        name, memory_mib=memory_mib, vcpus=vcpus, cpu_weight=cpu_weight, cpu_cap=cpu_cap
    )
    return {"name": name, **msgspec.structs.asdict(size)}


def console_tail(context: Context, name: str, lines: int = 20) -> Value:
    """The last lines of the guest's serial console."""
    return _hypervisor(context).console_tail(name, lines)


@hookimpl
def vmm_commands() -> list[CommandPlugin]:
    named: dict[str, type] = {"name": str}
    graced: dict[str, type] = {"name": str, "grace_s": float}
    destroyed: dict[str, type] = {**graced, "keep_shared_disk": bool}
    # Every operation of a hypervisor bears being run twice, so these are all repeatable.
    return [
        CommandPlugin(
            "create_guest", create_guest, {"guest": dict}, _ROLES, 60.0, True, "Make and start a guest"
        ),
        CommandPlugin(
            "destroy_guest", destroy_guest, destroyed, _ROLES, 60.0, True, "Remove a guest and its disk"
        ),
        CommandPlugin("start_guest", start_guest, named, _ROLES, 60.0, True, "Switch a guest on"),
        CommandPlugin(
            "shutdown_guest", shutdown_guest, graced, _ROLES, 30.0, True, "Ask a guest to power off"
        ),
        CommandPlugin(
            "migrate_guest",
            migrate_guest,
            {"name": str, "target": str, "uuid": str},
            _ROLES,
            MIGRATION_LIMIT_S,
            True,
            "Move a running guest to another host",
        ),
        CommandPlugin(
            "resize_guest",
            resize_guest,
            {"name": str, "memory_mib": int, "vcpus": int, "cpu_weight": float, "cpu_cap": float},
            _ROLES,
            RESIZE_LIMIT_S,
            True,
            "Change what a running guest has",
        ),
        CommandPlugin(
            "console_tail",
            console_tail,
            {"name": str, "lines": int},
            _ROLES,
            10.0,
            True,
            "The end of a guest's console",
        ),
    ]
