"""The testbed of one test session: controller, hosts, LAN; and the proof that nothing of it is left."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .controller import Controller
from .host import Host
from .image import OVERLAYS, ImageSet
from .network import NETNS_DIRECTORY, Lan, address, namespaces_of
from .shell import run

_PREFIX = "vmmt"


class Testbed:
    """`ctl` and `hosts["a"]`, ... on one LAN; `shared` is /srv/vm of every host.

    The namespaces are called vmmtPID-*, after the test process: testbeds of other sessions are not touched.
    A second one in the same process needs a `label`, and has to be down before the first goes down.
    """

    __test__ = False  # not a test class, whatever its name

    def __init__(self, images: ImageSet, cache: Path, hosts: Sequence[str] = ("a",), label: str = "") -> None:
        self.images = images
        self.prefix = f"{_PREFIX}{os.getpid()}" + (f"-{label}" if label else "")
        # Short: libvirt's socket below it has to stay under 108 characters.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        self.shared = self.directory / "shared"
        (self.shared / OVERLAYS).mkdir(parents=True)
        self.lan = Lan(self.prefix)
        self._net_spaces: set[int] = set()
        names = {"ctl": address(1)} | {f"dom0{name}": address(11 + i) for i, name in enumerate(hosts)}
        self.ctl = Controller(
            f"{self.prefix}-ctl",
            self.directory / "ctl",
            hosts=names,
            munge_key=images.munge_key,
            groups=images.groups,
        )
        self.hosts = {
            name: Host(
                name,
                1 + i,
                f"{self.prefix}-{name}",
                self.directory / name,
                hosts=names,
                images=images.directory,
                shared=self.shared,
                capability_cache=cache / "libvirt-capabilities",
            )
            for i, name in enumerate(hosts)
        }

    def up(self) -> None:
        """Build the LAN and switch every machine on."""
        sweep_dead_sessions()
        self.lan.up()
        self.lan.plug("ctl")
        self.ctl.connect()
        for name, host in self.hosts.items():
            self.lan.plug(name)
            host.connect_bridge()
        self.ctl.power_on()
        self._net_spaces = {os.stat(NETNS_DIRECTORY / name).st_ino for name in self.lan.namespaces()}
        for host in self.hosts.values():
            host.power_on()

    def down(self) -> None:
        """Switch everything off and remove it. May be called twice, and after a failed `up`."""
        for machine in (*self.hosts.values(), self.ctl):
            machine.power_off()
        self.lan.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def residue(self) -> list[str]:
        """What a test forgot: jobs not ended, batch nodes, guests, files in the shared storage."""
        ended = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT")
        found = [f"job {job}" for job in self.ctl.jobs().values() if job.state not in ended]
        found += [f"batch node {name} {state}" for name, state in self.ctl.nodes().items()]
        found += [
            f"guest {guest} on host {host.name}" for host in self.hosts.values() for guest in host.domains()
        ]
        files = [path for path in sorted(self.shared.rglob("*")) if path != self.shared / OVERLAYS]
        return found + [f"file {path.relative_to(self.shared)} in the shared storage" for path in files]

    def logs(self) -> list[Path]:
        """Every log file of every machine, those of guests included."""
        ctl = [self.directory / "ctl/run/slurmctld/slurmctld.log"]
        libvirt = [host.directory / "libvirt-log/libvirtd.log" for host in self.hosts.values()]
        own = sorted(self.directory.glob("*/log/*.log"))
        serial = [path for host in self.hosts.values() for path in host.serial_logs()]
        return [*own, *ctl, *libvirt, *serial]

    def describe(self) -> list[str]:
        """What is there now, for a failed test's report; never raises."""
        try:
            return self.residue()
        except AssertionError as exc:
            return [str(exc)]

    def clear(self) -> None:
        """Remove by force what `residue` would name, whatever state it is in: every machine starts anew."""
        for machine in (*self.hosts.values(), self.ctl):
            machine.power_off()
        for path in self.shared.rglob("*"):
            if path.is_file():
                path.unlink(missing_ok=True)
        self.ctl.power_on()
        for host in self.hosts.values():
            host.forget_guests()
            host.power_on()

    @contextmanager
    def running(self) -> Iterator[Testbed]:
        """Up as long as the block runs; nothing may be left behind it."""
        try:
            self.up()
            yield self
        finally:
            self.down()
        assert self.leftovers() == []

    def leftovers(self) -> list[str]:
        """What is still there of this testbed: namespaces, processes, mounts, files. Empty after `down`."""
        found = [f"namespace {name}" for name in self.lan.namespaces()]
        found += [f"process {row}" for row in _processes_of(str(self.directory), self._net_spaces)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [f"mount {row}" for row in mounts if str(self.directory) in row or f"{self.prefix}-" in row]
        if self.directory.exists():
            found.append(f"directory {self.directory}")
        return found


def _processes_of(directory: str, net_spaces: set[int]) -> list[str]:
    """Running processes (not this one) that name a directory or live in one of the network namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            inside = os.stat(entry / "ns/net").st_ino in net_spaces
        except OSError:
            continue  # it ended meanwhile
        if inside or directory in words:
            found.append(f"{entry.name} {words.strip()}")
    return found


def sweep_dead_sessions() -> None:
    """Remove namespaces and files of test sessions that were killed before they could clean up."""
    owned = re.compile(rf"{_PREFIX}(\d+)-")
    temporary = Path(tempfile.gettempdir())
    places = [place for place in (NETNS_DIRECTORY, temporary) if place.is_dir()]
    pids = {int(m[1]) for place in places for entry in place.iterdir() if (m := owned.match(entry.name))}
    for pid in pids:
        if Path(f"/proc/{pid}").exists():
            continue
        for name in namespaces_of(f"{_PREFIX}{pid}"):
            run(["ip", "netns", "delete", name])
        for directory in temporary.glob(f"{_PREFIX}{pid}-*"):
            shutil.rmtree(directory, ignore_errors=True)
