"""The configuration of a vmm installation in the testbed: the shipped files, with what a test must change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .domain import KERNEL_ARGUMENTS
from .host import Host
from .network import PREFIX_LENGTH, address

GUEST_MEMORY_MIB = 160
BUS_PORT = 4803
_RESERVE_MIB = 64


@dataclass(frozen=True)
class Choices:
    """What one test wants otherwise. Keys of `manager` are those of [manager] in vmm.ini.

    `rooms` is how many guests a host takes (0: as many as its memory allows). `idle_for` is how long a guest
    stays idle before the shipped rule `shrink` lets it go. `shared` says that the hosts share their images,
    so that guests can be moved.
    """

    manager: Mapping[str, object] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    guaranteed: Mapping[str, int] = field(default_factory=dict)
    rooms: int = 0
    idle_for: str = "2s"
    shared: bool = False
    most_mib: int = 0
    """Memory that a running guest may be given; 0: it keeps what it has."""


# Seconds instead of minutes, and still generous for a machine that emulates its guests.
_MANAGER: dict[str, object] = {
    "beat_s": 1,
    "boot_deadline_s": 90,
    "command_deadline_s": 30,
    "backoff_s": 2,
    "give_up_after": 3,
    "client_silent_s": 15,
    "resend_s": 2,
}


def write_configuration(
    folder: Path, shipped: Path, groups: tuple[str, ...], choices: Choices, state: Path
) -> None:
    """Write the five INI files. properties.ini and triggers.ini are the shipped ones."""
    folder.mkdir()
    (folder / "properties.ini").write_text((shipped / "properties.ini").read_text())
    triggers = (shipped / "triggers.ini").read_text()
    changed, count = re.subn(r"^for = 5m$", f"for = {choices.idle_for}", triggers, flags=re.MULTILINE)
    if count != 1:
        raise AssertionError("the shipped triggers.ini has no `for = 5m` any more: mend settings.py")
    (folder / "triggers.ini").write_text(changed)
    profiles = {group: _profile(group, i, choices) for i, group in enumerate(groups)}
    shares = {
        group: {"profile": group, "queue": group, "guaranteed": choices.guaranteed.get(group, 1)}
        for group in groups
    }
    (folder / "profiles.ini").write_text(_ini(profiles))
    (folder / "shares.ini").write_text(_ini(shares))
    (folder / "vmm.ini").write_text(_ini(_programs(choices, state)))


def _profile(group: str, index: int, choices: Choices) -> dict[str, object]:
    first = 101 + 40 * index
    bounds = {"max_memory": f"{choices.most_mib}MiB"} if choices.most_mib else {}
    return {
        **bounds,
        "template": choices.templates.get(group, f"{group}.qcow2"),
        "vcpus": 1,
        "memory": f"{GUEST_MEMORY_MIB}MiB",
        "network": Host.bridge,
        "addresses": f"{address(first)} - {address(first + 39)} / {PREFIX_LENGTH}",
        "gateway": address(1),
        "kernel": "vmlinuz",
        "initrd": "initrd.gz",
        "cmdline": f"{KERNEL_ARGUMENTS} vmm.ctl=ctl@{address(1)}",
    }


def _programs(choices: Choices, state: Path) -> dict[str, Mapping[str, object]]:
    shared = {"shared_storage": "yes", "migration": "qemu+tcp://dom0{host}/system"}
    room_mib = _RESERVE_MIB + choices.rooms * GUEST_MEMORY_MIB + GUEST_MEMORY_MIB // 2
    return {
        "bus": {"daemon": f"{BUS_PORT}@{address(1)}", "reconnect_max_s": 2},
        "manager": {"journal": state / "journal", **_MANAGER, **choices.manager},
        "client": {"state": state / "client"},
        "hypervisor": {
            "driver": "libvirt",
            "uri": "qemu:///system",
            "domain_type": "qemu",
            "images": "/srv/images",
            "reserve_mib": _RESERVE_MIB,
            "memory_mib": room_mib if choices.rooms else 0,
            "cpus": 8,  # the machine has two; how many guests fit is for the memory to say
            **(shared if choices.shared else {}),
        },
        "batch": {"driver": "slurm"},
        "keys": {"directory": "keys"},
    }


def _ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    rows = []
    for name, values in sections.items():
        rows += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    return "\n".join(rows)
