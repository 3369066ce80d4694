"""Warnings about rules that fight, flap, or do nothing."""

from __future__ import annotations

import pytest
from worlds import findings

STATE = "manager.hosts['x'].state"
MEAN = "mean(h.load for h in manager.hosts.values())"


def pair(create: str, destroy: str, more: str = "") -> list[str]:
    return findings(
        f"[up]\nexpr = {{ {create} }}\ncmd = {{ sender.create_guest('a') }}\n{more}"
        f"[down]\nexpr = {{ {destroy} }}\ncmd = {{ sender.retire_guest('g') }}\n"
    )


def test_two_rules_that_act_against_each_other_at_the_same_time() -> None:
    (said,) = pair(f"{MEAN} > 0.80", f"{MEAN.replace('h.', 'x.').replace('for h', 'for x')} > 0.78")
    assert said.startswith("t.ini:2: warning: [up] makes guests and [down] (t.ini:5) takes guests away when ")
    assert "is above 0.8." in said


@pytest.mark.parametrize("destroy", [f"{MEAN} < 0.78", f"{MEAN} <= 0.8", f"not {MEAN} >= 0.8"])
def test_no_dead_band(destroy: str) -> None:
    (said,) = pair(f"{MEAN} > 0.80", destroy)
    assert "there is no dead band between" in said


@pytest.mark.parametrize(
    ("create", "destroy"),
    [
        (f"{MEAN} > 0.8", f"{MEAN} < 0.4"),
        ("manager.shares['a'].jobs_waiting > 0", "manager.shares['a'].jobs_waiting == 0"),
        ("manager.shares['a'].jobs_waiting > 0", "manager.shares['b'].jobs_waiting > 0"),
        (f"{MEAN} > 0.8 and {STATE} == 'up'", f"{MEAN} > 0.7 and {STATE} == 'gone'"),
    ],
)
def test_rules_that_go_together(create: str, destroy: str) -> None:
    assert pair(create, destroy) == []


def test_a_clearing_condition_is_dead_band_enough() -> None:
    assert pair(f"{MEAN} > 0.80", f"{MEAN} < 0.78", f"until = {{ {MEAN} < 0.5 }}\n") == []


NEVER = [
    "False",
    "1 > 2",
    "not 2 > 1",
    "1 / 0 > 0",
    "host.load > 3 and 1 > 2",
    "min(1, 2) > 1 or 'a' == 'b'",
    "not (host.load > 3 or 2 > 1)",
    "host.load > 3 and host.load < 2",
    "host.load > 3 and not host.load > 3",
    "host.disks > 3 and host.disks < 4",
    "host.mode == 'a' and host.mode == 'b'",
    "host.mode == 'a' and host.mode in ('b', 'c')",
    "host.ok and not host.ok",
    "len(manager.clients) < 0",
    "count(h.ok for h in manager.hosts.values()) < 0",
    "any(h.load > 3 and h.load < 2 for h in manager.hosts.values())",
    "any(h.load > 3 for h in manager.hosts.values() if h.load < 2)",
    "(host.load > 3 and host.load < 2) or age(host.load) < 0",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_can_never_be_true(text: str) -> None:
    said = findings(f"[r]\neach = host\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\nticks = 5\n")
    assert [s for s in said if "expr can never be true" in s and ":3: warning:" in s]


def test_what_is_always_true() -> None:
    always = "[r]\nexpr = { len(manager.hosts) > 3 or 2 > 1 }\ncmd = { sender.notify('x') }\n"
    (said,) = findings(always)
    assert said.startswith("t.ini:2: warning: [r] expr is always true: without ticks the rule fires once")
    assert findings(always + "ticks = 1d\n") == [], "a timer"
    (said,) = findings(always + "ticks = 1d\nuntil = { 2 > 1 }\n")
    assert "until is always true: the rule can never fire." in said


@pytest.mark.parametrize("name", ["*", "a on b", "a b", "", "9", "a,b", "a" * 64])
def test_names_that_would_be_mistaken(name: str) -> None:
    said = findings(f"[{name}]\nexpr = {{ len(manager.hosts) > 3 }}\ncmd = {{ sender.notify('x') }}\n")
    assert said[0].startswith("t.ini:1: error: ")
    assert findings("[Fünf-2.b_]\nexpr = { len(manager.hosts) > 3 }\ncmd = { sender.notify('x') }\n") == []


SOMETIMES = ["host.load > 3 or host.load < 2", "host.load >= 3 and host.load <= 3", "host.mode in ('a', 'b')"]


@pytest.mark.parametrize("text", SOMETIMES)
def test_what_can_be_true(text: str) -> None:
    assert findings(f"[r]\neach = host\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\n") == []


def test_a_clearing_condition_without_a_gap() -> None:
    (said,) = findings(
        "[r]\neach = host\nexpr = { host.load > 0.8 }\nuntil = { host.load <= 0.8 }\n"
        "cmd = { sender.notify('x') }\n"
    )
    assert said.startswith("t.ini:4: warning: [r] until (host.load at most 0.8) leaves no dead band to expr")


def test_commands_of_one_rule_that_undo_one_another() -> None:
    (said,) = findings(
        "[r]\neach = guest\nexpr = { guest.idle }\n"
        "cmd = { sender.retire_guest(guest); sender.create_guest(guest.share) }\n"
    )
    assert "t.ini:4: warning: [r] one command of cmd undoes another." in said


def test_units_that_differ() -> None:
    (said,) = findings(
        "[r]\neach = host\nexpr = { host.memory_free_mib < age(host.load) }\nticks = 5\n"
        "cmd = { sender.notify('x') }\n"
    )
    assert "compares MiB with s" in said


def test_a_disabled_rule_is_not_complained_of() -> None:
    assert pair(f"{MEAN} > 0.80", f"{MEAN} < 0.78", "enabled = no\n") == []
