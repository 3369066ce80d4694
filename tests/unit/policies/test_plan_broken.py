"""Constraints that are broken at the start: priced, mended, or at least named. And Ganeti's DRBD guests."""

from __future__ import annotations

import pytest
from planning_world import naive_score, replayed

from vmm.policies.balance import balance
from vmm.policies.consolidate import consolidate
from vmm.policies.errors import BadCluster, BadFile
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import parse_cluster
from vmm.policies.model import Cluster, Guest, Host, HostState
from vmm.policies.objective import STATIC
from vmm.policies.place import place
from vmm.policies.plan import Kind
from vmm.policies.recover import recover

WEB = frozenset({"web"})
HOSTS = [Host(f"h{i}", 65536, 16) for i in range(3)]
DRBD = """g0|uuid-0|preferred||

h0|65536|1024|56320|100000|80000|16|N|uuid-0|1||N|0|1|1.0
h1|65536|1024|64512|100000|80000|16|N|uuid-0|1||N|0|1|1.0
h2|65536|1024|64512|100000|100000|16|N|uuid-0|1||N|0|1|1.0

a|4096|10000|2|running|Y|h0|h1|drbd||1|-
b|4096|10000|2|running|Y|h0|h1|drbd||1|-


|1|1|ext,drbd|4.0|32.0
g0|1|1|ext,drbd|4.0|32.0
"""


def guest(name: str, host: str, **more: object) -> Guest:
    return Guest(name, 4096, 2, host, **more)  # type: ignore[arg-type]


def others() -> list[Guest]:
    return [guest(name, host) for name, host in zip("cdef", ["h1", "h1", "h2", "h2"], strict=True)]


@pytest.mark.parametrize(
    ("what", "hosts", "guests"),
    [
        ("clash", HOSTS, [guest("a", "h0", anti_affinity=WEB), guest("b", "h0", anti_affinity=WEB)]),
        ("pin", HOSTS, [guest("a", "h0", pinned=frozenset({"h1"})), guest("b", "h0")]),
        ("network", [HOSTS[0], *(Host(h, 65536, 16, networks=WEB) for h in ("h1", "h2"))],
         [guest("a", "h0", networks=WEB), guest("b", "h0")]),
        ("draining", [Host("h0", 65536, 16, state=HostState.DRAINING), *HOSTS[1:]],
         [guest("a", "h0"), guest("b", "h0")]),
    ],
)  # fmt: skip
def test_a_broken_constraint_is_priced_and_mended(what: str, hosts: list[Host], guests: list[Guest]) -> None:
    cluster = Cluster(hosts, [*guests, *others()])
    plan = balance(cluster, STATIC)
    assert plan.score_before == pytest.approx(naive_score(cluster, STATIC))
    assert plan.score_before >= 2
    after = replayed(cluster, plan)
    assert plan.score_after == pytest.approx(naive_score(after, STATIC))
    assert plan.score_after < 1, what
    assert balance(after, STATIC).actions == ()


def test_ganetis_own_repair_of_a_clash_is_found() -> None:
    hosts = [*(Host(f"h{i}", 65536, 16, memory_own_mib=1024, vcpus_own=1) for i in range(3))]
    tags = frozenset({"web:a"})
    guests = [guest(name, "h0", anti_affinity=tags) for name in "ab"] + [guest("c", "h1"), guest("d", "h1")]
    plan = balance(Cluster(hosts, guests), STATIC)
    assert plan.score_before == pytest.approx(2.17677670, abs=1e-8)
    assert plan.score_after == pytest.approx(0.08838835, abs=1e-8)
    assert len(plan.moves) == 1


