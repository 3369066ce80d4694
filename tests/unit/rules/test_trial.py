"""The test language of `vmm rules test`, and the command line of `vmm rules`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from worlds import book

from vmm.cli.rules import rules as command
from vmm.rules import check_triggers, default_schema, trial
from vmm.rules.trial import read_trials, run_trial

HOT = "[hot]\neach = host\nexpr = { host.load > 0.8 }\nfor = 10\ncmd = { sender.drain_host(host) }\n"
GOOD = """[it drains]
description = a hot host is drained
given =
    0s..1m every 5s  host h1 load = 0.9, mode = 'a, b', domains = [{"name": "x"}]
    # then it cools down
    65s host h1 load = unknown
expect =
    9s  hot on h1 is pending
    10s hot on h1 fires drain_host('h1')
    20s nothing fires
    65s hot on h1 is unknown
"""


def failures(text: str) -> list[str]:
    trials, findings = read_trials(text, "t.ini", book(HOT))
    assert not findings, findings
    return [str(f) for trial in trials for f in run_trial(trial, book(HOT))]


def test_a_test_that_passes() -> None:
    assert failures(GOOD) == []


def test_failures_name_the_line_and_explain() -> None:
    (said,) = failures(GOOD.replace("10s hot", "11s hot").replace("20s nothing", "9.5s nothing"))[:1]
    assert said.startswith("t.ini:1: at 10s hot on h1 fired drain_host('h1'), which is not expected")
    assert "    hot on h1: firing." in said
    said = failures(GOOD.replace("10s hot on h1 fires", "10s hot on h1 fires notify('x') #"))[0]
    assert "did not fire notify('x') # drain_host('h1'), but drain_host('h1')" in said
    said = failures(GOOD.replace("9s  hot on h1 is pending", "9s  hot on h1 is firing"))[0]
    assert said.startswith("t.ini:8: at 9s hot on h1 is pending, not firing\n")
    assert "gate for: waits for the condition to have held for 10s: 1s more (at 10s)" in said


def test_a_change_that_cannot_be_made_is_a_failure() -> None:
    (said,) = failures("[t]\ngiven =\n  1s remove host nobody\n")
    assert "t.ini:3: [cluster.subject] there is no host 'nobody'" in said


MISTAKES = {
    "given =\n  soon host h load = 1": "t.ini:3: error: [t] 'soon' is not a duration",
    "given =\n  host": "'host' does not start with a time",
    "given =\n  1s host h": "is not a change",
    "given =\n  1s hots h load = 1": "is not a change",
    "given =\n  1s host h lod = 1": "a host has no column 'lod'. Did you mean 'load'?",
    "given =\n  1s host h load = high": "load: 'high' is not float",
    "given =\n  1s host h ram_free = yes": "ram_free: 'yes' is not int",
    "given =\n  1s running hto on h = 1": "there is no rule 'hto'. Did you mean 'hot'?",
    "expect =\n  1s hot on h burns": "is not an expectation",
    "expect =\n  1s hot fires": "'hot' needs `on SUBJECT`",
    "expect =\n  1s hot on h is burning": "'burning' is not a state",
    "rules = hot, cold": "t.ini:2: error: [t] there is no rule 'cold'",
    "given =\n  0s..1h every 0 host h load = 1": "0s..1h every 0 is no time.",
    "given =\n  1h..0s every 1s host h load = 1": "1h..0s every 1s is no time.",
    "expect =\n  0s..1d every 0.01 hot on h is idle": "is 8640000 times, more than 1000000.",
    "description = x": "t.ini:1: error: [t] nothing is given, nothing is expected.",
    "exptect = x": "a test has no key 'exptect'. Did you mean 'expect'?",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_test_is_named(text: str) -> None:
    _, findings = read_trials(f"[t]\n{text}\n", "t.ini", book(HOT))
    assert MISTAKES[text] in str(findings[0])


def test_a_test_that_is_not_run_to_its_end_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_STEPS", 100)
    rules = book(HOT.replace("for = 10", "ticks = 1"))
    tests, findings = read_trials("[t]\nexpect =\n  2d hot on h fires\n", "t.ini", rules)
    assert not findings
    assert [str(f) for f in run_trial(tests[0], rules)] == [
        "t.ini:1: not run to its end: 100 evaluations took it to 1m40s of 2d. "
        "Test a shorter time, or a rule with longer ticks"
    ]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "properties.ini").write_text("[load]\ncommand = load\nreturn_type = float\nticks = 15\n")
    (tmp_path / "triggers.ini").write_text(HOT)
    return tmp_path


def run(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(command, [str(a) for a in args])
    return result.exit_code, result.output


def test_check_is_silent_about_good_files_and_ends_with_0(etc: Path) -> None:
    code, said = run("check", etc)
    assert (code, "1 rules, 1 properties" in said) == (0, True), said


def test_check_prints_findings_and_ends_with_3(etc: Path) -> None:
    (etc / "triggers.ini").write_text(HOT.replace("host.load", "host.lod"))
    code, said = run("check", etc)
    assert code == 3
    assert said.startswith(f"{etc}/triggers.ini:3: error: [hot] expr: a host has no column 'lod'.")
    (etc / "triggers.ini").write_text(HOT.replace("0.8 }", "0.8 and host.load < 0 }"))
    assert run("check", etc)[0] == 3, "warnings are findings"


def test_test_runs_the_tests_of_a_file(etc: Path) -> None:
    good = GOOD.replace(', mode = \'a, b\', domains = [{"name": "x"}]', "")
    (etc / "tests.ini").write_text(good)
    assert run("test", "-v", "-c", etc, etc / "tests.ini") == (0, "passed [it drains]\n1 passed, 0 failed\n")
    (etc / "tests.ini").write_text(good.replace("10s hot", "12s hot"))
    code, said = run("test", "-c", etc, etc / "tests.ini")
    assert code == 1
    assert f"FAILED [it drains] {etc}/tests.ini:1: at 10s hot on h1 fired" in said
    (etc / "tests.ini").write_text("[t]\nwhat = x\n")
    assert run("test", "-c", etc, etc / "tests.ini")[0] == 3
    (etc / "tests.ini").write_text("# none yet\n")
    code, said = run("test", "-c", etc, etc / "tests.ini")
    assert (code, "tests.ini:1: error: there is no test in this file." in said) == (3, True)


def test_fmt_leaves_what_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "broken.ini"
    path.write_text("[a]\nexpr={ 1 > 0\n")
    code, said = run("fmt", path)
    assert code == 3
    assert "broken.ini:2: error: 'expr' opens a brace that is never closed." in said
    assert path.read_text() == "[a]\nexpr={ 1 > 0\n"


def test_fmt_checks_shows_and_writes(etc: Path) -> None:
    path = etc / "triggers.ini"
    messy = HOT.replace("expr = { host.load > 0.8 }", "expr={host.load > 0.8}")
    path.write_text(messy)
    assert run("fmt", "--check", path) == (3, f"{path}: would change\n")
    code, said = run("fmt", "--diff", path)
    assert (code, "+expr = { host.load > 0.8 }" in said) == (0, True)
    assert path.read_text() == messy
    assert run("fmt", path) == (0, f"{path}: laid out\n")
    assert path.read_text() == HOT
    assert run("fmt", "--check", path) == (0, "")


def test_fmt_keeps_links_and_modes(etc: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.ini"
    real.write_text(HOT.replace(" = ", "="))
    real.chmod(0o2640)
    link = etc / "triggers.ini"
    link.unlink()
    link.symlink_to(real)
    assert run("fmt", link)[0] == 0
    assert link.is_symlink()
    assert real.read_text() == HOT
    assert real.stat().st_mode & 0o7777 == 0o2640
    assert sorted(p.name for p in tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("root", [True, False])
def test_fmt_keeps_the_owner(etc: Path, monkeypatch: pytest.MonkeyPatch, root: bool) -> None:
    path = etc / "triggers.ini"
    path.write_text(HOT.replace(" = ", "="))
    before, given = path.stat(), []

    def chown(_file: object, uid: int, gid: int) -> None:
        given.append((uid, gid))
        if not root:
            raise PermissionError("only root gives files away")

    monkeypatch.setattr("os.chown", chown)
    assert run("fmt", path)[0] == 0
    assert path.read_text() == HOT
    assert given == [(before.st_uid, before.st_gid)]
    assert (path.stat().st_ino == before.st_ino) is not root, "not replaced where the owner would be lost"


def test_a_byte_order_mark_is_no_part_of_the_rules(etc: Path) -> None:
    (etc / "triggers.ini").write_text("\ufeff" + HOT)
    assert run("check", etc)[0] == 0
    assert run("fmt", "--check", etc / "triggers.ini")[0] == 0


HINTS = {
    "enabled = maybe": "3: error: [r] enabled: 'maybe' is neither yes nor no. Write yes or no.",
    "priority = high": "[r] priority: 'high' is not a whole number. Write digits, like 3.",
    "for = 0": "[r] for: '0' is not longer than nothing. Write a time like 5m, or leave it out.",
    "max_running = 0": "[r] max_running: '0' is less than 1. Write 1 or more, or leave it out.",
    "for = 1\nfor = 2": "4: error: [r] sets 'for' twice (first at line 3). Remove one.",
    "mode = paralel": "'paralel' is not one of single, parallel, queued, restart. Did you mean 'parallel'?",
    "mode = x": "'x' is not one of single, parallel, queued, restart. Write one of them.",
    "limit = 3/hours": "[r] limit: 'hours' is not a period. Did you mean 'hour'?",
    "limit = 3/0m": "[r] limit: '0m' is not longer than nothing.",
    "cmd = { }": "[r] cmd: there is nothing between the braces. Write { sender.NAME(...) }.",
    "until = { }": "[r] until: there is nothing between the braces. Write a condition.",
}


@pytest.mark.parametrize("line", HINTS)
def test_a_bad_value_comes_with_the_next_step(line: str) -> None:
    said = check_triggers(f"[r]\nexpr = {{ len(manager.hosts) > 1 }}\n{line}\n", "t.ini", default_schema())[1]
    assert HINTS[line] in "\n".join(map(str, said))


def test_the_shipped_rules_check_and_are_laid_out() -> None:
    shipped = Path(__file__).parents[3] / "etc"
    assert run("check", shipped)[0] == 0
    assert run("check", "-c", shipped) == run("check", shipped)
    assert run("fmt", "--check", *sorted(shipped.glob("*.ini"))) == (0, "")


def test_the_shipped_rules_do_what_they_should() -> None:
    here = Path(__file__)
    code, said = run("test", "-c", here.parents[3] / "etc", here.with_name("shipped.ini"))
    assert code == 0, said
