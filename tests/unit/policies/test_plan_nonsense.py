"""Nonsense in gives an error that names the object; files give file and line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from planning_world import DATA, simple

from vmm.errors import ConfigError
from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.errors import BadCluster, BadFile, BadRequest, Contradiction
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import format_cluster, format_loads, parse_cluster, parse_loads
from vmm.policies.generate import PATTERNS, Pattern, Shape, generate
from vmm.policies.model import Cluster, Guest, Host, HostState, Load
from vmm.policies.objective import STATIC, Deviation, Metric, Objective, weighted
from vmm.policies.place import place
from vmm.policies.scale import Bands, Demand

A, B = Host("a", 64, 8), Host("b", 64, 8)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (
            lambda: Cluster([A], [Guest("g", 1, 1, host="a", load=Load(cpu=math.nan))]),
            ["'g'", "load.cpu", "nan"],
        ),
        (lambda: Cluster([A], [Guest("g", 1, 1, host="a", load=Load(disk=-1))]), ["'g'", "load.disk", "-1"]),
        (lambda: Cluster([A], [Guest("g", math.inf, 1, host="a")]), ["'g'", "memory_mib", "inf"]),
        (lambda: Cluster([A], [Guest("g", 1, -2, host="a")]), ["'g'", "vcpus", "-2"]),
        (lambda: Cluster([Host("z", 0, 8)]), ["'z'", "memory_mib is 0"]),
        (lambda: Cluster([Host("z", 64, 0)]), ["'z'", "cpus is 0"]),
        (lambda: Cluster([Host("z", math.nan, 8)]), ["'z'", "nan"]),
        (lambda: Cluster([Host("z", 64, 8, network_mbit=0)]), ["'z'", "network_mbit"]),
        (lambda: Cluster([Host("z", 64, 8, memory_own_mib=60, memory_reserve_mib=8)]), ["'z'", "exceed"]),
        (lambda: Cluster([A], [Guest("g", 1, 1, host="nowhere")]), ["'g'", "'nowhere'"]),
        (lambda: Cluster([A, A]), ["'a'", "twice"]),
        (lambda: Cluster([A], [Guest("g", 1, 1), Guest("g", 2, 1)]), ["'g'", "twice"]),
        (lambda: Cluster([A], [Guest("g", 1, 1, pinned=frozenset({"q"}))]), ["'g'", "'q'"]),
        (lambda: Cluster([A]).moved({"q": "a"}), ["'q'"]),
        (lambda: Cluster([Host("", 64, 8)]), ["host has no name"]),
        (lambda: Cluster([A], [Guest("", 7, 1, "a")]), ["guest has no name", "7 MiB", "'a'"]),
        (lambda: Cluster([replace(A, vcpu_ratio=math.inf)]), ["'a'", "vcpu_ratio", "inf"]),
        (lambda: Cluster([replace(A, cpu_speed=0)]), ["'a'", "cpu_speed is 0"]),
        (lambda: Cluster([A]).with_hosts({"q": HostState.UP}), ["'q'"]),
    ],
)
def test_a_cluster_that_makes_no_sense(make: Callable[[], Cluster], names: list[str]) -> None:
    with pytest.raises(BadCluster) as caught:
        make()
    assert all(name in caught.value.message for name in names)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("guests", "names"),
    [
        (
            [Guest(n, 1, 1, pinned=frozenset({"a"}), anti_affinity=frozenset({"ha"})) for n in ("g", "h")],
            ["'g'", "'h'", "'a'", "'ha'"],
        ),
        ([Guest("g", 1, 1, pinned=frozenset({"a"}), networks=frozenset({"lan"}))], ["'g'", "lan"]),
        ([Guest("g", 99, 1, pinned=frozenset({"a", "b"}))], ["'g'", "memory"]),
        ([Guest("g", 1, 1, affinity=frozenset({"x"}), anti_affinity=frozenset({"x", "y"}))], ["'g'", "'x'"]),
        ([Guest("g", 1, 1, host="b", pinned=frozenset({"a"}), immovable="job 1")], ["'g'", "job 1"]),
    ],
)
def test_constraints_that_contradict(guests: list[Guest], names: list[str]) -> None:
    with pytest.raises(Contradiction) as caught:
        Cluster([A, B], guests)
    assert all(name in caught.value.message for name in names)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evacuate(simple((1,), (1,)), ["h7"], STATIC), "'h7'"),
        (lambda: evacuate(simple((1,), (1,)), [], STATIC), "no host"),
        (lambda: consolidate(simple((1,)), STATIC, spare=-1), "spare"),
        (lambda: Search(max_moves=-1), "max_moves"),
        (lambda: Search(min_gain=math.nan), "min_gain"),
        *((lambda s=s: Search(budget_s=s), "budget_s") for s in (0.0, -1.0, math.nan, math.inf, 1e300)),
        (lambda: Search(seed=-3), "seed is -3"),
        (lambda: consolidate(simple((1,)), STATIC, seed=-3), "seed is -3"),
        (lambda: place(simple((1,)), Guest("g0a", 1, 1), STATIC), "'g0a'"),
        (lambda: place(simple((1,)), Guest("n", 1, 1, host="h0"), STATIC), "'n'"),
        (lambda: weighted({"colour": 1.0}), "colour"),
        (lambda: weighted({"memory": math.nan}), "memory"),
        (lambda: Shape(0, 5), "0 hosts"),
        (lambda: Shape(2, 5, seed=-3), "seed is -3"),
        (lambda: Shape(2, 5, vcpu_ratio=math.nan), "vcpu_ratio is nan"),
        (lambda: Shape(2, 5, groups=3), "3 groups"),
        (lambda: Shape(2, 5, tagged=math.nan), "tagged is nan"),
        (lambda: Demand("g", math.nan, 1), "'g'"),
        (lambda: Demand("g", 1, 1, vcpus_min=4, vcpus_max=2), "'g'"),
        (lambda: Demand("g", 1, 1, memory_max_mib=math.nan), "'g'.* nan MiB"),
        (lambda: Bands(0.5, 0.4, 0.9), "order"),
    ],
)
def test_a_request_that_makes_no_sense(call: Callable[[], object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        call()


def test_a_metric_that_is_not_a_number() -> None:
    broken = Metric("broken", lambda g: math.nan, lambda h: 1.0, lambda h: 0.0)
    with pytest.raises(BadCluster, match="broken"):
        balance(simple((1,), (1,)), Objective("o", (Deviation(broken),)))


GOOD = (DATA / "c3.data").read_text().split("\n")


@pytest.mark.parametrize(
    ("line", "old", "new", "words"),
    [
        (3, "32768", "lots", "memory is 'lots'"),
        (3, "n0000", "", "a node has no name"),
        (3, "|28672|", "|nan|", "node 'n0000': free memory is 'nan'"),
        (3, "|28672|", "|99999|", "node 'n0000': free memory (99999) exceeds its memory (32768)"),
        (4, "|0|0|", "|0|7|", "node 'n0001': free disk (7) exceeds its disk (0)"),
        (7, "v00000", "", "an instance has no name"),
        (17, "4.0", "inf", "vCPU ratio is 'inf'"),
        (3, "|N|uuid", "|Q|uuid", "offline field is 'Q'"),
        (4, "uuid-g0", "uuid-g9", "unknown group 'uuid-g9'"),
        (5, "n0002|32768|1024", "n0002", "expected"),
        (7, "|n0000|", "|n0009|", "unknown node 'n0009'"),
        (8, "|2048|", "|2 GiB|", "'2 GiB'"),
        (9, "|4|running|Y|n0002||ext||1|-", "|4|running", "fields"),
        (17, "4.0", "four", "'four'"),
    ],
)
def test_a_malformed_cluster_file(line: int, old: str, new: str, words: str) -> None:
    lines = GOOD.copy()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    with pytest.raises(ConfigError) as caught:
        parse_cluster("\n".join(lines), "my.data")
    assert caught.value.message.startswith(f"my.data:{line}: ")
    assert words in caught.value.message


@pytest.mark.parametrize("text", ["", "g0|uuid-g0|preferred||\n", "a\n\nb"])
def test_a_cluster_file_with_too_little_in_it(text: str) -> None:
    with pytest.raises(BadFile, match=r"^\[plan\.file\] f\.data:\d+: "):
        parse_cluster(text, "f.data")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("v0 1 2 3\n", "l:1:"),
        ("v0 1 2 3 4\nv1 1 x 3 4\n", "l:2:"),
        ("\nv0 nan 1 1 1\n", "l:2:"),
        ("v 1 1 1 -1", "l:1:"),
        ("v 1 1 1 1\nv 2 1 1 1\n", "l:2:"),
    ],
)
def test_a_malformed_load_file(text: str, where: str) -> None:
    with pytest.raises(BadFile) as caught:
        parse_loads(text, "l")
    assert caught.value.message.startswith(where)


def test_loads_of_a_guest_that_is_not_there() -> None:
    with pytest.raises(BadCluster, match="'v99'"):
        parse_cluster("\n".join(GOOD), loads={"v99": Load(), "v00000": Load()})


def test_a_guest_whose_only_host_is_off_is_named_with_the_reason() -> None:
    cluster = simple((1,), ()).with_hosts({"h1": HostState.OFFLINE})
    new = Guest("new", 1, 1, pinned=frozenset({"h1"}))
    plan = place(cluster, new, STATIC)
    assert not plan.actions
    assert "new is pinned to h1" in plan.unplaced["new"]
    assert "h1 is offline" in plan.unplaced["new"]


def test_a_pair_that_is_drawn_together_and_kept_apart_is_named() -> None:
    near, apart = frozenset({"stack"}), frozenset({"ha"})
    guests = [Guest(n, 1, 1, h, affinity=near, anti_affinity=apart) for n, h in (("g", "a"), ("h", "b"))]
    plan = balance(Cluster([A, B], guests), STATIC)
    assert "g and h are drawn together by tag stack, kept apart by tag ha" in plan.why_empty


def test_no_host_is_no_place() -> None:
    plan = place(Cluster([]), Guest("new", 1, 1), STATIC)
    assert plan.unplaced["new"] == "the cluster has no host"
    assert plan.why_empty == "no guest fits on any host"


@pytest.mark.parametrize(("groups", "tagged"), [(1, 0.0), (2, 0.4)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_generated_clusters_survive_writing_and_reading(pattern: Pattern, groups: int, tagged: float) -> None:
    shape = Shape(12, 40, 3, pattern, groups=groups, tagged=tagged)
    cluster = generate(shape)
    loads = parse_loads(format_loads(cluster))
    again = parse_cluster(format_cluster(cluster), loads=loads)
    assert again == cluster
    assert generate(shape) == cluster
    assert generate(replace(shape, seed=4)) != cluster
    assert len({h.group for h in cluster.hosts}) == groups
    assert bool(tagged) == any(g.anti_affinity for g in cluster.guests)
    places = [(tag, g.host) for g in cluster.guests for tag in g.anti_affinity]
    assert len(set(places)) == len(places)
    assert all(cluster.host_by_name[g.host or ""].networks == g.networks for g in cluster.guests)


def test_details_of_the_text_format() -> None:
    lines = GOOD.copy()
    lines[2] = lines[2].replace("|28672|", "|20480|")  # 8 GiB that nobody accounts for
    lines[3] = lines[3].replace("|N|", "|Y|")
    lines[6] = lines[6].replace("|ext||", "|plain||")
    lines[7] = lines[7].replace("|ext||", "|ext|web:1|")
    lines[15] = "htools:iextags:web"
    cluster = parse_cluster("\n".join(lines))
    assert cluster.host_by_name["n0000"].memory_own_mib == 1024 + 8192
    assert cluster.host_by_name["n0001"].state is HostState.OFFLINE
    assert "plain" in cluster.guest_by_name["v00000"].immovable
    assert cluster.guest_by_name["v00001"].anti_affinity == {"web:1"}
