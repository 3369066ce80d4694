"""The decision log as sentences: what was decided, and the facts that it was decided from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from vmm.cluster.model import Guest
from vmm.cluster.tables import Table
from vmm.decide.core import Core
from vmm.decide.outputs import Note, Output
from vmm.durations import show_duration

DECISION, EVENT, TROUBLE = "decision", "event", "trouble"
_CALLS = "fires: "
_QUERY = re.compile(r"send_get_property\((.*)\)")


class Line(NamedTuple):
    """One line for people. `rule` and `share` are empty where none is concerned."""

    time_s: float
    kind: str
    text: str
    rule: str = ""
    share: str = ""


class _Known(NamedTuple):
    """A guest as it was before the step: afterwards it may be gone, or no longer idle."""

    share: str
    host: str
    idle_since_s: float | None


class Teller:
    """Call `look` before each step of the core and `tell` after it.

    `why` says of each guest what it was made for, or why it goes.
    """

    def __init__(self) -> None:
        self.why: dict[str, str] = {}
        self._known: dict[str, _Known] = {}
        self._born: dict[str, float] = {}

    def look(self, core: Core) -> None:
        """Remember what the step may change."""
        idle = idle_since(core)
        self._known = {
            guest.name: _Known(guest.spec.share, guest.host, idle.get(guest.name))
            for guest in core.state.guests.values()
        }

    def tell(self, core: Core, outputs: Iterable[Output]) -> list[Line]:
        """The step's decisions and happenings, in order."""
        notes = [output for output in outputs if isinstance(output, Note)]
        return [line for chunk in _chunks(notes) for line in self._chunk(core, chunk)]

    def _chunk(self, core: Core, notes: list[Note]) -> Iterator[Line]:
        """A firing with what came of it, or one note that no rule caused."""
        first, rest = notes[0], notes[1:]
        if not _is_firing(first):
            line = self._happening(core, first)
            if line is not None:
                yield line
            return
        rule, _, subject = first.subject.partition(" on ")
        told = False
        for note in rest:
            if note.kind == "guest" and note.text.startswith(("creating on", "draining: ")):
                yield self._decision(core, rule, note)
                told = True
            elif note.level in ("warning", "error"):
                yield Line(note.time_s, TROUBLE, f"{note.subject}: {note.text}", rule)
                told = True
            elif note.kind == "notice":
                yield Line(note.time_s, EVENT, note.text, rule)
                told = True
        if not told:
            yield _other(first, rule, subject)

    def _decision(self, core: Core, rule: str, note: Note) -> Line:
        guest = core.state.guests[note.subject]
        share, now_s = guest.spec.share, note.time_s
        if note.text.startswith("creating on"):
            self._born[guest.name] = now_s
            jobs = _fact(core, share, "jobs_waiting") or 0
            self.why[guest.name] = f"made for {jobs} waiting job{'' if jobs == 1 else 's'}"
            text = f"{share}: {_waiting(core, share)} -> creates {guest.name} on {guest.host}"
            return Line(now_s, DECISION, text, rule, share)
        known = self._known.get(guest.name)
        idle = ""
        if known is not None and known.idle_since_s is not None:
            idle = show_duration(round(now_s - known.idle_since_s))
        if guest.for_share:
            state = f"idle {idle or '0s'}" if "(idle)" in note.text else "its job ends first"
            self.why[guest.name] = f"makes room for {guest.for_share}"
            room = _fact(core, guest.for_share, "room")
            cause = _waiting(core, guest.for_share) + ("" if room else ", no room")
            text = f"{guest.for_share}: {cause} -> retires {guest.name} on {guest.host} ({state})"
            return Line(now_s, DECISION, text, rule, guest.for_share)
        cause = f"{guest.name} is idle for {idle}" if idle else f"{guest.name} is no longer wanted"
        self.why[guest.name] = f"idle for {idle}" if idle else "retired"
        if not _fact(core, share, "jobs_waiting"):
            cause += ", no job waits"
        return Line(now_s, DECISION, f"{share}: {cause} -> retires it on {guest.host}", rule, share)

    def _happening(self, core: Core, note: Note) -> Line | None:
        """What is worth a line of what no rule fired for."""
        known = self._known.get(note.subject)
        if note.kind == "guest" and note.level == "info":
            guest = core.state.guests.get(note.subject)
            return self._guest(note, guest, known)
        if note.kind == "client" and (note.subject in core.state.guests or known is not None):
            return None  # a guest's client comes and goes with its guest
        if note.kind == "client" and note.text.startswith("joined as"):
            return Line(note.time_s, EVENT, f"{note.subject} joined as {note.text.rpartition(' ')[2]} client")
        if note.kind == "manager" and note.subject == "rules" and note.level == "info":
            names = re.findall(r"^\s*(?:.*: )?\+ (\S+)$", note.text, re.MULTILINE)
            return Line(note.time_s, EVENT, f"rules in force: {', '.join(names)}") if names else None
        if note.level in ("warning", "error"):
            kind = "" if note.kind == "command" else f"{note.subject}: "
            return Line(note.time_s, TROUBLE, f"{kind}{note.text}", share=known.share if known else "")
        if note.kind == "manager" and note.subject == "manager":
            return Line(note.time_s, EVENT, f"Manager {note.text}")
        return Line(note.time_s, EVENT, note.text) if note.kind in ("notice", "host", "share") else None

    def _guest(self, note: Note, guest: Guest | None, known: _Known | None) -> Line | None:
        share = guest.spec.share if guest else known.share if known else ""
        if note.text.startswith("ready: "):
            born_s = self._born.get(note.subject)
            after = (
                f", {show_duration(note.time_s - born_s)} after its creation" if born_s is not None else ""
            )
            return Line(note.time_s, EVENT, f"{note.subject} serves {share}{after}", share=share)
        if note.text.startswith("gone: "):
            self._born.pop(note.subject, None)
            self.why.pop(note.subject, None)
            where = f" from {known.host}" if known else ""
            return Line(note.time_s, EVENT, f"{note.subject} is gone{where}", share=share)
        return None


