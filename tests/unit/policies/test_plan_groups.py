"""Several groups of hosts: each planned by its own deviations, plans joined, scores added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from planning_world import DATA, naive_score, replayed

from vmm.cli.plan import plan as command
from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.errors import BadRequest
from vmm.policies.evacuate import evacuate
from vmm.policies.explain import explain
from vmm.policies.ganeti import parse_cluster
from vmm.policies.groups import only, split
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import STATIC
from vmm.policies.place import place
from vmm.policies.plan import Kind, Limits
from vmm.policies.recover import recover


def two(a: tuple[int, ...] = (6, 0, 0), b: tuple[int, ...] = (9, 1, 2)) -> Cluster:
    """Group a: so many guests of 2 GiB on each host of 64 GiB; group b: of 8 GiB on hosts of 128 GiB."""
    hosts, guests = [], []
    for name, numbers, host_mib, guest_mib in (("a", a, 65536, 2048), ("b", b, 131072, 8192)):
        for i, number in enumerate(numbers):
            net = frozenset({name})
            hosts.append(Host(f"{name}{i}", host_mib, 16, group=name, networks=net))
            guests += [
                Guest(f"{name}{i}g{j}", guest_mib, 2, f"{name}{i}", networks=net) for j in range(number)
            ]
    return Cluster(hosts, guests)


def summed(cluster: Cluster) -> float:
    return sum(naive_score(part, STATIC) for part in split(cluster))


def test_each_group_is_balanced_as_if_it_were_alone() -> None:
    cluster = two()
    plan = balance(cluster, STATIC)
    after = replayed(cluster, plan)
    assert plan.score_before == pytest.approx(summed(cluster))
    assert plan.score_after == pytest.approx(summed(after))
    alone = [balance(part, STATIC) for part in split(cluster)]
    assert plan.score_after == pytest.approx(sum(p.score_after for p in alone))
    assert len(plan.moves) == sum(len(p.moves) for p in alone) > 8
    for action in plan.actions:
        cluster = cluster.moved({action.guest: action.target})
        assert action.score_after == pytest.approx(summed(cluster))


def test_groups_run_at_the_same_time_within_the_limits() -> None:
    plan = balance(two(), STATIC, limits=Limits(per_host=1, total=2))
    first = [a for a in plan.actions if a.group == 1]
    assert {a.source[0] for a in first} == {"a", "b"}
    assert [a.group for a in plan.actions] == sorted(a.group for a in plan.actions)


@pytest.mark.parametrize(("most", "swaps"), [(1, False), (5, False), (5, True), (50, False)])
def test_a_limit_on_moves_is_of_the_whole_plan(most: int, swaps: bool) -> None:
    cluster = two()
    plan = balance(cluster, STATIC, Search(max_moves=most, swaps=swaps, budget_s=0.02))
    assert 0 < len(plan.moves) <= most
    replayed(cluster, plan)
    if most == 1:
        best = min(balance(p, STATIC, Search(max_moves=1)).score_after - summed(p) for p in split(cluster))
        assert plan.score_after - plan.score_before == pytest.approx(best)


def test_the_moves_of_the_plain_plan_are_enough_for_one_as_good() -> None:
    for a, b in (((6, 0, 0), (9, 1, 2)), ((12, 5, 0, 1), (7, 3, 3, 0)), ((4, 4, 9), (1, 13, 2, 2))):
        cluster = two(a, b)
        plain = balance(cluster, STATIC)
        for most in (len(plain.moves), len(plain.moves) + 3):
            assert balance(cluster, STATIC, Search(max_moves=most)).score_after <= plain.score_after + 1e-9


def test_a_gain_is_asked_of_the_whole_plan() -> None:
    cluster = two()
    gain = -balance(cluster, STATIC).score_after + summed(cluster)
    assert balance(cluster, STATIC, Search(min_gain=gain * 0.9)).actions
    plan = balance(cluster, STATIC, Search(min_gain=gain * 2))
    assert not plan.actions
    assert "less than" in plan.why_empty


def test_an_empty_plan_speaks_of_each_group() -> None:
    plan = balance(two((1, 1, 1), (2, 2, 2)), STATIC)
    assert plan.why_empty.startswith("group a: no move gains anything")
    assert "; group b: " in plan.why_empty


def test_other_policies_by_group() -> None:
    cluster = two()
    plan = evacuate(cluster, ["a0", "b1"], STATIC)
    assert len(plan.moves) == 7
    replayed(cluster, plan)
    gone = cluster.with_hosts({"a0": HostState.OFFLINE, "b1": HostState.OFFLINE})
    assert plan.score_before == pytest.approx(summed(gone))
    night = consolidate(cluster, STATIC)
    assert night.hosts_left == ("a0", "b0")
    assert [a.source for a in night.actions if a.kind is Kind.POWER_OFF] == ["a1", "a2", "b1", "b2"]
    assert night.actions[-1].group > max(a.group for a in night.moves)
    lost = recover(gone, STATIC)
    assert {a.target[0] for a in lost.actions} == {"a", "b"}
    assert lost.score_before == pytest.approx(summed(gone))
    replayed(gone, lost)


def test_a_new_guest_goes_where_its_groups_own_score_rises_least() -> None:
    cluster = two()
    plan = place(cluster, [Guest(f"n{i}", 4096, 2) for i in range(4)], STATIC)
    known = cluster
    for action in plan.actions:
        ways = {
            h.name: summed(known.with_guests([Guest(action.guest, 4096, 2, h.name)])) for h in cluster.hosts
        }
        known = known.with_guests([Guest(action.guest, 4096, 2, action.target)])
        assert action.score_after == pytest.approx(min(ways.values()))
        assert action.score_after == pytest.approx(ways[action.target])


def test_reasons_are_by_the_groups_own_score() -> None:
    cluster = two((1, 1, 1), (9, 1, 2))
    reasons = explain(cluster, balance(cluster, STATIC), STATIC)
    assert reasons["a0g0"].startswith("its best move, to a1, would cost")


def test_one_group_alone() -> None:
    cluster = two()
    assert [h.name for h in only(cluster, "b").hosts] == ["b0", "b1", "b2"]
    assert only(cluster, "b").guests == tuple(g for g in cluster.guests if g.name.startswith("b"))
    with pytest.raises(BadRequest, match=r"group 'c' .*use one of a, b"):
        only(cluster, "c")
    with pytest.raises(BadRequest, match="leave --group out"):
        only(Cluster([Host("h", 1, 1)]), "c")


def test_what_a_guest_says_of_other_groups_is_left_out() -> None:
    cluster = two()
    pinned = Guest("p", 1, 1, "a0", pinned=frozenset({"a1", "b1"}))
    away = Guest("q", 1, 1, "a0", pinned=frozenset({"b1"}))
    copied = Guest("r", 1, 1, "a0", secondary="b2", immovable="DRBD")
    cluster = cluster.with_guests([pinned, away, copied])
    part = split(cluster)[0].guest_by_name
    assert part["p"].pinned == {"a1"}
    assert "another group" in part["q"].immovable
    assert "b2" in consolidate(cluster, STATIC).hosts_left


def test_groups_of_a_file(tmp_path: Path) -> None:
    text = (DATA / "c3.data").read_text()
    lines = text.split("\n")
    lines[0] += "\ng1|uuid-g1|preferred||"
    for i in (2, 3, 4):
        lines[i] += "\n" + lines[i].replace("n000", "m000").replace("uuid-g0", "uuid-g1")
    for i in range(6, 14):
        lines[i] += "\n" + lines[i].replace("n000", "m000").replace("v000", "w000")
    double = "\n".join(lines)
    assert {h.group for h in parse_cluster(double).hosts} == {"g0", "g1"}
    runner, data = CliRunner(), tmp_path / "d.data"
    data.write_text(double)
    args = ["balance", "--ganeti", str(data), "--static", "--no-reasons", "-o", "json"]
    both = json.loads(runner.invoke(command, args).output)
    single = json.loads(runner.invoke(command, [*args, "--group", "g1"]).output)
    assert round(single["score_before"], 8) == 1.51088730
    assert both["score_before"] == pytest.approx(2 * 1.51088730)
    assert {m["to"][0] for m in single["moves"]} == {"m"}
    assert both["score_after"] == pytest.approx(2 * single["score_after"])
