"""Changed rules on a recorded stream: what would have fired when, beside what did.

The world is the recorded one: the changed rules see what clients reported then, and what they would have
done changes nothing. So the first divergences are exact, later ones are "as if only this firing differed".
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmm import journal
from vmm.api.bulk.run import BulkRun
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
from vmm.rules.gates import FIRING

FLAP_WINDOW_S = 600.0


class Fired(msgspec.Struct, frozen=True):
    """One firing: a rule's instance at a time and place in the journal."""

    rule: str
    at: str
    time_s: float
    position: int
    calls: list[str]
    why: str = ""
    cleared_after_s: float | None = None
    """Since the firing before of the same instance, where its condition was false in between; else None."""


class RuleRow(msgspec.Struct, frozen=True):
    """A rule's totals. `same` firings happened in both at the same position; `flaps` are firings of an
    instance that had fired within the flap window before and had become false since; `limited` were held
    back by `limit` or `cooldown`."""

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


def backtest(
    folder: Path, triggers: str, file: str, since_s: float | None = None, bulk: bool = True
) -> Backtest:
    """Run the journal's stream past the rules in `triggers` (the text of a triggers.ini named `file`).

    `since_s` is a stream time; what is before it only builds up the state (from a snapshot when one is old
    enough). Without `bulk` every event is fed by itself: the same result, and much slower.
    Raises FindingsError for wrong rules, JournalError for an unreadable journal.
    """
    core, first = _begin(folder, since_s)
    trial = Trial(core, triggers, file, since_s)
    if bulk:
        BulkRun(trial).play(folder, first)
    else:
        for entry in entries(folder, first):
            trial.feed(entry)
    if not trial.shadows:
        raise Refused(
            f"the journal {folder} has no events in that time.",
            next_step="look at it with `vmm journal stats`",
        )
    return trial.result


class Trial:
    """The recorded rules at work in `core`, and the changed ones beside them from `since_s` on."""

    def __init__(self, core: Core, triggers: str, file: str, since_s: float | None = None) -> None:
        self.core = core
        self.shadows: list[Engine] = []
        self.result = Backtest()
        self._triggers = triggers
        self._file = file
        self._since_s = float("-inf") if since_s is None else since_s
        self._running: set[tuple[str, str]] = set()
        self._stale = False
        self._rules = core.rules
        self._needed = _needed(core.rules, triggers)
        self._recorded, self._would = _Firings(), _Firings()

    @property
    def engines(self) -> list[Engine]:
        return [self.core.engine, *self.shadows]

    def needed(self) -> frozenset[str]:
        if self.core.rules is not self._rules:
            self._rules, self._needed = self.core.rules, _needed(self.core.rules, self._triggers)
        return self._needed

    def feed(self, entry: Entry) -> list[Output]:
        core, result = self.core, self.result
        if not self.shadows and entry.time_s >= self._since_s and core.rules.properties:
            self.shadows = [
                Engine(book, core.state.world) for book in _books(core, self._triggers, self._file)
            ]
            result.first_s = core.state.now_s
            core.onlooker = self._look
        self._stale = self._stale or isinstance(entry.event, Answered | Ticked)
        outputs = core.feed(_lighter(entry, self.needed()))
        if self.shadows:
            result.events += 1
            result.last_s = core.state.now_s
            for output in outputs:
                self._record(output)
            self._stale = self._stale or any(isinstance(output, Send) for output in outputs)
        return outputs

    def passed(self, count: int, beats: bool) -> None:
        if self.shadows:
            self.result.events += count
            self.result.last_s = self.core.state.now_s
            self._stale = self._stale or beats

    def begins_at(self, times_s: NDArray[np.float64], first: int) -> int:
        if self.shadows:
            return len(times_s)
        later = np.flatnonzero(times_s[first:] >= self._since_s)
        return first + int(later[0]) if len(later) else len(times_s)

    def _look(self) -> None:
        """The changed rules see what the recorded ones are about to see."""
        core, result, shadows = self.core, self.result, self.shadows
        if self._stale:
            self._running, self._stale = _follow_commands(core, shadows, self._running), False
        firings = shadows[0].step()
        for change in shadows[0].transitions():
            self._would.change(firing_key(change.rule, change.subject), change.old)
        for firing in firings:
            result.would.append(self._would.fire(_fired(firing, core)))
        for relaxed in shadows[1:]:
            result.unlimited.update(firing.rule for firing in relaxed.step())
            relaxed.transitions()

    def _record(self, output: Output) -> None:
        if not isinstance(output, Note) or output.kind != "rule":
            return
        if output.level == "debug" and " -> " in output.text:
            self._recorded.change(output.subject, output.text.partition(" -> ")[0])
        elif output.text.startswith("fires: "):
            rule = output.subject.partition(" on ")[0]
            fired = Fired(rule, output.subject, output.time_s, output.position, [output.text[7:]])
            self.result.recorded.append(self._recorded.fire(fired))


class _Firings:
    """Knows of each instance when it fired last, and whether it has become false since."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._cleared: set[str] = set()

    def change(self, at: str, old: str) -> None:
        """The instance has left the state `old`."""
        if old == FIRING:
            self._cleared.add(at)

    def fire(self, fired: Fired) -> Fired:
        since_s = None
        if fired.at in self._cleared:
            self._cleared.discard(fired.at)
            since_s = fired.time_s - self._last.get(fired.at, float("-inf"))
        self._last[fired.at] = fired.time_s
        return msgspec.structs.replace(fired, cleared_after_s=since_s)


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


def _begin(folder: Path, since_s: float | None) -> tuple[Core, int | None]:
    """The core, and from which position on to feed it. A snapshot helps only before the time asked for."""
    found = journal.latest_snapshot(folder)
    if since_s is not None and found is not None:
        core = Core.from_snapshot(found[1])
        if core.state.now_s <= since_s:
            return core, found[0] + 1
    return Core(), None


def _books(core: Core, triggers: str, file: str) -> list[RuleBook]:
    """The changed rules, and, where they have limits, the same without them."""
    files = {**core.rules.files, "triggers.ini": triggers, CATALOGUE: core.rules.files.get(CATALOGUE, "")}
    book = dataclasses.replace(compile_rules(files).book, file=file)
    if not any(rule.limit or rule.cooldown_s for rule in book.rules.values()):
        return [book]
    free = {name: dataclasses.replace(rule, limit=None, cooldown_s=0.0) for name, rule in book.rules.items()}
    return [book, dataclasses.replace(book, rules=free)]


def _fired(firing: Firing, core: Core) -> Fired:
    at = firing_key(firing.rule, firing.subject)
    calls = [str(call) for call in firing.calls]
    return Fired(firing.rule, at, core.state.now_s, core.state.position, calls, firing.why)


def _flaps(firings: list[Fired], window_s: float) -> int:
    """Firings of an instance that had fired within the window before, and had become false since."""
    return sum(f.cleared_after_s is not None and f.cleared_after_s < window_s for f in firings)
