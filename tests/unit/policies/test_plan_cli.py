"""`vmm plan` offline: every policy, both forms of output, and errors with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from planning_world import DATA

from vmm.cli.plan import plan
from vmm.errors import VmmError

C3, C10, UTIL = str(DATA / "c3.data"), str(DATA / "c10.data"), str(DATA / "c3.util")


def run(*args: str) -> Result:
    return CliRunner().invoke(plan, args)


def answer(*args: str) -> Any:
    result = run(*args, "-o", "json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.output)


def test_balance_prints_moves_scores_and_time() -> None:
    out = answer("balance", "--ganeti", C3, "--static", "--max-moves", "3")
    assert round(out["score_before"], 8) == 1.51088730
    assert round(out["score_after"], 8) == 0.14103767
    assert [set(m) >= {"guest", "from", "to", "score_after", "group", "data_mib"} for m in out["moves"]] == [
        True
    ] * 3
    assert out["planning_s"] > 0
    assert set(out["reasons"]) == {"v00000", "v00001", "v00002", "v00004", "v00006", "n0002"}


def test_balance_with_loads_swaps_and_a_budget() -> None:
    out = answer("balance", "--ganeti", C3, "--util", UTIL, "--swaps", "--budget-s", "0.05", "--seed", "3")
    assert round(out["score_before"], 8) == 2.68017549
    assert out["score_after"] < 0.27769422  # what hbal reaches
    assert out["seed"] == 3


def test_evacuate() -> None:
    out = answer("evacuate", "--ganeti", C10, "--static", "--hosts", "n0000, n0001", "--no-reasons")
    assert {m["from"] for m in out["moves"]} == {"n0000", "n0001"}
    assert not {m["to"] for m in out["moves"]} & {"n0000", "n0001"}


def test_consolidate() -> None:
    out = answer("consolidate", "--ganeti", C10, "--static")
    assert out["hosts_left"] == len(out["hosts_on"]) == 10 - len(out["hosts_off"])
    assert {m["to"] for m in out["moves"]} <= set(out["hosts_on"])


def test_place() -> None:
    out = answer("place", "--ganeti", C10, "--static", "--count", "5", "--memory-mib", "2048", "--vcpus", "2")
    assert [p["guest"] for p in out["placements"]] == [f"new{i}" for i in range(5)]
    assert out["placements"][0]["host"] == "n0000"  # as hail chooses
    assert out["moves"] == []


def test_recover_and_scale() -> None:
    out = answer("recover", "--ganeti", C10, "--static", "--dead", "n0001", "--use-reserve")
    assert out["placements"]
    assert {a["from"] for a in out["actions"]} == {"n0001"}
    out = answer("scale", "--ganeti", C3, "--util", UTIL)
    assert {a["action"] for a in out["actions"]} == {"resize"}


def test_tables_for_people() -> None:
    result = run("balance", "--ganeti", C3, "--static", "--reasons")
    assert result.exit_code == 0
    assert "v00005  n0002  n0001" in result.output
    assert "v00004: its best move, to n0000, would cost" in result.output
    result = run("consolidate", "--ganeti", C10, "--static")
    assert "power-off" in result.output
    assert "hosts left: " in result.output
    result = run("place", "--ganeti", C3, "--memory-mib", "999999", "--vcpus", "1")
    assert "cannot be placed: new0: 3 x host too small" in result.output


def test_a_written_plan_can_be_rehearsed(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(run("balance", "--ganeti", C10, "--static", "-o", "json").output)
    assert "each can be carried out" in run("check", str(file), "--ganeti", C10).output
    changed = tmp_path / "changed.data"
    changed.write_text(Path(C10).read_text().replace("|n0000|", "|n0001|"))
    result = run("check", str(file), "--ganeti", str(changed))
    assert isinstance(result.exception, VmmError)
    assert "step" in str(result.exception)


def test_policies_give_the_objective(tmp_path: Path) -> None:
    ini = tmp_path / "policies.ini"
    ini.write_text("[objective]\nname = weighted\n[weights]\nmemory = 2\nvcpus = 0\ndisk = 0\ncpu_load = 0\n")
    out = answer("balance", "--ganeti", C3, "--policies", str(ini))
    assert out["objective"] == "weighted"
    assert answer("balance", "--ganeti", C3, "--objective", "count")["objective"] == "count"


def test_a_generated_cluster_can_be_planned_on(tmp_path: Path) -> None:
    assert run("make", str(tmp_path), "mine", "--hosts", "5", "--guests", "30", "--seed", "9").exit_code == 0
    data, util = str(tmp_path / "mine.data"), str(tmp_path / "mine.util")
    out = answer("balance", "--ganeti", data, "--util", util)
    assert out["score_after"] < out["score_before"]


def test_guests_without_a_load_are_told(tmp_path: Path) -> None:
    some = tmp_path / "some.util"
    some.write_text("v00000 1 1 1 1\nv00001 1 1 1 1\n")
    result = run("balance", "--ganeti", C3, "--util", str(some))
    assert result.exit_code == 0
    assert "no load of 6 of 8 guests (e.g. v00002)" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("balance", "--ganeti", "nowhere.data"), "nowhere.data:1: no such file"),
        (("balance", "--ganeti", UTIL), "c3.util:"),
        (("balance", "--ganeti", C3, "--util", C3), "c3.data:1: 1 fields"),
        (("evacuate", "--ganeti", C3, "--hosts", "n0009"), "'n0009'"),
        (("balance", "--ganeti", C3, "--objective", "best"), "unknown objective 'best'"),
        (("balance", "--ganeti", C3, "--max-moves", "-4"), "max_moves is -4"),
        (("check", C3, "--ganeti", C3), "c3.data:1: not JSON"),
        (("balance", "--ganeti", C3, "--out", "/nonexist/x"), "/nonexist is no folder"),
        (("balance", "--ganeti", C3, "--out", "/proc/x"), "/proc/x cannot be written"),
        (("balance", "--ganeti", C10, "--util", UTIL + ".no"), "c3.util.no:1: no such file"),
        (("make", "/proc/x", "a"), "/proc/x cannot be made"),
        (("make", ".", "a/b"), "'a/b'"),
    ],
)
def test_errors_name_what_is_wrong(args: tuple[str, ...], words: str) -> None:
    result = run(*args)
    assert isinstance(result.exception, VmmError)
    assert words in str(result.exception)


@pytest.mark.parametrize(
    "args",
    [
        ("balance", "--ganeti", C3, "--static", "--util", UTIL),
        ("scale", "--ganeti", C3),
        ("place", "--ganeti", C3, "--memory-mib", "1"),
        ("place", "--ganeti", C3, "--memory-mib", "1", "--vcpus", "1", "--count", "0"),
        ("place", "--ganeti", C3, "--memory-mib", "0", "--vcpus", "1"),
        ("place", "--ganeti", C3, "--memory-mib", "1", "--vcpus", "1", "--name", ""),
        ("balance", "--ganeti", C3, "--seed", "-3"),
        ("make", ".", "x", "--seed", "-3"),
    ],
)
def test_bad_usage(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2
