"""A running guest gets another size: within what it was made for and its host has, and only if it follows."""

from __future__ import annotations

from typing import Any

import pytest
from decide_bench import PROFILES, Bench, shipped_files
from test_modelling import carry_out

from vmm.api.carry import PlanStopped
from vmm.decide import placement
from vmm.decide.core import Core
from vmm.decide.events import Reported, Wished
from vmm.decide.modelling import cluster_of, demands_of
from vmm.messages.guest import size_of
from vmm.messages.structs import Intent, Report
from vmm.policies.plan import Action, Kind, Plan
from vmm.policies.scale import scale
from vmm.simulate import SimJob, Simulation

ROOM = "vcpus = 2\nmax_memory = 2GiB\nmin_memory = 512MiB\nmin_vcpus = 1\nmax_vcpus = 4"


def wish(sim: Simulation, name: str, **args: Any) -> None:
    sim.emit(Wished(Intent(f"{name}-{len(sim.entries)}", name, dict(args), "ann", "test")))


def with_a_guest(bench: Bench, *, busy: bool = False, rules: str = "", **more: Any) -> Simulation:
    """A ready guest of 1 GiB and 2 vCPUs on host0, with a job or idle; the host has 3 GiB for guests."""
    files = shipped_files(shrink="900s") | {"profiles.ini": PROFILES.replace("vcpus = 1", ROOM, 1)}
    files["triggers.ini"] += rules
    job = SimJob("1", "groupA", 5.0, 900.0 if busy else 5.0)
    sim = bench.make([job], guests_per_host=3, files=files, **more)
    assert sim.run_until(lambda: job.started_s is not None if busy else job.ended_s is not None, 60)
    sim.run(sim.now_s + 3)
    return sim


def guest_of(sim: Simulation) -> Any:
    (guest,) = sim.core.state.guests.values()
    return guest


def size(sim: Simulation) -> tuple[int, int]:
    return guest_of(sim).spec.memory_mib, guest_of(sim).spec.vcpus


def inside(sim: Simulation) -> tuple[int, int]:
    (guest,) = sim.hosts["host0"].guests.values()
    return guest.spec.memory_mib, guest.spec.vcpus


def refusals(sim: Simulation) -> list[str]:
    return [text for text in sim.texts("warning") if "was refused" in text]


def free(sim: Simulation) -> tuple[int, int]:
    return placement.free_on(sim.core.state, sim.core.state.hosts["host0"])


def report(sim: Simulation, seq: int, **values: Any) -> None:
    sim.emit(Reported(guest_of(sim).name, Report(1, seq, values)))


def test_a_guest_grows_and_shrinks(bench: Bench) -> None:
    sim = with_a_guest(bench)
    name, before = guest_of(sim).name, free(sim)
    wish(sim, "resize_guest", guest=name, memory_mib=2048, vcpus=3)
    assert (size(sim), guest_of(sim).state) == ((1024, 2), "ready"), "not before its host says so"
    assert free(sim) == (before[0] - 1024, before[1] - 1), "but nobody else gets the room"
    assert sim.run_until(lambda: guest_of(sim).resize is None, 10)
    assert size(sim) == inside(sim) == (2048, 3)
    assert any(f"guest {name}: has 2048 MiB, 3 vCPUs" in text for text in sim.texts())
    assert [r.source for r in guest_of(sim).trail][-2:] == ["ann", f"guest {name}"]
    for fact, value in (("memory_mib", 2048), ("vcpus", 3), ("resizing", False)):
        reading = sim.core.state.world.guests.get(name, fact)
        assert reading is not None
        assert reading.value == value

    wish(sim, "resize_guest", guest=name, memory_mib=512.0)
    assert sim.run_until(lambda: guest_of(sim).resize is None, 10)
    assert size(sim) == inside(sim) == (512, 3)
    assert free(sim) == (before[0] + 512, before[1] - 1)
    wish(sim, "resize_guest", guest=name, cpu_weight=2, cpu_cap=0.5)
    assert sim.run_until(lambda: guest_of(sim).resize is None, 10)
    assert str(size_of(guest_of(sim).spec)) == "512 MiB, 3 vCPUs, weight 2, at most 0.5 CPUs"
    wish(sim, "resize_guest", guest=name, memory_mib=2048)
    assert sim.run_until(lambda: size(sim) == (2048, 3), 10), "its bounds are those it was made with"
    assert refusals(sim) == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"guest": "nobody"}, "there is no guest 'nobody'"),
        ({"memory_mib": 2049}, "between 512 and 2048 MiB, not 2049"),
        ({"memory_mib": 511}, "between 512 and 2048 MiB"),
        ({"vcpus": 5}, "between 1 and 4 vCPUs"),
        ({"vcpus": 1.5}, "not a whole number"),
        ({"vcpus": True}, "not a whole number"),
        ({"memory_mib": "many"}, "not a whole number"),
        ({"cpu_cap": float("nan")}, "not a number"),
        ({"cpu_cap": 0.001}, "neither 0"),
        ({"cpu_weight": 0}, "not above 0"),
        ({"memory_mib": 1024}, "has 1024 MiB, 2 vCPUs already"),
        ({}, "already"),
        ({"memory_mib": 2048, "host": "host1"}, "is on host0, not on host1"),
        ({"speed": 3}, "wrong arguments"),
    ],
)
def test_what_makes_no_sense_is_refused(bench: Bench, args: dict[str, Any], why: str) -> None:
    sim = with_a_guest(bench)
    wish(sim, "resize_guest", **{"guest": guest_of(sim).name, **args})
    assert guest_of(sim).resize is None
    assert why in sim.texts("warning")[-1]


