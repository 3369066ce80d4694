"""Puts a runner's memory into words: state, gates, and the earliest moment at which it can fire."""

from __future__ import annotations

from typing import Any

from vmm.cluster.tables import World
from vmm.durations import show_duration
from vmm.ini import suggest
from vmm.rules.errors import RuleError
from vmm.rules.explain import Explainer, Explanation
from vmm.rules.gates import IDLE, QUEUE_GATES, UNKNOWN, Gate, Instance, blocked_until, gates
from vmm.rules.interpret import Interpreter
from vmm.rules.runner import Runner


def explain_runner(runner: Runner, subject: str | None, world: World, paused: str) -> Explanation:
    """The explanation for one subject now. Raises RuleError for a subject that is not there."""
    rule = runner.rule
    row = runner.row(subject)
    if row is None or (rule.each is None) != (subject is None):
        raise _wrong_subject(runner, subject)
    interpreter = Interpreter(world)
    explainer = Explainer(interpreter)
    scope: dict[str, Any] = {rule.each: subject} if rule.each else {}
    now_s = world.now_s
    instance, around = runner.around(row, now_s, paused)
    found = gates(instance, rule, around)
    if rule.n_of is not None:
        hits = instance.history.count(True)
        waits = f"{rule.n_of.n} of {rule.n_of.m} evaluations to be true ({hits} now)"
        found.insert(0, Gate("n_of", hits >= rule.n_of.n, waits))
    if not rule.enabled:
        found.insert(0, Gate("enabled", False, "`enabled = yes`"))
    condition = interpreter.truth(rule.expr, scope)
    counts = _counting(runner, instance, condition)
    can_fire_s = _earliest(runner, instance, found, counts, now_s)
    return Explanation(
        rule.name,
        subject,
        _state(runner, instance, condition),
        now_s,
        condition,
        explainer.tree(rule.expr, scope),
        explainer.tree(rule.until, scope) if rule.until is not None else None,
        tuple(found),
        can_fire_s,
        instance.last_s,
        runner.next_tick_s,
        _verdict(runner, instance, found, condition, counts, can_fire_s, now_s)
        + (_queue(instance, found) or _paused(found, counts)),
    )


def _wrong_subject(runner: Runner, subject: str | None) -> RuleError:
    rule = runner.rule
    if rule.each is None:
        return RuleError(
            f"rule {rule.name!r} has no `each`: it knows no {subject!r}.", next_step="leave it out"
        )
    names = runner.table.names() if runner.table is not None else []
    if subject is None:
        return RuleError(
            f"rule {rule.name!r} is evaluated for each {rule.each}.",
            next_step=f"name one: {', '.join(names[:10]) or f'there is no {rule.each} yet'}",
        )
    return RuleError(f"there is no {rule.each} {subject!r}.", next_step=suggest(subject, names))


def _state(runner: Runner, instance: Instance, condition: bool | None) -> str:
    if not runner.rule.enabled:
        return "disabled"
    if instance.state == IDLE and condition is None and runner.rule.on_unknown == "hold":
        return UNKNOWN
    return instance.state


def _counting(runner: Runner, instance: Instance, condition: bool | None) -> bool | None:
    """The condition as the rule takes it: after `on_unknown` (but None while held) and `n_of`."""
    rule = runner.rule
    if condition is None and rule.on_unknown == "hold":
        return None
    if rule.n_of is not None:
        return instance.history.count(True) >= rule.n_of.n
    return rule.on_unknown == "fire" if condition is None else condition


def _earliest(
    runner: Runner, instance: Instance, found: list[Gate], condition: bool | None, now_s: float
) -> float | None:
    """The first moment at which it can fire if nothing but time passes."""
    rule = runner.rule
    if not condition:
        return None
    is_open, wake_s = blocked_until(found)
    if not is_open and wake_s is None:
        return None
    ready_s = now_s if wake_s is None else wake_s
    if instance.armed and rule.on_update_check:
        return ready_s
    if runner.next_tick_s is None or rule.ticks_s is None:
        return None
    tick_s = runner.next_tick_s
    if tick_s < ready_s:
        tick_s += -((tick_s - ready_s) // rule.ticks_s) * rule.ticks_s
    return tick_s


def _verdict(
    runner: Runner,
    instance: Instance,
    found: list[Gate],
    condition: bool | None,
    counts: bool | None,
    can_fire_s: float | None,
    now_s: float,
) -> str:
    closed = [gate for gate in found if not gate.open]
    if not runner.rule.enabled:
        return "The rule is disabled."
    if counts is None:
        return "The condition is unknown: everything stays as it is until it is known."
    n_of = runner.rule.n_of
    if not counts and not instance.latched:
        if n_of is None:
            return f"The condition is {'false' if condition is False else 'unknown, which counts as false'}."
        hits = instance.history.count(True)
        return f"The condition was true in {hits} of the last {n_of.m} evaluations, not in {n_of.n}."
    waits = runner.rule.ticks_s is not None or instance.armed or instance.latched
    if instance.fired and can_fire_s is None and not waits:
        return "It has fired, and will when the condition becomes true again."
    if closed:
        text = "Waits for " + "; for ".join(gate.waits_for for gate in closed) + "."
    else:
        text = "Nothing stands in the way."
    if can_fire_s is not None:
        wait = f"in {show_duration(can_fire_s - now_s)}" if can_fire_s > now_s else "now"
        tick = "at its next tick, " if can_fire_s > now_s and not closed else ""
        text += f" Can fire {tick}{wait}."
    return text


def _paused(found: list[Gate], counts: bool | None) -> str:
    """A pause is said even where the condition is why it does not fire."""
    waits = [gate.waits_for for gate in found if gate.name == "paused" and not gate.open]
    return f" It would wait for {waits[0]}." if waits and not counts else ""


def _queue(instance: Instance, found: list[Gate]) -> str:
    """What `mode = queued` has in store, whatever the condition is now."""
    if not instance.queued:
        return ""
    waits = [gate.waits_for for gate in found if gate.name in QUEUE_GATES and not gate.open]
    if instance.running:
        waits.insert(0, f"{instance.running} of its commands to end")
    some = "1 queued firing waits" if instance.queued == 1 else f"{instance.queued} queued firings wait"
    return f" {some} for {'; '.join(waits) or 'their turn'}."
