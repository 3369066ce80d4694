"""Decoding ahead in a second process gives the same chunks, and its end disturbs nothing."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal

import pytest
from random_journal import Stream, triggers
from test_backtest_in_bulk import assert_same

from vmm.api.backtest import Trial, _begin
from vmm.api.bulk import ahead, chunk
from vmm.api.bulk import run as bulk_run
from vmm.api.bulk.reports import ReportDecoder
from vmm.journal.errors import JournalDamaged
from vmm.manager.recovery import entries


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ahead._Worker]:
    """The second processes that were started. Chunks and windows are small."""
    monkeypatch.setattr(bulk_run, "_SHORT", 1)
    monkeypatch.setattr(bulk_run, "_LEAST", 24)
    monkeypatch.setattr(chunk, "RECORDS", 150)
    monkeypatch.setattr(ahead, "WORTH_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(ahead.threading, "active_count", lambda: 1)
    found: list[ahead._Worker] = []
    begin = ahead._Worker.__init__

    def note(self, *given) -> None:
        begin(self, *given)
        found.append(self)

    monkeypatch.setattr(ahead._Worker, "__init__", note)
    return found


def journal(seed: int, folder):
    dice = random.Random(seed)
    stream = Stream(seed, 12, 0.99)
    rules = [triggers(dice, 8), triggers(dice, 8), triggers(dice, 8)]
    stream.make(200, rules, 0.01)
    return stream.write(folder), rules[2]


def slowly(folder, rules: str) -> Trial:
    core, first = _begin(folder, None)
    slow = Trial(core, rules, "t.ini")
    for entry in entries(folder, first):
        slow.feed(entry)
    return slow


def ahead_of(folder, rules: str) -> Trial:
    core, first = _begin(folder, None)
    fast = Trial(core, rules, "t.ini")
    bulk_run.BulkRun(fast).play(folder, first)
    return fast


@pytest.mark.parametrize("seed", range(4))
def test_a_second_process_changes_nothing(tmp_path, started, seed: int) -> None:
    folder, rules = journal(seed, tmp_path)
    assert_same(slowly(folder, rules), ahead_of(folder, rules))
    assert started
    assert not multiprocessing.active_children()


def test_what_does_not_fit_into_the_shared_memory_comes_all_the_same(tmp_path, started, monkeypatch) -> None:
    monkeypatch.setattr(ahead, "_SLOT_BYTES", 4096)
    folder, rules = journal(5, tmp_path)
    assert_same(slowly(folder, rules), ahead_of(folder, rules))
    assert started


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_second_process_that_is_killed_is_done_without(tmp_path, started, monkeypatch, after) -> None:
    given, taken = ahead._Worker.next, []

    def next_of(self):
        taken.append(self)
        if len(taken) == after + 1:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.join()
        return given(self)

    monkeypatch.setattr(ahead._Worker, "next", next_of)
    folder, rules = journal(6, tmp_path)
    assert_same(slowly(folder, rules), ahead_of(folder, rules))
    assert len(taken) > after
    assert not multiprocessing.active_children()


def test_a_second_process_that_has_nothing_to_do_may_end_before_it_is_spoken_to(
    tmp_path, started, monkeypatch
) -> None:
    folder, _ = journal(0, tmp_path)
    *_, last = chunk.stretches(folder)
    behind = last[-1].first_position + len(last[-1])
    begin = multiprocessing.Process.start
    process = multiprocessing.get_context("fork").Process

    def ends(self) -> None:
        begin(self)
        self.join()

    monkeypatch.setattr(process, "start", ends)
    worker = ahead._Worker(folder, behind, 0.0, ReportDecoder({}))
    assert worker.next() is None
    worker.close()


def test_damage_is_told_as_it_is_without(tmp_path, started) -> None:
    folder, rules = journal(7, tmp_path)
    segment = max(folder.glob("*.vmmj"), key=lambda file: file.stat().st_size)
    whole = bytearray(segment.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    segment.write_bytes(whole)
    with pytest.raises(JournalDamaged) as here:
        slowly(folder, rules)
    with pytest.raises(JournalDamaged) as there:
        ahead_of(folder, rules)
    assert str(there.value) == str(here.value)
    assert not multiprocessing.active_children()
