"""Carrying out a plan step by step: what to do next, given the world as it is now. Pure: it only decides.

The caller looks at the world, asks `next_step`, does what it says, waits until it has taken effect, and asks
again. A plan is never carried on with when the world is not what the plan expected: make a new one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmm.policies.constraints import why_not
from vmm.policies.errors import BadFile
from vmm.policies.model import Cluster, Guest, HostState
from vmm.policies.plan import Action, Kind


@dataclass(frozen=True, slots=True)
class Do:
    """Carry out these actions; they may run at the same time."""

    actions: tuple[Action, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not go on: the world has changed. `position` is that of the action which cannot be done."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Every action has been done."""


def next_step(
    actions: Sequence[Action], done: int, world: Cluster, *, parallel: bool = False
) -> Do | Stop | Finished:
    """What to do after the first `done` actions have been carried out.

    With `parallel`, all actions of the next group that are still open are given at once; else one. Before
    that, everything is checked again: those done have led where they should, no guest of those to come is
    elsewhere or has become immovable, and the next targets still keep every hard constraint.
    """
    expected = _expected(actions, done)
    for position, action in enumerate(actions):
        if reason := _surprise(action, position, done, expected, world):
            return Stop(position, reason)
    if done >= len(actions):
        return Finished()
    end = done + 1
    if parallel:
        while end < len(actions) and actions[end].group == actions[done].group:
            end += 1
    arriving: dict[str, list[Guest]] = {}
    for position in range(done, end):
        action = actions[position]
        if reason := _refusal(action, world, arriving.get(action.target, [])):
            return Stop(position, reason)
        if action.target:
            arriving.setdefault(action.target, []).append(_guest(action, world))
    return Do(tuple(actions[done:end]), tuple(range(done, end)))


def _expected(actions: Sequence[Action], done: int) -> dict[str, str]:
    """Host of each guest of the plan after `done` actions."""
    places: dict[str, str] = {}
    for action in actions:
        if action.kind in (Kind.MIGRATE, Kind.START, Kind.RESIZE):
            places.setdefault(action.guest, action.source)
    for action in actions[:done]:
        if action.kind in (Kind.MIGRATE, Kind.START):
            places[action.guest] = action.target
    return places


def _surprise(action: Action, position: int, done: int, expected: dict[str, str], world: Cluster) -> str:
    if action.guest:
        guest = world.guest_by_name.get(action.guest)
        new = action.kind is Kind.START and not action.source
        if guest is None and new and position >= done:
            return ""
        if guest is None:
            return f"guest {action.guest} is gone"
        want = expected.get(action.guest)
        if want is not None and (guest.host or "") != want:
            return f"guest {action.guest} is on {guest.host or 'no host'}, the plan expected {want or 'none'}"
        if position >= done and action.kind is Kind.MIGRATE and guest.immovable:
            return f"guest {action.guest} may not be moved now: {guest.immovable}"
    for host in (action.source, action.target):
        if host and host not in world.host_by_name:
            return f"host {host} is gone"
    return ""


def _refusal(action: Action, world: Cluster, arriving: Sequence[Guest]) -> str:
    if action.kind is Kind.POWER_OFF:
        left = [g.name for g in world.guests if g.host == action.source]
        return f"host {action.source} still has guest {left[0]}" if left else ""
    if action.kind is Kind.RESIZE:
        return _cannot_grow(action, world)
    if not action.target:
        return ""
    guest = _guest(action, world)
    there = [g for g in world.guests if g.host == action.target]
    reason = why_not(guest, world.host_by_name[action.target], [*there, *arriving])
    return f"guest {action.guest} cannot go to {action.target} any more: {reason}" if reason else ""


def _cannot_grow(action: Action, world: Cluster) -> str:
    """Only room counts: it is there already, whatever keeps others away."""
    guest, host = _guest(action, world), world.host_by_name[action.source]
    new = replace(_sized(guest, action), anti_affinity=frozenset())
    if new.memory_mib <= guest.memory_mib and new.vcpus <= guest.vcpus:
        return ""
    there = [g for g in world.guests if g.host == host.name]
    reason = why_not(new, replace(host, state=HostState.UP), there)
    return f"guest {guest.name} cannot grow any more: {reason}" if reason else ""


def _sized(guest: Guest, action: Action) -> Guest:
    return replace(
        guest,
        vcpus=action.sizes.get("vcpus", guest.vcpus),
        memory_mib=action.sizes.get("memory_mib", guest.memory_mib),
    )


def _guest(action: Action, world: Cluster) -> Guest:
    """The guest in the world, or a new one of the size that its START says."""
    there = world.guest_by_name.get(action.guest)
    if there is not None:
        return there
    return Guest(action.guest, action.sizes.get("memory_mib", 0.0), action.sizes.get("vcpus", 0.0))


def done_in(world: Cluster, actions: Sequence[Action]) -> Cluster:
    """The world after these actions, as a rehearsal sees it: guests have moved, resized or come to be."""
    guests = {g.name: g for g in world.guests}
    for action in actions:
        if action.guest:
            guest = _guest(action, world)
            guests[action.guest] = replace(_sized(guest, action), host=action.target or action.source)
    off = {a.source: HostState.OFFLINE for a in actions if a.kind is Kind.POWER_OFF}
    return Cluster(world.hosts, guests.values()).with_hosts(off)


def read_actions(text: str, file: str = "<plan>") -> tuple[Action, ...]:
    """Actions of a plan file (what `-o json` printed). BadFile with file and line for anything else."""
    try:
        plan = json.loads(text)
    except json.JSONDecodeError as exc:
        raise BadFile(
            file, exc.lineno, f"not JSON: {exc.msg}", next_step="give a file that `-o json` wrote"
        ) from None
    rows = plan.get("actions") if isinstance(plan, dict) else None
    if not isinstance(rows, list):
        raise BadFile(file, 1, "no list `actions`", next_step="give a file that `vmm plan ... -o json` wrote")
    return tuple(_action(row, i, file) for i, row in enumerate(rows))


def _action(row: Any, position: int, file: str) -> Action:
    try:
        kind = Kind(row["action"])
        if kind is Kind.POWER_OFF:
            return Action(kind, source=str(row["host"]), group=int(row["group"]))
        return Action(
            kind,
            str(row["guest"]),
            str(row["from"] or ""),
            str(row["to"] or ""),
            float(row.get("data_mib", 0.0)),
            float(row.get("expected_s", 0.0)),
            int(row["group"]),
            row.get("score_after"),
            str(row.get("reason", "")),
            {str(k): float(v) for k, v in row.get("sizes", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BadFile(
            file,
            1,
            f"action {position} is malformed: {exc!r}",
            next_step="give a file that `-o json` wrote, unchanged",
        ) from None
