"""Unit tests of rules: what is given over time, and what must fire or hold when.

    [a share grows]
    given =
        0s              share a jobs_waiting = 2, room = 1, can_grow = yes
        0s..5m every 10s  host h1 load = 0.9
        60s             share a jobs_waiting = unknown
        90s             remove share a
        20s             running grow on a = 1
    expect =
        5s   grow on a fires create_guest('a')
        30s  grow on a is firing
        40s  nothing fires

Every firing of the rules named in `rules` (default: all) must be expected, at its second.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vmm.cluster.tables import World
from vmm.durations import parse_duration_s, show_duration
from vmm.errors import VmmError
from vmm.ini import Finding, Section, parse_ini, suggest
from vmm.rules.engine import Engine
from vmm.rules.explain import Explanation
from vmm.rules.results import Firing
from vmm.rules.rule import RuleBook
from vmm.rules.schema import KINDS, ColumnSpec

KEYS = ("given", "expect", "rules", "description", "until")
STATES = ("idle", "pending", "firing", "latched", "unknown")
MAX_STEPS = 1_000_000
"""Moments of one test: beyond so many it fails, or is refused where a line alone asks for more."""

_LINE = re.compile(r"(\S+?)(?:\s*\.\.\s*(\S+)\s+every\s+(\S+))?\s+(.*)")
_ITEM = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'])*'|\"(?:[^\"])*\"|\[.*\]|\{.*\}|[^,]*)(?:,|$)")
_EXPECT = re.compile(r"(\S+)(?:\s+on\s+(\S+))?\s+(fires|is)(?:\s+(.*))?")
_RUNNING = re.compile(r"running\s+(\S+)(?:\s+on\s+(\S+))?\s*=\s*(\d+)")

Change = Callable[[World, Engine, float], None]


@dataclass(frozen=True, slots=True)
class Expected:
    """`call` is empty when any call will do; `state` is empty for a firing."""

    time_s: float
    line: int
    rule: str
    subject: str | None
    call: str = ""
    state: str = ""


@dataclass(slots=True)
class Trial:
    """One test: changes in order of time, and what is expected."""

    name: str
    file: str
    line: int
    rules: tuple[str, ...] = ()
    until_s: float = 0.0
    given: list[tuple[float, int, Change]] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """What was not as expected, and the rule's explanation at that moment."""

    file: str
    line: int
    message: str
    explanation: Explanation | None = None

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: {self.message}"
        if self.explanation is None:
            return text
        return text + "\n" + "\n".join(f"    {line}" for line in str(self.explanation).splitlines())


def read_trials(text: str, file: str, book: RuleBook) -> tuple[list[Trial], list[Finding]]:
    """The tests of a file and what is wrong with it. Never raises on bad text."""
    sections, findings = parse_ini(text, file)
    if not sections:
        findings.append(
            Finding(file, 1, "there is no test in this file.", "Write [what it shows], given, expect.")
        )
    return [_Reader(section, book, findings).read() for section in sections], findings


def run_trial(trial: Trial, book: RuleBook) -> list[Failure]:
    """Run one test on a fresh world that starts at time 0; an empty list means that it passed."""
    world = World(0.0)
    engine = Engine(book, world)
    failures: list[Failure] = []
    todo = sorted(trial.given, key=lambda item: item[0])
    expected: dict[float, list[Expected]] = {}
    for item in trial.expected:
        expected.setdefault(item.time_s, []).append(item)
    moments = sorted({*expected, *(t for t, _, _ in todo), 0.0, trial.until_s})
    end_s = max(moments)
    steps = done = 0
    now_s: float | None = 0.0
    while now_s is not None and now_s <= end_s:
        if steps == MAX_STEPS:
            failures.append(Failure(trial.file, trial.line, _unfinished(now_s, end_s)))
            break
        steps += 1
        world.advance(now_s)
        while done < len(todo) and todo[done][0] <= now_s:
            _, line, change = todo[done]
            done += 1
            try:
                change(world, engine, now_s)
            except VmmError as exc:
                failures.append(Failure(trial.file, line, str(exc)))
        fired = [f for f in engine.step() if not trial.rules or f.rule in trial.rules]
        failures += _compare(trial, engine, now_s, expected.get(now_s, []), fired)
        now_s = _next(world, engine, moments, now_s)
    engine.close()
    return failures


def _unfinished(now_s: float, end_s: float) -> str:
    return (
        f"not run to its end: {MAX_STEPS} evaluations took it to {show_duration(now_s)} of "
        f"{show_duration(end_s)}. Test a shorter time, or a rule with longer ticks"
    )


