"""What the commands say of a recorded run: backtest, explain, why, status, replay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vmm.api.backtest import backtest
from vmm.cli.main import vmm
from vmm.decide.events import Entry, encode_event, tag_of
from vmm.errors import ConfigError, Refused
from vmm.ini import FindingsError
from vmm.journal import Journal, JournalDamaged, read
from vmm.manager.recovery import recover
from vmm.simulate import Faults, SimHost, SimJob, Simulation

ETC = Path(__file__).parents[3] / "etc"
FILES = {
    name: (ETC / name).read_text()
    for name in ("properties.ini", "triggers.ini", "profiles.ini", "shares.ini")
}
FILES["triggers.ini"] = FILES["triggers.ini"].replace("for = 5m", "for = 30s")


def record(
    folder: Path,
    simulation_s: float = 300.0,
    faults: Faults | None = None,
    files: Mapping[str, str] = FILES,
) -> Path:
    """A journal of a simulated run: two hosts, jobs of two shares."""
    place = folder / "journal"
    with Journal.open(place, sync="none") as journal:

        def sink(entry: Entry) -> None:
            journal.append(entry.time_s, tag_of(entry.event), encode_event(entry.event))

        jobs = [SimJob(f"a{n}", "groupA", 5.0 + 3 * n, 20.0) for n in range(4)]
        jobs += [SimJob(f"b{n}", "groupB", 60.0 + 3 * n, 20.0) for n in range(3)]
        hosts = [SimHost(f"host{n}", memory_mib=512 + 4096) for n in range(2)]
        settings = {"boot_deadline_s": 20.0, "give_up_after": 2.0}
        simulation = Simulation(dict(files), hosts, jobs, settings=settings, faults=faults, sink=sink)
        simulation.run(simulation_s)
    return place


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("run"))


def run(*argv: str | Path) -> Result:
    return CliRunner().invoke(vmm, [str(arg) for arg in argv], catch_exceptions=False)


def test_unchanged_rules_would_do_what_was_done(journal: Path) -> None:
    result = backtest(journal, FILES["triggers.ini"], "triggers.ini")
    rows = {row.rule: row for row in result.rows()}
    assert rows["grow"].recorded >= 4
    assert rows["shrink"].recorded >= 1
    assert all((row.more, row.fewer) == (0, 0) for row in rows.values())


@pytest.mark.parametrize(
    ("change", "rule", "check"),
    [
        (("for = 30s", "for = 1h"), "shrink", lambda row: row.would == 0 and row.fewer == row.recorded),
        (("for = 30s", "for = 2s"), "shrink", lambda row: row.would >= row.recorded),
        (
            ("cmd = { sender.create_guest(share) }", "cmd = { sender.create_guest(share) }\nlimit = 1/hour"),
            "grow",
            lambda row: row.would == 2 and row.limited >= 2,
        ),
        (("[client_query]", "[client_query]\nenabled = no"), "client_query", lambda row: row.would == 0),
    ],
)
def test_a_changed_rule_shows_its_difference(journal, change, rule, check) -> None:
    changed = FILES["triggers.ini"].replace(*change)
    assert changed != FILES["triggers.ini"]
    rows = {row.rule: row for row in backtest(journal, changed, "triggers.ini").rows()}
    assert check(rows[rule]), rows[rule]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--since", "7x"],
            "Invalid value for '--since': '7x' is not a duration (write 90, 90s, ",
        ),
        (["--flap-window", "x"], "Invalid value for '--flap-window': 'x' is not a duration"),
    ],
)
def test_backtest_with_a_bad_duration_is_a_usage_error(options: list[str], said: str, tmp_path: Path) -> None:
    rules = tmp_path / "triggers.ini"
    rules.write_text(FILES["triggers.ini"])
    result = run("rules", "backtest", rules, *options)
    assert result.exit_code == 2
    assert said in result.output


def test_backtest_of_a_file_that_is_no_text(journal: Path, tmp_path: Path) -> None:
    rules = tmp_path / "triggers.ini"
    rules.write_bytes(b"[a]\n\xff\xfe")
    with pytest.raises(ConfigError, match="make it a readable UTF-8 text"):
        run("rules", "backtest", rules, "--journal", journal)


def test_backtest_of_wrong_rules_names_their_file(journal: Path, tmp_path: Path) -> None:
    rules = tmp_path / "mine.ini"
    for text in ("x", "[a]\nexpr = { 1 > }\ncmd = { sender.notify('x') }\n"):
        rules.write_text(text)
        with pytest.raises(FindingsError, match=r"mine\.ini:\d: error: "):
            run("rules", "backtest", rules, "--journal", journal)


def test_backtest_since_counts_only_what_is_younger(journal: Path) -> None:
    whole = backtest(journal, FILES["triggers.ini"], "t")
    part = backtest(journal, FILES["triggers.ini"], "t", since_s=whole.last_s - 100)
    assert 0 < part.events < whole.events
    assert part.first_s >= whole.last_s - 102


def test_explain_names_values_gates_and_what_came_of_the_last_firing(journal: Path) -> None:
    out = run("rules", "explain", "grow", "--on", "groupA", "--journal", journal).output
    for text in ("grow on groupA", "share.guests_wanted", "last fired", "create_guest", "position"):
        assert text in out
    shape = json.loads(
        run("rules", "explain", "grow", "--on", "groupB", "--journal", journal, "-o", "json").output
    )
    assert shape["rule"] == "grow"
    assert shape["tree"]["children"]
    every = run("rules", "explain", "grow", "--journal", journal)
    assert [line.partition(":")[0] for line in every.stdout.splitlines()] == [
        f"grow on group{letter}" for letter in "ABC"
    ]
    assert "--on NAME tells all of one share" in every.stderr
    rows = json.loads(run("rules", "explain", "grow", "--journal", journal, "-o", "json").stdout)
    assert [row["subject"] for row in rows] == ["groupA", "groupB", "groupC"]
    before = run("rules", "explain", "grow", "--on", "groupA", "--journal", journal, "--at", "8").output
    assert "last fired" not in before


def test_why_a_given_up_share_has_no_guest(tmp_path: Path) -> None:
    place = record(tmp_path, faults=Faults(broken_templates={"groupB.qcow2"}))
    out = run("why", "groupB", "--journal", place).output
    assert "3 pending" in out
    assert "2 creations failed in a row" in out
    assert "vmm share retry groupB" in out
    assert "host0: yes" in out
    assert "wanted, but creating them failed 2 times, and was given up: not ready" in out
    assert "share.can_grow = false" in out
    assert run("status", place).exit_code == 0
    assert (
        "gave up" in run("status", place, "-o", "json").output or "not ready" in run("status", place).output
    )


def test_journal_commands(journal: Path) -> None:
    assert "the same decisions" in run("journal", "replay", "--verify", journal).output
    rows = [json.loads(line) for line in run("journal", "show", journal, "-o", "json").output.splitlines()]
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    only = run("journal", "show", journal, "--kind", "hello", "--client", "host0").output.splitlines()
    assert only
    assert all("hello" in line and "host0" in line for line in only)
    loads = run("journal", "show", journal, "--property", "batch_nodes").output.splitlines()
    assert loads
    assert all("batch_nodes=" in line for line in loads)
    for chosen in (["--rule", "shrink"], ["--cause", "guest.idle"]):
        commands = run("journal", "show", journal, *chosen, "-o", "json").output.splitlines()
        assert commands
        assert {json.loads(line)["kind"] for line in commands} == {"command"}
    assert "report" in run("journal", "stats", journal).output
    assert len(run("journal", "export", journal).output.splitlines()) == len(rows)
    assert "fires: create_guest" in run("journal", "replay", journal).output


def test_journal_of_the_configuration(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "vmm.ini").write_text(f"[manager]\njournal = {journal}\n")
    for command in ("stats", "show", "export"):
        asked = run("journal", command, "-c", tmp_path)
        assert asked.stdout == run("journal", command, journal).stdout != ""
    assert "the same decisions" in run("journal", "replay", "--verify", "-c", tmp_path).output


def test_a_journal_that_ended_long_ago_is_said(journal: Path) -> None:
    for command in (["rules", "explain", "client_query"], ["why", "groupA"]):
        assert "STANDSTILL: the last event is " in run(*command, "--journal", journal).stderr
        assert run(*command, "--journal", journal, "--at", "8").stderr == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("triggers.ini", "[grow]", "[grow]\nenabled = no", "but no rule that is enabled makes guests"),
        ("triggers.ini", "[grow]", "[grow]\ndry_run = yes", "but rule grow is a dry run."),
        ("triggers.ini", "for = 30s", "for = 30s\n", "no job waits in queue groupA."),
        (
            "profiles.ini",
            "memory = 2GiB",
            "memory = 200GiB",
            "but no host has room, and no guest of another share",
        ),
        (
            "shares.ini",
            "guaranteed = 2",
            "guaranteed = 1\nmax_guests = 1",
            "has all 1 that it may have (max_guests)",
        ),
    ],
)
def test_why_answers_in_a_sentence(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    files = {**FILES, file: FILES[file].replace(old, new)}
    at_s = 100.0 if said.startswith("no job") else 20.0
    place = record(tmp_path, at_s, files=files)
    answer = run("why", "groupA", "--journal", place).stdout.splitlines()[0]
    assert answer.startswith("groupA: ")
    assert said in answer
    first = run("why", "groupA", "--journal", place, "--at", "1").stdout.splitlines()[0]
    assert first == "groupA: nobody knows whether jobs wait: no batch client has reported yet."


def test_why_as_json_says_what_its_lines_say(journal: Path) -> None:
    seen = set()
    for at in ("1", "30", "60", "90", "150", "400"):
        asked = "groupA", "--journal", journal, "--at", at
        lines, found = (
            run("why", *asked).stdout.splitlines(),
            json.loads(run("why", *asked, "-o", "json").stdout),
        )
        assert lines[0] == f"groupA: {found['answer']}"
        for guest in found["guests"]:
            assert any(
                line.startswith(f"  {guest['name']} on {guest['host']}: {guest['state']} ") for line in lines
            )
        for host, refusal in found["hosts"].items():
            assert f"  {host}: {refusal or 'yes'}" in lines
        assert [rule["rule"] for rule in found["rules"]] == ["grow", "make_room"]
        seen |= {guest["state"] for guest in found["guests"]}
    assert {"booting", "ready"} <= seen
    with pytest.raises(Refused, match="there is no share 'x'"):
        run("why", "x", "--journal", journal, "-o", "json")


def test_backtest_lists_more_and_fewer(journal: Path, tmp_path: Path) -> None:
    rules = tmp_path / "triggers.ini"
    rules.write_text(FILES["triggers.ini"].replace("for = 30s", "for = 2s"))
    lines = run("rules", "backtest", rules, "--journal", journal, "--list").stdout.splitlines()
    listed = [line for line in lines if " shrink on " in line]
    assert {line[0] for line in listed} == {"+", "-"}
    assert all("retire_guest(" in line and "()" not in line for line in listed)


def test_journal_rule_filter_is_the_rule_that_set_the_command_off(journal: Path) -> None:
    rows = {}
    for rule in ("grow", "shrink"):
        lines = run("journal", "show", journal, "--rule", rule).output.splitlines()
        assert lines
        assert all(f"trail=rule {rule}: {rule} on " in line for line in lines)
        rows[rule] = {line.split()[0] for line in lines}
    assert not rows["grow"] & rows["shrink"]
    drains = run("journal", "show", journal, "--rule", "shrink", "-o", "json").output.splitlines()
    assert {json.loads(line)["name"] for line in drains} == {"drain_node", "delete_node", "destroy_guest"}
    assert not {"drain_node", "destroy_guest"} & {
        json.loads(line)["name"]
        for line in run("journal", "show", journal, "--rule", "grow", "-o", "json").output.splitlines()
    }
    cause = run("journal", "show", journal, "--cause", "guests_wanted").output.splitlines()
    assert all("guests_wanted" in line for line in cause)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--rule", "shirnk"], "no command was set off by a rule 'shirnk'. Did you mean 'shrink'?"),
        (["--property", "bogus"], "there is no property 'bogus'."),
        (["--client", "hots0"], "there is no client 'hots0'. Did you mean 'host0'?"),
        (["--client", "create_guest"], "there is no client 'create_guest'."),
        (["--from", "99999"], "the journal holds positions 1 to "),
        (["--cause", "no such cause"], "no event is of all that was asked for."),
    ],
)
def test_a_filter_that_nothing_matches_is_said(journal: Path, asked: list[str], said: str) -> None:
    for command in ("show", "export"):
        if "--from" in asked and command == "export":
            continue
        result = run("journal", command, journal, *asked)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("nothing matched: ")
        assert said in result.stderr


def test_a_kind_that_does_not_exist_is_a_usage_error(journal: Path) -> None:
    result = run("journal", "show", journal, "--kind", "bogus")
    assert result.exit_code == 2
    assert "'bogus' is not one of 'start', 'beat'" in result.output


def test_a_damaged_journal_is_read_past_when_asked(journal: Path, tmp_path: Path) -> None:
    place = tmp_path / "damaged"
    with Journal.open(place, sync="none") as copy:
        for record in read(journal, to=50):
            copy.commit([(record.time_s, record.kind, record.payload)])
    (segment,) = place.glob("*.vmmj")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 255
    segment.write_bytes(data)
    for command in ("show", "export"):
        with pytest.raises(JournalDamaged, match="--skip-damage"):
            run("journal", command, place)
        result = run("journal", command, place, "--skip-damage")
        assert "damaged: " in result.stderr
        assert "positions lost: " in result.stderr
        assert len(result.stdout.splitlines()) == 49


def test_journal_stats_as_json(journal: Path) -> None:
    data = json.loads(run("journal", "stats", journal, "-o", "json").output)
    assert data["first_position"] == 1
    assert data["events"] == sum(data["kinds"].values()) == data["last_position"]
    assert data["segments"][0]["stored_bytes"] > 0


def test_a_missing_journal_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    from vmm.journal import NoJournal

    with pytest.raises(NoJournal):
        recover(tmp_path / "nothing")
