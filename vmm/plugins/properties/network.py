"""Network interfaces of this machine, from /proc/net/dev."""

from __future__ import annotations

from vmm.messages.structs import Value
from vmm.plugins.hookspecs import Collector, Context, hookimpl
from vmm.plugins.properties._proc import read_proc, unknown

COLUMNS = ("name", "rx_bytes", "rx_packets", "rx_errors", "tx_bytes", "tx_packets", "tx_errors")
_FIELDS = (0, 1, 2, 8, 9, 10)


def parse_net_dev(text: str) -> list[dict[str, int | str]]:
    """A row an interface, counted since boot; see COLUMNS."""
    rows: list[dict[str, int | str]] = []
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        numbers = rest.split()
        if colon and len(numbers) >= 16 and all(n.isdigit() for n in numbers):
            values = [int(numbers[i]) for i in _FIELDS]
            rows.append({"name": name.strip(), **dict(zip(COLUMNS[1:], values, strict=True))})
    return rows


def read_interfaces(_context: Context, _parameters: str) -> Value:
    return parse_net_dev(read_proc("net/dev"))


def _total(parameters: str, column: str) -> int:
    rows = parse_net_dev(read_proc("net/dev"))
    name = parameters.strip()
    if name:
        chosen = [row for row in rows if row["name"] == name]
        if not chosen:
            raise unknown("network interface", name, [str(row["name"]) for row in rows])
    else:
        chosen = [row for row in rows if row["name"] != "lo"]
    return sum(int(row[column]) for row in chosen)


def read_received(_context: Context, parameters: str) -> int:
    return _total(parameters, "rx_bytes")


def read_sent(_context: Context, parameters: str) -> int:
    return _total(parameters, "tx_bytes")


@hookimpl
def vmm_collectors() -> list[Collector]:
    which = "(parameters: interface; all but lo if empty)"
    return [
        Collector("net_rx", read_received, int, "B", description=f"Received since boot {which}"),
        Collector("net_tx", read_sent, int, "B", description=f"Sent since boot {which}"),
        Collector("net", read_interfaces, list, "", description="The network interfaces", columns=COLUMNS),
    ]
