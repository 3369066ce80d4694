"""What a domain's XML and libvirt's statistics say about a guest. Pure: no libvirt."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmm.hypervisors.domain_xml import TAG
from vmm.hypervisors.interface import GuestFacts

# virDomainState. Xen says NOSTATE of a guest that merely waits for a processor.
STATES = {
    0: "running",
    1: "running",
    2: "running",
    3: "paused",
    4: "shutting-down",
    5: "off",
    6: "crashed",
    7: "paused",
}
ACTIVE = ("running", "paused", "shutting-down")


@dataclass(frozen=True, slots=True)
class Described:
    """What the XML of a domain says."""

    name: str
    uuid: str
    memory_mib: int
    max_memory_mib: int
    vcpus: int
    max_vcpus: int
    disks: tuple[str, ...]
    interfaces: tuple[str, ...]
    managed: bool
    share: str = ""
    profile: str = ""


_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"k": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}
_UNITS |= {"T": 1 << 40, "TiB": 1 << 40}


def describe(xml: str) -> Described:
    """Read a domain's XML as libvirt gives it."""
    root = ET.fromstring(xml)
    mark = root.find(f"metadata/{TAG}")
    memory_mib = _mib(root.find("memory"))
    current = root.find("currentMemory")
    vcpu = root.find("vcpu")
    vcpus = 1 if vcpu is None else int(vcpu.get("current") or vcpu.text or 1)
    return Described(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        memory_mib=memory_mib if current is None else _mib(current),
        max_memory_mib=memory_mib,
        vcpus=vcpus,
        max_vcpus=1 if vcpu is None else int(vcpu.text or vcpus),
        disks=tuple(_source(disk) for disk in root.iterfind("devices/disk")),
        interfaces=tuple(_interface(nic) for nic in root.iterfind("devices/interface")),
        managed=mark is not None,
        share="" if mark is None else mark.get("share", ""),
        profile="" if mark is None else mark.get("profile", ""),
    )


def guest_facts(
    described: Described, stats: Mapping[str, Any], fallback: Mapping[str, Any] | None = None
) -> GuestFacts:
    """One guest from its XML and the statistics of `getAllDomainStats`.

    Memory of the statistics is in KiB, time in ns. `fallback` fills what a driver's statistics leave out.
    """
    known = {**(fallback or {}), **stats}
    state = STATES.get(int(known.get("state.state", 5)), "off")
    current = known.get("balloon.current")
    return GuestFacts(
        name=described.name,
        uuid=described.uuid,
        state=state,
        memory_mib=described.memory_mib if current is None else int(current) // 1024,
        max_memory_mib=described.max_memory_mib,
        vcpus=int(known.get("vcpu.current", described.vcpus)),
        cpu_time_s=int(known.get("cpu.time", 0)) / 1e9,
        disks=list(described.disks),
        disk_read_bytes=_sum(known, "block", "rd.bytes"),
        disk_write_bytes=_sum(known, "block", "wr.bytes"),
        interfaces=list(described.interfaces),
        net_rx_bytes=_sum(known, "net", "rx.bytes"),
        net_tx_bytes=_sum(known, "net", "tx.bytes"),
        managed=described.managed,
    )


def _sum(stats: Mapping[str, Any], group: str, field: str) -> int:
    count = int(stats.get(f"{group}.count", 0))
    return sum(int(stats.get(f"{group}.{i}.{field}", 0)) for i in range(count))


def _mib(element: ET.Element | None) -> int:
    if element is None or not element.text:
        return 0
    return int(element.text) * _UNITS.get(element.get("unit", "KiB"), 1 << 10) >> 20


def _source(disk: ET.Element) -> str:
    source = disk.find("source")
    if source is not None:
        for key in ("file", "dev", "name", "volume", "dir"):
            if found := source.get(key):
                return found
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _interface(nic: ET.Element) -> str:
    """`tap on bridge` as far as either is known, else the address."""
    source, target, mac = nic.find("source"), nic.find("target"), nic.find("mac")
    where = ""
    if source is not None:
        where = source.get("bridge") or source.get("network") or source.get("dev") or ""
    device = "" if target is None else target.get("dev", "")
    if device and where:
        return f"{device} on {where}"
    return device or where or ("" if mac is None else mac.get("address", ""))
