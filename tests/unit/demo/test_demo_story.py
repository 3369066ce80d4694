"""The decision log as sentences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from demo_world import simulate

from vmm.demo.folder import read_data
from vmm.demo.follow import Follower
from vmm.demo.story import DECISION, EVENT, TROUBLE, Line, since

JOBS = r"(1 job waits|\d+ jobs wait)"
SHAPES = (
    rf"group[ABC]: {JOBS} -> creates group[abc]-\d+ on host\d",
    rf"group[ABC]: {JOBS}(, no room)? -> retires group[abc]-\d+ on host\d \((idle \d+s|its job ends first)\)",
    r"group[ABC]: group[abc]-\d+ is idle for \d+s, no job waits -> retires it on host\d",
    r"asks the clients for all their properties",
)


def decisions(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.kind == DECISION]


def test_every_decision_of_the_shipped_demo_is_a_sentence_with_its_reason(minute) -> None:
    odd = [x.text for x in decisions(minute.lines) if not any(re.fullmatch(s, x.text) for s in SHAPES)]
    assert odd == []


def test_each_firing_is_told_exactly_once(minute) -> None:
    told = decisions(minute.lines)
    assert {rule: sum(x.rule == rule for x in told) for rule in minute.fired} == minute.fired
    assert sum(" creates " in x.text for x in told) == minute.totals["guests created"]


def test_guests_are_followed_from_creation_to_their_end(minute) -> None:
    gone = [x.text for x in minute.lines if " is gone from host" in x.text]
    assert len(gone) == minute.totals["guests destroyed"]
    assert any(
        re.fullmatch(r"groupa-1 serves groupA, \d(\.\d)?s after its creation", x.text) for x in minute.lines
    )


def test_nothing_of_a_good_run_is_called_trouble(minute) -> None:
    assert [x.text for x in minute.lines if x.kind == TROUBLE] == []


def test_the_demo_shows_what_it_is_made_to_show(minute) -> None:
    """Growth, room made by idle and by busy guests, shrinking; all jobs done within the minute."""
    texts = [x.text for x in minute.lines]
    assert any("no room -> retires" in text and "(idle" in text for text in texts)
    assert any("its job ends first" in text for text in texts)
    assert any("no job waits -> retires it" in text for text in texts)
    assert all(done.done == done.submitted > 0 for done in minute.seen.served.values())
    assert minute.totals["guests created"] <= 25


def lines_of(rules: str, until_s: float = 5.0) -> list[Line]:
    sim = simulate({"triggers.ini": rules})
    sim.run(until_s)
    return Follower(Path("nowhere")).take(sim.entries).lines


NOTIFY = "[tell]\neach = share\nexpr = { share.jobs_waiting > 0 }\ncmd = { sender.notify('hello') }\n"


def test_a_rule_of_another_kind_is_told_with_the_values_that_decided() -> None:
    drain = NOTIFY.replace("notify('hello')", "drain_host('host1')")
    told = decisions(lines_of(drain))
    assert told[0].text == "groupA: share.jobs_waiting > 0 (1 > 0) -> drain_host('host1')"
    assert told[0].rule == "tell"


def test_a_notice_is_an_event() -> None:
    told = [x for x in lines_of(NOTIFY) if x.rule == "tell"]
    assert (told[0].kind, told[0].text) == (EVENT, "hello")


def test_a_dry_run_says_what_it_would_do() -> None:
    told = decisions(lines_of(f"{NOTIFY}dry_run = yes\n"))
    assert told[0].text.endswith("-> would do notify('hello')")


def test_what_was_refused_is_trouble() -> None:
    wrong = NOTIFY.replace("notify('hello')", "drain_host('nobody')")
    told = [x for x in lines_of(wrong) if x.kind == TROUBLE]
    assert "there is no host 'nobody'" in told[0].text


def test_a_template_that_does_not_come_up_is_told() -> None:
    from vmm.simulate import Faults

    sim = simulate(faults=Faults(broken_templates={"groupA.qcow2"}))
    sim.run(40)
    told = [x for x in Follower(Path("nowhere")).take(sim.entries).lines if x.kind == TROUBLE]
    assert any("its client did not join the bus" in x.text and x.share == "groupA" for x in told)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], []),
        ([100.0, 102.5], [0.0, 2.5]),
        ([0.0, 0.0, 101.0], [1.0, 1.0, 1.0]),
        ([0.0, 0.0], [7.0, 7.0]),
        ([101.0, 0.0], [1.0, 7.0]),
    ],
)
def test_times_count_from_the_beginning(times: list[float], expected: list[float]) -> None:
    lines = [Line(time_s, EVENT, "") for time_s in times]
    assert [line.time_s for line in since(lines, 100.0, 7.0)] == expected


def test_the_rules_are_those_of_a_real_site() -> None:
    """Only their times differ from etc/triggers.ini."""
    timing = re.compile(r"^(ticks|for) = .*\n|^#.*\n", re.MULTILINE)
    shipped = (Path(__file__).parents[3] / "etc" / "triggers.ini").read_text(encoding="utf-8")
    assert timing.sub("", read_data("triggers.ini")) == timing.sub("", shipped)


def test_each_guest_has_the_reason_it_was_made_for_or_goes_for(minute) -> None:
    why = minute.middle.why
    assert set(why) == {guest.name for guest in minute.middle.picture.guests}
    assert any(re.fullmatch(r"made for (1 waiting job|\d+ waiting jobs)", text) for text in why.values())
    assert "makes room for groupC" in why.values()
