"""What planners see of the live cluster, and a plan of theirs carried out on it (the simulated one)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from decide_bench import PROFILES, SHARES, Bench, shipped_files

from vmm.api.carry import Carrier, PlanStopped
from vmm.decide.core import Core
from vmm.decide.events import Wished
from vmm.decide.modelling import cluster_of
from vmm.messages.structs import Intent
from vmm.policies.evacuate import evacuate
from vmm.policies.model import HostState
from vmm.policies.plan import Action, Kind, Plan
from vmm.policies.recover import recover
from vmm.simulate import Faults, SimGuest, SimHost, SimJob, Simulation


def three_hosts(bench: Bench, jobs: int = 2, **more: object) -> Simulation:
    """Two guests' room on each of three hosts; a running job in each guest."""
    running = [SimJob(str(n), "groupA", 5.0, 400.0) for n in range(jobs)]
    sim = bench.make(running, hosts=3, guests_per_host=2, **more)  # type: ignore[arg-type]
    assert sim.run_until(lambda: all(job.started_s is not None for job in running), 90)
    sim.run(sim.now_s + 5)
    return sim


def plan_away(sim: Simulation, host: str) -> Plan:
    return evacuate(cluster_of(sim.core.state, sim.core.rules), [host])


def carry_out(
    sim: Simulation, plan: Plan, *, before_wish: Callable[[int], None] = lambda _n: None, hold: bool = False
) -> list[str]:
    """As `vmm plan apply` does: a core of its own that follows the recorded stream."""
    core, said = Core(), []
    core.replay(sim.entries)
    numbers = itertools.count(1)

    def wish(name: str, args: dict[str, str]) -> str:
        number = next(numbers)
        before_wish(number)
        sim.emit(Wished(Intent(f"w{number}", name, dict(args), "ann", "plan")))
        return f"w{number}"

    Carrier(
        core,
        news=lambda: sim.entries[core.state.position :],
        wish=wish,
        wait=lambda: sim.run(sim.now_s + 0.1),
        clock=lambda: sim.now_s,
        tell=said.append,
        limit_s=120,
    ).carry_out(plan.actions, hold=hold)
    return said


def busy_host(sim: Simulation) -> str:
    return next(guest.host for guest in sim.core.state.guests.values())


def test_hosts_and_guests_as_planners_see_them(bench: Bench) -> None:
    sim = three_hosts(bench)
    cluster = cluster_of(sim.core.state, sim.core.rules)
    assert [host.name for host in cluster.hosts] == ["host0", "host1", "host2"]
    host = cluster.hosts[0]
    assert (host.memory_mib, host.memory_reserve_mib, host.memory_own_mib) == (2560, 512, 0)
    assert (host.cpus, host.vcpu_ratio, host.state) == (8, 4, HostState.UP)
    assert [(g.memory_mib, g.vcpus, g.share, g.immovable) for g in cluster.guests] == [
        (1024, 1, "groupA", "")
    ] * 2


