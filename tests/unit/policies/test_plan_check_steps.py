"""The benchmark's checker, step by step: scores after each step, tags, bound disks, hosts switched off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_plan_check import C3, check

from vmm.policies.balance import balance
from vmm.policies.consolidate import consolidate
from vmm.policies.ganeti import format_cluster, parse_cluster
from vmm.policies.generate import Shape, generate
from vmm.policies.model import Guest, Load
from vmm.policies.objective import GANETI, STATIC
from vmm.policies.place import place
from vmm.policies.plan import Kind, Plan

BENCH = Path(__file__).parents[3] / "bench"


def steps(plan: Plan) -> list[Any]:
    words = {Kind.MIGRATE: "move", Kind.START: "start", Kind.POWER_OFF: "off"}
    return [(words[a.kind], a.guest, a.source, a.target or a.source, a.score_after) for a in plan.actions]


def test_every_planner_says_the_score_after_each_step() -> None:
    text = format_cluster(generate(Shape(8, 60, 2, "packed")))
    cluster = parse_cluster(text)
    for plan in (balance(cluster, STATIC), consolidate(cluster, STATIC)):
        assert plan.actions
        after = check.replay_steps(check.Replay(text, static=True), steps(plan))
        assert after == pytest.approx(plan.score_after)
    new = [Guest(f"new{i}", 2048, 2, load=Load(1, 1, 1, 1)) for i in range(5)]
    placed = place(cluster, new, GANETI)
    after = check.replay_steps(check.Replay(text), steps(placed), ("2048", "2", ("1",) * 4))
    assert after == pytest.approx(placed.score_after)


def test_a_wrong_score_on_the_way_is_caught() -> None:
    plan = steps(balance(parse_cluster(C3), STATIC))
    what, guest, source, target, score = plan[1]
    for wrong in (score + 1e-3, None):
        bad = [plan[0], (what, guest, source, target, wrong), *plan[2:]]
        with pytest.raises(check.Illegal, match="step 2: leads to a score"):
            check.replay_steps(check.Replay(C3, static=True), bad)


def tagged(tag: str, template: str = "ext") -> str:
    """c3 with a guest each of n0000 and n0002 that carry a tag, the first on such a disk."""
    text = C3.replace("|-\n\n\n|", "|-\n\nhtools:iextags:web\n\n|")
    text = text.replace(
        "v00000|1024|10240|4|running|Y|n0000||ext|", f"v00000|1024|10240|4|running|Y|n0000||{template}|{tag}"
    )
    return text.replace(
        "v00002|4096|10240|4|running|Y|n0002||ext|", f"v00002|4096|10240|4|running|Y|n0002||ext|{tag}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [(tagged("web:a"), "another guest with web:a"), (tagged("", "plain"), "bound to its host")],
)
def test_tags_and_bound_disks(text: str, words: str) -> None:
    with pytest.raises(check.Illegal, match=words):
        check.Replay(text, static=True).move(1, "v00000", "n0000", "n0002")


def test_a_tag_that_the_cluster_does_not_exclude_binds_nothing() -> None:
    world = check.Replay(tagged("db:a"), static=True)
    world.move(1, "v00000", "n0000", "n0002")
    assert world.clashes() == 0


def test_a_host_with_guests_is_not_switched_off() -> None:
    with pytest.raises(check.Illegal, match="with guests"):
        check.Replay(C3, static=True).off(1, "n0000")


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "bench_plan.py"), "--runs", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_directory_without_clusters_is_an_error(tmp_path: Path) -> None:
    done = bench("--inputs", str(tmp_path))
    assert done.returncode == 2
    assert "no *.data" in done.stderr


def test_a_bad_file_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.data").write_text("nonsense\n")
    (tmp_path / "c3.data").write_text(C3)
    done = bench("--inputs", str(tmp_path))
    assert done.returncode == 1
    assert "not measured: bad.data" in done.stdout
    assert "S 0.14103767 in 3" in done.stdout
