"""What people see: the live view, plain lines, the summary."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vmm.demo.plain import PlainLog, show_line
from vmm.demo.story import DECISION, TROUBLE, Line, since
from vmm.demo.summary import summary
from vmm.demo.view import Frame, render, word_of
from vmm.manager.picture import GuestRow


def screen(frame: Frame, width: int, height: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height, color_system=None).print(render(frame, width, height))
    return out.getvalue().rstrip("\n").split("\n")


def frame(minute, at: float = 16.6) -> Frame:
    return Frame(minute.middle, since(minute.middle.lines, 0.0, at), at, 60.0, 9)


def test_before_the_manager_there_is_a_word_of_patience() -> None:
    rows = screen(Frame(None, [], 0.4, 60.0, 9), 80, 24)
    assert "0:00 of 1:00" in rows[0]
    assert "starting 9 programs ..." in rows[2]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_a_screen_fits_its_terminal_and_shows_everything(minute, width: int, height: int) -> None:
    rows = screen(frame(minute), width, height)
    assert len(rows) <= height
    assert max(map(len, rows)) <= width
    text = "\n".join(rows)
    for word in ("host1", "host6", "groupA", "groupB", "groupC", "make_room"):
        assert word in text
    for guest in minute.middle.picture.guests:
        assert guest.name in text


@pytest.mark.parametrize("width", [80, 120])
def test_columns_are_aligned(minute, width: int) -> None:
    rows = screen(frame(minute), width, 24)
    head = next(i for i, row in enumerate(rows) if row.strip().startswith("share"))
    ends = [
        rows[head].index(word) + len(word) for word in ("waiting", "running", "done", "mean wait", "guests")
    ]
    for row in rows[head + 1 : head + 4]:
        assert all(row[end - 1] not in " " and row[end] == " " for end in ends)
    start = next(row for row in rows if row.strip().startswith("host ")).index("guests")
    hosts = [row for row in rows if row.strip().startswith("host") and "GiB" in row]
    assert [row.split()[0] for row in hosts] == [f"host{n}" for n in range(1, 7)]
    assert all(row[start - 1] == " " and row[start] not in " " for row in hosts)


def test_tall_terminals_show_the_table_of_guests(minute) -> None:
    assert not any("address" in row for row in screen(frame(minute), 120, 30))
    tall = screen(frame(minute), 120, 45)
    head = next(i for i, row in enumerate(tall) if "address" in row)
    first = minute.middle.picture.guests[0]
    assert tall[head + 1].split()[:3] == [first.name, first.share, first.host]


def test_the_newest_decision_stands_last_and_long_ones_are_folded_under_their_text(minute) -> None:
    long = Line(17.0, DECISION, "groupC: " + "many words " * 12 + "end", "make_room", "groupC")
    shown = frame(minute)._replace(lines=[*frame(minute).lines, long])
    rows = screen(shown, 80, 24)
    assert rows[-1].endswith("end")
    at = next(row for row in rows if "0:17" in row).index("groupC")
    assert rows[-1][:at].strip() == ""
    assert rows[-1][at] != " "


@pytest.mark.parametrize(
    ("state", "node", "jobs", "idle", "word"),
    [
        ("creating", "", 0, None, "made"),
        ("booting", "", 0, None, "boots"),
        ("ready", "busy", 1, None, "busy"),
        ("ready", "idle", 0, 95.0, "idle 5s"),
        ("ready", "", 0, None, "idle"),
        ("draining", "busy", 1, None, "drains"),
        ("removing", "", 0, None, "leaves"),
        ("cleaning", "", 0, None, "leaves"),
    ],
)
def test_words_for_what_a_guest_does(state: str, node: str, jobs: int, idle: float | None, word: str) -> None:
    guest = GuestRow("a-1", "a", "host1", state, 90.0, node, jobs, "", "")
    assert word_of(guest, {} if idle is None else {"a-1": idle}, 100.0) == word


def test_plain_lines_come_once_and_the_state_every_five_seconds(minute) -> None:
    out: list[str] = []
    log = PlainLog(out.append)
    line = Line(3.14, DECISION, "groupA: 1 job waits -> creates groupa-1 on host1", "grow", "groupA")
    log.show(3.2, minute.middle, [line])
    log.show(4.9, minute.middle, [])
    log.show(5.1, minute.middle, [])
    log.show(5.3, minute.middle, [])
    log.show(16.0, minute.middle, [])
    assert out[0] == "   3.1s  grow         groupA: 1 job waits -> creates groupa-1 on host1"
    assert len(out) == 3
    assert "6 hosts up; groupA " in out[1]


def test_trouble_is_marked() -> None:
    assert show_line(Line(1.0, TROUBLE, "bad")).endswith("! bad")


def test_the_summary_says_what_was_done(minute) -> None:
    rows = summary(minute.seen, 60.2, 9)
    assert max(map(len, rows)) <= 80
    text = "\n".join(rows)
    for share, served in minute.seen.served.items():
        row = next(row for row in rows if row.strip().startswith(share))
        assert row.split()[1:3] == [str(served.done), str(served.submitted)]
        assert row.split()[3] == f"{served.mean_wait_s:.1f}s"
    assert f"VMs created    {minute.totals['guests created']:>5}" in text
    assert f"VMs destroyed  {minute.totals['guests destroyed']:>5}" in text
    assert f"grow {minute.fired['grow']}" in text


def test_the_summary_of_nothing() -> None:
    assert "did not come to decide" in summary(None, 1.0, 9)[0]
