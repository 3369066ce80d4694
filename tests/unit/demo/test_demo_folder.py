"""The demo's files: laid out whole, checked, and as long as asked for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vmm.batch.swf import parse_swf, read_swf
from vmm.config import load_settings
from vmm.demo.errors import FolderTaken
from vmm.demo.folder import BATCH, HOSTS, MEMORY_MIB, WORKLOAD, DemoFolder, free_ports, read_data
from vmm.demo.workload import LENGTH_S, repeat
from vmm.manager.manager import read_rules


@pytest.fixture
def laid(tmp_path: Path) -> DemoFolder:
    folder = DemoFolder(tmp_path / "new" / "demo")
    folder.lay_out(4999, 4998, 60)
    return folder


def test_every_program_finds_what_it_needs(laid: DemoFolder) -> None:
    manager = load_settings(laid.etc)
    assert manager.bus.daemon == "4999@127.0.0.1"
    assert manager.path(manager.manager.journal) == laid.journal.resolve()
    assert read_swf(manager.path(manager.batch.workload))
    for name, memory_mib in zip(HOSTS, MEMORY_MIB, strict=True):
        host = load_settings(laid.host(name))
        assert (host.hypervisor.driver, host.hypervisor.memory_mib) == ("memory", memory_mib)
        assert host.batch.socket == "127.0.0.1:4998"
        assert (host.keys_folder / "clients" / f"{name}.key").exists()
        assert (laid.host(name) / "properties.ini").exists()
    assert (manager.keys_folder / "clients" / f"{BATCH}.key").exists()


def test_the_shipped_rules_have_no_findings(laid: DemoFolder) -> None:
    files, findings = read_rules(laid.etc)
    assert findings == []
    assert set(files) >= {"properties.ini", "triggers.ini", "profiles.ini", "shares.ini"}


def test_guests_serve_their_share_and_fit_their_jobs(laid: DemoFolder) -> None:
    from vmm.cluster.profiles import load_entitlements

    found = load_entitlements(read_data("profiles.ini"), read_data("shares.ini"))
    works = read_swf(laid.root / WORKLOAD)
    assert {work.queue for work in works} == {share.queue for share in found.shares.values()}
    for share in found.shares.values():
        profile = found.profiles[share.profile]
        assert share.queue in profile.features
        assert all(work.cpus <= profile.vcpus for work in works if work.queue == share.queue)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FolderTaken, match="is not empty"):
        DemoFolder(tmp_path).lay_out(1, 2, 60)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("seconds", "turns"), [(1, 1), (60, 1), (89, 1), (91, 2), (120, 2), (600, 10)])
def test_longer_demos_repeat_the_workload(seconds: float, turns: int) -> None:
    once, _ = parse_swf(read_data(WORKLOAD).splitlines())
    works, findings = parse_swf(repeat(read_data(WORKLOAD), seconds).splitlines())
    assert findings == []
    assert len(works) == turns * len(once)
    assert [w.queue for w in works[-len(once) :]] == [w.queue for w in once]
    assert works[-1].submit_s == once[-1].submit_s + (turns - 1) * LENGTH_S
    assert max(w.submit_s + w.runtime_s for w in once) < LENGTH_S


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(2)
    assert len(set(ports)) == 2
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
