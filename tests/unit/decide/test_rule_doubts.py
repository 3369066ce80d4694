"""What `rules check` knows only with all rule files together: names that nothing has."""

from __future__ import annotations

import pytest
from decide_bench import shipped_files

from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.rulebook import check_rules
from vmm.plugins.manager import arguments_of, load_plugins

PLUGINS = load_plugins()
COMMANDS = arguments_of(PLUGINS.commands)
FILES = {CATALOGUE: encode_catalogue(PLUGINS.collectors), **shipped_files()}
DOUBTS = {
    'cmd = { sender.create_guest("groupX") }': "3: warning: [r] cmd: there is no share 'groupX'.",
    'cmd = { sender.create_guest(manager.shares["groupX"]) }': "[r] cmd: there is no share 'groupX'.",
    'expr = { manager.shares["groupX"].room > 0 }': "2: warning: [r] expr: there is no share 'groupX'.",
    'until = { "groupX" in manager.shares }': "[r] until: there is no share 'groupX'.",
    'expr = { any(g.share == "groupX" for g in manager.guests.values()) }': "there is no share 'groupX'",
    'expr = { any(g.profile in ("x", "groupa") for g in manager.guests.values()) }': "no profile 'x'",
    'expr = { any(s.queue != "x" for s in manager.shares.values()) }': "there is no queue of a share 'x'",
    'cmd = { sender.send_get_property("load", "laod") }': "there is no property 'laod'. Did you mean 'load'?",
    'cmd = { sender.run("h1", "nosuchcommand") }': "[r] cmd: there is no command plugin 'nosuchcommand'.",
    'cmd = { sender.run("h1", "console_tail", nmae="g") }': "has no argument 'nmae'. Did you mean 'name'?",
}
RULE = {
    "expr": "expr = { any(h.load > 1 for h in manager.hosts.values()) }",
    "cmd": "cmd = { sender.notify('x') }",
}


def check(lines: str) -> list[str]:
    files = {**FILES, "triggers.ini": "[r]\n" + lines}
    rules, findings = check_rules(files, "", COMMANDS)
    assert rules is not None, findings
    return [str(f) for f in findings]


@pytest.mark.parametrize("line", DOUBTS)
def test_a_name_that_nothing_has_is_a_warning(line: str) -> None:
    keys = {**RULE, line.split()[0]: line}
    assert DOUBTS[line] in "\n".join(check("\n".join(keys.values()) + "\n"))


def test_names_that_exist_are_not() -> None:
    cmd = 'cmd = { sender.create_guest("groupA"); sender.send_get_property("load", "ram_free")\n'
    cmd += '        sender.run("h1", "console_tail", name="g", lines=3) }\n'
    expr = 'expr = { manager.shares["groupA"].room > 0 and any(g.share in ("groupA", "groupB") for g in '
    expr += "manager.guests.values()) }\n"
    assert check(expr + cmd) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "etc/triggers.ini:1: warning: etc/triggers.ini is missing: nothing will ever be done."),
        ({"triggers.ini": "# later\n"}, "etc/triggers.ini:1: warning: etc/triggers.ini holds no rule"),
    ],
)
def test_no_rules_at_all_is_said(files: dict[str, str], said: str) -> None:
    _, findings = check_rules(files, "etc")
    assert [str(f).startswith(said) for f in findings] == [True]
