"""The libvirt driver on a libvirtd and QEMU of its own: a boot sector for a guest, kill -9 for the daemon.

libvirtd runs in namespaces of its own (mounts, network, processes) and ends with them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypervisor_world import MakeSpec

from vmm.config import HypervisorSettings
from vmm.hypervisors.interface import GuestFailed, HypervisorDown
from vmm.hypervisors.libvirt import LibvirtHypervisor
from vmm.messages.guest import GuestSize

pytestmark = pytest.mark.e2e

# Real mode: arm the power button (ports 0x600-0x604 of the PIIX4), say "guest is up", power off when pressed.
BOOT_SECTOR = bytes.fromhex(
    "31c08ed8bc007cba0206b80001efbe2e7cac84c07406baf803eeebf5ba0006edf6c40174f7ba0406"
    "b80020efebee" + b"guest is up\n\0".hex()
)
CPU_GROUP = Path("/sys/fs/cgroup/cpu")
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"]
DAEMON = """
set -e
mount --bind "$1/run" /run
for part in etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
    mkdir -p "${part#*:}"; mount --bind "$1/${part%%:*}" "${part#*:}"
done
mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
ip link set lo up
[ -z "$2" ] || ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
while :; do
    libvirtd & echo $! > "$1/started"; wait $! || true
    while [ -e "$1/stopped" ]; do sleep 0.1; done