def test_a_guest_whose_profile_says_nothing_keeps_its_size(bench: Bench) -> None:
    sim = bench.make([SimJob("1", "groupA", 5.0, 300.0)], guests_per_host=3)
    assert sim.run_until(lambda: [g.state for g in sim.core.state.guests.values()] == ["ready"], 60)
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=2048)
    assert "may have always 1024 MiB, not 2048: so it was made" in refusals(sim)[0]


def test_the_hosts_room_is_a_limit(bench: Bench) -> None:
    sim = with_a_guest(bench, busy=True)
    for number in (2, 3):
        sim.submit(SimJob(str(number), "groupB", sim.now_s, 300.0))
    assert sim.run_until(lambda: all(job.started_s is not None for job in sim.batch.jobs), 60)
    name = next(g.name for g in sim.core.state.guests.values() if g.spec.share == "groupA")
    wish(sim, "resize_guest", guest=name, memory_mib=1025)
    assert "host host0 cannot give it 1025 MiB, 2 vCPUs: 0 MiB free, 1 more wanted" in refusals(sim)[0]
    wish(sim, "resize_guest", guest=name, vcpus=4)
    assert sim.core.state.guests[name].resize is not None


def test_nothing_is_taken_from_a_guest_under_a_job_unless_somebody_says_so(bench: Bench) -> None:
    sim = with_a_guest(bench, busy=True)
    sim.run(sim.now_s + 5)
    name = guest_of(sim).name
    wish(sim, "resize_guest", guest=name, vcpus=1, memory_mib=2048)
    assert "may have a job" in refusals(sim)[0]
    wish(sim, "resize_guest", guest=name, memory_mib=2048)
    assert sim.run_until(lambda: size(sim) == (2048, 2), 10)
    wish(sim, "resize_guest", guest=name, vcpus=1, even_if_busy=True)
    assert sim.run_until(lambda: size(sim) == (2048, 1), 10)
    assert not sim.batch.killed


def test_while_the_batch_system_is_silent_any_guest_may_have_a_job(bench: Bench) -> None:
    sim = with_a_guest(bench)
    sim.faults.batch_down = True
    assert sim.run_until(lambda: sim.core.state.clients["batch"].state != "up", 90)
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=512)
    assert "may have a job" in refusals(sim)[0]


def test_one_thing_at_a_time(bench: Bench) -> None:
    sim = with_a_guest(bench, hosts=2)
    guest = guest_of(sim)
    other = "host1" if guest.host == "host0" else "host0"
    wish(sim, "resize_guest", guest=guest.name, memory_mib=2048)
    sim.run(sim.now_s + 0.1)
    wish(sim, "resize_guest", guest=guest.name, vcpus=3)
    wish(sim, "migrate_guest", guest=guest.name, host=other)
    assert ["being resized" in text for text in refusals(sim)] == [True, True]
    assert cluster_of(sim.core.state, sim.core.rules).guests[0].immovable == "it is being resized"
    assert sim.run_until(lambda: guest.resize is None, 10)
    wish(sim, "migrate_guest", guest=guest.name, host=other)
    wish(sim, "resize_guest", guest=guest.name, vcpus=3)
    assert "is migrating, only a ready guest" in refusals(sim)[-1]
    assert sim.run_until(lambda: guest.host == other and guest.state == "ready", 20)
    assert guest.spec.memory_mib == 2048, "it takes its size along"


