"""A running guest moves to another host: its job goes on, and it is never in doubt where it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from decide_bench import PROFILES, Bench, shipped_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm.decide import placement
from vmm.decide.core import Core
from vmm.decide.events import Started, Wished
from vmm.messages.structs import Intent
from vmm.simulate import Faults, SimJob, Simulation


def wish(sim: Simulation, name: str, **args: object) -> None:
    sim.emit(Wished(Intent(f"{name}-{sim.now_s:g}", name, dict(args), "ann", "test")))


def with_a_job(bench: Bench, *, runtime_s: float = 60.0, **more: object) -> Simulation:
    """A guest on host0 or host1 that runs a job; room for one guest on each of two hosts."""
    sim = bench.make([SimJob("1", "groupA", 5.0, runtime_s)], hosts=2, **more)  # type: ignore[arg-type]
    assert sim.run_until(lambda: guest_state(sim) == "ready" and sim.batch.jobs[0].started_s is not None, 60)
    return sim


def guest_state(sim: Simulation) -> str:
    return next((guest.state for guest in sim.core.state.guests.values()), "")


def only(sim: Simulation) -> tuple[str, str, str]:
    """(guest, its host, the other host)."""
    (guest,) = sim.core.state.guests.values()
    return guest.name, guest.host, "host1" if guest.host == "host0" else "host0"


def refusals(sim: Simulation) -> list[str]:
    return [text for text in sim.texts("warning") if "was refused" in text]


def places(sim: Simulation, name: str) -> list[str]:
    return [host.name for host in sim.hosts.values() if name in host.guests]


def test_a_guest_moves_with_its_job(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, source, target = only(sim)
    job = sim.batch.jobs[0]
    started_s = job.started_s
    wish(sim, "migrate_guest", guest=name, host=target, source=source)
    assert guest_state(sim) == "migrating"
    assert sim.run_until(lambda: guest_state(sim) == "ready", 10)
    assert only(sim)[1] == target
    assert places(sim, name) == [target]
    assert sim.run_until(lambda: job.ended_s is not None, 90)
    assert (job.started_s, job.killed, sim.batch.killed) == (started_s, False, [])
    assert sim.run_until(lambda: not sim.core.state.guests, 90), "and it goes like any other"
    assert sim.core.state.totals["guests created"] == 1


def test_while_it_moves_it_takes_room_on_both_hosts_and_serves_its_share(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, source, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    sim.run(sim.now_s + 1)
    assert guest_state(sim) == "migrating"
    state = sim.core.state
    assert [placement.free_on(state, state.hosts[host]).memory_mib for host in (source, target)] == [0, 0]
    ready = sim.core.state.world.shares.get("groupA", "guests_ready")
    assert ready is not None
    assert ready.value == 1
    sim.run(sim.now_s + 10)
    free = [placement.free_on(state, state.hosts[host]).memory_mib for host in (source, target)]
    assert free == [1024, 0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": "nowhere"}, "there is no host 'nowhere'"),
        ({"guest": "nobody"}, "there is no guest 'nobody'"),
        ({"host": "SOURCE"}, "already"),
        ({"source": "TARGET"}, "not on"),
    ],
)
def test_what_makes_no_sense_is_refused(bench: Bench, change: dict[str, str], why: str) -> None:
    sim = with_a_job(bench)
    name, source, target = only(sim)
    words = {"SOURCE": source, "TARGET": target}
    args = {"guest": name, "host": target, **{k: words.get(v, v) for k, v in change.items()}}
    wish(sim, "migrate_guest", **args)
    assert guest_state(sim) == "ready"
    assert len(refusals(sim)) == 1
    assert why in refusals(sim)[0]


def test_a_host_without_room_is_refused(bench: Bench) -> None:
    jobs = [SimJob("a", "groupA", 5.0, 90.0), SimJob("b", "groupB", 5.0, 90.0)]
    sim = bench.make(jobs, hosts=2)
    assert sim.run_until(lambda: all(j.started_s is not None for j in jobs), 60)
    sim.run(sim.now_s + 3)
    first, second = sim.core.state.guests.values()
    wish(sim, "migrate_guest", guest=first.name, host=second.host)
    assert "0 MiB free, 1024 wanted" in refusals(sim)[0]


def test_a_profile_may_forbid_it(bench: Bench) -> None:
    files = shipped_files() | {"profiles.ini": PROFILES.replace("vcpus = 1", "vcpus = 1\nmigratable = no")}
    sim = with_a_job(bench, files=files)
    name, _, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    assert "migratable = no" in refusals(sim)[0]


def test_a_moving_guest_is_neither_retired_nor_destroyed_nor_moved_again(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, source, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    wish(sim, "retire_guest", guest=name)
    wish(sim, "destroy_guest", guest=name, even_if_busy="yes")
    wish(sim, "migrate_guest", guest=name, host=source)
    assert len(refusals(sim)) == 3
    assert guest_state(sim) == "migrating"


def test_when_it_fails_the_guest_is_ready_where_it_was(bench: Bench) -> None:
    sim = with_a_job(bench, faults=Faults(unreachable={"host0", "host1"}))
    name, source, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    assert sim.run_until(lambda: guest_state(sim) == "ready", 20)
    assert only(sim)[1] == source
    assert any("still on" in text and "migration-failed" in text for text in sim.texts("warning"))
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 90)
    assert not sim.batch.killed


@pytest.mark.parametrize("after_s", [0.0, 0.5, 2.0, 2.9, 4.0])
@pytest.mark.parametrize("away_s", [0.5, 7.0])
def test_a_manager_killed_in_the_middle_is_followed_by_one_that_knows(
    bench: Bench, after_s: float, away_s: float
) -> None:
    sim = with_a_job(bench, runtime_s=90)
    name, _, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    sim.run(sim.now_s + after_s)
    sim.kill_manager()
    sim.run(sim.now_s + away_s)
    sim.start_manager()
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)
    assert only(sim)[1] == target
    assert places(sim, name) == [target]
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 120)
    assert not sim.batch.killed
    assert sim.core.state.totals["guests created"] == 1


def test_lost_answers_are_asked_for_again(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, _, target = only(sim)
    sim.faults.lose_every_nth_result = 1
    wish(sim, "migrate_guest", guest=name, host=target)
    sim.run(sim.now_s + 20)
    assert guest_state(sim) == "migrating"
    sim.faults.lose_every_nth_result = 0
    assert sim.run_until(lambda: guest_state(sim) == "ready", 60)
    assert only(sim)[1] == target


def test_the_hosts_reports_settle_it_when_the_source_is_silent(bench: Bench) -> None:
    sim = with_a_job(bench, runtime_s=200)
    name, source, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    sim.run(sim.now_s + 1)
    sim.hosts[target].guests[name] = sim.hosts[source].guests.pop(name)  # it has arrived, and then:
    sim.hosts[source].up = False
    assert sim.run_until(lambda: guest_state(sim) == "ready", 90)
    assert only(sim)[1] == target
    assert not sim.batch.killed
    # The source's client comes back: the old command is not carried out, whatever it was.
    sim.hosts[source].up = True
    sim.run(sim.now_s + 60)
    assert (places(sim, name), only(sim)[1], guest_state(sim)) == ([target], target, "ready")


def test_a_guest_that_dies_on_the_way_is_found_missing_and_cleaned_up(bench: Bench) -> None:
    sim = with_a_job(bench)
    name, _, target = only(sim)
    wish(sim, "migrate_guest", guest=name, host=target)
    sim.run(sim.now_s + 1)
    sim.kill_guest(name)
    assert sim.run_until(lambda: name not in sim.core.state.guests, 120)
    assert any("no-such-guest" in text for text in sim.texts("warning"))
    assert sim.run_until(lambda: sim.batch.jobs[0].ended_s is not None, 300), "served by a new guest"


def test_a_host_that_is_held_keeps_its_guests_and_gets_none(bench: Bench) -> None:
    sim = with_a_job(bench, guests_per_host=2)
    name, source, _ = only(sim)
    wish(sim, "hold_host", host=source)
    more = [SimJob(f"m{n}", "groupA", sim.now_s, 20.0) for n in range(2)]
    for job in more:
        sim.submit(job)
    assert sim.run_until(lambda: all(job.ended_s is not None for job in more), 200)
    assert list(sim.hosts[source].guests) in ([name], [])
    assert sim.batch.jobs[0].node == name
    assert not sim.batch.killed


# Any stream in which guests are moved, hosts are cut off and Managers die replays to the same bytes.

_STEPS = st.one_of(
    st.tuples(st.just("move"), st.sampled_from(["host0", "host1"])),
    st.tuples(st.just("off"), st.sampled_from(["host0", "host1"])),
    st.tuples(st.just("on"), st.sampled_from(["host0", "host1"])),
    st.tuples(st.just("manager"), st.sampled_from(["kill"])),
    st.tuples(st.just("size"), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("wait"), st.sampled_from(["1", "4", "40"])),
)


def _play(sim: Simulation, steps: list[tuple[str, str]]) -> Iterator[None]:
    for what, which in steps:
        guest = next(iter(sim.core.state.guests.values()), None)
        if what == "move" and guest is not None:
            wish(sim, "migrate_guest", guest=guest.name, host=which)
        elif what == "size" and guest is not None:
            wish(sim, "resize_guest", guest=guest.name, vcpus=int(which), even_if_busy=True)
        elif what in ("off", "on"):
            sim.hosts[which].up = what == "on"
        elif what == "manager":
            sim.kill_manager()
            sim.run(sim.now_s + 1)
            sim.start_manager()
        sim.run(sim.now_s + (float(which) if what == "wait" else 0.5))
        yield


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_STEPS, max_size=12), st.integers(0, 400))
def test_moves_replay_to_the_same_bytes_and_never_kill_a_job(
    bench: Bench, steps: list[tuple[str, str]], cut: int
) -> None:
    profiles = PROFILES.replace("vcpus = 1", "vcpus = 2\nmin_vcpus = 1\nmax_vcpus = 3")
    sim = with_a_job(bench, runtime_s=300, files=shipped_files() | {"profiles.ini": profiles})
    name = only(sim)[0]
    for _ in _play(sim, steps):
        assert len(places(sim, name)) == 1, "in one place at any time"
    assert not sim.batch.killed
    again = Core()
    for entry in sim.entries:
        if entry.position == cut and not isinstance(entry.event, Started):
            again = Core.from_snapshot(again.snapshot())
        again.feed(entry)
    assert again.snapshot() == sim.core.snapshot()
    for host in sim.hosts.values():
        host.up = True
    assert sim.run_until(lambda: guest_state(sim) == "ready", 900), "it is settled in the end"
    assert places(sim, name) == [only(sim)[1]]
    guest = sim.core.state.guests[name]
    assert sim.run_until(lambda: guest.resize is None, 300)
    assert guest.spec.vcpus == sim.hosts[guest.host].guests[name].spec.vcpus


def test_a_rule_may_move_guests(bench: Bench) -> None:
    rule = (
        "\n[away]\ndescription = host0 is for the night shift\neach = guest\n"
        'expr = { guest.host == "host0" and guest.state == "ready" }\n'
        'cmd = { sender.migrate_guest(guest, "host1") }\nticks = 10\n'
    )
    files = shipped_files()
    sim = with_a_job(bench, files=files | {"triggers.ini": files["triggers.ini"] + rule})
    assert sim.run_until(lambda: only(sim)[1] == "host1" and guest_state(sim) == "ready", 60)
    assert places(sim, only(sim)[0]) == ["host1"]
    assert any("fires: migrate_guest(" in text for text in sim.texts())
    assert not sim.batch.killed
