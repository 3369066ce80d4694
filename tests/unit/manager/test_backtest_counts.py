"""What a backtest counts: more, fewer, flaps, held back by limits; with pauses and rules that remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from random_journal import SETTINGS, files

from vmm.api.backtest import Backtest, RuleRow, backtest
from vmm.decide.core import Core
from vmm.decide.events import Entry, Event, Greeted, Reported, Started, Ticked, Wished, encode_event, tag_of
from vmm.journal import Journal
from vmm.manager.recovery import entries
from vmm.messages.structs import Beat, Hello, Intent, Report

RULE = "[r]\neach = client\nexpr = { client.b > 0.5 }\ncmd = { sender.notify(client.name) }\n"
WISHES = {"pause": {"rule": "r"}, "resume": {"rule": "r"}, "pause all": {}, "resume all": {}}


def journal(folder: Path, rules: str, story: dict[int, Any], seconds: int = 75) -> Path:
    place = folder / "journal"
    with Journal.open(place, sync="none") as out:
        out.append_many(
            [(t, tag_of(event), encode_event(event)) for t, event in rows_of(rules, story, seconds)]
        )
    return place


def rows_of(rules: str, story: dict[int, Any], seconds: int = 75) -> list[tuple[float, Event]]:
    """What one client reports of `b` at which second, or what a person wishes then."""
    events: list[tuple[float, Event]] = [
        (0.0, Started("e", files(rules), SETTINGS, "1")),
        (0.0, Greeted("#c#d", Hello("c", "domU", 1, b"k"))),
    ]
    for second in range(1, seconds):
        events.append((second, Ticked(Beat(float(second), "m", "e"))))
        if story.get(second) in WISHES:
            name, args = story[second].partition(" ")[0], WISHES[story[second]]
            events.append((second, Wished(Intent(f"w{second}", name, args, "x"))))
        elif second in story:
            events.append((second, Reported("c", Report(1, second, {"b": story[second]}))))
        elif second % 5 == 0:
            events.append((second, Reported("c", Report(1, second, {"f": True}))))
    return events


def row_of(result: Backtest, window_s: float = 30.0) -> RuleRow:
    rows = result.rows(window_s)
    return rows[0] if rows else RuleRow("r", 0, 0, 0, 0, 0, 0, 0, 0)


FLAPS = [
    # what it is, the rule's further keys, the story, (fired, flaps within 30 s, flaps within 10 s)
    ("once", "", {10: 1.0}, (1, 0, 0)),
    ("on, off, on", "", {10: 1.0, 20: 0.0, 35: 1.0}, (2, 1, 0)),
    ("on, off, on at once", "", {10: 1.0, 12: 0.0, 14: 1.0, 16: 0.0, 18: 1.0}, (3, 2, 2)),
    ("on, off, on after the window", "", {10: 1.0, 20: 0.0, 45: 1.0}, (2, 0, 0)),
    ("on, off, on exactly at its end", "", {10: 1.0, 20: 0.0, 40: 1.0}, (2, 0, 0)),
    ("fires at its ticks while it is on", "ticks = 5\non_update_check = no\n", {12: 1.0, 28: 0.0}, (3, 0, 0)),
    ("on, not known, on", "ticks = 5\n", {11: 1.0, 12: None, 21: 0.9, 29: 0.0}, (2, 0, 0)),
    ("on, not known, off, on", "", {10: 1.0, 12: None, 14: 0.0, 16: 1.0}, (2, 1, 1)),
    ("shorter than its `for`", "for = 5\n", {10: 1.0, 12: 0.0, 14: 1.0, 16: 0.0}, (0, 0, 0)),
    ("off for a moment, then `for`", "for = 5\n", {10: 1.0, 17: 0.0, 18: 1.0}, (2, 1, 1)),
    ("within the dead band", "until = { client.b < 0.2 }\n", {10: 1.0, 12: 0.4, 14: 1.0}, (1, 0, 0)),
    ("through the dead band", "until = { client.b < 0.2 }\n", {10: 1.0, 12: 0.1, 14: 1.0}, (2, 1, 1)),
    ("slowed by its cooldown", "cooldown = 20\n", {10: 1.0, 12: 0.0, 14: 1.0}, (2, 1, 0)),
]


@pytest.mark.parametrize(
    ("keys", "story", "expected"), [case[1:] for case in FLAPS], ids=[c[0] for c in FLAPS]
)
def test_flaps(keys: str, story: dict[int, Any], expected: tuple[int, int, int], tmp_path: Path) -> None:
    rules = RULE + keys
    for changed in (rules, "# the same\n" + rules):
        result = backtest(journal(tmp_path / str(len(changed)), rules, story), changed, "t.ini")
        wide, narrow = row_of(result, 30.0), row_of(result, 10.0)
        assert (wide.would, wide.flaps, narrow.flaps) == expected
        assert (wide.recorded, wide.flaps_recorded, narrow.flaps_recorded) == expected


COUNTS = [
    # what it is, the old rule's further keys, the new one's, the story, (same, more, fewer, flaps, limited)
    ("the same", "", "", {10: 1.0, 20: 0.0, 30: 1.0}, (2, 0, 0, 1, 0)),
    ("later", "", "for = 5\n", {10: 1.0}, (0, 1, 1, 0, 0)),
    ("fewer", "", "for = 15\n", {10: 1.0, 20: 0.0, 30: 1.0}, (0, 1, 2, 0, 0)),
    ("more", "for = 15\n", "", {10: 1.0, 20: 0.0, 30: 1.0}, (0, 2, 1, 1, 0)),
    ("off", "", "enabled = no\n", {10: 1.0}, (0, 0, 1, 0, 0)),
    ("limit", "", "limit = 1/1h\n", {10: 1.0, 20: 0.0, 30: 1.0, 40: 0.0, 50: 1.0}, (1, 0, 2, 0, 2)),
    ("cooldown", "", "cooldown = 30\n", {10: 1.0, 20: 0.0, 30: 1.0, 35: 0.0, 50: 1.0}, (2, 0, 1, 0, 1)),
    ("both have it", "limit = 1/1h\n", "limit = 1/1h\n", {10: 1.0, 20: 0.0, 30: 1.0}, (1, 0, 0, 0, 1)),
    ("a dry run is one too", "", "dry_run = yes\n", {10: 1.0}, (1, 0, 0, 0, 0)),
    ("paused", "", "", {5: "pause", 10: 1.0, 20: 0.0, 25: "resume", 30: 1.0}, (1, 0, 0, 0, 0)),
    ("all paused, on when resumed", "", "", {5: "pause all", 10: 1.0, 25: "resume all"}, (1, 0, 0, 0, 0)),
    ("paused, changed", "", "for = 2\n", {5: "pause", 10: 1.0, 25: "resume"}, (1, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(
    ("old", "new", "story", "expected"), [case[1:] for case in COUNTS], ids=[case[0] for case in COUNTS]
)
def test_counts(old: str, new: str, story: dict[int, Any], expected: tuple[int, ...], tmp_path: Path) -> None:
    row = row_of(backtest(journal(tmp_path, RULE + old, story), RULE + new, "t.ini"), 25.0)
    assert (row.same, row.more, row.fewer, row.flaps, row.limited) == expected
    assert (row.recorded, row.would) == (row.same + row.fewer, row.same + row.more)


REMEMBERED = [
    # the rule's keys, the story; the backtest begins at 40
    ("", {10: 1.0}),
    ("for = 60\n", {10: 1.0}),
    ("until = { client.b < 0.2 }\n", {10: 1.0, 30: 0.4, 50: 1.0}),
    ("cooldown = 60\n", {10: 1.0, 30: 0.0, 50: 1.0}),
    ("limit = 1/80\n", {10: 1.0, 30: 0.0, 50: 1.0}),
    ("n_of = 2 of 3\n", {10: 1.0, 30: 0.0, 50: 1.0}),
    ("ticks = 7\n", {10: 1.0, 30: 0.0, 50: 1.0}),
    ("", {5: "pause", 10: 1.0, 30: 0.0, 50: 1.0}),
]


@pytest.mark.parametrize(("keys", "story"), REMEMBERED)
def test_unchanged_rules_begin_with_what_they_remember(keys: str, story: Any, tmp_path: Path) -> None:
    place = journal(tmp_path, RULE + keys, story)
    result = backtest(place, RULE + keys, "t.ini", since_s=40.0)
    whole = backtest(place, RULE + keys, "t.ini")
    late = [(f.at, f.position) for f in whole.recorded if f.time_s >= 40.0]
    assert [(f.at, f.position) for f in result.would] == late
    assert [(f.at, f.position) for f in result.recorded] == late


@pytest.mark.parametrize("since_s", [None, 25.0, 35.0, 55.0])
def test_it_begins_from_the_snapshot_that_suits(since_s: float | None, tmp_path: Path) -> None:
    story = {10: 1.0, 20: 0.0, 30: 1.0, 40: 0.0, 50: 1.0, 60: 0.0}
    rules = RULE + "cooldown = 25\n"
    place = journal(tmp_path, rules, story)
    plain = backtest(place, RULE, "t.ini", since_s)
    core = Core()
    with Journal.open(place, sync="none") as kept:
        for entry in list(entries(place)):
            core.feed(entry)
            if entry.position in (40, 80):
                kept.write_snapshot(entry.position, core.snapshot())
    assert backtest(place, RULE, "t.ini", since_s) == plain


def test_a_journal_without_its_beginning_is_tried_from_its_oldest_snapshot(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    rows = rows_of(RULE, {10: 1.0, 20: 0.0, 30: 1.0, 40: 0.0, 50: 1.0})
    core = Core()
    with Journal.open(place, sync="none") as out:
        for position, (time_s, event) in enumerate(rows, 1):
            out.commit([(time_s, tag_of(event), encode_event(event))])
            core.feed(Entry(position, time_s, event))
            if position == 30:
                out.write_snapshot(position, core.snapshot())
                out.rotate()
    min(place.glob("*.vmmj"), key=lambda path: path.name).unlink()
    result = backtest(place, RULE, "t.ini")
    assert [f.time_s for f in result.would] == [f.time_s for f in result.recorded] == [30.0, 50.0]