def test_a_guest_that_leaves_is_asked_nothing_more(bench: Bench) -> None:
    sim = with_a_guest(bench)
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=2048)
    wish(sim, "retire_guest", guest=guest_of(sim).name)
    assert guest_of(sim).state == "draining"
    assert sim.run_until(lambda: not sim.core.state.guests, 60)
    assert sim.run_until(lambda: not [c for c in sim.core.state.commands.values() if c.state == "sent"], 200)


def test_a_guest_whose_host_dies_is_started_with_the_size_it_had(bench: Bench) -> None:
    sim = with_a_guest(bench, hosts=2, busy=True)
    guest, source = guest_of(sim), guest_of(sim).host
    wish(sim, "resize_guest", guest=guest.name, vcpus=3)
    assert sim.run_until(lambda: guest.resize is None, 10)
    wish(sim, "resize_guest", guest=guest.name, memory_mib=2048)
    sim.hosts[source].up = False
    sim.hosts[source].guests.clear()
    sim.batch.lose(guest.name)
    sim._leave(guest.name)  # the power goes
    assert sim.run_until(lambda: sim.core.state.clients[source].state != "up", 90)
    wish(sim, "fence_host", host=source)
    assert guest.state == "lost", sim.texts("warning")
    assert sim.run_until(lambda: guest.drained_s >= 0, 60)
    wish(sim, "restart_guest", guest=guest.name)
    assert sim.run_until(lambda: guest.state == "ready", 60)
    assert guest.host != source
    assert (guest.resize, str(size_of(guest.spec))) == (None, "1024 MiB, 3 vCPUs")


def test_a_deaf_guest_has_what_it_had(bench: Bench) -> None:
    sim = with_a_guest(bench)
    name = guest_of(sim).name
    sim.faults.deaf.add(name)
    before = free(sim)
    wish(sim, "resize_guest", guest=name, memory_mib=2048)
    assert sim.run_until(lambda: guest_of(sim).resize is None, 10)
    assert (size(sim), free(sim)) == ((1024, 2), before)
    assert "still has 1024 MiB, 2 vCPUs, not 2048 MiB, 2 vCPUs: [not-followed]" in sim.texts("warning")[-1]


def test_a_guest_that_its_host_reports_otherwise_may_be_told_again(bench: Bench) -> None:
    """Its balloon went back by itself, or was never loaded: the same size is not refused then."""
    sim = with_a_guest(bench)
    host = sim.core.state.hosts["host0"]
    host.guests[guest_of(sim).name] = (2048, 2, "running")
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=1024)
    assert refusals(sim) == []
    assert guest_of(sim).resize is not None


@pytest.mark.parametrize("away_s", [0.5, 30.0])
def test_a_manager_killed_in_the_middle_is_followed_by_one_that_knows(bench: Bench, away_s: float) -> None:
    sim = with_a_guest(bench)
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=2048)
    sim.run(sim.now_s + 0.1)
    sim.kill_manager()
    sim.run(sim.now_s + away_s)
    sim.start_manager()
    assert guest_of(sim).resize is not None
    assert sim.run_until(lambda: guest_of(sim).resize is None, 30)
    assert size(sim) == inside(sim) == (2048, 2)


def test_lost_answers_are_asked_for_again_and_it_replays(bench: Bench) -> None:
    sim = with_a_guest(bench)
    sim.faults.lose_every_nth_result = 1
    wish(sim, "resize_guest", guest=guest_of(sim).name, memory_mib=2048)
    sim.run(sim.now_s + 110)
    assert guest_of(sim).resize is not None
    assert any("whether it has 2048 MiB, 2 vCPUs is not clear" in text for text in sim.texts("warning"))
    half = Core()
    half.replay(sim.entries)
    half = Core.from_snapshot(half.snapshot())
    middle = len(sim.entries)
    sim.faults.lose_every_nth_result = 0
    assert sim.run_until(lambda: guest_of(sim).resize is None, 30)
    assert size(sim) == (2048, 2)
    half.replay(sim.entries[middle:])
    assert half.snapshot() == sim.core.snapshot()


