"""The benchmark's independent checker agrees with the planners, and catches steps that are not legal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from planning_world import DATA

from vmm.policies.balance import balance
from vmm.policies.consolidate import consolidate
from vmm.policies.ganeti import format_cluster, parse_cluster
from vmm.policies.generate import PATTERNS, Shape, generate
from vmm.policies.objective import STATIC
from vmm.policies.plan import Plan

C3 = (DATA / "c3.data").read_text()


def _load() -> ModuleType:
    path = Path(__file__).parents[3] / "bench" / "plan_check.py"
    spec = importlib.util.spec_from_file_location("plan_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan_check"] = module
    spec.loader.exec_module(module)
    return module


check: Any = _load()


def steps(plan: Plan) -> list[tuple[str, str, str]]:
    return [(a.guest, a.source, a.target) for a in plan.moves]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_plans_on_generated_clusters_replay(pattern: Any) -> None:
    text = format_cluster(generate(Shape(8, 60, 2, pattern)))
    cluster = parse_cluster(text)
    plan = balance(cluster, STATIC)
    before, after, _ = check.replay(text, steps(plan), static=True)
    assert (plan.score_before, plan.score_after) == (pytest.approx(before), pytest.approx(after))
    packed = consolidate(cluster, STATIC)
    assert check.replay(text, steps(packed), static=True)[2] <= len(packed.hosts_left)


def test_scores_with_loads_and_offline_hosts() -> None:
    util = (DATA / "c3.util").read_text()
    assert round(check.replay(C3, [], static=True)[0], 8) == 1.51088730
    assert round(check.replay(C3, [], util)[0], 8) == 2.68017549
    assert check.replay(C3, [], static=True, offline=["n0002"])[0] > 120


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        ([("v00000", "n0001", "n0002")], "is on n0000"),
        ([("v00000", "n0000", "n0000")], "goes where it is"),
        ([("v00000", "n0000", "n0007")], "unknown"),
        ([("v00000", "n0000", "n0002"), ("v00001", "n0000", "n0002")], "step 2: n0002 has no memory"),
    ],
)
def test_illegal_steps_are_caught(moves: list[tuple[str, str, str]], words: str) -> None:
    with pytest.raises(check.Illegal, match=words):
        check.replay(C3, moves, static=True)


def test_an_offline_target_and_too_many_vcpus_are_caught() -> None:
    with pytest.raises(check.Illegal, match="offline"):
        check.replay(C3, [("v00000", "n0000", "n0001")], static=True, offline=["n0001"])
    tight = C3.replace("|ext|4.0|", "|ext|0.5|")
    with pytest.raises(check.Illegal, match="vCPUs"):
        check.replay(tight, [("v00005", "n0002", "n0001")], static=True)
