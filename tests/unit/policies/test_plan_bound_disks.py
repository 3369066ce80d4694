"""Guests whose disk only some hosts can reach, on the command line and in recovery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vmm.cli.plan import plan
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import parse_cluster
from vmm.policies.model import Cluster, HostState
from vmm.policies.objective import STATIC
from vmm.policies.recover import recover

NODE = "{}|{}|0|{}|100000|90000|16|N|u0|1||N|0|0|1.0"
GUEST = "{}|{}|1024|1|running|Y|{}|{}|{}||1|-"


def text(nodes: dict[str, tuple[int, int]], guests: list[tuple[str, int, str, str, str]]) -> str:
    """Nodes: memory and free memory; guests: name, memory, primary, secondary, disk template."""
    lines = ["g0|u0|preferred||", "", *(NODE.format(n, *mib) for n, mib in nodes.items()), ""]
    return "\n".join([*lines, *(GUEST.format(*g) for g in guests), "", ""])


def dead(cluster: Cluster, *names: str) -> Cluster:
    return cluster.with_hosts(dict.fromkeys(names, HostState.OFFLINE))


def pair(second_mib: int = 65536) -> Cluster:
    """a and b mirrored from h0 to h1, p on a local disk of h0, s on shared storage."""
    nodes = {"h0": (65536, 49152), "h1": (second_mib, second_mib), "h2": (65536, 65536)}
    guests = [
        ("a", 4096, "h0", "h1", "drbd"),
        ("b", 4096, "h0", "h1", "drbd"),
        ("p", 4096, "h0", "", "plain"),
        ("s", 4096, "h0", "", "ext"),
    ]
    return parse_cluster(text(nodes, guests))


def test_a_mirrored_guest_starts_where_its_second_copy_is_and_a_local_one_nowhere() -> None:
    plan = recover(dead(pair(), "h0"), STATIC)
    at = {a.guest: a.target for a in plan.actions}
    assert {at["a"], at["b"]} == {"h1"}
    assert set(at) == {"a", "b", "s"}
    assert plan.unplaced == {"p": "its disk is local to h0"}


def test_both_copies_gone_is_said() -> None:
    plan = recover(dead(pair(), "h0", "h1"), STATIC)
    assert [a.guest for a in plan.actions] == ["s"]
    assert plan.unplaced["a"] == "both copies of its disk, on h0 and h1, are gone"


def test_the_memory_kept_for_mirrored_guests_is_theirs_when_they_need_it() -> None:
    plan = recover(dead(pair(second_mib=8200), "h0"), STATIC, keep_reserve=False)
    assert {a.guest: a.target for a in plan.actions} == {"a": "h1", "b": "h1", "s": "h2"}


def test_where_tags_count_the_best_guest_leaves_first() -> None:
    """Largest first leads to 0.328125 here, hbal to 0.265625."""
    nodes = {"h0": (32768, 21504), "h1": (32768, 22528), "h2": (32768, 31744)}
    file = [
        "g0|u0|preferred||",
        "",
        *(f"{n}|{m}|1024|{f}|0|0|8|N|u0|1||N|0|0|1.0" for n, (m, f) in nodes.items()),
        "",
    ]
    guests = [("a", 2048, 2, "h1"), ("b", 4096, 2, "h1"), ("c", 8192, 1, "h0"), ("d", 2048, 2, "h1")]
    guests += [("e", 1024, 4, "h1"), ("f", 2048, 2, "h0")]
    tags = {"a": "w:0", "c": "w:1"}
    file += [f"{n}|{m}|0|{v}|running|Y|{h}||ext|{tags.get(n, '')}|1|-" for n, m, v, h in guests]
    cluster = parse_cluster("\n".join([*file, "", "htools:iextags:w", "", "|||ext|1.5|32.0", ""]))
    assert evacuate(cluster, ["h1"]).score_after == pytest.approx(0.265625)


def test_where_not_all_fit_as_many_as_can_leave() -> None:
    nodes = {"h0": (65536, 30000), "h1": (10000, 10000)}
    guests = [("big", 8192, "h0", "", "ext"), *((f"g{i}", 3072, "h0", "", "ext") for i in range(3))]
    plan = evacuate(parse_cluster(text(nodes, guests)), ["h0"], STATIC)
    assert {a.guest for a in plan.actions} == {"g0", "g1", "g2"}
    assert set(plan.unplaced) == {"big"}


def answer(*args: str) -> Any:
    result = CliRunner().invoke(plan, [*args, "-o", "json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def three(tmp_path: Path) -> str:
    nodes = {"h0": (65536, 57344), "h1": (8192, 8192), "h2": (8192, 8192)}
    guests = [("big", 7168, "h0", "", "ext"), ("small", 1024, "h0", "", "ext")]
    file = tmp_path / "three.data"
    file.write_text(text(nodes, guests), encoding="utf-8")
    return str(file)


def test_an_empty_host_is_evacuated_at_the_score_of_the_others(three: str) -> None:
    out = answer("evacuate", "--ganeti", three, "--static", "--hosts", "h1")
    full = answer("evacuate", "--ganeti", three, "--static", "--hosts", "h0")
    assert out["why_empty"] == "no guest is on h1"
    assert out["score_before"] == pytest.approx(0.0625 + 0.0625)  # memory, vCPUs
    assert out["unplaced"] == full["unplaced"] == {}


def test_hosts_to_empty_are_not_called_offline(tmp_path: Path) -> None:
    nodes = {"h0": (65536, 1024), "h1": (65536, 1024), "h2": (8192, 8192)}
    guests = [("a", 64512, "h0", "", "ext"), ("b", 64512, "h1", "", "ext")]
    file = tmp_path / "f.data"
    file.write_text(text(nodes, guests), encoding="utf-8")
    out = answer("evacuate", "--ganeti", str(file), "--hosts", "h0,h1")
    assert out["unplaced"] == dict.fromkeys(
        "ab", "1 x host too small (e.g. h2 has too little memory even when empty)"
    )


def test_a_guest_without_a_measured_load_is_not_scaled(three: str, tmp_path: Path) -> None:
    loads = tmp_path / "f.util"
    loads.write_text("big 0.95 0.5 0 0\n", encoding="utf-8")
    out = answer("scale", "--ganeti", three, "--util", str(loads))
    assert {a["guest"] for a in out["actions"]} == {"big"}


def test_long_names_are_whole_in_a_narrow_table_and_on_one_line_in_a_pipe(
    three: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = "database-replica-001.customers.example.org"
    file = tmp_path / "long.data"
    file.write_text(Path(three).read_text(encoding="utf-8").replace("small|", f"{long}|"), encoding="utf-8")
    args = ["evacuate", "--ganeti", str(file), "--static", "--hosts", "h0"]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = CliRunner().invoke(plan, args).output
    assert "…" not in narrow
    assert all(len(line) <= 80 for line in narrow.splitlines() if "evacuate by" not in line)
    monkeypatch.delenv("COLUMNS")
    assert any(
        long in line and "migrate" in line for line in CliRunner().invoke(plan, args).output.splitlines()
    )
