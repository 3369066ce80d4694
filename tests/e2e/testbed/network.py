"""The LAN: a namespace that holds a bridge, and one network namespace per machine plugged into it.

Nothing appears in the root namespace, so any number of testbeds may use the same addresses.
"""

from __future__ import annotations

from pathlib import Path

from .shell import run

NETNS_DIRECTORY = Path("/run/netns")
NETWORK = "10.91.0"
PREFIX_LENGTH = 24


def address(last: int) -> str:
    """The address of the machine with this last octet."""
    return f"{NETWORK}.{last}"


class Lan:
    """A switch with pluggable cables. Namespaces are called PREFIX-lan and PREFIX-MACHINE."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.netns = f"{prefix}-lan"

    def up(self) -> None:
        run(["ip", "netns", "add", self.netns])
        run(["ip", "-n", self.netns, "link", "set", "lo", "up"])
        # Without forward_delay 0 a port stays silent for 15 s after it was plugged.
        bridge = ["link", "add", "lan0", "type", "bridge", "forward_delay", "0", "stp_state", "0"]
        run(["ip", "-n", self.netns, *bridge])
        run(["ip", "-n", self.netns, "link", "set", "lan0", "up"])

    def plug(self, machine: str) -> str:
        """Make the machine's network namespace with an eth0 on the LAN; returns the namespace's name."""
        netns = f"{self.prefix}-{machine}"
        run(["ip", "netns", "add", netns])
        run(["ip", "-n", netns, "link", "set", "lo", "up"])
        peer = ["peer", "name", f"p-{machine}", "netns", self.netns]
        run(["ip", "-n", netns, "link", "add", "eth0", "type", "veth", *peer])
        run(["ip", "-n", self.netns, "link", "set", f"p-{machine}", "master", "lan0", "up"])
        run(["ip", "-n", netns, "link", "set", "eth0", "up"])
        return netns

    def cut(self, machine: str) -> None:
        """Pull the machine's network cable."""
        run(["ip", "-n", self.netns, "link", "set", f"p-{machine}", "down"])

    def join(self, machine: str) -> None:
        """Put the machine's network cable back."""
        run(["ip", "-n", self.netns, "link", "set", f"p-{machine}", "up"])

    def namespaces(self) -> list[str]:
        """The namespaces of this LAN and its machines that exist now."""
        return namespaces_of(self.prefix)

    def down(self) -> None:
        """Delete every namespace of this LAN. May be called twice, and after a failed `up`."""
        for name in self.namespaces():
            run(["ip", "netns", "delete", name])


def namespaces_of(prefix: str) -> list[str]:
    """The names of the network namespaces PREFIX-*; never anybody else's."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIRECTORY.iterdir() if entry.name.startswith(f"{prefix}-"))
