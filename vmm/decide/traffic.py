"""What guests read, write, send and receive: counters that their hosts report. Rates need two looks."""

from __future__ import annotations

from typing import Any, NamedTuple

from vmm.decide.rulebook import Rules
from vmm.decide.state import State

DISK_FULL_BYTES_S = 100.0 * 2**20
"""A guest that reads and writes so much has a disk load of 1: about what one disk streams."""
NETWORK_FULL_BYTES_S = 125e6
"""A guest that sends and receives so much has a network load of 1: one Gbit/s."""


class Counted(NamedTuple):
    """Bytes since the guest came to its host, as of the host's report at `time_s`."""

    host: str
    time_s: float
    disk: float
    network: float


class Rates(NamedTuple):
    """In units of the whole guest, see the constants above."""

    disk: float
    network: float


def counted(state: State, rules: Rules) -> dict[str, Counted]:
    """The counters of all guests whose hosts report them."""
    tables = [spec.name for spec in rules.properties.values() if spec.command == "guests"]
    found = {}
    for host in state.hosts:
        for name in tables:
            reading = state.world.hosts.get(host, name) if host in state.world.hosts else None
            rows = reading.value if reading is not None else None
            for row in rows if isinstance(rows, list) else ():
                one = _read(host, reading.time_s, row) if reading is not None else None
                if one is not None:
                    found[str(row["name"])] = one
    return found


def rates(before: dict[str, Counted], now: dict[str, Counted]) -> dict[str, Rates]:
    """For guests that are on the same host as before, and whose counters went on."""
    found = {}
    for name, new in now.items():
        old = before.get(name)
        if old is None or old.host != new.host or new.time_s <= old.time_s:
            continue
        gap_s = new.time_s - old.time_s
        disk, network = (new.disk - old.disk) / gap_s, (new.network - old.network) / gap_s
        if disk >= 0 and network >= 0:
            found[name] = Rates(disk / DISK_FULL_BYTES_S, network / NETWORK_FULL_BYTES_S)
    return found


def _read(host: str, time_s: float, row: Any) -> Counted | None:
    try:
        disk = float(row["disk_read_bytes"]) + float(row["disk_write_bytes"])
        return Counted(host, time_s, disk, float(row["net_rx_bytes"]) + float(row["net_tx_bytes"]))
    except (KeyError, TypeError, ValueError):
        return None
