"""A plugin's objective, from the how-to's package to a plan; what policies and options say together."""

from __future__ import annotations

import configparser
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from planning_world import DATA

from vmm.cli.plan import plan
from vmm.cli.rules import rules
from vmm.policies.ganeti import parse_cluster
from vmm.policies.objective import CPU_LOAD as LOAD
from vmm.policies.objective import GANETI, STATIC, Ceiling, Objective, weighted, without_load

C3 = DATA / "c3.data"
HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "plan-your-own-objective.md"


def documented(language: str) -> str:
    return HOW_TO.read_text(encoding="utf-8").split(f"```{language}\n", 1)[1].split("```", 1)[0]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The how-to's package, as an installation leaves it; the name of its objective."""
    setup = configparser.ConfigParser()
    setup.read_string(documented("ini"))
    name = setup["options"]["py_modules"]
    (tmp_path / f"{name}.py").write_text(documented("python"))
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {setup['metadata']['name']}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[vmm]{setup['options.entry_points']['vmm']}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return "large-apart"


def answer(*args: str) -> Any:
    result = CliRunner().invoke(plan, [*args, "--no-reasons", "-o", "json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_the_objective_of_an_installed_package_plans(installed: str, tmp_path: Path) -> None:
    ini = tmp_path / "policies.ini"
    ini.write_text(f"[objective]\nname = {installed}\n")
    by_file = answer("balance", "--ganeti", str(C3), "--policies", str(ini))
    by_name = answer("balance", "--ganeti", str(C3), "--objective", installed)
    assert by_file["objective"] == by_name["objective"] == installed
    assert by_file["moves"] == by_name["moves"] != []
    large = {g.name: g.host for g in parse_cluster(C3.read_text()).guests if g.memory_mib >= 8192}
    for move in by_file["moves"]:
        large |= {move["guest"]: move["to"]} if move["guest"] in large else {}
    counts = [list(large.values()).count(f"n000{i}") for i in range(3)]
    assert max(counts) - min(counts) <= 1


def test_the_check_of_the_rules_knows_objectives(installed: str, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    rule = "[ask]\nexpr = { len(manager.clients) != 0 }\ncmd = { sender.send_get_property() }\nticks = 30\n"
    (folder / "triggers.ini").write_text(rule)
    for name, status in ((installed, 0), ("nosuch", 3)):
        (folder / "policies.ini").write_text(f"[objective]\nname = {name}\n")
        result = CliRunner().invoke(rules, ["check", str(folder)])
        assert result.exit_code == status, result.output
    assert "policies.ini:2: error: unknown objective 'nosuch'" in result.output


def test_options_go_before_the_file(tmp_path: Path) -> None:
    ini = tmp_path / "policies.ini"
    ini.write_text("[search]\nmax_moves = 2\nseed = 5\n")
    files = ("--ganeti", str(C3), "--policies", str(ini))
    static = answer("balance", *files, "--static")
    assert static["objective"] == "ganeti-static"
    assert round(static["score_after"], 8) == 0.33358406
    assert (static["seed"], answer("balance", *files, "--seed", "0")["seed"]) == (5, 0)
    packed = ("consolidate", *files)
    assert (answer(*packed)["seed"], answer(*packed, "--seed", "0")["seed"]) == (5, 0)


def test_any_objective_without_load() -> None:
    assert without_load(GANETI) == STATIC
    assert without_load(STATIC) is STATIC
    own = weighted({"memory": 2, "cpu_load": 1}, spread_price=0.5)
    left = without_load(own)
    assert [term.metric.name for term in left.deviations] == ["memory"]
    assert left.spread_price == 0.5
    capped = Objective("c", ceilings=(Ceiling(LOAD, lambda _: 1.0),))
    assert without_load(capped).ceilings == ()
