"""Moving a running guest from one host to another, and finding out where it is when nobody answers.

The answer of the source's client decides. A command without a clear answer is asked again: the client looks
on both hosts before it does anything. Where the source is silent, the reports of the hosts decide.
"""

from __future__ import annotations

from vmm.cluster.model import CommandRecord, Guest
from vmm.decide import commands, fencing, guests
from vmm.decide.state import State, extend_trail
from vmm.messages.structs import Reason

COMMAND = "migrate_guest"
UNCLEAR = (
    "no-answer",
    "hypervisor-down",
    "plugin-timeout",
    "plugin-busy",
    "busy",
    "interrupted",
    "expired",
    "target-unreachable",
)
"""Codes that leave open on which host the guest runs."""


def begin(state: State, guest: Guest, target: str, reason: Reason) -> None:
    """Ask the guest's host to move it. Until the end of it the guest takes room on both."""
    guest.trail = extend_trail(guest.trail, reason)
    guests.move(state, guest, "migrating", f"from {guest.host} to {target}: {reason.reason}")
    guest.target = target
    guest.deadline_s = state.now_s + state.settings.migration_deadline_s
    state.count("migrations begun")
    _ask(state, guest)


def on_result(state: State, guest: Guest, record: CommandRecord) -> None:
    """The client's answer, or the word that there was none."""
    if record.state == "done":
        _arrived(state, guest, f"{guest.host} handed it over")
    elif record.code in UNCLEAR:
        guest.tries += 1
        guest.retry_s = state.now_s + min(2.0 * 2 ** min(guest.tries - 1, 5), 60.0)
        text = f"where it is after its move to {guest.target} is not clear: [{record.code}] {record.message}"
        state.note("guest", guest.name, text, level="warning", trail=guest.trail)
    else:
        _stayed(state, guest, f"[{record.code}] {record.message}")


def step(state: State, guest: Guest) -> None:
    """Without an answer: what the hosts report, or the same question again."""
    if fencing.lost_on_its_way(state, guest):
        return
    source = state.clients.get(guest.host)
    source_up = source is not None and source.state == "up"
    if guest.command and source_up:
        return
    if _runs_on(state, guest, guest.target) and not (source_up and _may_be_on(state, guest, guest.host)):
        asked = state.commands.get(guest.command)
        if asked is not None:  # the source's client would move it once more when it comes back
            commands.withdraw(state, asked, f"{guest.name} has arrived")
        _arrived(state, guest, f"{guest.target} reports it running")
    elif not guest.command and source_up and state.now_s >= guest.retry_s:
        _ask(state, guest)


def _ask(state: State, guest: Guest) -> None:
    args = {"name": guest.name, "target": guest.target, "uuid": guest.spec.uuid}
    limit_s = state.settings.migration_deadline_s
    record = commands.issue(
        state, guest.host, COMMAND, args, guest.trail, deadline_s=limit_s, owner=guest.name
    )
    guest.command = record.id


def _arrived(state: State, guest: Guest, why: str) -> None:
    source, guest.host, guest.target = guest.host, guest.target, ""
    guest.missing = 0
    left, now = state.hosts.get(source), state.hosts.get(guest.host)
    if left is not None and guest.name in left.guests:
        # Until the hosts report again: the room there is free, the room here is taken.
        row = left.guests[guest.name]
        left.guests = {name: other for name, other in left.guests.items() if name != guest.name}
        if now is not None:
            now.guests = {**now.guests, guest.name: now.guests.get(guest.name, row)}
    state.count("migrations done")
    guests.move(state, guest, "ready", f"moved from {source} to {guest.host}: {why}")


def _stayed(state: State, guest: Guest, failure: str) -> None:
    target, guest.target = guest.target, ""
    guest.missing = 0
    state.count("migrations failed")
    guests.move(state, guest, "ready", f"still on {guest.host}, not on {target}: {failure}", level="warning")


def _runs_on(state: State, guest: Guest, host: str) -> bool:
    """Reported running (not just being received, which is paused) since the move began."""
    found = state.hosts.get(host)
    if found is None or found.guests_seen_s <= guest.since_s or guest.name not in found.guests:
        return False
    return found.guests[guest.name][2] == "running"


def _may_be_on(state: State, guest: Guest, host: str) -> bool:
    """No report since the move began says that it is not there."""
    found = state.hosts.get(host)
    return found is None or found.guests_seen_s <= guest.since_s or guest.name in found.guests
