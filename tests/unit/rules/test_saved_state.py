"""Timers survive: whenever state is dumped and loaded, all that follows is the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import book, make_world

from vmm.cluster.tables import World
from vmm.errors import VmmError
from vmm.rules import Engine, RuleError

RULES = book(
    """
[held]
each = host
expr = { host.load > 0.8 }
cmd = { sender.drain_host(host) }
for = 7
cooldown = 20
[latched]
each = host
expr = { host.load > 0.8 }
until = { host.load < 0.3 }
cmd = { sender.notify('x') }
ticks = 10
[limited]
expr = { count(h.load > 0.5 for h in manager.hosts.values()) >= 2 }
cmd = { sender.notify('x') }
limit = 2/30
ticks = 5
[counted]
each = host
expr = { host.load > 0.5 }
n_of = 2 of 3
cmd = { sender.notify('x') }
mode = queued
[aged]
each = host
expr = { age(host.fresh) > 12 or host.load > mean(h.load for h in manager.hosts.values()) }
cmd = { sender.notify('x') }
on_unknown = fire
ticks = 9
on_update_check = no
[aged_updates]
expr = { any(age(h.fresh) > 3 for h in manager.hosts.values()) }
until = { manager.now > 40 }
cmd = { sender.notify('x') }
[single]
each = host
expr = { host.ok }
cmd = { sender.drain_host(host) }
max_running = 1
on_unknown = false
"""
)

hosts = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), hosts, st.just("load"), st.sampled_from([0.1, 0.6, 0.9, None])),
        st.tuples(st.just("set"), hosts, st.just("fresh"), st.sampled_from([1.0, None])),
        st.tuples(st.just("set"), hosts, st.just("ok"), st.booleans()),
        st.tuples(st.just("remove"), hosts),
        st.tuples(st.just("running"), hosts, st.sampled_from([0, 1])),
        st.tuples(st.just("advance"), st.sampled_from([1.0, 3.5, 12.0])),
        st.tuples(st.just("step")),
        st.tuples(st.just("pause"), st.sampled_from(["held", "limited"])),
        st.tuples(st.just("resume"), st.sampled_from(["held", "limited"])),
    ),
    max_size=40,
)


def play(world: World, rules: Engine, change: Any) -> list[Any]:
    match change:
        case ("set", name, column, value):
            world.hosts.add(name)
            world.hosts.set(name, column, value, world.now_s)
        case ("remove", name) if name in world.hosts:
            world.hosts.remove(name)
        case ("running", name, count):
            rules.set_running("counted", name, count)
            rules.set_running("single", name, count)
        case ("advance", by_s):
            world.advance(world.now_s + by_s)
        case ("step",):
            return rules.step()
        case ("pause", rule):
            rules.pause(rule)
        case ("resume", rule):
            rules.resume(rule)
    return []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=steps, after=steps)
def test_the_loaded_engine_goes_on_as_the_first_one(before: list[Any], after: list[Any]) -> None:
    world = make_world()
    rules = Engine(RULES, world)
    for change in before:
        play(world, rules, change)
    dumped = world.dump(), rules.dump_state()
    loaded = msgspec.msgpack.decode(msgspec.msgpack.encode(dumped))
    json.dumps(dumped)
    other_world = World.load(loaded[0])
    other = Engine(RULES, other_world, loaded[1])
    assert (other_world.dump(), other.dump_state()) == dumped
    rules.transitions()
    for change in [*after, ("step",), ("advance", 60.0), ("step",)]:
        assert play(world, rules, change) == play(other_world, other, change), change
        if change == ("step",):
            assert other.transitions() == rules.transitions()
            assert other.dump_state() == rules.dump_state()
            assert other.next_due_s() == rules.next_due_s()
    assert other_world.dump() == world.dump()


def test_another_schema_is_refused() -> None:
    with pytest.raises(RuleError, match="schema"):
        Engine(RULES, make_world(), {"schema": 99, "rules": {}, "paused": {}})
    with pytest.raises(VmmError, match="schema"):
        World.load({"schema": 99})