def since(lines: list[Line], began_s: float, now_s: float) -> list[Line]:
    """The lines with times counted from `began_s`. What came before the Manager's first beat has no time yet
    and gets that of the line after it, or `now_s` (counted likewise)."""
    out: list[Line] = []
    for line in reversed(lines):
        now_s = line.time_s - began_s if line.time_s >= began_s else now_s
        out.append(line._replace(time_s=now_s))
    return out[::-1]


def idle_since(core: Core) -> dict[str, float]:
    """Guest -> stream time since which it is idle; only those that are."""
    guests: Table = core.state.world.guests
    readings = ((name, guests.get(name, "idle")) for name in guests)
    return {name: reading.time_s for name, reading in readings if reading is not None and reading.value}


def _chunks(notes: list[Note]) -> Iterator[list[Note]]:
    """Each firing with the notes up to the next one; other notes one by one.

    Within a step, rules run last: what follows the first firing came of a firing.
    """
    chunk: list[Note] = []
    for note in notes:
        if note.level == "debug":
            continue
        if _is_firing(note) or not chunk:
            if chunk:
                yield chunk
            chunk = [note]
            if not _is_firing(note):
                yield chunk
                chunk = []
        else:
            chunk.append(note)
    if chunk:
        yield chunk


def _is_firing(note: Note) -> bool:
    return note.kind == "rule" and note.text.startswith(_CALLS)


def _other(note: Note, rule: str, subject: str) -> Line:
    """A firing that made or retired no guest."""
    calls = ("would do " if note.shadow else "") + note.text.removeprefix(_CALLS)
    asked = _QUERY.fullmatch(calls)
    if asked is not None:
        what = asked[1].replace("'", "") or "all their properties"
        return Line(note.time_s, DECISION, f"asks the clients for {what}", rule)
    why = note.trail[-1].reason.partition(": ")[2] if note.trail else ""
    at = f"{subject}: " if subject else ""
    return Line(note.time_s, DECISION, f"{at}{why or 'its condition holds'} -> {calls}", rule)


def _waiting(core: Core, share: str) -> str:
    jobs = _fact(core, share, "jobs_waiting") or 0
    return "1 job waits" if jobs == 1 else f"{jobs} jobs wait"


def _fact(core: Core, share: str, name: str) -> Any:
    reading = core.state.world.shares.get(share, name)
    return None if reading is None else reading.value
