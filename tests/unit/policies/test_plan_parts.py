"""Around the planners: anti-flap, applying, the reserve, scaling, groups, reasons, policies.ini, hooks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from planning_world import DATA, groups_are_legal, replayed, simple

from vmm.ini import FindingsError
from vmm.plugins.manager import load_plugins
from vmm.policies.antiflap import Memory, Settings, calmed, carried_out, judged, measured
from vmm.policies.apply import Do, Finished, Stop, done_in, next_step, read_actions
from vmm.policies.balance import Search, balance
from vmm.policies.config import Policies, parse_policies
from vmm.policies.consolidate import consolidate
from vmm.policies.errors import BadFile, BadRequest
from vmm.policies.explain import explain
from vmm.policies.ganeti import parse_cluster
from vmm.policies.hooks import hookimpl, objectives
from vmm.policies.model import Cluster, Guest, Host, HostState, Load
from vmm.policies.objective import STATIC, Deviation, Metric, Objective
from vmm.policies.place import place
from vmm.policies.plan import Kind, Limits
from vmm.policies.recover import recover, survives_loss
from vmm.policies.scale import Bands, Demand, fair_caps, scale

C10 = parse_cluster((DATA / "c10.data").read_text(), "c10.data")


# -- anti-flap ----------------------------------------------------------------------------------------


def test_load_is_halved_after_the_half_life() -> None:
    settings = Settings(half_life_s=100)
    memory = measured(Memory(), settings, {"g": Load(cpu=1.0)}, 0.0)
    memory = measured(memory, settings, {"g": Load(cpu=0.0)}, 100.0)
    assert memory.loads["g"].cpu == pytest.approx(0.5)
    memory = measured(memory, settings, {"h": Load(cpu=3.0)}, 200.0)
    assert dict(memory.loads) == {"h": Load(cpu=3.0)}


def test_an_imbalance_must_hold_for_some_rounds() -> None:
    settings, plan = Settings(rounds=3), balance(C10, STATIC)
    memory, why = judged(Memory(), settings, plan, 0.0)
    assert "1 of 3 rounds" in why
    memory, why = judged(memory, settings, plan, 10.0)
    assert "2 of 3 rounds" in why
    memory, why = judged(memory, settings, plan, 20.0)
    assert why == ""
    calm, _ = judged(
        judged(Memory(), settings, plan, 0.0)[0], settings, balance(simple((1,), (1,)), STATIC), 5.0
    )
    assert calm.rounds == 0


def test_a_plan_must_gain_more_than_it_costs() -> None:
    plan = balance(C10, STATIC)
    _, why = judged(Memory(), Settings(rounds=1, price_per_gib=1.0), plan, 0.0)
    assert "costs" in why
    assert judged(Memory(), Settings(rounds=1, price_per_gib=0.0001), plan, 0.0)[1] == ""


def test_planning_gives_up_after_plans_that_did_not_help() -> None:
    settings, plan = Settings(rounds=1, give_up_after=2, give_up_s=60), balance(C10, STATIC)
    memory, why = judged(Memory(), settings, plan, 0.0)
    assert why == ""
    memory, why = judged(memory, settings, plan, 10.0)  # the score is no better: once in vain
    assert why == ""
    memory, why = judged(memory, settings, plan, 20.0)  # twice
    assert "gave up for another 60 s" in why
    memory, why = judged(memory, settings, plan, 81.0)
    assert why == ""


def test_a_guest_that_moved_rests() -> None:
    memory = carried_out(Memory(), ["v00008"], 100.0)
    settings = Settings(rest_s=60)
    resting = calmed(memory, settings, C10, 130.0).guest_by_name["v00008"]
    assert resting.immovable == "it moved lately and rests for another 30 s"
    assert calmed(memory, settings, C10, 160.0).guest_by_name["v00008"].immovable == ""


# -- applying -----------------------------------------------------------------------------------------


def test_a_plan_is_carried_out_step_by_step() -> None:
    plan = consolidate(C10, STATIC)
    actions = read_actions(json.dumps(plan.to_json()))
    world, done, steps = C10, 0, 0
    while not isinstance(step := next_step(actions, done, world, parallel=True), Finished):
        assert isinstance(step, Do)
        world, done, steps = done_in(world, step.actions), done + len(step.actions), steps + 1
    assert steps == plan.actions[-1].group < len(actions)
    assert sum(h.state is HostState.OFFLINE for h in world.hosts) == 10 - len(plan.hosts_left)


def test_it_stops_when_the_world_has_changed() -> None:
    plan = balance(C10, STATIC)
    first = plan.actions[0]
    elsewhere = C10.moved({plan.actions[-1].guest: first.target})
    stop = next_step(plan.actions, 0, elsewhere)
    assert isinstance(stop, Stop)
    assert plan.actions[-1].guest in stop.reason
    not_done = next_step(plan.actions, 1, C10)
    assert isinstance(not_done, Stop)
    assert f"guest {first.guest} is on {first.source}" in not_done.reason
    closed = C10.with_hosts({first.target: HostState.DRAINING})
    assert "draining" in next_step(plan.actions, 0, closed).reason  # type: ignore[union-attr]
    guests = [replace(g, immovable="job 9") if g.name == first.guest else g for g in C10.guests]
    assert "job 9" in next_step(plan.actions, 0, Cluster(C10.hosts, guests)).reason  # type: ignore[union-attr]
    gone = Cluster(C10.hosts, [g for g in C10.guests if g.name != first.guest])
    assert "is gone" in next_step(plan.actions, 0, gone).reason  # type: ignore[union-attr]


def test_new_guests_need_not_exist_before_their_start() -> None:
    plan = place(C10, [Guest("a", 1024, 1), Guest("b", 1024, 1)], STATIC)
    step = next_step(plan.actions, 0, C10)
    assert isinstance(step, Do)
    world = done_in(C10, step.actions)
    assert world.guest_by_name["a"].memory_mib == 1024
    assert isinstance(next_step(plan.actions, 1, world), Do)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"actions": 3}', '{"actions": [{"action": "dance"}]}', '{"actions": [7]}']
)
def test_a_plan_file_that_is_none(text: str) -> None:
    with pytest.raises(BadFile, match=r"p\.json:1: "):
        read_actions(text, "p.json")


# -- recovery -----------------------------------------------------------------------------------------


def test_the_important_are_started_first_and_the_reserve_is_kept() -> None:
    hosts = [Host("dead", 100, 100, state=HostState.OFFLINE), Host("a", 100, 100), Host("b", 100, 100)]
    guests = [
        Guest("low", 30, 1, host="dead", priority=1),
        Guest("high", 30, 1, host="dead", priority=9),
        Guest("disk", 5, 1, host="dead", disk_local=True),
        Guest("old", 60, 1, host="a"),
    ]
    cluster = Cluster(hosts, guests)
    plan = recover(cluster, STATIC)
    assert [(a.guest, a.kind) for a in plan.actions] == [("high", Kind.START)]
    assert "one more host" in plan.unplaced["low"]
    assert "local to dead" in plan.unplaced["disk"]
    assert survives_loss(replayed(cluster, plan))
    everybody = recover(cluster, STATIC, keep_reserve=False)
    assert [a.guest for a in everybody.actions] == ["high", "low"]
    assert not survives_loss(replayed(cluster, everybody))


def test_nothing_to_recover_says_so() -> None:
    assert recover(simple((1,), (1,)), STATIC).why_empty == "no host is offline"
    empty = simple((), (1,)).with_hosts({"h0": HostState.OFFLINE})
    assert recover(empty, STATIC).why_empty == "no guest was on h0"


# -- scaling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "demands", "weights", "caps"),
    [
        (10, [2, 3], [1, 1], [2, 3]),
        (10, [8, 8], [1, 1], [5, 5]),
        (10, [2, 9, 9], [1, 1, 1], [2, 4, 4]),
        (12, [9, 9], [1, 2], [4, 8]),
        (12, [9, 3], [1, 2], [9, 3]),
        (5, [0, 9], [1, 1], [0, 5]),
    ],
)
def test_cpu_time_is_shared_fairly(
    capacity: float, demands: list[float], weights: list[float], caps: list[float]
) -> None:
    assert fair_caps(capacity, demands, weights) == pytest.approx(caps)


def test_guests_grow_and_shrink_within_their_profile() -> None:
    host = Host("h", 8192, 16)
    guests = [
        Guest("busy", 1024, 2, host="h"),
        Guest("idle", 4096, 8, host="h"),
        Guest("fine", 1024, 2, host="h"),
    ]
    demands = [
        Demand("busy", 1.9, 1000, vcpus_max=3),
        Demand("idle", 0.4, 300, memory_min_mib=1024),
        Demand("fine", 1.0, 600),
    ]
    plan = scale(Cluster([host], guests), demands)
    assert {a.guest: dict(a.sizes) for a in plan.actions} == {
        "idle": {"vcpus": 1, "memory_mib": 1024},
        "busy": {"vcpus": 3, "memory_mib": 1792},
    }
    assert [a.guest for a in plan.actions] == ["idle", "busy"]  # room is made before it is taken


def test_a_guest_with_a_job_is_never_made_smaller() -> None:
    guests = [Guest("g", 4096, 8, host="h", immovable="job 1")]
    plan = scale(Cluster([Host("h", 8192, 16)], guests), [Demand("g", 0.1, 100)])
    assert not plan.actions
    assert "job 1" in plan.reasons["g"]


def test_caps_inside_a_host_come_first_and_migration_second() -> None:
    hosts = [Host("full", 8192, 4, vcpu_ratio=1), Host("free", 8192, 16, vcpu_ratio=1)]
    guests = [Guest("a", 1024, 2, host="full"), Guest("b", 2048, 2, host="full")]
    demands = [Demand("a", 2.0, 600), Demand("b", 2.0, 1200)]
    plan = scale(Cluster(hosts, guests), demands)
    assert (plan.actions[0].kind, plan.actions[0].guest) == (Kind.MIGRATE, "a")  # the cheaper one to move
    assert plan.score_after < plan.score_before
    alone = scale(Cluster(hosts[:1], guests), [Demand("a", 3.0, 600, weight=3), Demand("b", 3.0, 1200)])
    caps = {a.guest: a.sizes["cpu_cap"] for a in alone.actions}
    assert caps == {"a": 3.0, "b": 1.0}


def test_bands_and_unknown_guests() -> None:
    with pytest.raises(BadRequest, match="'q'"):
        scale(simple((1,)), [Demand("q", 1, 1)])
    with pytest.raises(BadRequest):
        Bands(0.9, 0.6, 0.3)


# -- groups, reasons, settings ------------------------------------------------------------------------


@pytest.mark.parametrize(("per_host", "total"), [(1, 1), (1, 8), (2, 4), (5, 50)])
def test_groups_respect_the_limits(per_host: int, total: int) -> None:
    plan = balance(C10, STATIC, limits=Limits(per_host=per_host, total=total))
    assert groups_are_legal(C10, plan, per_host, total)
    assert plan.actions[-1].group >= len(plan.moves) / total
    if total == 1:
        assert [a.group for a in plan.actions] == list(range(1, len(plan.moves) + 1))


def test_cost_is_data_over_bandwidth() -> None:
    limits = Limits(bandwidth_mib_s=100, dirty_factor=1.5, overhead_s=3)
    plan = balance(C10, STATIC, Search(max_moves=1), limits=limits)
    (action,) = plan.actions
    assert action.data_mib == C10.guest_by_name[action.guest].memory_mib
    assert action.expected_s == pytest.approx(3 + action.data_mib * 1.5 / 100)
    assert plan.expected_s == action.expected_s


def test_every_guest_and_host_has_an_action_or_a_reason() -> None:
    guests = [replace(g, immovable="job 5") if g.name == "v00001" else g for g in C10.guests]
    cluster = Cluster([*C10.hosts[:-1], replace(C10.hosts[-1], state=HostState.DRAINING)], guests)
    plan = balance(cluster, STATIC)
    reasons = explain(cluster, plan, STATIC)
    moved = {a.guest for a in plan.actions}
    assert set(reasons) >= {g.name for g in cluster.guests} - moved
    assert set(reasons) >= {h.name for h in cluster.hosts} - {a.target for a in plan.actions}
    assert reasons["v00001"] == "it may not be moved: job 5"
    assert reasons[cluster.hosts[-1].name] == "the host is draining"


def test_the_shipped_policies_are_the_defaults() -> None:
    text = (Path(__file__).parents[3] / "etc" / "policies.ini").read_text()
    assert parse_policies(text) == parse_policies("") == Policies()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[objective]\nname = gaeti\n", "p.ini:2: error: unknown objective 'gaeti'. Did you mean 'ganeti'?"),
        ("[weight]\nmemory = 1\n", "p.ini:1: error: unknown section [weight]"),
        ("\n[weights]\ncolour = 1\n", "p.ini:3: error: [weights] has no key 'colour'"),
        ("[weights]\nmemory = heavy\n", "p.ini:2: error: [weights] memory is 'heavy'"),
        ("[weights]\nmemory = nan\n", "p.ini:2: error: [weights] memory is nan"),
        ("[limits]\nper_host = 0\n", "p.ini:2: error: [limits] per_host is 0"),
        ("[antiflap]\nrest = soon\n", "p.ini:2: error: [antiflap] rest: 'soon'"),
        ("[search]\nmax_moves = -1\n", "p.ini:2: error: [search] max_moves is -1"),
    ],
)
def test_wrong_policies_are_named_with_file_and_line(text: str, words: str) -> None:
    with pytest.raises(FindingsError) as caught:
        parse_policies(text, "p.ini")
    assert words in caught.value.message


def test_a_plugin_brings_an_objective() -> None:
    metric = Metric("m", lambda g: g.vcpus, lambda h: 1.0, lambda h: 0.0)
    own = Objective("own", (Deviation(metric),))

    class Plugin:
        def __init__(self, name: str, *given: object) -> None:
            self.__name__, self.given = name, given

        @hookimpl
        def vmm_objectives(self) -> list[object]:
            return list(self.given)

    found = load_plugins([Plugin("a", own), Plugin("b", own, 7, replace(own, name="ganeti"))])
    known = len(found.problems)
    assert objectives(found) == {"own": own}
    assert parse_policies("[objective]\nname = own\n", extra=[own]).objective is own
    first, second, third = found.problems[known:]
    assert "'own' is already there" in first
    assert "7, which is not an Objective" in second
    assert "'ganeti' is already there" in third


def test_caps_are_set_once_and_lifted_when_there_is_enough_again() -> None:
    host, guests = Host("h", 8192, 2), [Guest(n, 512, 2, host="h") for n in ("a", "b")]

    def planned(used: float, cap: float) -> list[dict[str, float]]:
        bounds = {
            "vcpus_min": 2,
            "vcpus_max": 2,
            "memory_min_mib": 512,
            "memory_max_mib": 512,
            "cap_now": cap,
        }
        demands = [Demand(g.name, used, 300, **bounds) for g in guests]  # type: ignore[arg-type]
        return [dict(a.sizes) for a in scale(Cluster([host], guests), demands).actions]

    assert planned(1.5, 0.0) == [{"cpu_cap": 1.0}] * 2
    assert planned(1.5, 1.0) == []
    assert planned(0.9, 1.0) == [{"cpu_cap": 0.0}] * 2
    assert planned(0.9, 0.0) == []
