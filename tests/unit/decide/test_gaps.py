"""What nobody saw is not known: outages of the Manager, reports that stop coming, a Manager that observes."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from decide_bench import Bench, shipped_files

from vmm.decide.events import Started, Ticked, Wished
from vmm.decide.outputs import Send
from vmm.messages.structs import Beat, Intent
from vmm.simulate import SimJob, Simulation

HELD = """
[held]
each = host
expr = { host.memory_free_mib > 0 }
for = 40s
cmd = { sender.notify(host.name) }
"""


def wish(sim: Simulation, name: str, **args: Any) -> None:
    sim.emit(Wished(Intent(f"{name}-{sim.core.state.position}", name, args, "ann", "see [/ticket] 17")))


def fired(sim: Simulation, rule: str) -> list[str]:
    return [text for text in sim.texts() if text.startswith(f"rule {rule}") and "fires" in text]


def with_rules(more: str) -> dict[str, str]:
    files = shipped_files()
    return {**files, "triggers.ini": files["triggers.ini"] + more}


@pytest.mark.parametrize("away_s", [0, 20, 300])
def test_for_leaves_out_the_time_in_which_nobody_looked(bench: Bench, away_s: float) -> None:
    sim = bench.make([], files=with_rules(HELD))
    assert sim.run_until(lambda: "host0" in sim.core.state.world.hosts, 30)
    assert sim.core.engine.explain("held", "host0").state == "pending"
    began_s = sim.now_s
    sim.run(began_s + 10)
    if away_s:
        sim.kill_manager()
        sim.run(sim.now_s + away_s)
        sim.start_manager()
    sim.run(began_s + away_s + 35)
    assert not fired(sim, "held")
    assert sim.run_until(lambda: bool(fired(sim, "held")), 10)


def test_facts_from_a_batch_system_that_nobody_sees_any_more_are_unknown(bench: Bench) -> None:
    sim = bench.make([SimJob("1", "groupA", 5, 10)])
    assert sim.run_until(lambda: any(g.state == "ready" for g in sim.core.state.guests.values()), 60)
    (guest,) = sim.core.state.guests
    world, now_s = sim.core.state.world, sim.core.state.now_s
    assert world.shares.get("groupA", "jobs_waiting") is not None
    assert world.guests.get(guest, "idle") is not None
    for second in range(1, 200):  # only time passes: no report comes in
        sim.core.feed(sim.entries[-1]._replace(event=Ticked(Beat(now_s + second, "sim", "sim"))))
    for table, name, column in (
        (world.shares, "groupA", "jobs_waiting"),
        (world.shares, "groupA", "guests_wanted"),
        (world.shares, "groupA", "guests_idle"),
        (world.guests, guest, "idle"),
        (world.guests, guest, "jobs"),
        (world.hosts, "host0", "memory_free_mib"),
    ):
        assert table.get(name, column) is None, column
    assert not [text for text in sim.texts() if text.startswith("rule shrink") and "fires" in text]


def test_a_manager_that_observes_sends_no_command_and_acts_again_afterwards(bench: Bench) -> None:
    sim = bench.make([SimJob("1", "groupA", 5, 20)])
    assert sim.run_until(lambda: any(g.state == "ready" for g in sim.core.state.guests.values()), 60)
    (guest,) = sim.core.state.guests
    settings = {"boot_deadline_s": 30.0, "shards": 8.0}
    sim.emit(Started("sim", sim.core.rules.files, {**settings, "observe": 1.0}))
    wish(sim, "retire_guest", guest=guest)
    assert any("retire_guest by ann was refused: the Manager only observes" in text for text in sim.texts())
    sim.kill_guest(guest)
    sent: list[Send] = []
    with mock.patch.object(sim, "_deliver", sent.append):
        sim.run(sim.now_s + 200)
    assert not sent
    held = [note for note in sim.notes if note.shadow and note.text.startswith("destroy_guest to host0")]
    assert len(held) == 1, "decided, and said, and not sent"
    assert sim.core.state.guests[guest].state == "cleaning"
    sim.emit(Started("sim", sim.core.rules.files, settings))
    assert sim.run_until(lambda: guest not in sim.core.state.guests, 60)


def test_a_pause_outlives_its_rule_and_can_be_ended_without_it(bench: Bench) -> None:
    sim = bench.make([], files=with_rules(HELD))
    sim.run(10)
    wish(sim, "pause", rule="held")
    assert "see [/ticket] 17" in str(sim.core.engine.explain("held", "host0"))
    wish(sim, "reload", files=shipped_files())
    wish(sim, "reload", files=with_rules(HELD))
    assert sim.core.engine.paused == {"held": "see [/ticket] 17"}
    assert sim.core.state.paused == sim.core.engine.paused
    sim.run(sim.now_s + 90)
    assert not fired(sim, "held")
    wish(sim, "reload", files=shipped_files())
    wish(sim, "resume", rule="held")
    assert sim.core.state.paused == sim.core.engine.paused == {}
    assert any("resumed by ann" in text for text in sim.texts())
