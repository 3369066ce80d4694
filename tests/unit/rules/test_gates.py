"""What each key of a rule does over time: rule tests in the language of `vmm rules test`."""

from __future__ import annotations

import pytest
from worlds import book, fill, make_world

from vmm.rules import Engine
from vmm.rules.trial import read_trials, run_trial

EDGE = "expr = { host.load > 0.8 }"
CASES = {
    "an update fires when the condition has become true, not while it stays so": (
        EDGE,
        "0s host h load = 0.9; 1s host h load = 0.95; 2s host h load = 0.1; 3s host h load = 0.9",
        "0s fires; 3s fires",
    ),
    "ticks fire as long as it is true": (
        f"{EDGE}; ticks = 10",
        "5s host h load = 0.9; 35s host h load = 0.1; 60s host h disks = 1",
        "5s fires; 10s fires; 20s fires; 30s fires",
    ),
    "without update checks only ticks count": (
        f"{EDGE}; ticks = 10; on_update_check = no",
        "5s host h load = 0.9; 12s host h load = 0.1; 13s host h load = 0.9; 25s host h load = 0.1; "
        "30s host h disks = 1",
        "10s fires; 20s fires",
    ),
    "for waits until it has held so long": (
        f"{EDGE}; for = 10s",
        "0s host h load = 0.9; 8s host h load = 0.1; 9s host h load = 0.9; 60s host h disks = 1",
        "5s is pending; 8s is idle; 9s is pending; 19s fires; 40s is firing",
    ),
    "with ticks, for must hold again after each firing": (
        f"{EDGE}; for = 15s; ticks = 10",
        "0s host h load = 0.9; 60s host h disks = 1",
        "15s fires; 30s fires; 50s fires",
    ),
    "without update checks for is looked at at ticks": (
        f"{EDGE}; for = 15s; ticks = 10; on_update_check = no",
        "5s host h load = 0.9; 40s host h disks = 1",
        "30s fires",
    ),
    "until latches": (
        f"{EDGE}; until = {{ host.load < 0.5 }}",
        "0s host h load = 0.9; 1s host h load = 0.7; 2s host h load = 0.9; 3s host h load = 0.4; "
        "4s host h load = 0.9",
        "0s fires; 1s is latched; 2s is firing; 3s is idle; 4s fires",
    ),
    "until at ticks": (
        f"{EDGE}; until = {{ host.load < 0.5 }}; ticks = 10",
        "0s host h load = 0.9; 15s host h load = 0.4; 25s host h load = 0.9; 50s host h disks = 1",
        "0s fires; 25s fires",
    ),
    "cooldown rests, and what became true meanwhile fires after it": (
        f"{EDGE}; cooldown = 20s",
        "0s host h load = 0.9; 5s host h load = 0.1; 10s host h load = 0.9; 60s host h disks = 1",
        "0s fires; 20s fires",
    ),
    "what is over when the cooldown ends does not fire": (
        f"{EDGE}; cooldown = 20s",
        "0s host h load = 0.9; 5s host h load = 0.1; 10s host h load = 0.9; 15s host h load = 0.1; "
        "60s host h disks = 1",
        "0s fires",
    ),
    "cooldown at ticks": (
        f"{EDGE}; cooldown = 25s; ticks = 10",
        "0s host h load = 0.9; 65s host h disks = 1",
        "0s fires; 30s fires; 60s fires",
    ),
    "limit counts firings in a sliding period": (
        f"{EDGE}; limit = 2/minute; ticks = 10",
        "0s host h load = 0.9; 95s host h disks = 1",
        "0s fires; 10s fires; 60s fires; 70s fires",
    ),
    "n_of counts ticks": (
        f"{EDGE}; n_of = 2 of 3; ticks = 10",
        "0s host h load = 0.1; 5s host h load = 0.9; 15s host h load = 0.1; 25s host h load = 0.9; "
        "35s host h load = 0.1; 70s host h disks = 1",
        "30s fires; 50s is idle",
    ),
    "n_of without ticks counts reports": (
        f"{EDGE}; n_of = 2 of 3",
        "0s host h load = 0.9; 1s host h load = 0.1; 2s host h load = 0.9; 3s host h load = 0.9; "
        "4s host h load = 0.1; 5s host h load = 0.1; 6s host h load = 0.9; 7s host h load = 0.9",
        "2s fires; 5s is idle; 7s fires",
    ),
    "hold: a gap neither fires nor clears": (
        EDGE,
        "0s host h load = 0.9; 1s host h load = unknown; 2s host h load = 0.9; 3s host h load = 0.1; "
        "4s host h load = unknown; 5s host h load = 0.9",
        "0s fires; 1s is unknown; 2s is firing; 5s fires",
    ),
    "hold: for stands still in a gap": (
        f"{EDGE}; for = 10s",
        "0s host h load = 0.9; 4s host h load = unknown; 100s host h load = 0.9; 120s host h disks = 1",
        "50s is unknown; 106s fires",
    ),
    "hold: ticks do not fire in a gap": (
        f"{EDGE}; ticks = 10",
        "0s host h load = 0.9; 15s host h load = unknown; 35s host h load = 0.9; 45s host h disks = 1",
        "0s fires; 10s fires; 40s fires",
    ),
    "false: a gap clears": (
        f"{EDGE}; on_unknown = false",
        "0s host h load = 0.9; 1s host h load = unknown; 2s host h load = 0.9",
        "0s fires; 1s is idle; 2s fires",
    ),
    "fire: a gap fires": (
        f"{EDGE}; on_unknown = fire",
        "0s host h load = 0.1; 1s host h load = unknown; 2s host h load = 0.1",
        "1s fires; 2s is idle",
    ),
    "a value grows too old": (
        "expr = { host.fresh > 1 }; on_unknown = fire",
        "0s host h fresh = 0; 100s host h disks = 1",
        "30s is idle; 30.001s fires",
    ),
    "the age of a value is looked at at ticks": (
        "expr = { age(host.load) > 25 }; ticks = 10",
        "0s host h load = 0.9; 44s host h load = 0.9; 60s host h disks = 1",
        "30s fires; 40s fires",
    ),
    "single waits for its commands": (
        f"{EDGE}; ticks = 10",
        "0s host h load = 0.9; 1s running r on h = 1; 25s running r on h = 0; 35s host h disks = 1",
        "0s fires; 30s fires",
    ),
    "parallel does not": (
        f"{EDGE}; ticks = 10; mode = parallel",
        "0s host h load = 0.9; 1s running r on h = 1; 25s host h disks = 1",
        "0s fires; 10s fires; 20s fires",
    ),
    "queued fires when they have ended": (
        f"{EDGE}; mode = queued",
        "0s host h load = 0.9; 1s running r on h = 1; 2s host h load = 0.1; 3s host h load = 0.9; "
        "4s host h load = 0.1; 9s running r on h = 0; 20s host h disks = 1",
        "0s fires; 9s fires",
    ),
    "disabled": (f"{EDGE}; enabled = no", "0s host h load = 0.9; 9s host h disks = 1", ""),
    "the subject goes and comes back": (
        f"{EDGE}; cooldown = 1h",
        "0s host h load = 0.9; 5s remove host h; 6s host h load = 0.9",
        "0s fires; 6s fires",
    ),
    "another one in the same row is another one": (
        f"{EDGE}; for = 5s",
        "0s host g load = 0.9; 3s remove host g; 3s host h load = 0.9; 20s host h disks = 1",
        "8s fires",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_fires_exactly_when(name: str) -> None:
    keys, given, expect = CASES[name]
    rules = book("[r]\neach = host\ncmd = { sender.drain_host(host) }\n" + keys.replace("; ", "\n"))
    lines = [f"    {line}" for line in given.split("; ")]
    wanted = [f"    {' r on h '.join(line.split(' ', 1))}" for line in expect.split("; ") if line]
    text = "\n".join(["[t]", "given =", *lines, "expect =", *wanted])
    trials, findings = read_trials(text, "test.ini", rules)
    assert not findings
    assert not [str(f) for f in run_trial(trials[0], rules)]


GLOBAL = "[r]\nexpr = { any(h.load > 0.8 for h in manager.hosts.values()) }\ncmd = { sender.notify('x') }\n"


def test_max_running_counts_all_subjects() -> None:
    rules = book(f"[r]\neach = host\n{EDGE}\ncmd = {{ sender.drain_host(host) }}\nmax_running = 2\n")
    text = """[t]
given =
    0s host a load = 0.9
    0s host b load = 0.9
    0s host c load = 0.9
    1s running r on a = 1
    1s running r on b = 1
    7s running r on b = 0
expect =
    0s r on a fires drain_host('a')
    0s r on b fires drain_host('b')
    5s r on c is pending
    7s r on c fires drain_host('c')
"""
    trials, findings = read_trials(text, "t", rules)
    assert not findings
    assert not [str(f) for f in run_trial(trials[0], rules)]


def test_a_command_waits_for_its_arguments() -> None:
    rules = book("[r]\neach = guest\nexpr = { guest.idle }\ncmd = { sender.drain_host(guest.host) }\n")
    text = """[t]
given =
    0s guest g idle = yes
    5s guest g host = h1
expect =
    2s r on g is pending
    5s r on g fires drain_host('h1')
"""
    trials, findings = read_trials(text, "t", rules)
    assert not findings
    assert not [str(f) for f in run_trial(trials[0], rules)]


QUEUED = """[r]
each = guest
expr = { guest.idle }
mode = queued
cmd = { sender.drain_host(guest.host) }
"""


def test_a_queued_firing_waits_for_its_arguments() -> None:
    rules = book(QUEUED)
    text = """[t]
given =
    0s guest g idle = yes, host = h1
    1s running r on g = 1
    2s guest g idle = no
    3s guest g idle = yes
    4s guest g host = unknown
    5s running r on g = 0
    9s guest g host = h2
expect =
    0s r on g fires drain_host('h1')
    9s r on g fires drain_host('h2')
"""
    trials, findings = read_trials(text, "t", rules)
    assert not findings
    assert not [str(f) for f in run_trial(trials[0], rules)]


def test_a_queued_firing_waits_while_too_many_run() -> None:
    rules = book(QUEUED + "max_running = 2\n")
    text = """[t]
given =
    0s guest a host = h1, idle = yes
    0s guest b host = h1, idle = no
    1s running r on a = 1
    2s guest a idle = no
    3s guest a idle = yes
    4s running r on b = 2
    5s running r on a = 0
    9s running r on b = 1
expect =
    0s r on a fires drain_host('h1')
    9s r on a fires drain_host('h1')
"""
    trials, findings = read_trials(text, "t", rules)
    assert not findings
    assert not [str(f) for f in run_trial(trials[0], rules)]


def test_a_pause_holds_queued_firings_also_across_a_restart() -> None:
    rules = book(QUEUED)
    world = make_world()
    engine = Engine(rules, world)

    def idle(value: bool) -> int:
        fill(world, "guest", {"g": {"idle": value, "host": "h1"}})
        return len(engine.step())

    assert idle(True) == 1
    engine.set_running("r", "g", 1)
    assert idle(False) + idle(True) == 0
    engine.pause("r", "users complain")
    engine.set_running("r", "g", 0)
    assert engine.step() == []
    engine = Engine(rules, world, engine.dump_state())
    assert engine.step() == []
    engine.resume("r")
    assert [str(f.calls[0]) for f in engine.step()] == ["drain_host('h1')"]
    assert engine.step() == []
