"""The live view: hosts, queues, guests and decisions as one screen, for any terminal from 80 columns up."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vmm.demo.follow import NOTHING_SERVED, Seen
from vmm.demo.story import DECISION, TROUBLE, Line
from vmm.durations import show_duration
from vmm.manager.picture import GuestRow, HostRow, ShareRow

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
_STATES = {"creating": "made", "booting": "boots", "draining": "drains"}
_STYLES = {"idle": "dim", "busy": "bold", "boots": "italic", "made": "italic", "drains": "strike"}
_BAR = 10
_RULE_WIDTH = 13
_INDENT = 8 + _RULE_WIDTH
_GUEST_TABLE_ROWS = 38
"""Terminals with so many rows also get the table of guests."""


class Frame(NamedTuple):
    """All that one screen shows. `lines` is the log so far, oldest first."""

    seen: Seen | None
    lines: list[Line]
    elapsed_s: float
    seconds: float
    programs: int


def render(frame: Frame, width: int, height: int) -> RenderableType:
    """One screen of `width` columns and `height` rows."""
    seen = frame.seen
    if seen is None:
        return Group(_title(frame, width), "", Text(f"starting {frame.programs} programs ...", style="dim"))
    blocks: list[RenderableType] = [_title(frame, width), _queues(seen, width), "", _hosts(seen, width)]
    used = 1 + (len(seen.picture.shares) + 1) + 1 + (len(seen.picture.hosts) + 1) + 2
    if height >= _GUEST_TABLE_ROWS:
        rows = min(len(seen.picture.guests), 10)
        blocks += ["", _guests(seen, width, rows)]
        used += 12
        blocks += [""] * (10 - rows)
    blocks += ["", Text(f"  time  {'rule':<{_RULE_WIDTH}}what was decided, and why", style="dim")]
    return Group(*blocks, *_log(frame.lines, seen, width, max(height - used, 3)))


def word_of(guest: GuestRow, idle_since: dict[str, float], now_s: float) -> str:
    """What a guest does, in a word and perhaps a duration: `boots`, `busy`, `idle 5s`, `drains`, `leaves`."""
    if guest.name in idle_since:
        return f"idle {show_duration(round(now_s - idle_since[guest.name]))}"
    if guest.state == "ready":
        return "busy" if guest.jobs else "idle"
    return _STATES.get(guest.state, "leaves")


def _title(frame: Frame, width: int) -> Text:
    left = f" vmm demo   {_clock(frame.elapsed_s)} of {_clock(frame.seconds)}"
    right = "Ctrl-C ends it"
    if frame.seen is not None:
        totals = frame.seen.picture.totals
        created, gone = totals.get("guests created", 0), totals.get("guests destroyed", 0)
        left += f"   guests {len(frame.seen.picture.guests)} (created {created}, destroyed {gone})"
    gap = max(width - len(left) - len(right) - 1, 1)
    return Text(f"{left}{' ' * gap}{right} "[:width], style="reverse")


def _queues(seen: Seen, width: int) -> Table:
    table = _table("share", "waiting", "running", "done", "mean wait", "guests", "jobs waiting #, running =")
    for column in range(1, 6):
        table.columns[column].justify = "right"
    for share in seen.picture.shares:
        done = seen.served.get(share.queue, NOTHING_SERVED)
        style = _colour(seen, share.name)
        table.add_row(
            Text(share.name, style=style),
            str(share.jobs_waiting),
            str(share.jobs_running),
            str(done.done),
            done.show_wait(),
            str(share.guests),
            Text(_jobs(share, max(width - 54, 10)), style=style),
        )
    return table


def _jobs(share: ShareRow, width: int) -> str:
    """A mark a job, waiting ones first; cut to the width."""
    marks = "#" * share.jobs_waiting + "=" * share.jobs_running
    return marks if len(marks) <= width else f"{marks[: width - 1]}+"


def _hosts(seen: Seen, width: int) -> Table:
    table = _table("host", "memory", "", "guests")
    for host in sorted(seen.picture.hosts, key=lambda row: _natural(row.name)):
        up = Text(host.name, style="" if host.state == "up" else "red")
        table.add_row(up, _gauge(host), _memory(host), _on(host, seen))
    table.columns[3].max_width = max(width - 40, 20)
    return table


def _on(host: HostRow, seen: Seen) -> Text:
    """The guests of a host in a row, in their shares' colours."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for guest in (g for g in seen.picture.guests if g.host == host.name):
        word = word_of(guest, seen.idle_since, seen.picture.now_s)
        shown = f"{guest.name} {word} ".ljust(20)
        text.append(shown, style=f"{_colour(seen, guest.share)} {_STYLES.get(word.split()[0], 'dim')}")
    return text if text else Text("-", style="dim")


def _guests(seen: Seen, width: int, rows: int) -> Table:
    table = _table("guest", "share", "host", "does", "for", "address", "why")
    table.columns[4].justify = "right"
    table.columns[6].no_wrap = True
    table.columns[6].overflow = "ellipsis"
    table.columns[6].max_width = max(width - 62, 10)
    for guest in seen.picture.guests[:rows]:
        word = word_of(guest, seen.idle_since, seen.picture.now_s)
        table.add_row(
            Text(guest.name, style=_colour(seen, guest.share)),
            guest.share,
            guest.host,
            word.split()[0],
            show_duration(round(seen.picture.now_s - seen.idle_since.get(guest.name, guest.since_s))),
            guest.address.partition("/")[0],
            seen.why.get(guest.name, guest.why),
        )
    return table


def _log(lines: list[Line], seen: Seen, width: int, rows: int) -> list[Text]:
    """The last lines that fit, newest at the bottom; a long one is folded under its text."""
    shown: list[Text] = []
    for line in reversed(lines):
        pieces = textwrap.wrap(line.text, max(width - _INDENT - 1, 30)) or [""]
        heads = [f" {_clock(line.time_s):>5}  {line.rule:<{_RULE_WIDTH}}"]
        heads += [" " * _INDENT] * (len(pieces) - 1)
        shown[:0] = [_said(head, piece, line, seen) for head, piece in zip(heads, pieces, strict=True)]
        if len(shown) >= rows:
            break
    return shown[-rows:]


def _said(head: str, piece: str, line: Line, seen: Seen) -> Text:
    text = Text(piece, style={DECISION: "", TROUBLE: "red"}.get(line.kind, "dim"))
    for share in seen.picture.shares:
        text.highlight_words([share.name], style=_colour(seen, share.name))
    return Text.assemble((head, "dim"), text, no_wrap=True)


def _memory(host: HostRow) -> str:
    used = (host.memory_mib - host.memory_free_mib) / 1024
    return f"{used:.1f} of {host.memory_mib / 1024:.1f} GiB"


def _gauge(host: HostRow) -> Text:
    full = round(_BAR * (1 - host.memory_free_mib / host.memory_mib)) if host.memory_mib else 0
    return Text("#" * full).append("." * (_BAR - full), style="dim")


def _colour(seen: Seen, share: str) -> str:
    names = [row.name for row in seen.picture.shares]
    return _COLOURS[names.index(share) % len(_COLOURS)] if share in names else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="dim", collapse_padding=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _natural(name: str) -> list[tuple[int, str]]:
    """host2 before host10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
