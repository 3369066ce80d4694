"""Explanations: the tree with values, ages and truths, the gates, and the earliest moment."""

from __future__ import annotations

import json
import time

import pytest
from worlds import engine, fill, make_world

from vmm.rules import RuleError

HOT = (
    "[hot]\neach = host\nexpr = { host.load > 0.8 and known(host.temp) }\ncmd = { sender.drain_host(host) }\n"
)


def test_the_tree_says_value_unit_age_and_truth() -> None:
    world = make_world()
    rules = engine(
        "[r]\neach = host\nexpr = { host.memory_free_mib < 100 }\ncmd = { sender.notify('x') }\n", world
    )
    fill(world, "host", {"a": {"memory_free_mib": 50}}, 10.0)
    world.advance(100.0)
    rules.step()
    tree = rules.explain("r", "a").tree
    assert (tree.text, tree.truth, tree.is_condition) == ("host.memory_free_mib < 100", True, True)
    (read,) = tree.children
    assert (read.text, read.value, read.unit, read.age_s) == ("host.memory_free_mib", 50, "MiB", 90.0)
    assert "    host.memory_free_mib = 50 MiB, 1m30s old" in str(rules.explain("r", "a"))
    assert tree.age_s == 90.0


def test_a_node_is_as_old_as_the_oldest_reading_that_it_follows_from() -> None:
    world = make_world()
    expr = "mean(h.load for h in manager.hosts.values()) > 0.5"
    rules = engine(f"[r]\nexpr = {{ {expr} }}\ncmd = {{ sender.notify('x') }}\n", world)
    fill(world, "host", {"a": {"load": 0.2}}, 10.0)
    fill(world, "host", {"b": {"load": 0.9}}, 60.0)
    world.advance(100.0)
    rules.step()
    tree = rules.explain("r").tree
    assert (tree.text, tree.age_s) == (expr, 90.0)
    (mean,) = tree.children
    assert (mean.age_s, sorted(member.age_s for member in mean.children)) == (90.0, [40.0, 90.0])


def test_unknown_says_why() -> None:
    world = make_world()
    rules = engine(HOT, world)
    fill(world, "host", {"a": {"temp": 1.0}, "b": {"load": 0.9, "temp": 1.0}})
    world.hosts.set("b", "load", None, 0.0)
    rules.step()
    assert rules.explain("hot", "a").tree.children[0].children[0].note == "never reported"
    assert rules.explain("hot", "b").tree.children[0].children[0].note == "too old or withdrawn"
    explanation = rules.explain("hot", "a")
    assert (explanation.state, explanation.truth, explanation.can_fire_s) == ("unknown", None, None)
    assert "stays as it is until it is known" in explanation.verdict


GATES = {
    "for = 10": ("for", 10.0),
    "until = { host.load < 0.1 }\nticks = 5": ("until", None),
    "cooldown = 30\nticks = 5": ("cooldown", 30.0),
    "limit = 1/minute\nticks = 7": ("limit", 63.0),
    "enabled = no": ("enabled", None),
    "n_of = 2 of 3\nticks = 5": ("n_of", None),
}


@pytest.mark.parametrize("keys", GATES)
def test_each_gate_says_what_it_waits_for_and_when_it_opens(keys: str) -> None:
    name, at_s = GATES[keys]
    world = make_world()
    rules = engine(HOT + keys + "\n", world)
    fill(world, "host", {"a": {"load": 0.9, "temp": 1.0}})
    rules.step()
    explanation = rules.explain("hot", "a")
    (gate,) = [g for g in explanation.gates if not g.open]
    assert gate.name == name
    assert gate.waits_for
    assert explanation.can_fire_s == at_s
    assert f"gate {name}: waits for" in str(explanation)


VERDICTS = {
    "for = 10": "Waits for the condition to have held for 10s: 6s more. Can fire in 6s.",
    "until = { host.load < 0\n  or host.ok }": "Waits for its clearing condition: host.load < 0 or host.ok.",
    "cooldown = 30\nticks = 5": "Waits for its cooldown of 30s: 26s more. Can fire in 26s.",
    "limit = 1/minute\nticks = 4": "Waits for its limit of 1 in 1m: 56s more. Can fire in 56s.",
    "ticks = 5": "Nothing stands in the way. Can fire at its next tick, in 1.5s.",
}


@pytest.mark.parametrize("keys", VERDICTS)
def test_the_verdict_reads_as_a_sentence(keys: str) -> None:
    world = make_world()
    began_s = 1_795_260_221.0 - 1_795_260_221.0 % 60
    world.advance(began_s)
    rules = engine(HOT + keys + "\n", world)
    fill(world, "host", {"a": {"load": 0.9, "temp": 1.0}}, began_s)
    rules.step()
    world.advance(began_s + (3.5 if keys.startswith("ticks") else 4.0))
    explanation = rules.explain("hot", "a")
    assert explanation.verdict == VERDICTS[keys]
    for gate in explanation.gates:
        if gate.wake_s is not None:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(gate.wake_s))
            assert f"gate {gate.name}: waits for {gate.waits_for} (at {stamp})" in str(explanation)


def test_running_commands_are_a_gate() -> None:
    world = make_world()
    rules = engine(HOT + "ticks = 10\nmax_running = 1\n", world)
    fill(world, "host", {"a": {"load": 0.9, "temp": 1.0}})
    rules.step()
    rules.set_running("hot", "a", 1)
    assert [g.name for g in rules.explain("hot", "a").gates if not g.open] == ["mode", "max_running"]


