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
from vmm.decide.events import Entry, Reported
from vmm.decide.facts import STRUCTURAL
from vmm.decide.firing import firing_key
from vmm.decide.outputs import Note, Output
from vmm.decide.rulebook import Rules, compile_rules
from vmm.errors import Refused, VmmError
from vmm.ini import FindingsError
from vmm.manager.recovery import entries
from vmm.messages.structs import Report
from vmm.rules import Engine, Firing
from vmm.rules.gates import IDLE, LATCHED

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
    try:
        trial = Trial(core, triggers, file, since_s)
        if bulk:
            BulkRun(trial).play(folder, first)
        else:
            for entry in entries(folder, first):
                trial.feed(entry)
    except FindingsError as exc:
        # The changed rules take the place of triggers.ini among the recorded files.
        found = [dataclasses.replace(f, file=file) if f.file == "triggers.ini" else f for f in exc.findings]
        raise FindingsError(found) from None
    if not trial.shadows:
        raise Refused(
            f"the journal {folder} has no events in that time.",
            next_step="look at it with `vmm journal stats`",
        )
    return trial.result


class Trial:
    """The recorded rules at work in `core`, and the changed ones beside them from `since_s` on.

    A changed file's rules that are as the recorded ones begin with what those remember, and what people
    paused is paused: so unchanged rules do what was done.
    """

    def __init__(self, core: Core, triggers: str, file: str, since_s: float | None = None) -> None:
        self.core = core
        self.shadows: list[Engine] = []
        self.result = Backtest()
        self._triggers = triggers
        self._file = file
        self._since_s = float("-inf") if since_s is None else since_s
        self._running: set[tuple[str, str]] = set()
        self._moved = -1
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
            self.shadows = _shadows(core, self._triggers, self._file)
            self._follow_commands()
            result.first_s = core.state.now_s
            core.onlooker = self._look
        outputs = core.feed(_lighter(entry, self.needed()))
        if self.shadows:
            result.events += 1
            result.last_s = core.state.now_s
            for output in outputs:
                self._record(output)
            self._follow_commands()
        return outputs

    def passed(self, count: int) -> None:
        if self.shadows:
            self.result.events += count
            self.result.last_s = self.core.state.now_s

    def begins_at(self, times_s: NDArray[np.float64], first: int) -> int:
        if self.shadows:
            return len(times_s)
        later = np.flatnonzero(times_s[first:] >= self._since_s)
        return first + int(later[0]) if len(later) else len(times_s)

    def _look(self) -> None:
        """The changed rules see what the recorded ones are about to see."""
        core, result, shadows = self.core, self.result, self.shadows
        self._follow_commands()
        _follow_pauses(core.engine.paused, shadows)
        firings = shadows[0].step()
        for change in shadows[0].transitions():
            self._would.change(firing_key(change.rule, change.subject), change.new)
        for firing in firings:
            result.would.append(self._would.fire(_fired(firing, core)))
        for relaxed in shadows[1:]:
            result.unlimited.update(firing.rule for firing in relaxed.step())
            relaxed.transitions()

    def _follow_commands(self) -> None:
        """The changed rules' `mode` waits for the commands of the recorded ones."""
        state = self.core.state
        if state.moved == self._moved:
            return
        self._moved = state.moved
        counts = Counter(
            (record.rule, record.subject)
            for record in state.commands.values()
            if record.rule and record.state in ("issued", "sent")
        )
        for rule, subject in sorted(self._running | set(counts)):
            for engine in self.shadows:
                engine.set_running(rule, subject or None, counts[rule, subject])
        self._running = set(counts)

    def _record(self, output: Output) -> None:
        if not isinstance(output, Note) or output.kind != "rule":
            return
        if output.level == "debug" and " -> " in output.text:
            self._recorded.change(output.subject, output.text.partition(" -> ")[2])
        elif output.text.startswith("fires: "):
            rule = output.subject.partition(" on ")[0]
            fired = Fired(rule, output.subject, output.time_s, output.position, [output.text[7:]])
            self.result.recorded.append(self._recorded.fire(fired))


class _Firings:
    """Knows of each instance when it fired last, and whether it has become false since."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._cleared: set[str] = set()

    def change(self, at: str, new: str) -> None:
        """The instance is in the state `new`, or its subject has gone. Not known is not false."""
        if new in (IDLE, LATCHED, "gone"):
            self._cleared.add(at)

    def fire(self, fired: Fired) -> Fired:
        since_s = None
        if fired.at in self._cleared and fired.at in self._last:
            since_s = fired.time_s - self._last[fired.at]
        self._cleared.discard(fired.at)
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


def _follow_pauses(paused: dict[str, str], shadows: list[Engine]) -> None:
    for engine in shadows:
        before = engine.paused
        if before == paused:
            continue
        for rule in before.keys() - paused.keys():
            engine.resume(rule or None)
        for rule, reason in paused.items():
            if not rule or rule in engine.book.rules:
                engine.pause(rule or None, reason)


def _begin(folder: Path, since_s: float | None) -> tuple[Core, int | None]:
    """The core, and from which position on to feed it.

    A snapshot helps before the time asked for, and where the journal's beginning is not kept any more.
    """
    oldest: Core | None = None
    for payload in journal.kept_snapshots(folder):
        try:
            core = Core.from_snapshot(payload)
        except (msgspec.DecodeError, VmmError):
            continue  # of another version
        oldest = core
        if since_s is not None and core.state.now_s <= since_s:
            return core, core.state.position + 1
    first = next(entries(folder), None)
    if oldest is not None and first is not None and first.position > 1:
        return oldest, oldest.state.position + 1
    return Core(), None


def _shadows(core: Core, triggers: str, file: str) -> list[Engine]:
    """The changed rules at work, and those of them that have limits once more without."""
    files = {**core.rules.files, "triggers.ini": triggers, CATALOGUE: core.rules.files.get(CATALOGUE, "")}
    book = dataclasses.replace(compile_rules(files).book, file=file)
    memory = core.engine.dump_state()
    strict = Engine(book, core.state.world, memory)
    free = {
        name: dataclasses.replace(rule, limit=None, cooldown_s=0.0)
        for name, rule in book.rules.items()
        if rule.limit or rule.cooldown_s
    }
    if not free:
        return [strict]
    relaxed = Engine(dataclasses.replace(book, rules=free), core.state.world, memory)
    return [strict, relaxed]


def _fired(firing: Firing, core: Core) -> Fired:
    at = firing_key(firing.rule, firing.subject)
    calls = [str(call) for call in firing.calls]
    return Fired(firing.rule, at, core.state.now_s, core.state.position, calls, firing.why)


def _flaps(firings: list[Fired], window_s: float) -> int:
    """Firings of an instance that had fired within the window before, and had become false since."""
    return sum(f.cleared_after_s is not None and f.cleared_after_s < window_s for f in firings)
