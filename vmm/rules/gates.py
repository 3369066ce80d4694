"""The memory a rule has of one subject, and what stands between a true condition and a firing.

Pure: every function is given the stream time. An `Instance` exists only for a subject with something to
remember; all others are as `Instance()`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmm.durations import show_duration
from vmm.rules.rule import Rule

IDLE, PENDING, FIRING, LATCHED, UNKNOWN = "idle", "pending", "firing", "latched", "unknown"
MAX_QUEUED = 10
QUEUE_GATES = ("paused", "max_running", "arguments")
"""What a queued firing still has to pass when its turn comes, beside the commands before it."""


@dataclass(slots=True)
class Instance:
    """One rule for one subject.

    `truth` is the condition as last known; `unknown` says that it was true and is held, not known now.
    `since_s` is when the hold for `for` began; while unknown, `held_s` keeps how long it had lasted.
    `armed`: it has become true and has not fired for that yet. `wake_s`: a gate opens then by itself.
    """

    truth: bool = False
    unknown: bool = False
    since_s: float | None = None
    held_s: float | None = None
    armed: bool = False
    fired: bool = False
    latched: bool = False
    last_s: float | None = None
    firings: list[float] = field(default_factory=list)
    history: list[bool] = field(default_factory=list)
    running: int = 0
    queued: int = 0
    wake_s: float | None = None

    @property
    def state(self) -> str:
        if self.latched:
            return LATCHED if not self.truth else FIRING
        if self.unknown:
            return UNKNOWN
        if not self.truth:
            return IDLE
        return FIRING if self.fired else PENDING

    @property
    def is_awake(self) -> bool:
        """Whether a clearing condition, or what its commands need, may make a difference now."""
        return self.truth or self.latched or self.queued > 0

    def remembers(self) -> bool:
        """Whether dropping this would lose anything; `unknown` alone is found again by evaluating."""
        return bool(
            self.truth
            or self.latched
            or self.last_s is not None
            or any(self.history)
            or self.running
            or self.queued
            or self.held_s is not None
        )

    def dump(self) -> list[Any]:
        return [
            self.truth, self.unknown, self.since_s, self.held_s, self.armed, self.fired, self.latched,
            self.last_s, list(self.firings), list(self.history), self.running, self.queued, self.wake_s,
        ]  # fmt: skip

    @classmethod
    def load(cls, data: list[Any]) -> Instance:
        instance = cls(*data)
        instance.firings = list(instance.firings)
        instance.history = list(instance.history)
        return instance


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing between condition and firing. `wake_s` is when it opens by itself, if it does."""

    name: str
    open: bool
    waits_for: str = ""
    wake_s: float | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What the gates need from outside the instance."""

    now_s: float
    until: bool | None = None
    arguments: bool | None = True
    paused: str = ""
    running: int = 0
    """Commands of the rule under way, over all subjects."""


def settle(instance: Instance, rule: Rule, raw: bool | None, now_s: float, sample: bool) -> bool | None:
    """Take in one evaluation; returns the condition after `n_of` and `on_unknown`, None while it is held."""
    if raw is None and rule.on_unknown != "hold":
        raw = rule.on_unknown == "fire"
    if rule.n_of is not None:
        if sample and raw is not None:
            instance.history.append(raw)
            del instance.history[: -rule.n_of.m]
        if raw is not None:
            raw = instance.history.count(True) >= rule.n_of.n
    if raw is None:
        if instance.truth and not instance.unknown:
            instance.unknown = True
            if instance.since_s is not None:
                instance.held_s = now_s - instance.since_s
        return None
    if instance.unknown:
        instance.unknown = False
        if instance.held_s is not None:
            instance.since_s = now_s - instance.held_s
            instance.held_s = None
    if not raw:
        instance.truth = instance.armed = instance.fired = False
        instance.since_s = None
    elif not instance.truth:
        instance.truth = instance.armed = True
        instance.since_s = now_s
    return raw


def gates(instance: Instance, rule: Rule, around: Around) -> list[Gate]:
    """Every gate that the rule has, in the order in which they are looked at."""
    now_s = around.now_s
    found: list[Gate] = []
    if around.paused:
        reason = "" if around.paused == "paused" else f" (paused: {around.paused})"
        found.append(Gate("paused", False, f"somebody to resume it{reason}"))
    if rule.for_s:
        found.append(_hold_gate(instance, rule, now_s))
    if rule.until is not None:
        if instance.latched:
            found.append(Gate("until", False, f"its clearing condition: {' '.join(rule.until.text.split())}"))
        else:
            found.append(Gate("until", around.until is not True, "its clearing condition to end"))
    if rule.cooldown_s:
        wake_s = None if instance.last_s is None else instance.last_s + rule.cooldown_s
        found.append(_timed("cooldown", "its cooldown of {}", rule.cooldown_s, wake_s, now_s))
    if rule.limit is not None:
        count, period_s = rule.limit.count, rule.limit.period_s
        recent = instance.firings[-count:]
        wake_s = recent[0] + period_s if len(recent) == count else None
        found.append(_timed("limit", f"its limit of {count} in {{}}", period_s, wake_s, now_s))
    found += _mode_gate(instance, rule)
    if rule.max_running is not None:
        is_open = around.running < rule.max_running
        found.append(Gate("max_running", is_open, f"{around.running} of the rule's commands to end"))
    if around.arguments is not True:
        found.append(Gate("arguments", False, "the commands' arguments to be known"))
    return found


def _mode_gate(instance: Instance, rule: Rule) -> list[Gate]:
    """What `mode` makes of commands under way; `queued` may still take a firing in (see `enters`)."""
    running, queued = instance.running, instance.queued
    match rule.mode:
        case "single":
            return [Gate("mode", not running, f"{running} of its commands to end" if running else "")]
        case "queued":
            texts = [f"{running} of its commands to end"] if running else []
            if queued:
                full = ", no more are kept" if queued == MAX_QUEUED else ""
                texts.append(f"{queued} queued firing{'s' * (queued > 1)} to start{full}")
            return [Gate("mode", not texts, " and ".join(texts))]
        case "restart":
            return [Gate("mode", True, f"nothing; a firing replaces {running} of its commands")]
    return []


def enters(rule: Rule, found: list[Gate]) -> list[Gate]:
    """The gates before a firing: a queued rule's commands under way let it into the queue."""
    return [gate for gate in found if gate.name != "mode"] if rule.mode == "queued" else found