def test_a_rule_may_resize(bench: Bench) -> None:
    rule = (
        "\n[more_memory]\ndescription = short of memory\neach = guest\n"
        "expr = { guest.ram_free < 100 and guest.memory_mib < 2048 and not guest.resizing }\n"
        "cmd = { sender.resize_guest(guest, memory_mib=2048) }\nticks = 10\n"
    )
    sim = with_a_guest(bench, busy=True, rules=rule)
    report(sim, 0, ram_free=50)
    assert sim.run_until(lambda: size(sim) == (2048, 2), 30)


def test_scaling_by_measured_load_is_carried_out(bench: Bench) -> None:
    sim = with_a_guest(bench)
    assert demands_of(sim.core.state) == []
    report(sim, 0, cpu_used=95.0, ram_free=24)
    (demand,) = demands_of(sim.core.state)
    assert (demand.vcpus_min, demand.vcpus_max) == (1, 4)
    assert (demand.memory_min_mib, demand.memory_max_mib) == (512, 2048)
    plan = scale(cluster_of(sim.core.state, sim.core.rules), [demand])
    (action,) = plan.actions
    assert action.sizes == {"vcpus": 4, "memory_mib": 1792}
    (said, _) = carry_out(sim, plan)
    assert said.startswith(f"1/1 resize {action.guest} to vcpus=4 memory_mib=1792: done in ")
    assert size(sim) == inside(sim) == (1792, 4)
    assert carry_out(sim, plan), "done already: nothing is asked again"
    assert sim.core.state.totals["resizes begun"] == 1
    assert demands_of(sim.core.state) == [], "what was measured before says nothing about its new size"
    sim.run(sim.now_s + 1)
    report(sim, 1, cpu_used=50.0, ram_free=700)
    assert scale(cluster_of(sim.core.state, sim.core.rules), demands_of(sim.core.state)).actions == ()


def test_a_guest_with_a_job_is_not_planned_smaller(bench: Bench) -> None:
    sim = with_a_guest(bench, busy=True)
    report(sim, 0, cpu_used=1.0, ram_free=1000)
    sim.run(sim.now_s + 5)
    plan = scale(cluster_of(sim.core.state, sim.core.rules), demands_of(sim.core.state))
    assert plan.actions == ()


def test_a_plan_stops_at_a_guest_that_does_not_follow(bench: Bench) -> None:
    sim = with_a_guest(bench)
    guest = guest_of(sim)
    sim.faults.deaf.add(guest.name)
    action = Action(Kind.RESIZE, guest.name, "host0", "host0", sizes={"vcpus": 4.0})
    with pytest.raises(PlanStopped, match=r"still has 1024 MiB, 2 vCPUs.*not-followed"):
        carry_out(sim, Plan("scale", "x", 0, 0, (action,)))


@pytest.mark.parametrize(
    ("host", "sizes", "why"),
    [
        ("host0", {"memory_mib": 90_000.0}, "cannot grow any more: host0 has"),
        ("host0", {"vcpus": 5.0}, r"was refused: .* between 1 and 4 vCPUs"),
        ("host1", {"vcpus": 3.0}, "is on host0, the plan expected host1"),
    ],
)
def test_a_plan_stops_before_what_cannot_be(
    bench: Bench, host: str, sizes: dict[str, float], why: str
) -> None:
    sim = with_a_guest(bench, hosts=2)
    guest = guest_of(sim)
    names = {"host0": guest.host, "host1": "host1" if guest.host == "host0" else "host0"}
    action = Action(Kind.RESIZE, guest.name, names[host], names[host], sizes=sizes)
    for old, new in names.items():
        why = why.replace(old, f"\0{new}")
    with pytest.raises(PlanStopped, match=why.replace("\0", "")):
        carry_out(sim, Plan("scale", "x", 0, 0, (action,)))
    assert sim.core.state.totals.get("resizes begun", 0) == 0
