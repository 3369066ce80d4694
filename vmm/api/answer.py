"""`vmm why SHARE` in one sentence: what a share's next guest waits for."""

from __future__ import annotations

from vmm.cluster.profiles import Share
from vmm.cluster.states import LEAVING
from vmm.decide import placement
from vmm.decide.core import Core
from vmm.durations import show_duration
from vmm.rules.rule import Rule

_MAKES = ("create_guest", "make_room")


def answer(core: Core, share: Share) -> str:
    """The first thing on the way from waiting jobs to a guest that is not as it must be."""
    state = core.state
    if state.batch_seen_s < 0:
        return "nobody knows whether jobs wait: no batch client has reported yet."
    waiting, wanted = _fact(core, share, "jobs_waiting"), _fact(core, share, "guests_wanted")
    if waiting is None or wanted is None:
        age = show_duration(state.now_s - state.batch_seen_s)
        return f"nobody knows whether jobs wait: the reports of jobs ({age} old) or of nodes are too old."
    if not waiting:
        return f"no job waits in queue {share.queue}."
    jobs = f"{waiting} {'job waits' if waiting == 1 else 'jobs wait'}"
    if not wanted:
        return f"{jobs} for guests that are idle or on their way."
    more = f"{wanted} more {'guest is' if wanted == 1 else 'guests are'} wanted"
    return f"{jobs}, {more}, {_hindrance(core, share)}"


def _hindrance(core: Core, share: Share) -> str:
    state = core.state
    luck = state.luck.get(share.name)
    if luck is not None and luck.gave_up:
        return f"but creating them failed {luck.failures} times, and was given up: {luck.last_failure}"
    if luck is not None and state.now_s < luck.next_try_s:
        wait = show_duration(luck.next_try_s - state.now_s)
        return f"but creating them failed {luck.failures} times; the next try is in {wait}."
    if not _fact(core, share, "can_grow"):
        return f"but the share has all {share.max_guests} that it may have (max_guests)."
    if state.settings.observe:
        return "but the Manager only observes."
    if "*" in state.paused:
        return f"but all rules are paused: {state.paused['*']}"
    makers = [rule for rule in core.rules.book.rules.values() if _makes(rule)]
    if not any(call.operation == "create_guest" for rule in makers for call in rule.cmd):
        return "but no rule that is enabled makes guests (sender.create_guest)."
    paused = [rule.name for rule in makers if rule.name in state.paused]
    if paused:
        return f"but rule {paused[0]} is paused: {state.paused[paused[0]]}"
    dry = [rule.name for rule in makers if rule.dry_run]
    if dry:
        return f"but rule {dry[0]} is a dry run."
    if not _fact(core, share, "room"):
        return _no_room(core, share)
    return "and a host has room: a rule below must make it."


def _no_room(core: Core, share: Share) -> str:
    state = core.state
    if not state.hosts:
        return "but no host has ever reported."
    leaving = [g.name for g in state.guests.values() if g.for_share == share.name and g.state in LEAVING]
    if leaving:
        return f"and {', '.join(leaving)} must leave first."
    found = placement.victims(state, core.rules, share)
    if found:
        return f"but no host has room; {found[0].name} could be asked to leave."
    return "but no host has room, and no guest of another share may be asked to leave."


def _makes(rule: Rule) -> bool:
    return rule.enabled and any(call.operation in _MAKES for call in rule.cmd)


def _fact(core: Core, share: Share, column: str) -> int | None:
    reading = core.state.world.shares.get(share.name, column)
    return None if reading is None else int(reading.value)