done
"""


class Daemon:
    """A libvirtd that is started again when it dies, unless it is held down."""

    def __init__(self, folder: Path, controllers: str = "") -> None:
        self.folder = folder
        for part in ("run", "etc", "lib", "cache", "log"):
            (folder / part).mkdir(parents=True)
        (folder / "etc/libvirtd.conf").write_text('auth_unix_rw = "none"\n')
        (folder / "etc/qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nnamespaces = []\n'
            f"cgroup_controllers = [{controllers}]\n"
            'stdio_handler = "file"\ndynamic_ownership = 0\nremember_owner = 0\n'
        )
        # libvirtd looks this user up before it reads its settings.
        (folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:64055:64055::/:/bin/false\n")
        (folder / "group").write_text("root:x:0:\nlibvirt-qemu:x:64055:\nkvm:x:64056:\n")
        self._process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", DAEMON, "sh", str(folder), controllers],
            stdin=subprocess.DEVNULL,
            stdout=(folder / "out").open("wb"),
            stderr=subprocess.STDOUT,
        )

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    def kill(self) -> None:
        """kill -9 of libvirtd alone; its guests live on."""
        self.signal("KILL")

    def signal(self, name: str) -> None:
        inner = (self.folder / "started").read_text().strip()
        command = ["nsenter", "-t", str(self._init()), "-p", "-m", "kill", f"-{name}", inner]
        subprocess.run(command, check=True)

    def hold(self, down: bool) -> None:
        (self.folder / "stopped").touch() if down else (self.folder / "stopped").unlink()

    def end(self) -> None:
        self._process.send_signal(signal.SIGKILL)  # takes the whole process namespace along
        self._process.wait()

    def _init(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return int(children.split()[0])


def wait_for(condition: Callable[[], object], limit_s: float = 30.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        threading.Event().wait(0.1)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    missing = [name for name in ("libvirtd", "qemu-system-x86_64") if not shutil.which(name)]
    assert not missing, f"{missing} not found: `make test` installs them"
    assert os.geteuid() == 0, "this starts a libvirtd and so needs root; `make unit` goes without"
    made = Daemon(tmp_path_factory.mktemp("lv"))
    yield made
    made.end()


@pytest.fixture
def host(daemon: Daemon, tmp_path: Path) -> Iterator[LibvirtHypervisor]:
    yield from opened(daemon, tmp_path)


def opened(daemon: Daemon, tmp_path: Path) -> Iterator[LibvirtHypervisor]:
    """A host with one template; its guests are gone afterwards."""
    images = tmp_path / "images"
    images.mkdir()
    image = bytearray(1 << 20)
    image[: len(BOOT_SECTOR)] = BOOT_SECTOR
    image[510:512] = b"\x55\xaa"
    (images / "groupA.img").write_bytes(image)
    made = LibvirtHypervisor(
        HypervisorSettings(uri=daemon.uri, reserve_mib=0), images, tmp_path / "consoles", "host1"
    )

    def up() -> bool:
        try:
            return bool(made.facts())
        except HypervisorDown:
            return False

    wait_for(up)
    yield made
    for guest in made.guests():
        made.destroy(guest.name)
    made.close()


def test_a_guest_lives_and_dies(host: LibvirtHypervisor, make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(template="groupA.img", memory_mib=64, network="user")
    host.create(spec)
    host.create(spec)
    wait_for(lambda: "guest is up" in host.console_tail(spec.name))
    (guest,) = host.guests()
    assert (guest.name, guest.state, guest.memory_mib, guest.managed) == (spec.name, "running", 64, True)
    assert guest.cpu_time_s > 0
    assert guest.disk_read_bytes > 0
    overlay = tmp_path / "images/overlays" / f"{spec.name}.qcow2"
    assert guest.disks == [str(overlay)]
    host.shutdown(spec.name, 20.0)
    assert [g.state for g in host.guests()] == ["off"]
    host.start(spec.name)
    wait_for(lambda: host.console_tail(spec.name).count("guest is up") == 2)
    host.destroy(spec.name, 20.0)
    assert host.guests() == []
    assert not overlay.exists()
    assert "guest is up" in host.console_tail(spec.name)


def test_a_guest_that_does_not_listen(host: LibvirtHypervisor, make_spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "images/dead.img").write_bytes(bytes(1 << 20))
    spec = make_spec(template="dead.img", memory_mib=64, network="user")
    host.create(spec)
    with pytest.raises(GuestFailed) as caught:
        host.shutdown(spec.name, 1.0)
    assert caught.value.code == "still-running"
    host.destroy(spec.name, 1.0)
    assert host.guests() == []


def test_what_qemu_refuses_leaves_nothing(
    host: LibvirtHypervisor, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(template="groupA.img", memory_mib=64, network="no-such-bridge")
    with pytest.raises(GuestFailed, match="no-such-bridge") as caught:
        host.create(spec)
    assert caught.value.code == "start-failed"
    assert host.guests() == []
    assert list((tmp_path / "images/overlays").iterdir()) == []


def test_a_disk_that_runs_elsewhere_is_not_removed(
    host: LibvirtHypervisor, make_spec: MakeSpec, daemon: Daemon, tmp_path: Path
) -> None:
    """Two hosts on one shared folder: the other one does not know the guest, and must not take its disk."""
    spec = make_spec(template="groupA.img", memory_mib=64, network="user")
    host.create(spec)
    settings = HypervisorSettings(uri="test:///default", reserve_mib=0)
    other = LibvirtHypervisor(settings, tmp_path / "images", tmp_path / "other", "host2")
    for call in (lambda: other.destroy(spec.name), lambda: other.create(spec)):
        with pytest.raises(GuestFailed) as caught:
            call()
        assert caught.value.code == "image-in-use"
    other.close()
    assert (tmp_path / "images/overlays" / f"{spec.name}.qcow2").exists()


def test_libvirtd_freezes(host: LibvirtHypervisor, daemon: Daemon) -> None:
    """A call that is under way ends by itself (keep-alive), and so does the attempt to connect again."""
    daemon.signal("STOP")
    try:
        with pytest.raises(HypervisorDown, match="no answer within"):
            host.guests()
    finally:
        daemon.signal("CONT")
    assert host.guests() == []


def test_libvirtd_dies_and_comes_back(host: LibvirtHypervisor, make_spec: MakeSpec, daemon: Daemon) -> None:
    spec = make_spec(template="groupA.img", memory_mib=64, network="user")
    host.create(spec)
    daemon.hold(True)
    daemon.kill()

    def is_down() -> bool:
        try:
            host.guests()
        except HypervisorDown as exc:
            return "start libvirtd" in exc.next_step
        return False

    wait_for(is_down)
    daemon.hold(False)
    wait_for(lambda: not is_down())
    assert [(g.name, g.state) for g in host.guests()] == [(spec.name, "running")]
    host.destroy(spec.name)
    assert host.guests() == []


def test_a_deaf_guest_is_not_called_resized(host: LibvirtHypervisor, make_spec: MakeSpec) -> None:
    """A boot sector has no balloon driver and gives no vCPU back; it can be given one."""
    room = {"max_memory_mib": 128, "max_vcpus": 3}
    spec = make_spec(template="groupA.img", memory_mib=64, network="user", **room)
    host.create(spec)
    wait_for(lambda: "guest is up" in host.console_tail(spec.name))
    for asked, said in (({"memory_mib": 64}, "64 MiB wanted, it has 128"), ({"vcpus": 1}, "")):
        if not said:  # first one more
            assert host.resize(spec.name, vcpus=2) == GuestSize(128, 2)
            said = "1 vCPUs wanted, it has 2"
        with pytest.raises(GuestFailed, match=said) as caught:
            host.resize(spec.name, **asked)
        assert caught.value.code == "not-followed"
    (guest,) = host.guests()
    assert (guest.memory_mib, guest.vcpus) == (128, 2)
    with pytest.raises(GuestFailed, match="cgroup") as caught:
        host.resize(spec.name, cpu_cap=0.5)
    assert caught.value.code == "not-supported"


@pytest.fixture
def scheduling_host(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[LibvirtHypervisor]:
    """One whose libvirtd uses the control group `cpu`; it makes a folder there, which is removed."""
    partition = CPU_GROUP / "machine"
    mine = not partition.exists()
    made = Daemon(tmp_path_factory.mktemp("lv"), '"cpu"')
    yield from opened(made, tmp_path)
    made.end()
    if mine and partition.exists():
        wait_for(lambda: not [path for path in partition.iterdir() if path.is_dir()])
        partition.rmdir()


def test_weight_and_cap(scheduling_host: LibvirtHypervisor, make_spec: MakeSpec) -> None:
    host = scheduling_host
    spec = make_spec(
        template="groupA.img", memory_mib=64, network="user", cpu_cap=0.25
    )  # it had one elsewhere
    host.create(spec)
    assert host.resize(spec.name) == GuestSize(64, 1, 1.0, 0.25)
    for _ in range(2):
        assert host.resize(spec.name, cpu_weight=2.5, cpu_cap=0.5) == GuestSize(64, 1, 2.5, 0.5)
    if CPU_GROUP.is_dir():  # version 1, as its files say; else what libvirt read back has to do
        (group,) = CPU_GROUP.glob(f"machine/*{spec.name}*")
        assert (group / "cpu.shares").read_text() == "2560\n"
        quota = (int((group / name).read_text()) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        assert tuple(quota) == (50_000, 100_000)
    host.shutdown(spec.name, 20.0)
    host.start(spec.name)
    assert host.resize(spec.name) == GuestSize(64, 1, 2.5, 0.5), "kept for its next start"
    assert host.resize(spec.name, cpu_cap=0.0) == GuestSize(64, 1, 2.5)
