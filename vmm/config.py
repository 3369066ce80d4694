"""The program settings of `etc/vmm.ini`, typed and checked; every key has a default that suits one machine.

Rules, properties, profiles and shares are other files with readers of their own. Relative paths are
relative to the folder of the configuration.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vmm.durations import parse_duration_s, parse_size_mib
from vmm.errors import ConfigError
from vmm.ini import Finding, FindingsError, Section, read_ini, suggest

SETTINGS_FILE = "vmm.ini"


@dataclass(frozen=True, slots=True)
class BusSettings:
    """`guests` is the daemon as guests reach it, where that is another address than `daemon`."""

    daemon: str = "4803@127.0.0.1"
    guests: str = ""
    shards: int = 8
    reconnect_max_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """`journal_retain_*` of 0 keep the journal for ever."""

    name: str = "manager"
    journal: str = "../var/journal"
    tick_s: float = 1.0
    beat_s: float = 2.0
    boot_deadline_s: float = 120.0
    command_deadline_s: float = 60.0
    drain_deadline_s: float = 7 * 86400.0
    migration_deadline_s: float = 600.0
    backoff_s: float = 10.0
    backoff_max_s: float = 600.0
    give_up_after: int = 5
    client_silent_s: float = 30.0
    resend_s: float = 5.0
    shutdown_grace_s: float = 10.0
    promise_s: float = 60.0
    vcpus_per_cpu: float = 4.0
    journal_sync: str = "batch"
    journal_retain_s: float = 0.0
    journal_retain_mib: int = 0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    state: str = "../var/client"
    link_timeout_s: float = 10.0
    workers: int = 4


@dataclass(frozen=True, slots=True)
class HypervisorSettings:
    """`migration` is libvirt's URI of another host, `{host}` standing for its name. `shared_storage`: the
    images folder is one and the same on all hosts, whatever its file system says."""

    driver: str = "libvirt"
    uri: str = "qemu:///system"
    domain_type: str = "qemu"
    machine: str = "pc"
    cpu: str = ""
    images: str = "/var/lib/vmm/images"
    consoles: str = "/var/log/libvirt/qemu"
    reserve_mib: int = 512
    memory_mib: int = 0
    cpus: int = 0
    boot_s: float = 1.0
    migration: str = "qemu+tcp://{host}/system"
    shared_storage: bool = False


@dataclass(frozen=True, slots=True)
class BatchSettings:
    driver: str = "slurm"
    bin: str = ""
    conf: str = ""
    timeout_s: float = 10.0
    workload: str = ""
    socket: str = ""
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class KeySettings:
    directory: str = "keys"


@dataclass(frozen=True, slots=True)
class Settings:
    folder: Path
    bus: BusSettings = field(default_factory=BusSettings)
    manager: ManagerSettings = field(default_factory=ManagerSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    hypervisor: HypervisorSettings = field(default_factory=HypervisorSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    keys: KeySettings = field(default_factory=KeySettings)

    def path(self, text: str) -> Path:
        """A path of the settings, made absolute."""
        return (self.folder / os.path.expanduser(text)).resolve()

    @property
    def keys_folder(self) -> Path:
        return self.path(self.keys.directory)


_SECTIONS: dict[str, type] = {
    "bus": BusSettings,
    "manager": ManagerSettings,
    "client": ClientSettings,
    "hypervisor": HypervisorSettings,
    "batch": BatchSettings,
    "keys": KeySettings,
}
_CHOICES = {
    ("hypervisor", "driver"): ("libvirt", "memory"),
    ("hypervisor", "domain_type"): ("qemu", "kvm", "xen"),
    ("batch", "driver"): ("slurm", "memory", "none"),
    ("manager", "journal_sync"): ("none", "batch", "always"),
}
_RANGES: dict[tuple[str, str], tuple[float, float]] = {
    ("bus", "shards"): (1, 40),  # one message reaches all shards and the Managers: at most 43 groups
    ("bus", "reconnect_max_s"): (0.1, 3600),
    ("manager", "tick_s"): (0.01, 3600),
    ("manager", "beat_s"): (0.05, 3600),
    ("manager", "resend_s"): (0.1, 3600),
    ("manager", "give_up_after"): (1, 1_000_000),
    ("manager", "vcpus_per_cpu"): (0.01, 1000),
    ("client", "link_timeout_s"): (0.2, 3600),
    ("client", "workers"): (1, 64),
    ("hypervisor", "cpus"): (0, 1_000_000),
    ("batch", "timeout_s"): (0.1, 3600),
    ("batch", "speed"): (0.001, 1_000_000),
}


def load_settings(folder: Path) -> Settings:
    """Read `vmm.ini` in `folder`; without the file all defaults hold. Raises ConfigError, FindingsError."""
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder of configuration.", next_step="name it with -c, e.g. -c etc/"
        )
    path = folder / SETTINGS_FILE
    if not path.exists():
        return Settings(folder.resolve())
    findings: list[Finding] = []
    parts = {}
    for section in read_ini(path):
        kind = _SECTIONS.get(section.name)
        if kind is None:
            findings.append(
                Finding(
                    section.file,
                    section.line,
                    f"unknown section [{section.name}].",
                    suggest(section.name, _SECTIONS),
                )
            )
            continue
        parts[section.name] = kind(**_typed(section, kind, findings))
    if findings:
        raise FindingsError(findings)
    return Settings(folder.resolve(), **parts)


def _typed(section: Section, kind: type, findings: list[Finding]) -> dict[str, Any]:
    known = {f.name: f.type for f in fields(kind)}
    out: dict[str, Any] = {}
    for key, item in section.items.items():
        if key not in known:
            findings.append(
                Finding(section.file, item.line, f"[{section.name}] has no key {key!r}.", suggest(key, known))
            )
            continue
        try:
            out[key] = _reader(key, str(known[key]))(item.value)
        except ValueError as exc:
            findings.append(Finding(section.file, item.line, f"[{section.name}] {key}: {exc}."))
            continue
        low, high = _RANGES.get((section.name, key), (None, None))
        if low is not None and high is not None and not low <= out[key] <= high:
            text = f"[{section.name}] {key}: {item.value!r} is not between {low:g} and {high:g}."
            findings.append(Finding(section.file, item.line, text))
        allowed = _CHOICES.get((section.name, key))
        if allowed and out[key] not in allowed:
            findings.append(
                Finding(
                    section.file,
                    item.line,
                    f"[{section.name}] {key}: {item.value!r} is not one of {', '.join(allowed)}.",
                )
            )
    return out


def _reader(key: str, type_name: str) -> Callable[[str], Any]:
    if key.endswith("_s"):
        return parse_duration_s
    if key.endswith("_mib"):
        return parse_size_mib
    if type_name == "int":
        return _whole
    if type_name == "bool":
        return _yes_no
    return _number if type_name == "float" else str


def _yes_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text[:40]!r} is neither yes nor no")
    return text == "yes"


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a number")
    return value
