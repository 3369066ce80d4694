"""What every hypervisor promises of `resize`, and what only one of them has to care for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypervisor_world import MakeSpec, open_libvirt

from vmm.config import HypervisorSettings
from vmm.hypervisors.domain_facts import describe
from vmm.hypervisors.domain_xml import DomainFiles, domain_xml, flavour_of
from vmm.hypervisors.interface import GuestFailed, Hypervisor
from vmm.hypervisors.memory import Faults, MemoryHypervisor
from vmm.messages.guest import GuestSize, GuestSpec, bounds_of, resized, size_of

ROOM = {"vcpus": 2, "memory_mib": 300, "max_memory_mib": 3000, "max_vcpus": 4, "min_vcpus": 1}


def sizes(hypervisor: Hypervisor) -> tuple[int, int]:
    (guest,) = (g for g in hypervisor.guests() if g.managed)
    return guest.memory_mib, guest.vcpus


def code_of(hypervisor: Hypervisor, name: str, **asked: Any) -> str:
    with pytest.raises(GuestFailed) as caught:
        hypervisor.resize(name, **asked)
    assert caught.value.next_step
    return caught.value.code


def test_up_and_down_and_twice(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec(**ROOM)
    hypervisor.create(spec)
    assert hypervisor.resize(spec.name, memory_mib=1000) == GuestSize(1000, 2)
    for _ in range(2):
        assert hypervisor.resize(spec.name, memory_mib=200, vcpus=4) == GuestSize(200, 4)
        assert sizes(hypervisor) == (200, 4)
    assert hypervisor.resize(spec.name) == GuestSize(200, 4)
    assert hypervisor.resize(spec.name, vcpus=1) == GuestSize(200, 1)
    hypervisor.create(spec)  # its command, delivered once more, changes nothing
    assert sizes(hypervisor) == (200, 1)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"memory_mib": 3001}, "over-limit"),
        ({"vcpus": 5}, "over-limit"),
        ({"memory_mib": 0}, "bad-guest"),
        ({"vcpus": -1, "memory_mib": 100}, "bad-guest"),
        ({"cpu_weight": 0.0}, "bad-guest"),
        ({"cpu_weight": 101.0}, "bad-guest"),
        ({"cpu_cap": -1.0}, "bad-guest"),
        ({"cpu_cap": 0.001}, "bad-guest"),
        ({"cpu_cap": float("inf")}, "bad-guest"),
    ],
)
def test_what_cannot_be_changes_nothing(
    hypervisor: Hypervisor, make_spec: MakeSpec, asked: dict[str, Any], code: str
) -> None:
    spec = make_spec(**ROOM)
    hypervisor.create(spec)
    assert code_of(hypervisor, spec.name, **asked) == code
    assert sizes(hypervisor) == (300, 2)


def test_a_guest_made_without_room_to_grow_has_none(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    hypervisor.create(make_spec())
    assert code_of(hypervisor, "groupa-1", memory_mib=257) == "over-limit"
    assert code_of(hypervisor, "groupa-1", vcpus=2) == "over-limit"


def test_the_hosts_memory_is_a_limit(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec(**{**ROOM, "max_memory_mib": 100_000})
    hypervisor.create(spec)
    assert code_of(hypervisor, spec.name, memory_mib=4000) == "no-memory"
    assert hypervisor.resize(spec.name, memory_mib=3000).memory_mib == 3000, "its own counts once"


def test_guests_that_cannot_be_resized(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec(**ROOM)
    hypervisor.create(spec)
    hypervisor.shutdown(spec.name, 5.0)
    assert code_of(hypervisor, spec.name, memory_mib=400) == "not-running"
    assert code_of(hypervisor, "never-was", memory_mib=400) == "no-such-guest"
    assert code_of(hypervisor, "../x", memory_mib=400) == "bad-guest"


def test_the_guests_of_others_are_not_resized(tmp_path: Path, images: Path) -> None:
    host = open_libvirt(tmp_path, images)
    assert code_of(host, "foreign", memory_mib=100) == "not-managed"
    host.close()


def test_a_driver_without_weight_and_cap_says_so(tmp_path: Path, images: Path, make_spec: MakeSpec) -> None:
    host = open_libvirt(tmp_path, images)
    host.create(make_spec(**ROOM, cpu_weight=2.0))  # as one recovered from a host that could
    assert code_of(host, "groupa-1", memory_mib=400, cpu_weight=2.0) == "not-supported"
    assert sizes(host) == (300, 2)
    host.close()


def test_in_memory_guests_have_weight_and_cap_and_may_be_deaf(make_spec: MakeSpec) -> None:
    host = MemoryHypervisor(HypervisorSettings(driver="memory", boot_s=0.0, cpus=4), "host1")
    spec = make_spec(**ROOM)
    host.create(spec)
    assert host.resize(spec.name, cpu_weight=2.0, cpu_cap=0.5) == GuestSize(300, 2, 2.0, 0.5)
    assert host.resize(spec.name, cpu_cap=0.0) == GuestSize(300, 2, 2.0)
    host.create(make_spec("groupa-2"))
    assert code_of(host, spec.name, vcpus=4) == "no-cpus"
    host.faults = Faults(deaf=frozenset({spec.template}))
    assert code_of(host, spec.name, vcpus=1) == "not-followed"
    host.destroy("groupa-2")
    assert sizes(host) == (300, 2)
    host.close()


def test_a_size_and_its_bounds() -> None:
    spec = GuestSpec("g", "u", "m", "s", "p", "t", 2, 512, "", max_memory_mib=1024, min_vcpus=1)
    small = resized(spec, GuestSize(512, 1))
    big = resized(small, GuestSize(1024, 2, 3.0, 1.5))
    for each in (spec, small, big):
        bounds = bounds_of(each)
        assert (bounds.min_memory_mib, bounds.max_memory_mib) == (512, 1024)
        assert (bounds.min_vcpus, bounds.max_vcpus) == (1, 2)
    assert size_of(big) == GuestSize(1024, 2, 3.0, 1.5)
    assert str(size_of(spec)) == "512 MiB, 2 vCPUs"
    assert str(size_of(big)) == "1024 MiB, 2 vCPUs, weight 3, at most 1.5 CPUs"


@pytest.mark.parametrize("field", ["min_memory_mib", "min_vcpus", "cpu_weight", "cpu_cap"])
def test_descriptions_that_cannot_be(hypervisor: Hypervisor, make_spec: MakeSpec, field: str) -> None:
    with pytest.raises(GuestFailed, match=field):
        hypervisor.create(make_spec(**{field: -1}))


def test_vcpus_that_may_be_taken_away_are_hotpluggable_from_the_start(make_spec: MakeSpec) -> None:
    files = DomainFiles(Path("/d"), None)
    xml = domain_xml(make_spec(**ROOM), flavour_of("kvm"), files)
    rows = [f"{n} {e} {h}" for n, e, h in (("0", "yes", "no"), ("1", "yes", "yes"), ("2", "no", "yes"))]
    for row in rows:
        number, enabled, plugged = row.split()
        assert f'<vcpu id="{number}" enabled="{enabled}" hotpluggable="{plugged}" />' in xml
    described = describe(xml)
    assert (described.vcpus, described.max_vcpus, described.max_memory_mib) == (2, 4, 3000)
    assert "<vcpus>" not in domain_xml(make_spec(max_vcpus=4), flavour_of("kvm"), files)