def test_the_verdict_follows_what_the_rule_does() -> None:
    world = make_world()
    rules = engine(HOT + "n_of = 2 of 3\nticks = 1\n", world)
    for second, load in enumerate((9.0, 9.0, 0.1, 0.1, 0.1), start=1):
        fill(world, "host", {"a": {"load": load, "temp": 1.0}}, second - 0.5)
        world.advance(float(second))
        fired = rules.step()
        explanation = rules.explain("hot", "a")
        if second == 3:  # false now, but true in two of the last three evaluations
            assert [f.time_s for f in fired] == [3.0]
            assert (explanation.state, explanation.can_fire_s) == ("firing", 4.0)
            assert explanation.verdict == "Nothing stands in the way. Can fire at its next tick, in 1s."
    assert explanation.verdict == "The condition was true in 0 of the last 3 evaluations, not in 2."


def test_a_rule_without_ticks_that_has_fired_waits_for_nothing_but_the_condition() -> None:
    world = make_world()
    rules = engine(HOT + "for = 10m\ncooldown = 1h\n", world)
    fill(world, "host", {"a": {"load": 0.9, "temp": 1.0}})
    rules.step()
    world.advance(600.0)
    assert len(rules.step()) == 1
    world.advance(603.0)
    verdict = rules.explain("hot", "a").verdict
    assert verdict == "It has fired, and will when the condition becomes true again."


def test_what_counts_as_false_is_said() -> None:
    world = make_world()
    rules = engine(HOT + "on_unknown = false\n", world)
    fill(world, "host", {"a": {"temp": 1.0}})
    rules.step()
    assert rules.explain("hot", "a").verdict == "The condition is unknown, which counts as false."


def test_the_queue_is_explained() -> None:
    world = make_world()
    rules = engine(HOT + "mode = queued\n", world)
    rules.step()
    for second, load in enumerate((0.9, 0.1, 0.9, 0.1, 0.9, 0.1)):
        fill(world, "host", {"a": {"load": load, "temp": 1.0}}, float(second))
        world.advance(float(second))
        rules.step()
        rules.set_running("hot", "a", 1)
    explanation = rules.explain("hot", "a")
    assert explanation.verdict == (
        "The condition is false. 2 queued firings wait for 1 of its commands to end."
    )
    (gate,) = explanation.gates
    waits = "1 of its commands to end and 2 queued firings to start"
    assert (gate.name, gate.open, gate.waits_for) == ("mode", False, waits)
    rules.pause(reason="quiet please")
    rules.set_running("hot", "a", 0)
    assert rules.step() == []
    verdict = rules.explain("hot", "a").verdict
    assert (
        verdict
        == "The condition is false. 2 queued firings wait for somebody to resume it (paused: quiet please)."
    )
    rules.resume()
    assert len(rules.step()) == 1
    assert len(rules.step()) == 1, "the first set nothing off: the second follows"
    assert rules.step() == []


def test_the_earliest_moment_is_right() -> None:
    world = make_world()
    rules = engine(HOT + "for = 12\ncooldown = 21\nticks = 5\n", world)
    fill(world, "host", {"a": {"load": 0.9, "temp": 1.0}})
    rules.step()
    for _ in range(3):
        expected = rules.explain("hot", "a").can_fire_s
        fired: list[float] = []
        while not fired:
            due = rules.next_due_s()
            assert due is not None
            world.advance(due)
            fired = [f.time_s for f in rules.step()]
        assert fired == [expected]


def test_loops_show_the_members_that_decide() -> None:
    world = make_world()
    cmd = "cmd = { sender.notify('x') }\n"
    rules = engine(
        f"[r]\n{cmd}expr = {{ any(h.load > 0.8 for h in manager.hosts.values() if h.ok) }}\n"
        f"[c]\n{cmd}expr = {{ count(h.load > 0.8 for h in manager.hosts.values()) >= 2 }}\n",
        world,
    )
    fill(world, "host", {f"h{i}": {"load": i / 10, "ok": i < 10} for i in range(12)})
    fill(world, "host", {"unknown": {}})
    rules.step()
    tree = rules.explain("r").tree
    assert [c.member for c in tree.children] == ["h9", "unknown"]
    assert tree.note == "1 true, 1 unknown, of 11"
    bounds = rules.explain("c").as_dict()["tree"]["children"][0]["value"]
    assert bounds == {"at_least": 3, "at_most": 4}


def test_it_is_json() -> None:
    world = make_world()
    rules = engine(HOT + "for = 3\n", world)
    fill(world, "host", {"a": {"load": 0.9, "domains": [{"name": "x"}]}})
    rules.step()
    data = json.loads(json.dumps(rules.explain("hot", "a").as_dict()))
    assert data["rule"] == "hot"
    assert data["tree"]["children"][0]["truth"] is True


def test_asking_for_what_is_not_there() -> None:
    world = make_world()
    rules = engine(HOT + "[all]\nexpr = { len(manager.hosts) > 0 }\ncmd = { sender.notify('x') }\n", world)
    fill(world, "host", {"node1": {}})
    for rule, subject, said in (
        ("hto", "node1", "Next: Did you mean 'hot'?"),
        ("hot", "node2", "Did you mean 'node1'?"),
        ("hot", None, "name one: node1"),
        ("all", "node1", "has no `each`"),
    ):
        with pytest.raises(RuleError, match="Next:") as caught:
            rules.explain(rule, subject)
        assert said in str(caught.value)
