"""`vmm plan` beside a journal: plans for the cluster as the Manager knows it, and what `apply` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from test_on_a_journal import FILES

from vmm.cli.exits import exit_code
from vmm.cli.main import vmm
from vmm.decide.events import Entry, encode_event, tag_of
from vmm.errors import VmmError
from vmm.journal import Journal
from vmm.simulate import SimHost, SimJob, Simulation


class Run:
    """A recorded run: guests with jobs on two of three hosts at `busy`, none at the end."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.etc = folder / "etc"
        self.etc.mkdir()
        with Journal.open(self.journal, sync="none") as journal:

            def sink(entry: Entry) -> None:
                journal.append(entry.time_s, tag_of(entry.event), encode_event(entry.event))

            jobs = [SimJob(str(n), "groupA", 5.0, 40.0) for n in range(3)]
            hosts = [SimHost(f"host{n}", memory_mib=512 + 4096) for n in range(3)]
            simulation = Simulation(FILES, hosts, jobs, sink=sink)
            assert simulation.run_until(lambda: all(job.started_s is not None for job in jobs), 60)
            simulation.run(simulation.now_s + 5)
            self.busy = simulation.core.state.position
            self.places = {g.name: g.host for g in simulation.core.state.guests.values()}
            simulation.run(300.0)
            assert not simulation.core.state.guests

    def vmm(self, *words: str) -> Result:
        return CliRunner().invoke(vmm, ["plan", *words, "--journal", str(self.journal), "-c", str(self.etc)])

    def plan(self, *words: str) -> Any:
        """The plan for the busy moment."""
        result = self.vmm(*words, "--at", str(self.busy), "-o", "json")
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.output)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("live"))


def test_evacuate(run: Run, tmp_path: Path) -> None:
    host = next(iter(run.places.values()))
    out = run.plan("evacuate", "--hosts", host, "--out", str(tmp_path / "plan.json"))
    assert {m["guest"] for m in out["moves"]} == {n for n, place in run.places.items() if place == host}
    assert {m["from"] for m in out["moves"]} == {host}
    assert out["live"]["position"] == run.busy
    assert json.loads((tmp_path / "plan.json").read_text())["moves"] == out["moves"]


def test_consolidate_and_balance(run: Run) -> None:
    out = run.plan("consolidate")
    assert (out["hosts_left"], len(out["hosts_off"])) == (2, 1)
    out = run.plan("balance")
    assert out["score_after"] <= out["score_before"]


def test_recover_after_a_death(run: Run) -> None:
    host = next(iter(run.places.values()))
    out = run.plan("recover", "--dead", host, "--use-reserve")
    assert {p["guest"] for p in out["placements"]} == {n for n, h in run.places.items() if h == host}
    assert host not in {p["host"] for p in out["placements"]}


def test_place(run: Run) -> None:
    out = run.plan("place", "--count", "2", "--memory-mib", "1024", "--vcpus", "1")
    assert len(out["placements"]) == 2


def test_scale_leaves_alone_what_is_not_measured(run: Run) -> None:
    assert run.plan("scale")["actions"] == []


def test_policies_of_the_site_hold(run: Run) -> None:
    (run.etc / "policies.ini").write_text("[objective]\nname = count\n")
    try:
        assert run.plan("balance")["objective"] == "count"
    finally:
        (run.etc / "policies.ini").unlink()


def test_measured_loads_are_not_given_for_the_live_cluster(run: Run, tmp_path: Path) -> None:
    (tmp_path / "u").write_text("")
    result = run.vmm("balance", "--util", str(tmp_path / "u"))
    assert result.exit_code == 2
    assert "--util goes with --ganeti" in result.output


def failure(result: Result) -> VmmError:
    assert isinstance(result.exception, VmmError), (result.output, result.exception)
    return result.exception


def test_there_is_no_journal(run: Run, tmp_path: Path) -> None:
    result = CliRunner().invoke(vmm, ["plan", "balance", "--journal", str(tmp_path / "none")])
    assert str(tmp_path / "none") in failure(result).message


def test_apply_stops_at_once_when_the_cluster_is_another(run: Run, tmp_path: Path) -> None:
    host = next(iter(run.places.values()))
    file = tmp_path / "plan.json"
    moves = run.plan("evacuate", "--hosts", host, "--out", str(file))["moves"]
    error = failure(run.vmm("apply", str(file)))
    assert (error.code, exit_code(error)) == ("plan.stopped", 1)
    assert f"guest {moves[0]['guest']} is gone" in error.message
    assert "0 steps are done" in error.message


def test_apply_of_an_empty_plan_does_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"policy": "evacuate", "actions": []}')
    result = run.vmm("apply", str(file))
    assert (result.exit_code, result.output) == (0, "the plan is carried out: 0 steps\n")


@pytest.mark.parametrize("text", ["", "[]", '{"actions": [{"action": "fly"}]}'])
def test_apply_of_something_else(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    error = failure(run.vmm("apply", str(file)))
    assert (error.code, exit_code(error)) == ("plan.file", 2)
    assert str(file) in error.message
