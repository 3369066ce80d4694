"""What only the in-memory hypervisor has: boots, failures to play, a table that outlives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypervisor_world import MakeSpec

from vmm.config import HypervisorSettings
from vmm.errors import ConfigError
from vmm.hypervisors.interface import GuestFailed, HypervisorDown
from vmm.hypervisors.memory import Faults, MemoryHypervisor
from vmm.messages.guest import GuestSpec

SETTINGS = HypervisorSettings(driver="memory", memory_mib=1024, reserve_mib=0, cpus=4, boot_s=3.0)


class Timers:
    """A schedule worked by hand."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay_s: float, work: Callable[[], None]) -> Callable[[], None]:
        entry = (delay_s, work)
        self.waiting.append(entry)
        return lambda: self.waiting.remove(entry) if entry in self.waiting else None

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, work in waiting:
            work()


class Inside:
    """Records which guests' insides run."""

    def __init__(self) -> None:
        self.running: list[str] = []

    def __call__(self, spec: GuestSpec) -> Callable[[], None]:
        self.running.append(spec.name)
        return lambda: self.running.remove(spec.name)


def make(timers: Timers, inside: Inside, **more: object) -> MemoryHypervisor:
    return MemoryHypervisor(SETTINGS, "h1", schedule=timers, on_boot=inside, clock=lambda: 0.0, **more)  # type: ignore[arg-type]


def test_the_inside_runs_from_boot_to_stop(make_spec: MakeSpec) -> None:
    timers, inside = Timers(), Inside()
    host = make(timers, inside)
    host.create(make_spec())
    assert host.guests()[0].state == "running"
    assert (inside.running, [delay for delay, _ in timers.waiting]) == ([], [3.0])
    timers.fire()
    assert inside.running == ["groupa-1"]
    assert "login:" in host.console_tail("groupa-1")
    host.shutdown("groupa-1", 0.0)
    assert inside.running == []
    host.start("groupa-1")
    timers.fire()
    host.crash("groupa-1")
    assert (inside.running, host.guests()[0].state) == ([], "crashed")
    host.destroy("groupa-1")
    assert host.guests() == []


def test_a_guest_destroyed_while_it_boots_never_runs(make_spec: MakeSpec) -> None:
    timers, inside = Timers(), Inside()
    host = make(timers, inside)
    host.create(make_spec())
    late = timers.waiting[0][1]
    host.destroy("groupa-1")
    assert timers.waiting == []
    late()  # as a timer that went off just then
    host.create(make_spec())
    late()  # of the earlier boot
    assert inside.running == []


def test_a_guest_that_never_boots(make_spec: MakeSpec) -> None:
    timers, inside = Timers(), Inside()
    host = make(timers, inside, faults=Faults(never_boot=frozenset({"groupA.qcow2"})))
    host.create(make_spec())
    assert timers.waiting == []
    assert "panic" in host.console_tail("groupa-1", 1)
    with pytest.raises(GuestFailed) as caught:
        host.shutdown("groupa-1", 0.01)
    assert caught.value.code == "still-running"
    host.destroy("groupa-1", 5.0)
    assert host.guests() == []


def test_faults_can_be_switched(make_spec: MakeSpec) -> None:
    host = make(Timers(), Inside(), faults=Faults(disk_full=True))
    with pytest.raises(GuestFailed) as caught:
        host.create(make_spec())
    assert caught.value.code == "disk-full"
    host.faults = Faults(down=True)
    for call in (host.facts, host.guests, lambda: host.create(make_spec())):
        with pytest.raises(HypervisorDown):
            call()
    host.faults = Faults()
    host.create(make_spec())
    assert len(host.guests()) == 1


def test_processors_are_a_limit_when_the_settings_say_how_many(make_spec: MakeSpec) -> None:
    host = make(Timers(), Inside())
    host.create(make_spec("a", vcpus=3))
    with pytest.raises(GuestFailed) as caught:
        host.create(make_spec("b", vcpus=2))
    assert caught.value.code == "no-cpus"
    host.create(make_spec("b", vcpus=1))


def test_an_inside_that_raises_harms_nobody(make_spec: MakeSpec) -> None:
    timers = Timers()

    def broken(spec: GuestSpec) -> Callable[[], None]:
        if spec.name == "bad":
            raise OSError("no such program")
        return lambda: 1 // 0  # type: ignore[return-value]

    host = MemoryHypervisor(SETTINGS, "h1", schedule=timers, on_boot=broken)
    host.create(make_spec("bad"))
    host.create(make_spec("good"))
    timers.fire()
    assert "did not start" in host.console_tail("bad")
    host.destroy("good")
    assert [guest.state for guest in host.guests()] == ["running"]


def test_guests_are_found_again(make_spec: MakeSpec, tmp_path: Path) -> None:
    file = tmp_path / "state" / "guests.json"
    timers, inside = Timers(), Inside()
    host = make(timers, inside, state_file=file)
    for name in ("on", "off", "gone"):
        host.create(make_spec(name, identity={"name": name}))
    timers.fire()
    host.shutdown("off", 0.0)
    host.destroy("gone")
    host.close()
    assert inside.running == []
    again = make(timers, inside, state_file=file)
    assert {g.name: g.state for g in again.guests()} == {"on": "running", "off": "off"}
    timers.fire()
    assert inside.running == ["on"]
    again.create(make_spec("on", identity={"name": "on"}))
    assert inside.running == ["on"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 9, "guests": []}', b'{"version": 1}'])
def test_a_state_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "guests.json"
    file.write_bytes(content)
    host = make(Timers(), Inside(), state_file=file)
    with pytest.raises(ConfigError, match=r"guests\.json"):
        host.guests()


def test_its_guests_cannot_be_moved(make_spec: MakeSpec) -> None:
    host = MemoryHypervisor(HypervisorSettings(driver="memory"), "host1")
    spec = make_spec()
    host.create(spec)
    for name, code in ((spec.name, "not-supported"), ("nobody", "no-such-guest")):
        with pytest.raises(GuestFailed) as caught:
            host.migrate(name, "host2", spec.uuid)
        assert caught.value.code == code
    assert [guest.state for guest in host.guests()] == ["running"]
    host.close()
