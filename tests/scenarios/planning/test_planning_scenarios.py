"""Each folder here is a story: why.txt, the cluster, and the plan that is expected of a policy.

expected.json names the policy, its arguments and what has to hold; only what it names is compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.evacuate import evacuate
from vmm.policies.explain import explain
from vmm.policies.model import Cluster, Guest, Host, HostState, Load
from vmm.policies.objective import OBJECTIVES, Objective, weighted
from vmm.policies.place import place
from vmm.policies.plan import Kind, Plan
from vmm.policies.recover import recover

HERE = Path(__file__).parent
FOLDERS = sorted(p.parent for p in HERE.glob("*/expected.json"))
OWN = {"cpu_load": weighted({"cpu_load": 1.0}), "spread": weighted({}, spread_price=1.0)}


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    sets = {key: frozenset(value) for key, value in fields.items() if isinstance(value, list)}
    out = fields | sets
    if "state" in out:
        out["state"] = HostState(out["state"])
    if "load" in out:
        out["load"] = Load(**out["load"])
    return out


def _plan(cluster: Cluster, expected: dict[str, Any], objective: Objective) -> Plan:
    match expected["policy"]:
        case "balance":
            return balance(cluster, objective, Search(max_moves=expected.get("most_moves")))
        case "evacuate":
            return evacuate(cluster, expected["hosts"], objective)
        case "consolidate":
            return consolidate(cluster, objective)
        case "recover":
            return recover(cluster, objective)
        case "place":
            return place(cluster, [Guest(**_typed(g)) for g in expected["new"]], objective)
        case other:
            raise AssertionError(f"unknown policy {other!r}")


def test_there_are_scenarios() -> None:
    assert len(FOLDERS) >= 10
    assert all((folder / "why.txt").read_text().strip() for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_scenario(folder: Path) -> None:
    data = json.loads((folder / "cluster.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())
    cluster = Cluster(
        [Host(**_typed(h)) for h in data["hosts"]], [Guest(**_typed(g)) for g in data["guests"]]
    )
    objective = OBJECTIVES.get(expected["objective"]) or OWN[expected["objective"]]
    plan = _plan(cluster, expected, objective)
    starts = [a for a in plan.actions if a.kind is Kind.START]
    found = {
        "moves": sorted([a.guest, a.source, a.target] for a in plan.moves),
        "placements": [[a.guest, a.target] for a in starts],
        "starts": [[a.guest, a.target] for a in starts],
        "hosts_left": list(plan.hosts_left),
        "off": [a.source for a in plan.actions if a.kind is Kind.POWER_OFF],
    }
    for key in found.keys() & expected.keys():
        assert found[key] == expected[key], key
    if "score_after" in expected:
        assert plan.score_after == pytest.approx(expected["score_after"], abs=1e-9)
    assert len(plan.actions) <= expected.get("most_moves", 99)
    assert expected.get("why_empty", "") in plan.why_empty
    why = explain(cluster, plan, objective)
    for name, words in {**expected.get("reasons", {}), **expected.get("unplaced", {})}.items():
        assert words in why[name]
