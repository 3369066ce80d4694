"""`decide`: one event in, the changed state and what to send out. No clock, no I/O, no randomness."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from vmm.decide import clients, commands, facts, fencing, guests, quiet, wishes
from vmm.decide.events import (
    Answered,
    BusChanged,
    Commanded,
    Entry,
    Greeted,
    Reported,
    Started,
    Ticked,
    Viewed,
    Wished,
)
from vmm.decide.firing import run_rules
from vmm.decide.outputs import Ask, Output
from vmm.decide.rulebook import DecisionSettings, Rules
from vmm.decide.state import State
from vmm.messages.structs import Query
from vmm.rules import Engine


def decide(
    state: State, entry: Entry, rules: Rules, engine: Engine, onlooker: Callable[[], None] | None = None
) -> tuple[State, list[Output]]:
    """One step. `engine` holds the rules' timers (part of the state) and reads `state.world`.

    The same state bytes, entry and rules give the same outputs and the same new state bytes. The state is
    changed in place: its one owner hands it in and gets it back. `onlooker` may look at the state whenever
    the rules are about to, and change nothing.
    """
    state.position = entry.position
    gap_s = entry.time_s - state.now_s
    state.now_s = max(state.now_s, entry.time_s)
    if gap_s > state.settings.resend_s:
        _bridge(state, gap_s)
    event = entry.event
    changed, same = True, False
    match event:
        case Ticked():
            _tick(state, rules, engine, event)
        case Reported():
            news = clients.reported(state, rules, event)
            changed, same = news == facts.CHANGED, news == facts.SAME
        case Greeted():
            clients.greeted(state, event)
        case Answered():
            record = commands.answered(state, event.client, event.result)
            changed = record is not None
            if record is not None:
                _finished(state, engine, record.id)
        case Commanded():
            commands.seen(state, event.command)
            changed = False
        case Viewed():
            changed = clients.viewed(state, event)
        case BusChanged():
            _bus_changed(state, event)
        case Wished():
            wishes.grant(state, rules, engine, event.intent)
        case Started():
            _started(state, event)
    state.world.advance(state.now_s)
    if isinstance(event, Ticked):
        changed, same = bool(state.outputs), True
    if changed or (same and not quiet.is_at_rest(state, rules)):
        _look_around(state, rules)
    run_rules(state, rules, engine, onlooker)
    return state, state.take_outputs()


def _look_around(state: State, rules: Rules) -> None:
    """Guests move on by what is known now, and the facts about them are published."""
    serial, happened = state.serial, bool(state.outputs)
    state.looks += 1
    state.rest_until_s = -inf
    for guest in list(state.guests.values()):
        guests.step(state, guest)
    fencing.sweep(state)
    facts.refresh(state, rules)
    if not happened and not state.outputs and state.serial == serial:
        state.rest_until_s = quiet.rests_until_s(state)
        state.facts_until_s = quiet.facts_until_s(state, rules, state.now_s)


def _tick(state: State, rules: Rules, engine: Engine, event: Ticked) -> None:
    state.now_s = max(state.now_s, event.beat.time_s)
    state.promises = [p for p in state.promises if p.until_s > state.now_s]
    clients.tick(state, rules)
    for record in commands.due(state):
        _finished(state, engine, record.id)


def _finished(state: State, engine: Engine, record_id: str) -> None:
    record = state.commands[record_id]
    guest = state.guests.get(record.owner)
    if guest is not None:
        guests.on_result(state, guest, record)
    if record.rule:
        running = commands.under_way(state, record.rule, record.subject)
        engine.set_running(record.rule, record.subject or None, running)


def _bus_changed(state: State, event: BusChanged) -> None:
    state.bus_lost = "" if event.up else event.text or "the connection is lost"
    if event.up:
        state.note("manager", "bus", "connected")
        commands.resend_all(state)
        state.outputs.append(Ask(Query(f"{state.epoch}-all-{state.position}")))
    else:
        state.note("manager", "bus", f"connection lost: {event.text}", level="warning")


def _bridge(state: State, gap_s: float) -> None:
    """The stream stood still (no Manager, or no bus): nobody could answer, so nobody is late by that time."""
    for guest in state.guests.values():
        guest.deadline_s += gap_s
    for record in state.commands.values():
        record.deadline_s += gap_s
    for client in state.clients.values():
        client.heard_s += gap_s
    for promise in state.promises:
        promise.until_s += gap_s
    state.world.unobserved(gap_s)


def _started(state: State, event: Started) -> None:
    state.starts += 1
    state.epoch = state.epoch or event.epoch
    observed = state.settings.observe
    state.settings = DecisionSettings.from_mapping(event.settings)
    if observed and not state.settings.observe:
        commands.renew(state)
    what = "started" if state.starts == 1 else f"started again (start {state.starts})"
    state.note("manager", "manager", f"{what}, version {event.version or '?'}")
