"""Whatever is wished, dies, is cut off and comes back: never two orders to make a guest, never two places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dead_hosts import places, wish
from decide_bench import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmm.decide.core import Core
from vmm.simulate import SimJob, Simulation

_HOSTS = st.sampled_from(["host0", "host1", "host2"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["kill", "cut", "back", "dead", "alive", "restart", "move"]), _HOSTS),
        st.tuples(st.sampled_from(["die", "lie"]), _HOSTS),
        st.tuples(st.sampled_from(["lie and heal", "back", "move and wait"]), _HOSTS),
        st.tuples(st.sampled_from(["manager", "destroy", "job"]), st.just("")),
        st.tuples(st.just("wait"), st.sampled_from(["0.3", "3", "45"])),
    ),
    max_size=25,
)


def _play(sim: Simulation, steps: list[tuple[str, str]]) -> Iterator[None]:
    for number, (what, which) in enumerate(steps):
        names = sorted(sim.core.state.guests)
        name = names[number % len(names)] if names else "none"
        up = not which.startswith("host") or sim.hosts[which].up
        match what:
            case "kill" if up:
                for guest in sim.hosts[which].guests:
                    sim.batch.lose(guest)
                sim.kill_host(which)
            case "cut" if up:
                sim.cut_host(which)
            case "back" if not up:
                sim.return_host(which)
            case "die" if up:  # and somebody says so
                sim.kill_host(which)
                wish(sim, "fence_host", host=which)
            case "lie" if up:  # it lives, cut off, and somebody says that it is dead
                sim.cut_host(which)
                wish(sim, "fence_host", host=which)
            case "lie and heal" if up:
                sim.cut_host(which)
                wish(sim, "fence_host", host=which)
                sim.run(sim.now_s + 3)
                for lost in [g.name for g in sim.core.state.guests.values() if g.state == "lost"]:
                    wish(sim, "restart_guest", guest=lost)
            case "move and wait":
                wish(sim, "migrate_guest", guest=name, host=which)
                sim.run(sim.now_s + 4)
            case "dead":
                wish(sim, "fence_host", host=which)
            case "alive":
                wish(sim, "unfence_host", host=which)
            case "restart":
                wish(sim, "restart_guest", guest=name, host=which)
            case "move":
                wish(sim, "migrate_guest", guest=name, host=which)
            case "destroy":
                wish(sim, "destroy_guest", guest=name)
            case "job":
                sim.submit(SimJob(f"j{number}", "groupA", sim.now_s, 20.0))
            case "manager":
                sim.kill_manager()
                sim.run(sim.now_s + 1)
                sim.start_manager()
        sim.run(sim.now_s + (float(which) if what == "wait" else 0.2))
        yield


def _check(sim: Simulation) -> None:
    state = sim.core.state
    orders = Counter(
        record.args["guest"]["name"]
        for record in state.commands.values()
        if record.name == "create_guest" and record.state in ("issued", "sent")
    )
    assert not [name for name, n in orders.items() if n > 1], "two orders to make one guest"
    for guest in state.guests.values():
        fenced = state.hosts[guest.host].dead
        assert guest.state == "lost" or not (fenced and guest.state in ("creating", "booting", "ready"))
        running = [
            name
            for name, host in state.hosts.items()
            if host.fenced_s < 0 and host.guests.get(guest.name, (0, 0, ""))[2] == "running"
        ]
        assert len(running) <= 1, f"{guest.name} is believed to run on {running}"
    # In truth: what runs twice runs on a host of which somebody said wrongly that it is dead.
    for name in {name for host in sim.hosts.values() for name in host.guests}:
        there = [h for h in places(sim, name) if state.hosts[h].fenced_s < 0]
        assert len(there) <= 1, f"{name} runs on {there}"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_STEPS)
def test_no_guest_is_started_twice(bench: Bench, steps: list[tuple[str, str]]) -> None:
    jobs = [SimJob(str(n), "groupA", 5.0, 100.0) for n in range(2)]
    sim = bench.make(jobs, hosts=3, guests_per_host=2)
    assert sim.run_until(lambda: all(job.started_s is not None for job in jobs), 60)
    for _ in _play(sim, steps):
        _check(sim)
    again = Core()
    for number, entry in enumerate(sim.entries):
        if number == len(sim.entries) // 2:
            again = Core.from_snapshot(again.snapshot())
        again.feed(entry)
    assert again.snapshot() == sim.core.snapshot()
    for name, host in sim.hosts.items():
        if not host.up:
            sim.return_host(name)
    sim.run(sim.now_s + 200)
    _check(sim)
    for name, host in sim.core.state.hosts.items():
        if host.fenced_s >= 0:
            assert wish(sim, "unfence_host", host=name) == [], "nothing of before is left in the end"
