"""What only the libvirt driver has to care for: others' guests, disks, half-made guests."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypervisor_world import MakeSpec, open_libvirt

from vmm.config import HypervisorSettings, Settings
from vmm.errors import ConfigError
from vmm.hypervisors.factory import open_hypervisor
from vmm.hypervisors.interface import GuestFailed, HypervisorDown
from vmm.hypervisors.libvirt import LibvirtHypervisor
from vmm.hypervisors.memory import MemoryHypervisor


@pytest.fixture
def host(tmp_path: Path, images: Path) -> Iterator[LibvirtHypervisor]:
    made = open_libvirt(tmp_path, images)
    yield made
    made.close()


def overlays(images: Path) -> list[str]:
    folder = images / "overlays"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_the_guests_of_others_are_shown_and_never_touched(
    host: LibvirtHypervisor, make_spec: MakeSpec, images: Path
) -> None:
    (foreign,) = host.guests()
    assert (foreign.name, foreign.managed, foreign.memory_mib) == ("foreign", False, 512)
    spec = make_spec("foreign", uuid=foreign.uuid)
    calls = [
        lambda: host.destroy("foreign", 1.0),
        lambda: host.shutdown("foreign", 1.0),
        lambda: host.start("foreign"),
        lambda: host.create(spec),
    ]
    for call in calls:
        with pytest.raises(GuestFailed) as caught:
            call()
        assert caught.value.code == "not-managed"
    assert [(g.name, g.state) for g in host.guests()] == [("foreign", "running")]
    assert overlays(images) == []


def test_files_come_and_go_with_the_guest(
    host: LibvirtHypervisor, make_spec: MakeSpec, images: Path, tmp_path: Path
) -> None:
    spec = make_spec(kernel="vmlinuz", initrd="initrd.gz", identity={"name": "groupa-1"})
    host.create(spec)
    assert overlays(images) == ["groupa-1.qcow2"]
    assert (tmp_path / "consoles").is_dir()
    host.destroy(spec.name)
    assert overlays(images) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kernel": "vmlinux-6"}, "no-template"),
        ({"kernel": "vmlinuz", "initrd": "nope"}, "no-template"),
        ({"kernel": "../vmlinuz"}, "bad-guest"),
        ({"network": "tap:0"}, "bad-guest"),
        ({"kernel": "vmlinuz", "cmdline": "x" * 3000}, "bad-guest"),
        ({"memory_mib": 100_000}, "no-memory"),
        ({"share": "\x01"}, "start-failed"),
    ],
)
def test_a_guest_that_cannot_be_leaves_nothing(
    host: LibvirtHypervisor, make_spec: MakeSpec, images: Path, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(GuestFailed) as caught:
        host.create(make_spec(**changes))
    assert caught.value.code == code
    assert [g.name for g in host.guests()] == ["foreign"]
    assert overlays(images) == []


def test_a_guest_defined_without_its_disk_gets_a_new_one(
    host: LibvirtHypervisor, make_spec: MakeSpec, images: Path
) -> None:
    spec = make_spec()
    host.create(spec)
    host.shutdown(spec.name, 1.0)
    (images / "overlays/groupa-1.qcow2").unlink()
    host.create(spec)
    assert overlays(images) == ["groupa-1.qcow2"]
    assert {g.name: g.state for g in host.guests()}[spec.name] == "running"


def test_a_disk_left_over_is_removed_by_destroy(host: LibvirtHypervisor, images: Path) -> None:
    (images / "overlays").mkdir()
    (images / "overlays/groupa-9.qcow2").write_bytes(b"torn")
    host.destroy("groupa-9")
    assert overlays(images) == []


def test_settings_override_what_the_host_says(tmp_path: Path, images: Path) -> None:
    host = open_libvirt(tmp_path, images, memory_mib=1000, cpus=3)
    facts = host.facts()
    assert (facts.memory_mib, facts.cpus, facts.hypervisor) == (1000, 3, "test")
    assert facts.image_free_mib > 0
    host.close()


def test_no_daemon(tmp_path: Path) -> None:
    settings = HypervisorSettings(uri=f"qemu+unix:///system?socket={tmp_path}/none")
    host = LibvirtHypervisor(settings, tmp_path, tmp_path)
    for _ in range(2):
        with pytest.raises(HypervisorDown, match="none") as caught:
            host.guests()
        assert "libvirtd" in caught.value.next_step
    host.close()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "libvirt":
            raise ImportError("No module named 'libvirt'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="libvirt-python") as caught:
        open_hypervisor(Settings(tmp_path), "host1")
    assert "vmm[libvirt]" in caught.value.next_step


def test_the_settings_choose_the_driver(tmp_path: Path) -> None:
    settings = Settings(tmp_path, hypervisor=HypervisorSettings(driver="memory"))
    host = open_hypervisor(settings, "host7")
    assert isinstance(host, MemoryHypervisor)
    assert host.facts().name == "host7"
    host.close()


# Moving guests. The test driver has no migration: here is what is around it, the real thing is an e2e test.


@pytest.fixture
def two_hosts(tmp_path: Path, images: Path) -> Iterator[LibvirtHypervisor]:
    """A host whose peers are all libvirt's default test host, which runs a guest called `test`."""
    made = open_libvirt(tmp_path, images, migration="test:///default")
    yield made
    made.close()


def test_a_guest_that_is_on_the_target_already_has_been_moved(two_hosts: LibvirtHypervisor) -> None:
    import libvirt

    there = libvirt.open("test:///default").lookupByName("test")
    two_hosts.migrate("test", "host2", there.UUIDString())
    with pytest.raises(GuestFailed) as caught:
        two_hosts.migrate("test", "host2", "00000000-0000-4000-8000-000000000001")
    assert caught.value.code == "no-such-guest"


def test_a_driver_without_migration_says_so(two_hosts: LibvirtHypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec()
    two_hosts.create(spec)
    with pytest.raises(GuestFailed) as caught:
        two_hosts.migrate(spec.name, "host2", spec.uuid)
    assert caught.value.code == "not-supported"
    assert [g.state for g in two_hosts.guests() if g.managed] == ["running"]


def test_the_guests_of_others_are_not_moved(two_hosts: LibvirtHypervisor) -> None:
    with pytest.raises(GuestFailed) as caught:
        two_hosts.migrate("foreign", "host2")
    assert caught.value.code == "not-managed"


def test_a_target_that_does_not_answer_leaves_it_open_where_a_guest_is(tmp_path: Path, images: Path) -> None:
    host = open_libvirt(tmp_path, images, migration="qemu+unix:///system?socket=/nowhere/{host}")
    with pytest.raises(GuestFailed) as caught:
        host.migrate("gone", "host2")
    host.close()
    assert caught.value.code == "target-unreachable"
    assert "/nowhere/host2" in caught.value.message
