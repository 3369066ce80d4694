"""Order, pausing, queued and restarted firings, reloading, and due times."""

from __future__ import annotations

import pytest
from worlds import book, engine, fill, make_world

from vmm.cluster.tables import World
from vmm.rules import Engine, RuleError

PAPER = """
[client_query]
expr = { len(manager.clients) != 0 }
cmd = { sender.send_get_property() }
ticks = 30
on_update_check = no
"""
HOT = "[hot]\neach = host\nexpr = { host.load > 0.8 }\ncmd = { sender.drain_host(host) }\n"


def fired(rules: Engine) -> list[tuple[str, str | None]]:
    return [(f.rule, f.subject) for f in rules.step()]


def test_the_papers_trigger_asks_every_thirty_seconds_while_there_are_clients() -> None:
    world = World(100.0)
    rules = engine(PAPER, world)
    assert rules.step() == []
    assert rules.next_due_s() == 130.0
    world.advance(130.0)
    assert rules.step() == []
    world.clients.add("c")
    world.advance(160.0)
    (firing,) = rules.step()
    assert [(c.operation, c.args) for c in firing.calls] == [("send_get_property", ())]
    assert (firing.rule, firing.subject, firing.time_s) == ("client_query", None, 160.0)
    assert firing.why == "len(manager.clients) != 0 (1 != 0)"


def test_missed_ticks_are_skipped_and_the_grid_stays() -> None:
    world = World(0.0)
    world.clients.add("c")
    rules = engine(PAPER, world)
    rules.step()
    world.advance(100.0)
    assert fired(rules) == [("client_query", None)]
    assert rules.next_due_s() == 120.0


def test_firings_come_by_priority_then_file_order_then_arrival() -> None:
    text = HOT + HOT.replace("[hot]", "[second]") + HOT.replace("[hot]", "[first]") + "priority = 5\n"
    world = make_world()
    rules = engine(text, world)
    for name in ("z", "a", "m"):
        fill(world, "host", {name: {"load": 0.9}})
    order = [("first", n) for n in "zam"] + [("hot", n) for n in "zam"] + [("second", n) for n in "zam"]
    assert fired(rules) == order


def test_a_row_used_again_comes_last() -> None:
    world = make_world()
    rules = engine(HOT, world)
    fill(world, "host", {n: {"load": 0.9} for n in "abc"})
    world.hosts.remove("a")
    fill(world, "host", {"new": {"load": 0.9}})
    assert [s for _, s in fired(rules)] == ["b", "c", "new"]


def test_paused_rules_go_on_evaluating_and_fire_when_resumed() -> None:
    world = make_world()
    rules = engine(HOT, world)
    rules.pause("hot", "maintenance")
    fill(world, "host", {"a": {"load": 0.9}, "b": {"load": 0.9}})
    assert rules.step() == []
    assert [t.new for t in rules.transitions()] == ["pending", "pending"]
    explanation = rules.explain("hot", "a")
    assert [g.name for g in explanation.gates if not g.open] == ["paused"]
    assert "maintenance" in str(explanation)
    world.hosts.set("b", "load", 0.1, 0.0)
    rules.resume("hot")
    assert fired(rules) == [("hot", "a")]


def test_pausing_all_is_apart_from_pausing_one() -> None:
    world = make_world()
    rules = engine(HOT, world)
    rules.pause()
    rules.pause("hot")
    rules.resume()
    fill(world, "host", {"a": {"load": 0.9}})
    assert rules.step() == []
    assert rules.paused == {"hot": "paused"}
    with pytest.raises(RuleError, match="hot"):
        rules.pause("hott")


def test_restart_says_so() -> None:
    world = make_world()
    rules = engine(HOT + "mode = restart\n", world)
    fill(world, "host", {"a": {"load": 0.9}})
    assert [f.restart for f in rules.step()] == [False]
    rules.set_running("hot", "a", 2)
    for value in (0.1, 0.9):
        world.hosts.set("a", "load", value, 0.0)
        last = rules.step()
    assert [f.restart for f in last] == [True]


def test_dry_run_is_marked_and_otherwise_the_same() -> None:
    world = make_world()
    rules = engine(HOT + "dry_run = yes\ncooldown = 10\n", world)
    fill(world, "host", {"a": {"load": 0.9}})
    (firing,) = rules.step()
    assert firing.dry_run
    assert str(firing.calls[0]) == "drain_host('a')"
    assert rules.explain("hot", "a").last_fired_s == 0.0


