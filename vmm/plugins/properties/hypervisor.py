"""Host and guests as the hypervisor sees them (dom0 clients)."""

from __future__ import annotations

from typing import Any

import msgspec

from vmm.hypervisors.interface import GuestFacts, HostFacts, Hypervisor
from vmm.messages.structs import Value
from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import NoSuchProperty, unknown

STATES = ("running", "paused", "shutting-down", "off", "crashed")
ACTIVE = STATES[:3]
COLUMNS = GuestFacts.__struct_fields__
HOST = HostFacts.__struct_fields__
_ROLES = ("dom0",)


def _hypervisor(context: Context) -> Hypervisor:
    if context.hypervisor is None:
        raise NoSuchProperty(
            f"client {context.client} has no hypervisor.", next_step="ask a client of role dom0"
        )
    return context.hypervisor


def _guests(context: Context, parameters: str) -> list[GuestFacts]:
    """All guests, those of one state, or with `managed` those that vmm made."""
    guests = _hypervisor(context).guests()
    which = parameters.strip()
    if not which:
        return guests
    if which == "managed":
        return [guest for guest in guests if guest.managed]
    if which not in STATES:
        raise unknown("selection of guests", which, ["managed", *STATES])
    return [guest for guest in guests if guest.state == which]


def _active(context: Context) -> list[GuestFacts]:
    return [guest for guest in _hypervisor(context).guests() if guest.state in ACTIVE]


def read_host(context: Context, _parameters: str) -> Value:
    built: Any = msgspec.to_builtins(_hypervisor(context).facts())
    return dict(built)


def read_guests(context: Context, parameters: str) -> Value:
    return [msgspec.to_builtins(guest) for guest in _guests(context, parameters)]


def read_guest_count(context: Context, parameters: str) -> int:
    return len(_guests(context, parameters))


def read_memory_free(context: Context, _parameters: str) -> int:
    facts = _hypervisor(context).facts()
    used = sum(guest.memory_mib for guest in _active(context))
    return facts.memory_mib - facts.reserved_mib - used


def read_memory_given(context: Context, _parameters: str) -> int:
    return sum(guest.memory_mib for guest in _active(context))


def read_vcpus_given(context: Context, _parameters: str) -> int:
    return sum(guest.vcpus for guest in _active(context))


def read_image_free(context: Context, _parameters: str) -> int:
    return _hypervisor(context).facts().image_free_mib


@hookimpl
def vmm_collectors() -> list[Collector]:
    which = "(parameters: managed, or a state; all if empty)"
    return [
        Collector("host_facts", read_host, dict, "", _ROLES, 15.0, "What the host offers to guests", HOST),
        Collector("guests", read_guests, list, "", _ROLES, 15.0, f"The guests {which}", COLUMNS),
        Collector("guest_count", read_guest_count, int, "", _ROLES, 15.0, f"Number of guests {which}"),
        Collector(
            "guest_memory", read_memory_given, int, "MiB", _ROLES, 15.0, "Memory of the guests that are on"
        ),
        Collector("guest_memory_free", read_memory_free, int, "MiB", _ROLES, 15.0, "Memory left for guests"),
        Collector("guest_vcpus", read_vcpus_given, int, "", _ROLES, 15.0, "vCPUs of the guests that are on"),
        Collector("image_free", read_image_free, int, "MiB", _ROLES, 15.0, "Free room for disk images"),
    ]
