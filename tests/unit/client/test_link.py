"""Beats, silence and the Manager's clock."""

from __future__ import annotations

import pytest

from vmm.client.link import Backoff, BeatKind, Link
from vmm.messages.structs import Beat

USUAL, NEW, STALE = BeatKind.USUAL, BeatKind.NEW, BeatKind.STALE


@pytest.mark.parametrize(
    ("beats", "kinds"),
    [
        ([(1, "a", 100), (3, "a", 102)], [NEW, USUAL]),
        ([(1, "a", 100), (3, "b", 102)], [NEW, NEW]),
        ([(1, "a", 100), (3, "a", 99)], [NEW, USUAL]),  # the Manager's clock was set back
        ([(1, "a", 100), (3, "b", 50), (4, "a", 101)], [NEW, NEW, STALE]),  # replayed from an old epoch
        ([(1, "a", 100), (3, "a", 100)], [NEW, USUAL]),
        ([(1, "a", 100), (15, "a", 114)], [NEW, NEW]),  # back after a silence
    ],
)
def test_what_a_beat_means(beats: list[tuple[float, str, float]], kinds: list[BeatKind]) -> None:
    link = Link(10.0, now_s=0.0)
    got = [link.beat(Beat(time_s, "m", epoch), now) for now, epoch, time_s in beats]
    assert got == kinds


def test_stream_time_follows_the_last_beat_and_is_unknown_without_one() -> None:
    link = Link(10.0, now_s=0.0)
    assert link.stream_time_s(1.0) is None
    link.beat(Beat(1000.0, "m", "a"), 2.0)
    assert link.stream_time_s(5.0) == 1003.0
    assert link.stream_time_s(12.1) is None, "no beat vouches for the clock any more"


def test_stream_time_stands_still_while_the_managers_clock_is_behind_and_is_its_own_in_each_epoch() -> None:
    link = Link(10.0, now_s=0.0)
    link.beat(Beat(1000.0, "m", "a"), 2.0)
    for now in (4.0, 6.0):
        link.beat(Beat(400.0 + now, "m", "a"), now)
        assert link.stream_time_s(now) == 1000.0
    link.beat(Beat(1001.0, "m", "a"), 8.0)
    assert link.stream_time_s(9.0) == 1002.0
    link.beat(Beat(500.0, "m", "b"), 10.0)
    assert link.stream_time_s(10.0) == 500.0
    assert link.beat(Beat(2000.0, "m", "a"), 11.0) is STALE
    assert link.stream_time_s(11.0) == 501.0


def test_silence_is_noticed_and_grows_longer_without_a_manager() -> None:
    link = Link(10.0, now_s=0.0)
    assert link.silent_s(10.0) is None
    assert link.silent_s(10.5) == 10.5
    now, waits = 10.5, []
    for _ in range(5):
        link.gave_up(now)
        link.connected(now)
        start = now
        while link.silent_s(now) is None:
            now += 1.0
        waits.append(round(now - start))
    assert waits == [21, 41, 61, 61, 61]
    assert link.beat(Beat(5.0, "m", "a"), now) is NEW
    assert link.silent_s(now + 10.5) == 10.5


def test_a_new_connection_starts_the_silence_anew_but_not_the_clock() -> None:
    link = Link(10.0, now_s=0.0)
    link.beat(Beat(100.0, "m", "a"), 1.0)
    link.connected(30.0)
    assert link.silent_s(39.0) is None
    assert link.stream_time_s(31.0) is None


def test_backoff_grows_to_its_limit_with_the_given_randomness() -> None:
    backoff = Backoff(0.2, 1.0, lambda: 1.0)
    assert [round(backoff.next_s(), 3) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next_s() == pytest.approx(0.2)
    assert Backoff(0.2, 1.0, lambda: 0.0).next_s() == pytest.approx(0.1)
