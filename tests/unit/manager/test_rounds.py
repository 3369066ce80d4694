"""`vmm plan balance` beside a journal waits, smooths, rests and gives up by what is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_on_a_journal import FILES

from vmm.api.rounds import Advice, Rounds
from vmm.cli.main import vmm
from vmm.decide.core import Core
from vmm.decide.events import Reported, Wished, encode_event, tag_of
from vmm.decide.traffic import Counted, Rates, rates
from vmm.journal import Journal
from vmm.messages.structs import Intent, Report
from vmm.policies.antiflap import Settings
from vmm.policies.balance import balance
from vmm.policies.model import Cluster
from vmm.policies.objective import weighted
from vmm.policies.plan import Plan
from vmm.simulate import SimHost, SimJob, Simulation

CALM = Settings(half_life_s=30.0, rounds=3, rest_s=300.0, give_up_after=2, give_up_s=600.0, every_s=30.0)
BY_CPU = weighted({"cpu_load": 1.0})


class CountingHost(SimHost):
    """Its guests write `speed_mib_s` and send half of that."""

    now_s = 0.0
    speed_mib_s = 0.0

    def rows(self) -> list[dict[str, Any]]:
        self.now_s += 2.0  # it reports every two seconds
        done = int(self.now_s * self.speed_mib_s * 2**20)
        counters = {
            "disk_read_bytes": 0,
            "disk_write_bytes": done,
            "net_rx_bytes": 0,
            "net_tx_bytes": done // 2,
        }
        return [{**row, **counters} for row in super().rows()]


class Lab:
    """Two hosts with two guests each, whose clients report what `use` says: guest -> % of its CPUs."""

    def __init__(self) -> None:
        self.hosts = [CountingHost(f"host{n}", memory_mib=512 + 8192) for n in range(2)]
        jobs = [SimJob(str(n), "groupA", 5.0, 1e6) for n in range(4)]
        self.sim = Simulation(FILES, self.hosts, jobs)
        assert self.sim.run_until(lambda: all(job.started_s is not None for job in jobs), 120)
        self.use: Mapping[str, float] = {}
        self._seq = 0
        self._wishes = 0

    def places(self) -> dict[str, str]:
        return {name: guest.host for name, guest in self.sim.core.state.guests.items()}

    def on(self, host: str) -> list[str]:
        return sorted(name for name, place in self.places().items() if place == host)

    def live(self, seconds: float) -> None:
        """Let time pass; guests report every 5 s."""
        end_s = self.sim.now_s + seconds
        while self.sim.now_s < end_s:
            self._seq += 1
            for name in self.places():
                values = {"cpu_used": self.use.get(name, 10.0), "ram_free": 512}
                self.sim.emit(Reported(name, Report(1, self._seq, values)))
            self.sim.run(min(end_s, self.sim.now_s + 5.0))

    def swap(self, *pairs: tuple[str, str]) -> None:
        """The two guests of each pair change places."""
        places = self.places()
        goals = {a: places[b] for one, other in pairs for a, b in ((one, other), (other, one))}
        for guest, host in goals.items():
            self._wishes += 1
            args = {"guest": guest, "host": host}
            self.sim.emit(Wished(Intent(f"w{self._wishes}", "migrate_guest", args, "ann", "test")))
        self.live(10)
        assert self.places() == {**places, **goals}

    def advise(self, settings: Settings = CALM, cut: int = 0) -> Advice:
        """What would be said now; with `cut`, from a snapshot after so many entries."""
        core = Core()
        core.replay(self.sim.entries[:cut])
        core = Core.from_snapshot(core.snapshot()) if cut else core
        rounds = Rounds(core, settings, BY_CPU, self.sim.core.state.now_s)
        rounds.follow(self.sim.entries[cut:])
        return rounds.advise(plan)


def plan(cluster: Cluster) -> Plan:
    return balance(cluster, BY_CPU)


@pytest.fixture
def lab() -> Lab:
    made = Lab()
    made.live(400)
    assert len(made.on("host0")) == len(made.on("host1")) == 2
    assert made.advise().plan.why_empty
    return made


def test_an_imbalance_must_hold_for_some_rounds(lab: Lab) -> None:
    lab.use = dict.fromkeys(lab.on("host0"), 95.0)
    told = []
    for _ in range(4):
        lab.live(30)
        told.append(lab.advise().withheld)
    assert told[:2] == [f"the imbalance has held for {n} of 3 rounds" for n in (1, 2)]
    assert told[2:] == ["", ""]
    assert len(lab.advise().plan.actions) > 0


def test_a_peak_is_smoothed_away(lab: Lab) -> None:
    busy = lab.on("host0")
    lab.use = dict.fromkeys(busy, 95.0)
    lab.live(5)
    lab.use = {}
    lab.live(55)
    load = lab.advise().cluster.guest_by_name[busy[0]].load
    assert 0.1 < load.cpu < 0.3
    assert load.memory == pytest.approx(0.75)


def test_guests_that_moved_rest(lab: Lab) -> None:
    first, second = lab.on("host0")[0], lab.on("host1")[0]
    lab.swap((first, second))
    lab.use = dict.fromkeys(lab.on("host0"), 95.0)
    lab.live(150)
    advice = lab.advise()
    assert {g.name for g in advice.cluster.guests if "rests for another" in g.immovable} == {first, second}
    assert not {first, second} & {action.guest for action in advice.plan.actions}
    lab.live(250)
    assert not [g for g in lab.advise().cluster.guests if g.immovable]


def test_moves_that_did_not_help_end_in_giving_up(lab: Lab) -> None:
    restless = replace(CALM, rest_s=0.0)
    lab.use = dict.fromkeys(lab.on("host0"), 95.0)
    lab.live(120)
    assert lab.advise(restless).withheld == ""
    for _ in range(2):  # the busy ones only change the host
        lab.swap(*zip(lab.on("host0"), lab.on("host1"), strict=True))
        lab.live(120)
    assert "gave up for another" in lab.advise(restless).withheld
    lab.live(700)
    assert lab.advise(restless).withheld == "", "after a while it is tried again"


def test_the_same_stream_gives_the_same_advice_also_from_a_snapshot(lab: Lab) -> None:
    lab.use = dict.fromkeys(lab.on("host0"), 95.0)
    lab.live(200)
    advice, again = lab.advise(), lab.advise()
    assert (advice.plan, advice.withheld) == (again.plan, again.withheld)
    middle = next(n for n, e in enumerate(lab.sim.entries) if e.time_s > lab.sim.now_s - 350)
    late = lab.advise(cut=middle)
    assert [(a.guest, a.target) for a in late.plan.moves] == [(a.guest, a.target) for a in advice.plan.moves]
    assert late.withheld == advice.withheld


def test_traffic_is_measured_between_rounds(lab: Lab) -> None:
    host = lab.hosts[0]
    host.speed_mib_s = 50.0
    host.now_s = 0.0
    lab.live(300)
    guests = lab.advise().cluster.guest_by_name
    loads = {name: guests[name].load for name in lab.places()}
    for name in lab.on("host0"):
        assert loads[name].disk == pytest.approx(0.5, rel=0.1)
        assert loads[name].network == pytest.approx(25 * 2**20 / 125e6, rel=0.1)
    assert all(loads[name].disk == 0 for name in lab.on("host1"))


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (Counted("a", 10.0, 50.0 * 2**20, 0.0), {"g": Rates(0.05, 0.0)}),
        (Counted("a", 0.0, 50.0 * 2**20, 0.0), {}),
        (Counted("b", 10.0, 50.0 * 2**20, 0.0), {}),
        (Counted("a", 10.0, -1.0, 0.0), {}),
    ],
)
def test_rates(new: Counted, found: dict[str, Rates]) -> None:
    assert rates({"g": Counted("a", 0.0, 0.0, 0.0)}, {"g": new}) == found


def test_the_command_says_what_is_withheld_and_now_overrides_it(lab: Lab, tmp_path: Path) -> None:
    lab.use = dict.fromkeys(lab.on("host0"), 95.0)
    lab.live(60)
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "policies.ini").write_text(
        "[objective]\nname = weighted\n[weights]\nmemory = 0\nvcpus = 0\ndisk = 0\ncpu_load = 1\n"
        "memory_load = 0\ndisk_load = 0\nnetwork_load = 0\n[antiflap]\nhalf_life = 30s\nevery = 60s\n"
    )
    with Journal.open(tmp_path / "journal", sync="none") as journal:
        for entry in lab.sim.entries:
            journal.append(entry.time_s, tag_of(entry.event), encode_event(entry.event))

    def told(*words: str) -> Any:
        place = ["--journal", str(tmp_path / "journal"), "-c", str(etc)]
        result = CliRunner().invoke(vmm, ["plan", "balance", *place, "-o", "json", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.output)

    out = told()
    assert out["actions"] == []
    assert "is withheld: the imbalance has held for" in out["why_empty"]
    assert told("--now")["moves"]