def _next(world: World, engine: Engine, moments: list[float], now_s: float) -> float | None:
    at = bisect_right(moments, now_s)
    later = moments[at : at + 1]
    due_s, expiry_s = engine.next_due_s(), world.next_expiry_s()
    if due_s is not None and due_s > now_s:
        later.append(due_s)
    if expiry_s is not None:
        later.append(max(expiry_s, now_s) + 0.001)  # a reading expires just after its age
    return min(later, default=None)


def _compare(
    trial: Trial, engine: Engine, now_s: float, wanted: list[Expected], fired: list[Firing]
) -> Iterator[Failure]:
    left = list(fired)
    for expected in wanted:
        if expected.state:
            yield from _compare_state(trial, engine, expected)
            continue
        match = next((f for f in left if _matches(expected, f)), None)
        if match is not None:
            left.remove(match)
            continue
        on = f" on {expected.subject}" if expected.subject else ""
        text = f"at {show_duration(now_s)} {expected.rule}{on} did not fire"
        same = [f for f in left if f.rule == expected.rule and f.subject == expected.subject]
        if same and expected.call:
            text += f" {expected.call}, but {'; '.join(map(str, same[0].calls))}"
            left.remove(same[0])
        yield Failure(trial.file, expected.line, text, _explained(engine, expected.rule, expected.subject))
    for firing in left:
        on = f" on {firing.subject}" if firing.subject else ""
        calls = "; ".join(map(str, firing.calls))
        text = f"at {show_duration(now_s)} {firing.rule}{on} fired {calls}, which is not expected"
        yield Failure(trial.file, trial.line, text, _explained(engine, firing.rule, firing.subject))


def _compare_state(trial: Trial, engine: Engine, expected: Expected) -> Iterator[Failure]:
    explanation = _explained(engine, expected.rule, expected.subject)
    state = "gone" if explanation is None else explanation.state
    if state != expected.state:
        on = f" on {expected.subject}" if expected.subject else ""
        when = show_duration(expected.time_s)
        text = f"at {when} {expected.rule}{on} is {state}, not {expected.state}"
        yield Failure(trial.file, expected.line, text, explanation)


def _matches(expected: Expected, firing: Firing) -> bool:
    if (firing.rule, firing.subject) != (expected.rule, expected.subject):
        return False
    return not expected.call or expected.call in [str(call) for call in firing.calls]


def _explained(engine: Engine, rule: str, subject: str | None) -> Explanation | None:
    try:
        return engine.explain(rule, subject)
    except VmmError:
        return None


