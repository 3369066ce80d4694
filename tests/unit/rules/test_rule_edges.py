"""A rule fires on the update that makes its condition true, whatever class of evaluator its condition has."""

from __future__ import annotations

import pytest

from vmm.cluster.tables import World
from vmm.rules import CollectorInfo, Engine, check_properties, default_schema, load_triggers

CONDITIONS = {
    "any": "any(c.p1 < 5 for c in manager.clients.values())",
    "count": "count(c for c in manager.clients.values() if c.p1 < 5) > 0",
    "min": "min(c.p1 for c in manager.clients.values()) < 5",
    "all": "not all(c.p1 >= 5 for c in manager.clients.values())",
    "sum": "sum(c.p1 for c in manager.clients.values()) < 10",
    "mean": "mean(c.p1 for c in manager.clients.values()) < 5",
    "lookup": "manager.clients['a'].p1 < 5",
    "two columns": "any(c.p1 < 5 and c.p2 > 0 for c in manager.clients.values())",
    "arithmetic": "any(c.p1 * 2 + 1 < 10 for c in manager.clients.values())",
    "own": "client.p1 < 5",
}


def engine_for(condition: str, more: str = "") -> tuple[World, Engine]:
    specs, _ = check_properties(
        "[p1]\ncommand = load\nticks = 60\n[p2]\ncommand = load\nticks = 60\n",
        "properties.ini",
        {"load": CollectorInfo("load", float)},
    )
    each = "each = client\n" if condition.startswith("client") else ""
    text = f"[rule]\nexpr = {{ {condition} }}\ncmd = {{ sender.notify('x') }}\n{each}{more}"
    world = World()
    engine = Engine(load_triggers(text, "triggers.ini", default_schema().with_properties(specs)), world)
    for spec in specs.values():
        world.clients.declare(spec.name, type=spec.return_type, max_age_s=spec.max_age_s)
    for name in ("a", "b"):
        world.clients.add(name)
        world.clients.update(name, {"p1": 9.0, "p2": 1.0}, 1.0)
    return world, engine


@pytest.mark.parametrize("more", ["", "cooldown = 1s\n", "ticks = 1000\n", "n_of = 1 of 1\n"])
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_every_rising_edge_fires_and_nothing_else(condition: str, more: str) -> None:
    world, engine = engine_for(condition, more)
    assert engine.step() == []
    for now_s, value, fires in (
        (10.0, 0.0, 1),
        (20.0, 0.5, 0),
        (30.0, 9.0, 0),
        (40.0, 0.0, 1),
        (50.0, 9.0, 0),
    ):
        world.advance(now_s)
        world.clients.set("a", "p1", value, now_s)
        assert len(engine.step()) == fires, f"at {now_s:g} with {value:g}"
        assert engine.step() == []