def test_several_commands_and_texts() -> None:
    world = make_world()
    rules = engine(
        "[r]\neach = share\nexpr = { share.jobs_waiting > 0 }\n"
        "cmd = { sender.create_guest(share, host='h1')\n"
        "        sender.notify(f'{share.name}: {share.jobs_waiting + 1} {share.room}');\n"
        "        sender.run('c', 'ping', count=2 * 2, quiet=True) }\n",
        world,
    )
    fill(world, "share", {"s": {"jobs_waiting": 3}})
    (firing,) = rules.step()
    assert [str(c) for c in firing.calls] == [
        "create_guest('s', host='h1')",
        "notify('s: 4 unknown')",
        "run('c', 'ping', count=4, quiet=True)",
    ]


def test_a_reload_keeps_the_timers_of_the_others() -> None:
    world = make_world()
    rules = engine(HOT + "for = 10\n" + HOT.replace("[hot]", "[warm]") + "for = 10\n", world)
    fill(world, "host", {"a": {"load": 0.9}})
    rules.step()
    world.advance(5.0)
    changed = HOT + "for  =  10\ndescription = says more\n" + HOT.replace("[hot]", "[warm]") + "for = 12\n"
    diff = rules.reload(book(changed + PAPER))
    assert (diff.kept, diff.changed, diff.added, diff.removed) == (("hot",), ("warm",), ("client_query",), ())
    assert str(diff).splitlines() == [
        "+ client_query",
        "~ warm (starts anew: its timers, latches and counts are lost)",
        "    for: 10 -> 12",
        "~ hot description: (not set) -> says more (timers kept)",
        "= hot (timers kept)",
    ]
    rules.step()
    world.advance(10.0)
    assert fired(rules) == [("hot", "a")]
    world.advance(17.0)
    assert fired(rules) == [("warm", "a")]


def test_engines_side_by_side_and_after_closing() -> None:
    world = make_world()
    first, second = engine(HOT, world), engine(HOT, world)
    fill(world, "host", {"a": {"load": 0.9}})
    assert fired(first) == fired(second) == [("hot", "a")]
    first.close()
    world.hosts.set("a", "load", 0.1, 0.0)
    world.hosts.set("a", "load", 0.9, 0.0)
    assert fired(second) == []
    second.close()
    assert all(not c.hooks and not c.touch_hooks for t in world.tables() for c in t.columns.values())
    assert not any(t.watchers for t in world.tables())


def test_a_column_declared_anew_with_another_type_is_followed() -> None:
    world = make_world()
    rules = engine(HOT, world)
    fill(world, "host", {"a": {"load": 0.9}})
    assert fired(rules) == [("hot", "a")]
    world.hosts.declare("load", type="str")
    world.hosts.set("a", "load", "much", 0.0)
    assert rules.step() == []
    assert rules.explain("hot", "a").truth is None
    world.hosts.set("a", "load", 0.1, 0.0)
    world.hosts.set("a", "load", 0.95, 0.0)
    assert rules.step() == []


def test_set_running_of_what_is_gone_is_passed_over() -> None:
    world = make_world()
    rules = engine(HOT, world)
    rules.set_running("hot", "nobody", 1)
    rules.set_running("no rule", None, 1)
    assert rules.dump_state()["rules"]["hot"]["instances"] == {}


def test_transitions_name_what_happened() -> None:
    world = make_world()
    rules = engine(HOT + "for = 10\nuntil = { host.load < 0.2 }\n", world)
    fill(world, "host", {"a": {"load": 0.9}})
    rules.step()
    world.advance(10.0)
    rules.step()
    world.hosts.set("a", "load", 0.5, 10.0)
    rules.step()
    world.hosts.remove("a")
    changes = [(t.subject, t.old, t.new, t.time_s) for t in rules.transitions()]
    assert changes == [
        ("a", "idle", "pending", 0.0),
        ("a", "pending", "firing", 10.0),
        ("a", "firing", "latched", 10.0),
        ("a", "latched", "gone", 10.0),
    ]
    assert rules.transitions() == []
