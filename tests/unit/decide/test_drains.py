"""A host that is emptied, and drains that take long."""

from __future__ import annotations

import pytest
from decide_bench import SETTINGS, Bench

from vmm.decide.events import Wished
from vmm.messages.structs import Intent
from vmm.simulate import SimJob, Simulation


def ask(sim: Simulation, name: str, **args: str) -> None:
    sim.emit(Wished(Intent(f"{name}-{sim.core.state.position}", name, dict(args), "ann", "new memory")))


def states(sim: Simulation) -> list[str]:
    return [guest.state for guest in sim.core.state.guests.values()]


@pytest.mark.parametrize("moment", ["creating", "booting", "ready"])
def test_a_drained_host_loses_also_the_guests_that_were_coming(bench: Bench, moment: str) -> None:
    sim = bench.make([SimJob("1", "groupA", 5, 20)])
    assert sim.run_until(lambda: states(sim) == [moment], 60)
    host = next(iter(sim.core.state.hosts))
    ask(sim, "drain_host", host=host)
    assert sim.run_until(lambda: not sim.core.state.guests, 120)
    assert not sim.batch.killed
    told = [text for text in sim.texts() if "is being drained" in text]
    assert bool(told) is (moment != "ready")


def test_after_the_end_of_maintenance_guests_stay(bench: Bench) -> None:
    sim = bench.make([SimJob("1", "groupA", 5, 20)])
    assert sim.run_until(lambda: states(sim) == ["booting"], 60)
    host = next(iter(sim.core.state.hosts))
    ask(sim, "drain_host", host=host)
    ask(sim, "end_maintenance", host=host)
    assert sim.run_until(lambda: states(sim) == ["ready"], 60)
    sim.run(sim.now_s + 5)
    assert states(sim) == ["ready"]


def test_a_drain_that_takes_long_is_told_again_and_again(bench: Bench) -> None:
    sim = bench.make([SimJob("1", "groupA", 5, 100)], settings={**SETTINGS, "drain_deadline_s": 30.0})
    assert sim.run_until(lambda: states(sim) == ["ready"], 60)
    (guest,) = sim.core.state.guests
    ask(sim, "retire_guest", guest=guest)
    sim.run(sim.now_s + 70)
    late = [text for text in sim.texts("warning") if "still draining" in text]
    assert len(late) == 2
    assert f"`vmm guest kill {guest}`" in late[0]
    assert not sim.batch.killed
