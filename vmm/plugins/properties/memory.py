"""Memory of this machine, from /proc/meminfo."""

from __future__ import annotations

from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import read_proc, unknown


def parse_meminfo(text: str) -> dict[str, int]:
    """Field -> MiB (rounded down), or the plain number for the fields without a unit (HugePages_...)."""
    fields = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            fields[name.strip()] = int(words[0]) >> 10 if words[1:] == ["kB"] else int(words[0])
    return fields


def read_ram(_context: Context, parameters: str) -> int:
    """MiB of the field named, MemAvailable without a name."""
    fields = parse_meminfo(read_proc("meminfo"))
    name = parameters.strip() or "MemAvailable"
    if name not in fields:
        raise unknown("field of /proc/meminfo", name, list(fields))
    return fields[name]


def read_ram_used_percent(_context: Context, _parameters: str) -> float:
    """Memory that is neither free nor reclaimable, in percent of all."""
    fields = parse_meminfo(read_proc("meminfo"))
    total = fields["MemTotal"]
    return round(100.0 * (total - fields["MemAvailable"]) / total, 2) if total else 0.0


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [
        Collector(
            "ram",
            read_ram,
            int,
            "MiB",
            description="A field of /proc/meminfo (parameters: MemFree, ...; MemAvailable if empty)",
        ),
        Collector("ram_used", read_ram_used_percent, float, "%", description="Memory in use, in percent"),
    ]
