"""Rules that sleep while a kept sum stays away from their bound do exactly what others do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import engine, fill, make_world

from vmm.rules import Engine, compiler

HOSTS = "for h in manager.hosts.values()"
RULES = f"""
[mean]
expr = {{ mean(h.load {HOSTS}) > 0.9 }}
cmd = {{ sender.notify('mean') }}
[ratio]
expr = {{ 0.5 >= sum(h.load {HOSTS}) / len(manager.hosts) }}
cmd = {{ sender.notify('ratio') }}
for = 3
[negative]
expr = {{ sum(h.load {HOSTS}) < -0.0 }}
mode = queued
cmd = {{ sender.notify('negative') }}
[some]
expr = {{ sum(h.load {HOSTS} if h.ok) >= 2.5 }}
cmd = {{ sender.notify('some') }}
cooldown = 4
[ticking]
expr = {{ mean(h.load {HOSTS}) <= 0.25 }}
ticks = 2
cmd = {{ sender.notify('ticking') }}
"""
NAMES = ("a", "b", "c")
loads = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.9, 0.1, 0.8999999999999999, 0.9000000000000001, 2.5, -1.0]),
    st.sampled_from([1e-300, 1e200, -1e200, 5e-324, 1.7e308]),
    st.floats(-3, 3),
)
step = st.one_of(
    st.tuples(st.just("load"), st.sampled_from(NAMES), loads),
    st.tuples(st.just("ok"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("pass"), st.none(), st.floats(0, 3)),
    st.tuples(st.just("pause"), st.sampled_from(["mean", "negative", None]), st.none()),
    st.tuples(st.just("resume"), st.sampled_from(["mean", "negative", None]), st.none()),
    st.tuples(st.just("running"), st.sampled_from(["mean", "negative"]), st.integers(0, 2)),
)


def play(
    text: str, steps: list[tuple[str, Any, Any]], asleep: bool, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """What fires, and what changes state, line by line."""
    world = make_world()
    with monkeypatch.context() as patch:
        if not asleep:
            patch.setattr(compiler, "settled", lambda *_: None)
        rules: Engine = engine(text, world)
    said: list[str] = []
    for what, name, value in steps:
        if what in ("load", "ok"):
            fill(world, "host", {name: {what: value}}, world.now_s)
        elif what == "remove" and name in world.hosts:
            world.hosts.remove(name)
        elif what == "pass":
            world.advance(world.now_s + value)
        elif what == "pause":
            rules.pause(name)
        elif what == "resume" and (name or "") in rules.paused:
            rules.resume(name)
        elif what == "running":
            rules.set_running(name, None, value)
        said.append(f"{rules.step()} {rules.transitions()} {rules.dump_state()}")
    return said


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(step, max_size=40))
def test_sleeping_changes_nothing(steps: list[tuple[str, Any, Any]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert play(RULES, steps, True, monkeypatch) == play(RULES, steps, False, monkeypatch)
        more = f"{RULES}[least]\nexpr = {{ min(h.load {HOSTS}) < -2 }}\ncmd = {{ sender.notify('least') }}\n"
        assert play(more, steps, True, monkeypatch) == play(more, steps, False, monkeypatch)


def test_a_sum_far_from_its_bound_wakes_no_rule() -> None:
    world = make_world()
    fill(world, "host", {name: {"load": 0.1, "ok": True} for name in NAMES})
    rules = engine(RULES.partition("[ratio]")[0], world)
    rules.step()
    woken = []
    for load in (0.2, 0.3, 0.4, 0.3, 2.9, 0.1, 0.2, 0.3):
        fill(world, "host", {"a": {"load": load}})
        woken.append(bool(rules._queue))
        rules.step()
    # Where it goes beyond, when it comes back, and once more to find out how far it may go then.
    assert woken == [False, False, False, False, True, True, True, False]
