"""Rules at work: evaluate, and carry out what fires, until nothing more fires within this event."""

from __future__ import annotations

from vmm.decide import actions, commands, facts
from vmm.decide.rulebook import Rules
from vmm.decide.state import State
from vmm.errors import Refused
from vmm.rules import Engine, Firing

MAX_ROUNDS = 20
"""Rules may set each other off so many times within one event; then the rest waits for the next event."""


def run_rules(state: State, rules: Rules, engine: Engine) -> None:
    for _ in range(MAX_ROUNDS):
        firings = engine.step()
        for change in engine.transitions():
            if change.new != "firing":
                state.note(
                    "rule", _at(change.rule, change.subject), f"{change.old} -> {change.new}", level="debug"
                )
        if not firings:
            return
        for firing in firings:
            _fire(state, rules, engine, firing)
        facts.refresh(state, rules)


def _fire(state: State, rules: Rules, engine: Engine, firing: Firing) -> None:
    at = _at(firing.rule, firing.subject)
    shadow = firing.dry_run or bool(state.settings.observe)
    state.fired[firing.rule] = state.fired.get(firing.rule, 0) + 1
    state.count("rules fired")
    why = state.reason(f"rule {firing.rule}", f"{at}: {firing.why}")
    state.note(
        "rule", at, f"fires: {'; '.join(str(call) for call in firing.calls)}", trail=[why], shadow=shadow
    )
    if shadow:
        return
    first_new = state.serial
    for call in firing.calls:
        try:
            actions.perform(state, rules, call.operation, tuple(call.args), dict(call.kwargs), why)
        except Refused as exc:
            state.note("rule", at, f"{call} was refused: {exc.message}", level="warning", trail=[why])
    _own_commands(state, engine, firing, first_new)


def _own_commands(state: State, engine: Engine, firing: Firing, first_new: int) -> None:
    """What the rule set off counts as its own, so that its `mode` can wait for it."""
    subject = firing.subject or ""
    mine = False
    for record in reversed(state.commands.values()):
        if int(record.id.rpartition("-")[2]) <= first_new:
            break
        record.rule, record.subject, mine = firing.rule, subject, True
    if mine:
        engine.set_running(firing.rule, firing.subject, commands.under_way(state, firing.rule, subject))


def _at(rule: str, subject: str | None) -> str:
    return f"{rule} on {subject}" if subject else rule