def test_what_others_made_is_the_hosts_own(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    (guest,) = sim.core.state.guests.values()
    sim.hosts["host2"].guests["foreign"] = SimGuest(guest.spec, 0.0)
    sim.run(sim.now_s + 5)
    cluster = cluster_of(sim.core.state, sim.core.rules)
    assert "foreign" not in cluster.guest_by_name
    assert cluster.host_by_name["host2"].memory_own_mib == 1024
    assert cluster.host_by_name["host2"].vcpus_own == 1


def test_why_a_guest_may_not_be_moved(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    (guest,) = sim.core.state.guests.values()

    def why() -> str:
        return cluster_of(sim.core.state, sim.core.rules).guests[0].immovable

    assert why() == ""
    other = "host1" if guest.host != "host1" else "host2"
    sim.emit(Wished(Intent("other-0", "migrate_guest", {"guest": guest.name, "host": other}, "ann", "x")))
    assert why() == f"it is on its way to {other}"
    assert cluster_of(sim.core.state, sim.core.rules).host_by_name[other].memory_own_mib == 1024
    sim.run(sim.now_s + 10)
    sim.hosts[other].up = False
    sim.run(sim.now_s + 60)
    cluster = cluster_of(sim.core.state, sim.core.rules)
    assert why() == f"the client of {other} is silent"
    assert cluster.host_by_name[other].state is HostState.DRAINING, "silence proves no death"


def test_a_profile_that_forbids_it_makes_guests_immovable(bench: Bench) -> None:
    files = shipped_files() | {"profiles.ini": PROFILES.replace("vcpus = 1", "vcpus = 1\nmigratable = no")}
    sim = three_hosts(bench, jobs=1, files=files)
    plan = plan_away(sim, busy_host(sim))
    assert plan.actions == ()
    assert "migratable = no" in next(iter(plan.unplaced.values()))


def test_a_host_is_evacuated_under_running_jobs(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=4)
    host = busy_host(sim)
    names = [g.name for g in sim.core.state.guests.values() if g.host == host]
    plan = plan_away(sim, host)
    assert [a.guest for a in plan.actions] != []
    said = carry_out(sim, plan, hold=True)
    assert sim.hosts[host].guests == {}
    assert said[0].startswith(f"host {host} takes no new guests")
    assert len(said) == len(names) + 2
    assert sim.core.state.hosts[host].maintenance
    jobs = [job.started_s for job in sim.batch.jobs]
    assert sim.run_until(lambda: all(job.ended_s is not None for job in sim.batch.jobs), 600)
    assert [job.started_s for job in sim.batch.jobs] == jobs
    assert not sim.batch.killed


def test_it_stops_when_a_guest_is_elsewhere(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    plan = plan_away(sim, busy_host(sim))
    (action,) = plan.actions
    other = next(h for h in sim.hosts if h not in (action.source, action.target))
    sim.emit(Wished(Intent("other-1", "migrate_guest", {"guest": action.guest, "host": other}, "ann", "x")))
    sim.run(sim.now_s + 10)
    with pytest.raises(PlanStopped) as caught:
        carry_out(sim, plan)
    assert "step 1 of 1" in caught.value.message
    assert f"is on {other}, the plan expected {action.source}" in caught.value.message
    assert f"not done: migrate {action.guest}" in caught.value.message


def test_it_stops_when_the_manager_refuses(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    plan = plan_away(sim, busy_host(sim))
    (action,) = plan.actions

    def hold_the_target(_number: int) -> None:  # after the check, before the wish
        sim.emit(Wished(Intent("other-2", "hold_host", {"host": action.target}, "ann", "x")))

    with pytest.raises(PlanStopped, match=r"was refused: .* it is in maintenance"):
        carry_out(sim, plan, before_wish=hold_the_target)
    assert action.guest in sim.hosts[action.source].guests


def test_it_stops_when_a_step_fails_and_says_what_remains(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=4, faults=Faults())
    host = busy_host(sim)
    plan = plan_away(sim, host)
    assert len(plan.actions) == 2
    sim.faults.unreachable.update(sim.hosts)
    with pytest.raises(PlanStopped, match="migration-failed") as caught:
        carry_out(sim, plan)
    assert "step 1 of 2" in caught.value.message
    assert all(action.guest in caught.value.message for action in plan.actions)
    assert len(sim.hosts[host].guests) == 2


def test_it_stops_when_no_manager_is_there(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    plan = plan_away(sim, busy_host(sim))
    sim.kill_manager()
    with pytest.raises(PlanStopped, match="no Manager took the wish"):
        carry_out(sim, plan)


def test_what_has_no_wish_stops_before_anything_is_done(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    free = next(h for h in sim.hosts if not sim.hosts[h].guests)
    action = Action(Kind.START, "new", "", free, sizes={"vcpus": 1, "memory_mib": 512})
    with pytest.raises(PlanStopped, match="by hand"):
        carry_out(sim, Plan("place", "x", 0, 0, (action,)))


def test_an_emptied_host_is_held_and_a_person_told(bench: Bench) -> None:
    sim = three_hosts(bench, jobs=1)
    free = next(h for h in sim.hosts if not sim.hosts[h].guests)
    said = carry_out(sim, Plan("consolidate", "x", 0, 0, (Action(Kind.POWER_OFF, source=free),)))
    assert said[0] == f"host {free} is empty and takes no guests: it can be switched off"
    assert sim.core.state.hosts[free].maintenance


def after_a_death(bench: Bench, **more: object) -> tuple[Simulation, str]:
    """(the cluster, its dead host): ann has said so, and rules are paused."""
    sim = three_hosts(bench, **more)  # type: ignore[arg-type]
    host = busy_host(sim)
    sim.emit(Wished(Intent("other-p", "pause", {}, "ann", "x")))
    sim.kill_host(host)
    sim.emit(Wished(Intent("other-d", "fence_host", {"host": host}, "ann", "power is off")))
    return sim, host


def plan_back(sim: Simulation) -> Plan:
    return recover(cluster_of(sim.core.state, sim.core.rules), keep_reserve=False)


def test_a_recovery_is_carried_out(bench: Bench) -> None:
    sim, host = after_a_death(bench, jobs=3)
    plan = plan_back(sim)
    lost = {g.name for g in sim.core.state.guests.values() if g.host == host}
    assert {a.guest for a in plan.actions} == lost
    said = carry_out(sim, plan)
    assert said[-1] == f"the plan is carried out: {len(lost)} steps"
    assert all(guest.state == "ready" for guest in sim.core.state.guests.values())
    assert all(guest.host != host for guest in sim.core.state.guests.values())
    assert plan_back(sim).why_empty == f"no guest was on {host}"
    with pytest.raises(PlanStopped, match="the plan expected"):
        carry_out(sim, plan)


def test_guests_of_the_share_of_higher_priority_come_first(bench: Bench) -> None:
    shares = SHARES.replace("[groupB]", "priority = 1\n[groupB]\npriority = 7\n")
    jobs = [SimJob("a", "groupA", 5.0, 400.0), SimJob("b", "groupB", 5.0, 400.0)]
    sim = bench.make(jobs, guests_per_host=2, files=shipped_files() | {"shares.ini": shares})
    assert sim.run_until(lambda: all(job.started_s is not None for job in jobs), 90)
    spare = SimHost("host9", memory_mib=512 + 1024)
    sim.emit(Wished(Intent("other-p", "pause", {}, "ann", "x")))
    sim.add_host(spare)
    sim.run(sim.now_s + 5)
    sim.kill_host("host0")
    sim.emit(Wished(Intent("other-d", "fence_host", {"host": "host0"}, "ann", "x")))
    plan = plan_back(sim)
    assert [a.guest.rpartition("-")[0] for a in plan.actions] == ["groupb"]
    assert "MiB of memory free" in next(iter(plan.unplaced.values()))


def test_a_recovery_stops_when_the_host_is_back(bench: Bench) -> None:
    sim, host = after_a_death(bench, jobs=3)
    plan = plan_back(sim)
    sim.return_host(host)
    sim.run(sim.now_s + 10)
    with pytest.raises(PlanStopped, match="is gone"):
        carry_out(sim, plan)


def test_a_recovery_stops_at_a_host_that_cannot_make_the_guest(bench: Bench) -> None:
    sim, host = after_a_death(bench, faults=Faults())
    plan = plan_back(sim)
    sim.faults.missing_templates.add("groupA.qcow2")
    with pytest.raises(PlanStopped, match=f"is lost on {host} .*no-template"):
        carry_out(sim, plan)
