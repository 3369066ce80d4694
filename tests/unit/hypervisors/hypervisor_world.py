"""Shared by the hypervisor tests: the test driver's host, and how to open it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmm.config import HypervisorSettings
from vmm.hypervisors.libvirt import LibvirtHypervisor
from vmm.messages.guest import GuestSpec

NODE = Path(__file__).with_name("node.xml")
MakeSpec = Callable[..., GuestSpec]


def open_libvirt(tmp_path: Path, images: Path, **settings: object) -> LibvirtHypervisor:
    chosen = HypervisorSettings(uri=f"test://{NODE}", reserve_mib=512, **settings)  # type: ignore[arg-type]
    return LibvirtHypervisor(chosen, images, tmp_path / "consoles", "host1")
