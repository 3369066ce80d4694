"""Disks of this machine: room in file systems, bytes read and written."""

from __future__ import annotations

import os
import re

from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import NoSuchProperty, read_proc, unknown

SECTOR_BYTES = 512
"""/proc/diskstats counts in these, whatever the device's own sectors are."""
_PART = re.compile(r"(loop|ram|zram|dm-|md|sr|fd)\d+|(nvme\d+n|mmcblk|nbd)\d+p\d+|([hsv]d|xvd)[a-z]+\d+")


def parse_diskstats(text: str) -> dict[str, tuple[int, int]]:
    """Device -> (bytes read, bytes written) since boot."""
    out = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 10:
            out[words[2]] = (int(words[5]) * SECTOR_BYTES, int(words[9]) * SECTOR_BYTES)
    return out


def _room(parameters: str) -> os.statvfs_result:
    path = parameters.strip() or "/"
    try:
        return os.statvfs(path)
    except OSError as exc:
        raise NoSuchProperty(
            f"{path!r}: {exc.strerror}.", next_step="name a folder of the file system you mean"
        ) from exc


def read_free(_context: Context, parameters: str) -> int:
    """MiB that an ordinary user may still write at the path."""
    room = _room(parameters)
    return room.f_bavail * room.f_frsize >> 20


def read_used_percent(_context: Context, parameters: str) -> float:
    """Used part of what an ordinary user could have, as df shows it."""
    room = _room(parameters)
    used = room.f_blocks - room.f_bfree
    usable = used + room.f_bavail
    return round(100.0 * used / usable, 2) if usable else 0.0


def _io(parameters: str, which: int) -> int:
    devices = parse_diskstats(read_proc("diskstats"))
    name = parameters.strip().removeprefix("/dev/")
    if name:
        if name not in devices:
            raise unknown("block device", name, list(devices))
        return devices[name][which]
    # Partitions repeat what their disk counts, and mapped devices what is below them.
    return sum(value[which] for device, value in devices.items() if not _PART.fullmatch(device))


def read_bytes_read(_context: Context, parameters: str) -> int:
    return _io(parameters, 0)


def read_bytes_written(_context: Context, parameters: str) -> int:
    return _io(parameters, 1)


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [
        Collector("disk", read_free, int, "MiB", description="Free room at a path (parameters; / if empty)"),
        Collector("disk_used", read_used_percent, float, "%", description="Used part of the file system"),
        Collector("disk_read", read_bytes_read, int, "B", description="Read since boot (parameters: device)"),
        Collector(
            "disk_written",
            read_bytes_written,
            int,
            "B",
            description="Written since boot (parameters: device)",
        ),
    ]
