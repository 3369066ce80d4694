"""Changed rules on a recorded stream: what would have fired when, beside what did.

The world is the recorded one: the changed rules see what clients reported then, and what they would have
done changes nothing. So the first divergences are exact, later ones are "as if only this firing differed".
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vmm import journal
from vmm.decide.catalogue import CATALOGUE
from vmm.decide.core import Core
from vmm.decide.events import Answered, Entry, Reported, Ticked
from vmm.decide.facts import STRUCTURAL
from vmm.decide.firing import firing_key
from vmm.decide.outputs import Note, Output, Send
from vmm.decide.rulebook import Rules, compile_rules
from vmm.errors import Refused
from vmm.manager.recovery import entries
from vmm.messages.structs import Report
from vmm.rules import Engine, Firing, RuleBook

FLAP_WINDOW_S = 600.0


class Fired(msgspec.Struct, frozen=True):
    """One firing: a rule's instance at a time and place in the journal."""

    rule: str
    at: str
    time_s: float
    position: int
    calls: list[str]
    why: str = ""


class RuleRow(msgspec.Struct, frozen=True):
    """A rule's totals. `same` firings happened in both at the same position; `flaps` are repeated firings of
    one instance within the flap window; `limited` were held back by `limit` or `cooldown`."""

    rule: str
    recorded: int
    would: int
    same: int
    more: int
    fewer: int
    flaps_recorded: int
    flaps: int
    limited: int


@dataclass(slots=True)
class Backtest:
    """The result; times in stream seconds."""

    events: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    recorded: list[Fired] = field(default_factory=list)
    would: list[Fired] = field(default_factory=list)
    unlimited: Counter[str] = field(default_factory=Counter)

    def rows(self, window_s: float = FLAP_WINDOW_S) -> list[RuleRow]:
        names = sorted({f.rule for f in self.recorded} | {f.rule for f in self.would})
        return [self._row(name, window_s) for name in names]

    def _row(self, rule: str, window_s: float) -> RuleRow:
        old = [f for f in self.recorded if f.rule == rule]
        new = [f for f in self.would if f.rule == rule]
        a, b = Counter((f.at, f.position) for f in old), Counter((f.at, f.position) for f in new)
        same = sum((a & b).values())
        return RuleRow(
            rule,
            len(old),
            len(new),
            same,
            len(new) - same,
            len(old) - same,
            _flaps(old, window_s),
            _flaps(new, window_s),
            max(0, self.unlimited[rule] - len(new)),
        )


def backtest(folder: Path, triggers: str, file: str, since_s: float | None = None) -> Backtest:
    """Run the journal's stream past the rules in `triggers` (the text of a triggers.ini named `file`).

    `since_s` is a stream time; what is before it only builds up the state (from a snapshot when one is old
    enough). Raises FindingsError for wrong rules, JournalError for an unreadable journal.
    """
    core, stream = _begin(folder, since_s)
    result = Backtest()
    shadows: list[Engine] = []

    running: set[tuple[str, str]] = set()
    stale = False

    def look() -> None:
        nonlocal running, stale
        if stale:
            running, stale = _follow_commands(core, shadows, running), False
        result.would += [_fired(firing, core) for firing in shadows[0].step()]
        shadows[0].transitions()
        for relaxed in shadows[1:]:
            result.unlimited.update(firing.rule for firing in relaxed.step())
            relaxed.transitions()

    rules, needed = core.rules, _needed(core.rules, triggers)
    first_s = since_s if since_s is not None else float("-inf")
    for entry in stream:
        if not shadows and entry.time_s >= first_s and core.rules.properties:
            shadows = [Engine(book, core.state.world) for book in _books(core, triggers, file)]
            result.first_s = core.state.now_s
            core.onlooker = look
        stale = stale or isinstance(entry.event, Answered | Ticked)
        if core.rules is not rules:
            rules, needed = core.rules, _needed(core.rules, triggers)
        outputs = core.feed(_lighter(entry, needed))
        if shadows:
            result.events += 1
            result.last_s = core.state.now_s
            result.recorded += _recorded(outputs)
            stale = stale or any(isinstance(output, Send) for output in outputs)
    if not shadows:
        raise Refused(
            f"the journal {folder} has no events in that time.",
            next_step="look at it with `vmm journal stats`",
        )
    return result


def _needed(rules: Rules, triggers: str) -> frozenset[str]:
    """The properties that some rule names, or that make the picture of the cluster."""
    words = set(re.findall(r"\w+", triggers + rules.files.get("triggers.ini", "")))
    return frozenset(
        name for name, spec in rules.properties.items() if name in words or spec.command in STRUCTURAL
    )


def _lighter(entry: Entry, needed: frozenset[str]) -> Entry:
    """The same report without the properties that nothing reads: storing them is most of the work."""
    event = entry.event
    if not isinstance(event, Reported) or needed.issuperset(event.report.values):
        return entry
    values = {name: value for name, value in event.report.values.items() if name in needed}
    report = Report(event.report.session, event.report.seq, values, event.report.errors)
    return Entry(entry.position, entry.time_s, Reported(event.client, report))


def _follow_commands(core: Core, shadows: list[Engine], before: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Tell the changed rules which of the recorded rules' commands are under way: their `mode` waits too."""
    counts = Counter(
        (record.rule, record.subject)
        for record in core.state.commands.values()
        if record.rule and record.state in ("issued", "sent")
    )
    for rule, subject in before | set(counts):
        for engine in shadows:
            engine.set_running(rule, subject or None, counts[rule, subject])
    return set(counts)


def _begin(folder: Path, since_s: float | None) -> tuple[Core, Iterator[Entry]]:
    """A snapshot helps only if it is before the time asked for."""
    found = journal.latest_snapshot(folder)
    if since_s is not None and found is not None:
        core = Core.from_snapshot(found[1])
        if core.state.now_s <= since_s:
            return core, entries(folder, found[0] + 1)
    return Core(), entries(folder)


def _books(core: Core, triggers: str, file: str) -> list[RuleBook]:
    """The changed rules, and, where they have limits, the same without them."""
    files = {**core.rules.files, "triggers.ini": triggers, CATALOGUE: core.rules.files.get(CATALOGUE, "")}
    book = dataclasses.replace(compile_rules(files).book, file=file)
    if not any(rule.limit or rule.cooldown_s for rule in book.rules.values()):
        return [book]
    free = {name: dataclasses.replace(rule, limit=None, cooldown_s=0.0) for name, rule in book.rules.items()}
    return [book, dataclasses.replace(book, rules=free)]


def _recorded(outputs: list[Output]) -> list[Fired]:
    return [
        Fired(
            output.subject.partition(" on ")[0],
            output.subject,
            output.time_s,
            output.position,
            [output.text[7:]],
        )
        for output in outputs
        if isinstance(output, Note) and output.kind == "rule" and output.text.startswith("fires: ")
    ]


def _fired(firing: Firing, core: Core) -> Fired:
    at = firing_key(firing.rule, firing.subject)
    calls = [str(call) for call in firing.calls]
    return Fired(firing.rule, at, core.state.now_s, core.state.position, calls, firing.why)


def _flaps(firings: list[Fired], window_s: float) -> int:
    """Firings of an instance that come within the window after its last one."""
    last: dict[str, float] = {}
    flaps = 0
    for firing in firings:
        if firing.time_s - last.get(firing.at, float("-inf")) < window_s:
            flaps += 1
        last[firing.at] = firing.time_s
    return flaps
