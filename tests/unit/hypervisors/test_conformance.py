"""What every hypervisor promises (see `vmm.hypervisors.interface`), run over each driver."""

from __future__ import annotations

import threading

import pytest
from hypervisor_world import MakeSpec

from vmm.hypervisors.interface import GuestFailed, Hypervisor, HypervisorDown


def mine(hypervisor: Hypervisor) -> dict[str, str]:
    return {guest.name: guest.state for guest in hypervisor.guests() if guest.managed}


def code_of(call: object, *args: object) -> str:
    with pytest.raises(GuestFailed) as caught:
        call(*args)  # type: ignore[operator]
    assert caught.value.next_step
    return caught.value.code


def test_facts(hypervisor: Hypervisor) -> None:
    facts = hypervisor.facts()
    assert (facts.name, facts.memory_mib, facts.reserved_mib) == ("host1", 4096, 512)
    assert facts.cpus > 0


def test_a_life(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec(vcpus=2, memory_mib=300)
    hypervisor.create(spec)
    (guest,) = (g for g in hypervisor.guests() if g.managed)
    assert (guest.name, guest.uuid, guest.state) == (spec.name, spec.uuid, "running")
    assert (guest.memory_mib, guest.vcpus) == (300, 2)
    assert len(guest.disks) == len(guest.interfaces) == 1
    hypervisor.shutdown(spec.name, 5.0)
    assert mine(hypervisor) == {spec.name: "off"}
    hypervisor.start(spec.name)
    assert mine(hypervisor) == {spec.name: "running"}
    hypervisor.destroy(spec.name, 5.0)
    assert mine(hypervisor) == {}


def test_every_operation_can_be_run_twice(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec()
    hypervisor.create(spec)
    hypervisor.create(spec)
    hypervisor.start(spec.name)
    hypervisor.shutdown(spec.name, 5.0)
    hypervisor.shutdown(spec.name, 5.0)
    hypervisor.create(spec)  # as after a crash between defining and starting
    assert mine(hypervisor) == {spec.name: "running"}
    hypervisor.destroy(spec.name)
    hypervisor.destroy(spec.name)
    assert mine(hypervisor) == {}


def test_destroy_of_an_unknown_guest_is_a_success(hypervisor: Hypervisor) -> None:
    hypervisor.destroy("never-was", 1.0)
    assert "never-was" not in mine(hypervisor)


def test_name_and_uuid_are_taken(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    spec = make_spec()
    hypervisor.create(spec)
    other = make_spec(uuid="00000000-0000-4000-8000-000000000001")
    assert code_of(hypervisor.create, other) == "name-taken"
    assert code_of(hypervisor.create, make_spec("groupa-2", uuid=spec.uuid)) == "name-taken"
    assert mine(hypervisor) == {spec.name: "running"}


def test_missing_template(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    assert code_of(hypervisor.create, make_spec(template="groupC.qcow2")) == "no-template"
    assert mine(hypervisor) == {}


def test_memory_is_a_limit_and_comes_back(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    hypervisor.create(make_spec("groupa-1", memory_mib=3000))
    late = make_spec("groupa-2", memory_mib=1000)
    assert code_of(hypervisor.create, late) == "no-memory"
    assert list(mine(hypervisor)) == ["groupa-1"]
    hypervisor.destroy("groupa-1")
    hypervisor.create(late)
    assert list(mine(hypervisor)) == ["groupa-2"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "a..b", "x" * 64, "a\n"])
def test_names_that_cannot_be(hypervisor: Hypervisor, make_spec: MakeSpec, name: str) -> None:
    uuid = "00000000-0000-4000-8000-000000000001"
    assert code_of(hypervisor.create, make_spec(name, uuid=uuid)) == "bad-guest"
    for call in (hypervisor.start, hypervisor.destroy, hypervisor.console_tail):
        assert code_of(call, name) == "bad-guest"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uuid", "1234"),
        ("mac", "52:54:00"),
        ("mac", "53:54:00:00:00:01"),
        ("vcpus", 0),
        ("memory_mib", -1),
        ("max_memory_mib", 100),
        ("template", ""),
        ("initrd", "initrd.gz"),
        ("cmdline", "a\nb"),
        ("identity", {"a b": "c"}),
        ("identity", {"name": "two words"}),
        ("identity", {"name": 'qu"ote'}),
    ],
)
def test_descriptions_that_cannot_be(
    hypervisor: Hypervisor, make_spec: MakeSpec, field: str, value: object
) -> None:
    with pytest.raises(GuestFailed, match=field) as caught:
        hypervisor.create(make_spec(**{field: value}))
    assert caught.value.code == "bad-guest"


def test_guests_that_are_not_there(hypervisor: Hypervisor) -> None:
    assert code_of(hypervisor.start, "never-was") == "no-such-guest"
    assert code_of(hypervisor.shutdown, "never-was", 0.1) == "no-such-guest"
    assert hypervisor.console_tail("never-was") == ""


def test_many_threads(hypervisor: Hypervisor, make_spec: MakeSpec) -> None:
    """Room for 7 guests of 400 MiB on libvirt's host (512 are a foreign guest's), 8 on the other."""
    errors: list[str] = []

    def create(n: int) -> None:
        try:
            hypervisor.create(make_spec(f"groupa-{n}", memory_mib=400))
        except GuestFailed as exc:
            errors.append(exc.code)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    facts, guests = hypervisor.facts(), hypervisor.guests()
    assert set(errors) == {"no-memory"}
    assert sum(g.memory_mib for g in guests) <= facts.memory_mib - facts.reserved_mib
    assert len(mine(hypervisor)) == 10 - len(errors) >= 7


def test_closed(hypervisor: Hypervisor) -> None:
    hypervisor.close()
    hypervisor.close()
    with pytest.raises(HypervisorDown):
        hypervisor.facts()