def leaves_queue(instance: Instance, found: list[Gate]) -> bool:
    """Whether the oldest queued firing may start now. It passed the other gates when it queued."""
    if not instance.queued or instance.running:
        return False
    return all(gate.open for gate in found if gate.name in QUEUE_GATES)


def _hold_gate(instance: Instance, rule: Rule, now_s: float) -> Gate:
    if instance.since_s is None or instance.unknown:
        return Gate("for", False, f"the condition to hold for {show_duration(rule.for_s)}")
    wake_s = instance.since_s + rule.for_s
    return _timed("for", "the condition to have held for {}", rule.for_s, wake_s, now_s)


def _timed(name: str, what: str, length_s: float, wake_s: float | None, now_s: float) -> Gate:
    """`what` is waited for; the braces in it stand for its length."""
    if wake_s is None or wake_s <= now_s:
        return Gate(name, True)
    what = what.format(show_duration(length_s))
    return Gate(name, False, f"{what}: {show_duration(wake_s - now_s)} more", wake_s)


def blocked_until(found: list[Gate]) -> tuple[bool, float | None]:
    """(all open, when to look again): a time only when nothing but time is waited for."""
    closed = [gate for gate in found if not gate.open]
    if not closed:
        return True, None
    wakes = [gate.wake_s for gate in closed if gate.wake_s is not None]
    return False, max(wakes) if len(wakes) == len(closed) else None


def note_firing(instance: Instance, rule: Rule, now_s: float) -> None:
    """Remember that it fired now."""
    instance.armed = False
    instance.fired = True
    instance.last_s = now_s
    instance.wake_s = None
    if instance.since_s is not None:
        instance.since_s = now_s
    if rule.limit is not None:
        instance.firings.append(now_s)
        del instance.firings[: -rule.limit.count]
    if rule.until is not None:
        instance.latched = True