class _Reader:
    """Reads one section of a test file."""

    def __init__(self, section: Section, book: RuleBook, findings: list[Finding]) -> None:
        self.section = section
        self.book = book
        self.findings = findings
        self.trial = Trial(section.name, section.file, section.line)

    def read(self) -> Trial:
        for key, item in self.section.items.items():
            if key not in KEYS:
                self.say(item.line, f"a test has no key {key!r}.", suggest(key, KEYS))
                continue
            if key == "rules":
                self.trial.rules = tuple(item.value.replace(",", " ").split())
                for name in self.trial.rules:
                    self.rule(name, item.line)
            elif key == "until":
                self.trial.until_s = self.duration(item.value, item.line)
            elif key in ("given", "expect"):
                for number, line in enumerate(item.value.split("\n")):
                    if line.strip():
                        self.line(key, line.strip(), item.line_of(number))
        if not self.section.items.keys() & {"given", "expect", "until"}:
            self.say(self.section.line, "nothing is given, nothing is expected.", "Write given and expect.")
        return self.trial

    def say(self, line: int, message: str, suggestion: str = "") -> None:
        text = f"[{self.section.name}] {message}"
        self.findings.append(Finding(self.section.file, line, text, suggestion))

    def duration(self, text: str, line: int) -> float:
        try:
            return parse_duration_s(text)
        except ValueError as exc:
            self.say(line, f"{exc}.")
            return 0.0

    def rule(self, name: str, line: int) -> bool:
        if name in self.book.rules:
            return True
        self.say(line, f"there is no rule {name!r}.", suggest(name, self.book.rules))
        return False

    def line(self, key: str, text: str, line: int) -> None:
        match = _LINE.fullmatch(text)
        if match is None:
            self.say(line, f"{text!r} does not start with a time.", "Write 30s ...")
            return
        times = self.times(match, line)
        if key == "given":
            change = self.change(match[4], line)
            if change is not None:
                self.trial.given += [(time_s, line, change) for time_s in times]
        else:
            for time_s in times:
                self.expectation(match[4], line, time_s)

    def times(self, match: re.Match[str], line: int) -> list[float]:
        """The moments of a line, `A` or `A..B every C`."""
        start_s = self.duration(match[1], line)
        if not match[2]:
            return [start_s]
        end_s, step_s = self.duration(match[2], line), self.duration(match[3], line)
        if step_s <= 0 or end_s < start_s:
            self.say(line, f"{match[1]}..{match[2]} every {match[3]} is no time.", "Write 0s..1h every 30s.")
            return []
        count = int((end_s - start_s) // step_s) + 1
        if count > MAX_STEPS:
            text = f"{match[1]}..{match[2]} every {match[3]} is {count} times, more than {MAX_STEPS}."
            self.say(line, text, "Write a shorter time or a longer step.")
            return []
        return [start_s + n * step_s for n in range(count)]

    def expectation(self, text: str, line: int, time_s: float) -> None:
        if text == "nothing fires":
            self.trial.until_s = max(self.trial.until_s, time_s)
            return
        match = _EXPECT.fullmatch(text)
        if match is None:
            hint = "Write `RULE [on SUBJECT] fires CALL` or `RULE [on SUBJECT] is STATE`."
            self.say(line, f"{text!r} is not an expectation.", hint)
            return
        rule, subject, verb, what = match[1], match[2], match[3], match[4] or ""
        if not self.rule(rule, line):
            return
        each = self.book.rules[rule].each
        if (each is None) != (subject is None):
            self.say(line, f"{rule!r} {'needs' if each else 'has no'} `on SUBJECT`.")
            return
        if verb == "is" and what not in STATES:
            self.say(line, f"{what!r} is not a state.", suggest(what, STATES))
            return
        call, state = (what, "") if verb == "fires" else ("", what)
        call = call.removeprefix("sender.")
        self.trial.expected.append(Expected(time_s, line, rule, subject, call, state))

    def change(self, text: str, line: int) -> Change | None:
        running = _RUNNING.fullmatch(text)
        if running is not None:
            rule, subject, count = running[1], running[2], int(running[3])
            return (lambda _w, e, _t: e.set_running(rule, subject, count)) if self.rule(rule, line) else None
        words = text.split(None, 2)
        verb = words[0] if words else ""
        if verb in ("add", "remove") and len(words) == 3 and words[1] in KINDS:
            kind, name = words[1], words[2]
            if verb == "add":
                return lambda w, _e, _t: w.table(kind).add(name)
            return lambda w, _e, _t: w.table(kind).remove(name)
        if verb not in KINDS or len(words) != 3:
            self.say(line, f"{text!r} is not a change.", f"Write `{'|'.join(KINDS)} NAME column = value`.")
            return None
        values = self.values(verb, words[2], line)
        kind, name = verb, words[1]

        def apply(world: World, _engine: Engine, time_s: float) -> None:
            table = world.table(kind)
            table.add(name)
            for column, value in values.items():
                spec = self.book.schema.kinds[kind][column]
                table.declare(column, type=spec.type, unit=spec.unit, max_age_s=spec.max_age_s)
                table.set(name, column, value, time_s)

        return apply

    def values(self, kind: str, text: str, line: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        columns = self.book.schema.kinds[kind]
        at = 0
        while at < len(text):
            match = _ITEM.match(text, at)
            if match is None or match.end() == at:
                self.say(line, f"{text[at:]!r} is not `column = value`.")
                break
            at = match.end()
            column = match[1]
            if column not in columns:
                self.say(line, f"a {kind} has no column {column!r}.", suggest(column, columns))
                continue
            try:
                out[column] = _value(match[2].strip(), columns[column])
            except ValueError as exc:
                self.say(line, f"{column}: {exc}.")
        return out


def _value(text: str, spec: ColumnSpec) -> Any:
    """A value as written in a test: `unknown`, yes/no, a number, a text with or without quotes, a list."""
    if text == "unknown":
        return None
    if spec.type == "bool" and text in ("yes", "no", "true", "false"):
        return text in ("yes", "true")
    if spec.type == "str" and text[:1] not in ("'", '"'):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} is not {spec.type}") from None
    wanted: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "table": (list,),
        "dict": (dict,),
    }  # fmt: skip
    if not isinstance(value, wanted[spec.type]) or isinstance(value, bool) is not (spec.type == "bool"):
        raise ValueError(f"{text!r} is not {spec.type}")
    return value
