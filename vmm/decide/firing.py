"""Rules at work: evaluate, and carry out what fires, until nothing more fires within this event."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from vmm.cluster.model import LastFiring
from vmm.decide import actions, commands, facts
from vmm.decide.rulebook import Rules
from vmm.decide.state import State
from vmm.errors import Refused
from vmm.rules import Engine, Firing

MAX_ROUNDS = 20
"""Rules may set each other off so many times within one event; then the rest waits for the next event."""


def run_rules(state: State, rules: Rules, engine: Engine, onlooker: Callable[[], None] | None = None) -> None:
    """`onlooker` is called whenever the rules are about to look, before what they do changes the world."""
    for _ in range(MAX_ROUNDS):
        while state.freed:
            rule, subject = state.freed.pop()
            engine.set_running(rule, subject or None, commands.under_way(state, rule, subject))
        if onlooker is not None:
            onlooker()
        firings = engine.step()
        for change in engine.transitions():
            if change.new != "firing":
                state.note(
                    "rule",
                    firing_key(change.rule, change.subject),
                    f"{change.old} -> {change.new}",
                    level="debug",
                )
        if not firings:
            return
        if any(_acts(state, firing) for firing in firings):
            state.rest_until_s = -inf
        for firing in firings:
            _fire(state, rules, engine, firing)
        facts.refresh(state, rules)


def _acts(state: State, firing: Firing) -> bool:
    """Whether more comes of it than lines of the decision log."""
    if _is_shadow(state, firing):
        return False
    return firing.restart or any(call.operation != "notify" for call in firing.calls)


def _is_shadow(state: State, firing: Firing) -> bool:
    """Whether it is only recorded."""
    return firing.dry_run or bool(state.settings.observe)


def _fire(state: State, rules: Rules, engine: Engine, firing: Firing) -> None:
    at = firing_key(firing.rule, firing.subject)
    shadow = _is_shadow(state, firing)
    calls = [str(call) for call in firing.calls]
    last = LastFiring(state.now_s, state.position, firing.why, calls, shadow)
    state.last_fired[at] = last
    state.fired[firing.rule] = state.fired.get(firing.rule, 0) + 1
    state.count("rules fired")
    why = state.reason(f"rule {firing.rule}", f"{at}: {firing.why}")
    state.note("rule", at, f"fires: {'; '.join(calls)}", trail=[why], shadow=shadow)
    if shadow:
        return
    if firing.restart:
        _withdraw(state, firing)
    first_new = state.serial
    for call in firing.calls:
        try:
            actions.perform(state, rules, call.operation, tuple(call.args), dict(call.kwargs), why)
        except Refused as exc:
            last.refused.append(f"{call}: {exc.message}")
            state.note("rule", at, f"{call} was refused: {exc.message}", level="warning", trail=[why])
    _own_commands(state, engine, firing, first_new)


def firing_key(rule: str, subject: str | None) -> str:
    """How a rule's instance is named in logs and in `State.last_fired`."""
    return f"{rule} on {subject}" if subject else rule


def _own_commands(state: State, engine: Engine, firing: Firing, first_new: int) -> None:
    """What the rule set off counts as its own, so that its `mode` can wait for it."""
    subject = firing.subject or ""
    last = state.last_fired[firing_key(firing.rule, firing.subject)]
    for record in reversed(state.commands.values()):
        if int(record.id.rpartition("-")[2]) <= first_new:
            break
        record.rule, record.subject = firing.rule, subject
        state.moved += 1
        last.commands.insert(0, record.id)
    if last.commands:
        engine.set_running(firing.rule, firing.subject, commands.under_way(state, firing.rule, subject))


def _withdraw(state: State, firing: Firing) -> None:
    """`mode = restart`: what the last firing set off and nobody answered yet is not asked for any more.

    Commands that serve a guest's life stay: a guest is never left half made.
    """
    for record in state.commands.values():
        mine = record.rule == firing.rule and record.subject == (firing.subject or "")
        if mine and not record.owner:
            commands.withdraw(state, record)
