"""Properties fall due on grids; missed ticks are skipped."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.client.schedule import Schedule


def test_everything_is_due_at_the_start_and_then_at_its_period() -> None:
    schedule = Schedule({"ram": 30, "load": 60}, origin_s=100.0)
    assert schedule.due(100.0) == ["ram", "load"]
    assert schedule.due(129.0) == []
    assert schedule.due(130.0) == ["ram"]
    assert schedule.due(160.0) == ["ram", "load"]


def test_missed_ticks_are_skipped_not_caught_up() -> None:
    schedule = Schedule({"ram": 10}, origin_s=0.0)
    schedule.due(0.0)
    assert schedule.due(57.0) == ["ram"]
    assert schedule.due(57.1) == []
    assert schedule.next_s() == 60.0


def test_what_was_read_for_another_reason_waits_for_the_next_grid_point() -> None:
    schedule = Schedule({"ram": 10, "load": 10}, origin_s=0.0)
    schedule.due(0.0)
    schedule.done(["ram"], 9.99)
    assert schedule.due(10.0) == ["load"]


def test_nothing_to_read_has_no_next_time() -> None:
    assert Schedule({}, 0.0).next_s() is None


@pytest.mark.parametrize("period", [0, -1, math.nan, math.inf])
def test_a_period_that_cannot_be_kept_is_refused(period: float) -> None:
    with pytest.raises(ValueError, match="ram"):
        Schedule({"ram": period}, 0.0)


@given(
    period=st.floats(0.5, 1000),
    origin=st.floats(0, 1e6),
    steps=st.lists(st.floats(0.001, 5000), max_size=40),
)
def test_never_more_than_once_a_period_and_always_due_after_one(
    period: float, origin: float, steps: list[float]
) -> None:
    schedule = Schedule({"ram": period}, origin)
    now, points = origin, {-1}
    for step in [0.0, *steps]:
        now += step
        if schedule.due(now):
            point = math.floor((now + 0.05 - origin) / period)
            assert point not in points, "read twice for one tick"
            points.add(point)
            last = now
        else:
            assert now - last < period
        following = schedule.next_s()
        assert following is not None
        assert now < following <= now + period * 1.001 + 0.06
