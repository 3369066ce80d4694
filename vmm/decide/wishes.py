"""What people ask for (intents): they reach the stream like any event, and are granted or refused here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmm.cluster.model import ShareLuck
from vmm.decide import actions, fencing
from vmm.decide.rulebook import Rules
from vmm.decide.state import State
from vmm.errors import Refused, VmmError
from vmm.messages.structs import Intent, Reason
from vmm.rules import Engine

WISHES_REMEMBERED = 1000
"""A recorded message is good for nothing while its id is among so many last ones."""


def grant(state: State, rules: Rules, engine: Engine, intent: Intent) -> None:
    """Carry the wish out, or note why not. A malformed wish disturbs nothing else."""
    why = state.reason(intent.who or "somebody", intent.reason or intent.name)
    try:
        if intent.id in state.wishes:
            raise Refused("this very wish was taken before: its message was played again.")
        state.wishes.append(intent.id)
        del state.wishes[:-WISHES_REMEMBERED]
        wish = WISHES.get(intent.name)
        if wish is None:
            raise Refused(f"there is no wish {intent.name!r}; known: {', '.join(sorted(WISHES))}.")
        wish(state, rules, engine, why, **intent.args)
    except VmmError as exc:
        text = f"{intent.name} by {why.source} was refused: {exc.message}"
        state.note("manager", intent.name, text, level="warning", trail=[why])
    except TypeError as exc:
        text = f"{intent.name} by {why.source} has wrong arguments: {exc}"
        state.note("manager", intent.name, text, level="warning", trail=[why])


def _pause(state: State, rules: Rules, engine: Engine, why: Reason, rule: str = "") -> None:
    if rule and rule not in rules.book.rules:
        raise Refused(f"there is no rule {rule!r}.")
    state.paused[rule or "*"] = why.reason
    engine.pause(rule or None, why.reason)
    state.note("manager", rule or "all rules", f"paused by {why.source}: {why.reason}", trail=[why])


def _resume(state: State, rules: Rules, engine: Engine, why: Reason, rule: str = "") -> None:
    if state.paused.pop(rule or "*", None) is None:
        raise Refused(f"{rule or 'nothing'} is not paused.")
    engine.resume(rule or None)
    state.note("manager", rule or "all rules", f"resumed by {why.source}", trail=[why])


def _retry_share(state: State, rules: Rules, engine: Engine, why: Reason, share: str) -> None:
    if share not in rules.entitlements.shares:
        raise Refused(f"there is no share {share!r}.")
    state.luck[share] = ShareLuck()
    state.note("share", share, f"tries again, by {why.source}: {why.reason}", trail=[why])


def _end_maintenance(state: State, rules: Rules, engine: Engine, why: Reason, host: str) -> None:
    found = state.hosts.get(host)
    if found is not None and found.fenced_s >= 0:
        fencing.unfence(state, host, why)
        return
    if found is None or not found.maintenance:
        raise Refused(f"host {host!r} is not in maintenance.")
    found.maintenance = found.emptied = False
    state.note("host", host, f"maintenance ended by {why.source}", trail=[why])


def _fence_host(state: State, rules: Rules, engine: Engine, why: Reason, host: str) -> None:
    fencing.fence(state, host, why)


def _unfence_host(state: State, rules: Rules, engine: Engine, why: Reason, host: str) -> None:
    fencing.unfence(state, host, why)


def _operation(name: str) -> Callable[..., None]:
    def wish(state: State, rules: Rules, engine: Engine, why: Reason, **args: Any) -> None:
        if state.settings.observe:
            raise Refused("the Manager only observes (it was started with --observe): it sends no command.")
        actions.perform(state, rules, name, (), args, why)

    return wish


def _nothing(state: State, rules: Rules, engine: Engine, why: Reason, **args: Any) -> None:
    """Wishes that the core grants before the step: reload (its files are compiled there)."""


WISHES: dict[str, Callable[..., None]] = {
    "pause": _pause,
    "resume": _resume,
    "retry_share": _retry_share,
    "end_maintenance": _end_maintenance,
    "fence_host": _fence_host,
    "unfence_host": _unfence_host,
    "reload": _nothing,
    **{
        name: _operation(name)
        for name in ("create_guest", "make_room", "retire_guest", "destroy_guest", "drain_host")
    },
    **{name: _operation(name) for name in ("migrate_guest", "restart_guest", "resize_guest", "hold_host")},
}
