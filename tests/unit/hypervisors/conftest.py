"""Both drivers behind one fixture: whatever holds for `hypervisor` holds for every kind."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypervisor_world import MakeSpec, open_libvirt

from vmm.config import HypervisorSettings
from vmm.hypervisors.interface import Hypervisor
from vmm.hypervisors.memory import Faults, MemoryHypervisor
from vmm.messages.guest import GuestSpec


@pytest.fixture
def make_spec() -> MakeSpec:
    """A guest that can be; keyword arguments change it."""

    def make(name: str = "groupa-1", **changes: object) -> GuestSpec:
        fields: dict[str, object] = {
            "name": name,
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            "mac": "52:54:00:01:02:03",
            "share": "groupA",
            "profile": "small",
            "template": "groupA.qcow2",
            "vcpus": 1,
            "memory_mib": 256,
            "network": "br0",
            **changes,
        }
        return GuestSpec(**fields)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def empty_qcow2(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A qcow2 image; nothing where qemu-img is not installed."""
    path = tmp_path_factory.mktemp("qcow2") / "empty.qcow2"
    if not shutil.which("qemu-img"):
        return b""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    return path.read_bytes()


@pytest.fixture
def images(tmp_path: Path, empty_qcow2: bytes) -> Path:
    """An images folder with one qcow2 and one raw template and a kernel."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "groupA.qcow2").write_bytes(empty_qcow2)
    (folder / "groupB.img").write_bytes(bytes(1 << 20))
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd.gz").write_bytes(b"initrd")
    return folder


@pytest.fixture(params=["memory", "libvirt-test"])
def hypervisor(request: pytest.FixtureRequest, tmp_path: Path, images: Path) -> Iterator[Hypervisor]:
    """A host of 4096 MiB, 512 of them reserved; on libvirt's a foreign guest of 512 MiB runs."""
    made: Hypervisor
    if request.param == "memory":
        settings = HypervisorSettings(driver="memory", memory_mib=4096, reserve_mib=512, boot_s=0.0)
        known = Faults(templates=frozenset({"groupA.qcow2", "groupB.img"}))
        made = MemoryHypervisor(settings, "host1", faults=known)
    else:
        made = open_libvirt(tmp_path, images)
    yield made
    made.close()
