"""The hypervisor that the settings name."""

from __future__ import annotations

from pathlib import Path

from vmm.config import Settings
from vmm.hypervisors.interface import Hypervisor
from vmm.hypervisors.libvirt import LibvirtHypervisor
from vmm.hypervisors.memory import MemoryHypervisor, OnBoot


def open_hypervisor(settings: Settings, host: str, *, on_boot: OnBoot | None = None) -> Hypervisor:
    """The hypervisor of `host` (the dom0 client's name). Nothing is connected before the first call.

    `on_boot` and the state file below the client's state folder are used by the in-memory one only.
    ConfigError when the driver's package is missing.
    """
    chosen = settings.hypervisor
    if chosen.driver == "memory":
        state_file: Path = settings.path(settings.client.state) / f"{host}.guests.json"
        return MemoryHypervisor(chosen, host, on_boot=on_boot, state_file=state_file)
    return LibvirtHypervisor(chosen, settings.path(chosen.images), settings.path(chosen.consoles), host)
