"""Ticks that find nothing may go by unseen: the rule's grid is the same afterwards."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from worlds import engine, fill, make_world

RULE = """
[often]
each = host
expr = {{ host.load > 0.8 }}
ticks = {ticks}
cmd = {{ sender.drain_host(host) }}
"""


@given(
    ticks_ms=st.integers(50, 30_000),
    gaps_s=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=40),
)
@example(ticks_ms=100, gaps_s=[0.3] * 12)  # not exact in binary: each tick rounds
def test_the_grid_is_that_of_one_tick_after_another(ticks_ms: int, gaps_s: list[float]) -> None:
    worlds = [make_world(), make_world()]
    seen, passed = (engine(RULE.format(ticks=f"{ticks_ms / 1000:.3f}s"), world) for world in worlds)
    seen.step()
    passed.step()
    times = list(accumulate(gaps_s, initial=worlds[0].now_s))[1:]
    for time_s in times:
        worlds[0].advance(time_s)
        assert seen.step() == []

    def looked_at_s(due_s: float) -> float | None:
        index = bisect_left(times, due_s)
        return times[index] if index < len(times) else None

    passed.timers.pass_idle(looked_at_s)
    worlds[1].advance(times[-1])
    assert passed.step() == []
    assert passed.dump_state() == seen.dump_state()


@pytest.mark.parametrize("extra", ["for = 5", "on_unknown = fire", ""])
def test_where_a_condition_is_true_no_tick_is_idle(extra: str) -> None:
    world = make_world()
    rules = engine(RULE.format(ticks=10) + extra, world)
    rules.step()
    assert rules.timers.next_s(but_idle=True) == float("inf")
    fill(world, "host", {"h1": {"load": 0.9}}, world.now_s)
    rules.step()
    assert rules.timers.next_s(but_idle=True) <= world.now_s + 10.0


def test_a_rule_that_reads_the_time_or_is_only_looked_at_at_ticks_is_never_idle() -> None:
    for text in (
        RULE.format(ticks=10).replace("host.load > 0.8", "age(host.load) > 100"),
        RULE.format(ticks=10) + "on_update_check = no\n",
        RULE.format(ticks=10) + "n_of = 3 of 5\n",
    ):
        world = make_world()
        rules = engine(text, world)
        rules.step()
        assert rules.timers.next_s(but_idle=True) == world.now_s + 10.0
