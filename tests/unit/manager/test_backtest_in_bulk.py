"""A backtest in bulk finds exactly what event by event is found, and leaves the same state behind."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from random_journal import Stream, triggers

from vmm.api.backtest import Trial, _begin, backtest
from vmm.api.bulk import run as bulk_run
from vmm.decide import quiet
from vmm.decide.core import Core
from vmm.decide.events import Entry, decode_event
from vmm.manager.recovery import entries


def both(place: Path, changed: str, since_s: float | None = None) -> tuple[Trial, Trial, int]:
    """(event by event, in bulk, how many records the second fed one by one)"""
    core, first = _begin(place, since_s)
    slow = Trial(core, changed, "t.ini", since_s)
    for entry in entries(place, first):
        slow.feed(entry)
    core, first = _begin(place, since_s)
    fast = Trial(core, changed, "t.ini", since_s)
    bulk = bulk_run.BulkRun(fast)
    bulk.play(place, first)
    return slow, fast, bulk.slow


def assert_same(slow: Trial, fast: Trial) -> None:
    assert fast.result == slow.result
    assert fast.result.rows() == slow.result.rows()
    for a, b in zip(slow.shadows, fast.shadows, strict=True):
        assert b.dump_state() == a.dump_state()
    one, two = slow.core, fast.core
    assert two.state.digest == one.state.digest
    assert two.snapshot() == one.snapshot()


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_run, "_SHORT", 1)
    monkeypatch.setattr(bulk_run, "_LEAST", 24)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(2, 24),
    calm=st.sampled_from([0.9, 0.99, 0.999, 1.0]),
    surprises=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    counts=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    broken=st.sampled_from([0.0, 0.2, 1.0]),
)
@example(
    seed=996921508, clients=19, calm=1.0, surprises=0.01, counts=(7, 12), broken=0.0
)  # a guest comes in a window
@example(
    seed=1984535232, clients=11, calm=0.9, surprises=0.05, counts=(7, 7), broken=0.0
)  # looked at only at ticks
@example(seed=2532055900, clients=16, calm=0.99, surprises=0.01, counts=(10, 2), broken=0.0)
@example(
    seed=100000000, clients=4, calm=0.9, surprises=0.0, counts=(8, 0), broken=0.0
)  # a window that ends early
def test_any_stream_gives_the_same_result(
    small_windows, seed, clients, calm, surprises, counts, broken
) -> None:
    dice = random.Random(seed)
    stream = Stream(seed, clients, calm, broken)
    rules = [triggers(dice, counts[0]), triggers(dice, counts[0]), triggers(dice, counts[1])]
    stream.make(dice.choice([60, 200]), rules, surprises)
    since_s = dice.choice([None, None, 1050.0])
    with tempfile.TemporaryDirectory() as folder:
        slow, fast, _ = both(stream.write(Path(folder)), rules[2], since_s)
    assert_same(slow, fast)


RULES = """
[hot]
each = client
expr = { client.a > 2 }
cmd = { sender.notify(client) }

[grow]
each = share
expr = { share.guests_wanted > 99 }
ticks = 1
cmd = { sender.create_guest(share) }
"""


def test_errors_that_stay_and_ticks_that_find_nothing_are_taken_in_by_columns(
    small_windows, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(Stream, "broken_of", lambda *_: {"b": "hangs", "none": "is no property"})
    stream = Stream(seed=7, clients=20, calm=1.0, broken=1.0)
    monkeypatch.setattr(stream, "drift", 0.0)
    stream.make(200, [RULES], 0.0)
    slow, fast, fed = both(stream.write(tmp_path), RULES)
    assert_same(slow, fast)
    assert all(client.errors for client in fast.core.state.clients.values() if client.role == "dom0")
    assert fed < len(stream.rows) / 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(2, 16),
    calm=st.sampled_from([0.9, 0.99, 1.0]),
    surprises=st.sampled_from([0.01, 0.05, 0.3]),
)
@example(
    seed=90905, clients=15, calm=0.9, surprises=0.01
)  # a command under way where the changed rules begin
def test_an_unchanged_file_would_have_done_what_was_done(seed, clients, calm, surprises) -> None:
    dice = random.Random(seed)
    stream = Stream(seed, clients, calm)
    rules = triggers(dice, dice.randrange(1, 15))
    stream.make(dice.choice([60, 200]), [rules], surprises)
    with tempfile.TemporaryDirectory() as folder:
        result = backtest(stream.write(Path(folder)), rules, "t.ini", dice.choice([None, 1030.0]))
    fired, would = ([(f.at, f.position, f.time_s) for f in side] for side in (result.recorded, result.would))
    assert sorted(would) == sorted(fired)
    assert all((row.more, row.fewer, row.flaps) == (0, 0, row.flaps_recorded) for row in result.rows())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(2, 16),
    calm=st.sampled_from([0.9, 0.99, 1.0]),
    surprises=st.sampled_from([0.01, 0.05, 0.3]),
)
def test_a_core_at_rest_misses_nothing(seed, clients, calm, surprises) -> None:
    """Looking at guests and facts after every event finds nothing else."""
    dice = random.Random(seed)
    stream = Stream(seed, clients, calm)
    rules = [triggers(dice, dice.randrange(1, 15)) for _ in range(2)]
    stream.make(dice.choice([60, 200]), rules, surprises)
    core = Core()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(quiet, "is_at_rest", lambda *_: False)
        for position, (time_s, _, payload) in enumerate(stream.rows, 1):
            core.feed(Entry(position, time_s, decode_event(payload)))
    assert core.snapshot() == stream.core.snapshot()