def test_all_planners_count_the_same_score() -> None:
    """Also where the broken constraint is that of guests which they do not move."""
    cluster = Cluster(
        [Host("h0", 65536, 16, state=HostState.DRAINING), *HOSTS[1:], Host("h3", 65536, 16)],
        [
            guest("a", "h1", anti_affinity=WEB, immovable="a job runs"),
            guest("b", "h1", anti_affinity=WEB, immovable="a job runs"),
            guest("c", "h0", immovable="a job runs"),
            guest("d", "h2", pinned=frozenset({"h1"})),
            guest("e", "h3"),
        ],
    )
    known = naive_score(cluster, STATIC)
    assert known > 6
    assert balance(cluster, STATIC).score_before == pytest.approx(known)
    assert consolidate(cluster, STATIC).score_before == pytest.approx(known)
    assert place(cluster, Guest("n", 1, 1), STATIC).score_before == pytest.approx(known)
    gone = cluster.with_hosts({"h3": HostState.OFFLINE})
    assert evacuate(cluster, ["h3"], STATIC).score_before == pytest.approx(naive_score(gone, STATIC))


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (Cluster([Host("h0", 9999, 2, vcpu_ratio=1.0), Host("h1", 9999, 2, vcpu_ratio=1.0)],
                 [guest("a", "h0"), Guest("b", 4096, 1, "h0"), guest("c", "h1")]),
         "guests of h0 use 3 vCPUs, it has 2"),
        (Cluster(HOSTS[:1], [guest("a", "h0", anti_affinity=WEB), guest("b", "h0", anti_affinity=WEB)]),
         "a and b are both on h0, kept apart by tag web"),
        (Cluster([Host("h0", 65536, 16, state=HostState.DRAINING)], [guest("a", "h0"), guest("b", "h0")]),
         "h0 is draining and runs a and 1 more"),
    ],
)  # fmt: skip
def test_an_empty_plan_names_what_stays_broken(cluster: Cluster, words: str) -> None:
    plan = balance(cluster, STATIC)
    assert not plan.actions
    assert words in plan.why_empty


def test_a_kept_cluster_is_not_called_broken() -> None:
    assert "broken" not in balance(Cluster(HOSTS, others()), STATIC).why_empty


def test_the_host_of_a_secondary_stays_on() -> None:
    cluster = parse_cluster(DRBD)
    plan = consolidate(cluster, STATIC)
    assert [a.source for a in plan.actions if a.kind is Kind.POWER_OFF] == ["h2"]
    assert plan.hosts_left == ("h0", "h1")


def test_scores_with_local_disks_are_ganetis() -> None:
    """As hbal 3.0 prints them: spindles, and the memory that a secondary's host keeps."""
    assert balance(parse_cluster(DRBD), STATIC).score_before == pytest.approx(0.39069595, abs=1e-8)
    plain = DRBD.replace("h1|drbd", "|plain").replace("h0||plain||1", "h0||plain||3", 1)
    assert balance(parse_cluster(plain), STATIC).score_before == pytest.approx(0.27105760 + 0.05892557)


def test_memory_kept_for_a_secondary_is_not_given_away() -> None:
    full = DRBD.replace("|64512|100000|80000|", "|8193|100000|80000|")  # h1 has just the reserve and 1 MiB
    text = full.replace("\n\n\n|1", "\nc|2048|1|2|running|Y|h0||ext||1|-\n\n\n|1", 1)
    plan = balance(parse_cluster(text), STATIC)
    assert all(a.target != "h1" for a in plan.actions)


def test_evacuating_the_host_of_a_secondary_says_what_stays() -> None:
    plan = evacuate(parse_cluster(DRBD), ["h1"], STATIC)
    assert plan.reasons == {"h1": "the second copy of the disk of a, b stays on it"}


def test_secondaries_on_unknown_hosts() -> None:
    with pytest.raises(BadFile, match="'a' has its secondary on unknown node 'h9'"):
        parse_cluster(DRBD.replace("|h0|h1|", "|h0|h9|", 1))
    with pytest.raises(BadCluster, match="'a' has its secondary on host 'h9'"):
        Cluster(HOSTS, [Guest("a", 1, 1, "h0", secondary="h9")])


def test_guests_of_offline_hosts_are_among_the_moves() -> None:
    cluster = Cluster(
        [Host("h0", 65536, 16, state=HostState.OFFLINE), *HOSTS[1:]], [guest("a", "h0"), *others()]
    )
    for plan in (balance(cluster, STATIC), evacuate(cluster, ["h0"], STATIC), recover(cluster, STATIC)):
        assert [(a.guest, a.source) for a in plan.moves] == [("a", "h0")]
        rows = plan.to_json()["moves"]
        assert [(row["guest"], row["from"], row["action"]) for row in rows] == [("a", "h0", "start")]
    assert place(cluster, Guest("n", 1, 1), STATIC).moves == ()
