"""Commands under way: issue, see them in the stream, take the answer, repeat, give up at the deadline."""

from __future__ import annotations

from math import inf
from typing import Any

from vmm.cluster.model import CommandRecord
from vmm.cluster.states import COMMAND
from vmm.decide.outputs import Send
from vmm.decide.state import State
from vmm.messages.structs import Command, Reason, Result

KEEP_FINISHED = 500


def issue(
    state: State,
    to: str,
    name: str,
    args: dict[str, Any],
    trail: list[Reason],
    *,
    deadline_s: float | None = None,
    owner: str = "",
    rule: str = "",
    subject: str = "",
) -> CommandRecord:
    """Put a command under way. Its id is unique over the journal's life and the same in every replay."""
    state.serial += 1
    limit_s = state.settings.command_deadline_s if deadline_s is None else deadline_s
    record = CommandRecord(
        id=f"{state.epoch}-{state.serial}",
        to=to,
        name=name,
        args=args,
        state="issued",
        issued_s=state.now_s,
        deadline_s=state.now_s + limit_s,
        trail=trail,
        owner=owner,
        rule=rule,
        subject=subject,
    )
    state.commands[record.id] = record
    state.moved += 1
    state.count("commands issued")
    _send(state, record)
    return record


def seen(state: State, command: Command) -> None:
    """Our own multicast came back: from here on every Manager knows of it."""
    record = state.commands.get(command.id)
    if record is not None and record.state == "issued":
        _move(record, "sent")


def answered(state: State, client: str, result: Result) -> CommandRecord | None:
    """The record that this result finishes, None when it finishes nothing (late, foreign, still running)."""
    record = state.commands.get(result.id)
    if record is None or record.to != client or record.state in ("done", "failed"):
        return None
    if result.status == "running":
        return None
    record.status, record.code, record.message = result.status, result.code, result.message
    record.value = result.value if isinstance(result.value, str) else ""
    record.answer = result.value if isinstance(result.value, dict) else {}
    _move(record, "done" if result.status == "done" else "failed")
    state.moved += 1
    if record.state == "failed":
        text = f"{record.name} failed: [{result.code}] {result.message}"
        state.note("command", record.id, text, level="warning", trail=record.trail)
    return record


def due(state: State) -> list[CommandRecord]:
    """Repeat what was not answered for a while; returns the commands whose deadline passed.

    While the Manager only observes nothing is late: nothing is sent.
    """
    expired: list[CommandRecord] = []
    if state.settings.observe:
        return expired
    for record in list(state.commands.values()):
        if record.state in ("done", "failed"):
            continue
        if state.now_s >= record.deadline_s:
            record.status, record.code = "failed", "no-answer"
            record.message = f"{record.to} did not answer {record.name} in time"
            _move(record, "failed")
            state.moved += 1
            state.note("command", record.id, record.message, level="warning", trail=record.trail)
            expired.append(record)
        elif state.now_s >= record.next_send_s:
            record.attempt += 1
            _send(state, record)
    _forget_old(state)
    return expired


def next_step_s(record: CommandRecord) -> float:
    """When `due` will do something about it."""
    return inf if record.state in ("done", "failed") else min(record.deadline_s, record.next_send_s)


def resend_all(state: State, to: str = "") -> None:
    """After a reconnect or a takeover: repeat everything under way (clients answer repeats from record)."""
    for record in state.commands.values():
        if record.state in ("issued", "sent") and (not to or record.to == to):
            record.attempt += 1
            _send(state, record)


def renew(state: State) -> None:
    """The Manager acts again after observing: what it held back gets its full time."""
    for record in state.commands.values():
        if record.state in ("issued", "sent"):
            record.deadline_s = max(record.deadline_s, state.now_s + state.settings.command_deadline_s)


def withdraw(state: State, record: CommandRecord, why: str = "its rule fired anew") -> None:
    """Stop asking for it; a client that runs it already is not stopped, its answer finishes nothing."""
    if record.state in ("issued", "sent"):
        record.status, record.code, record.message = "failed", "withdrawn", why
        _move(record, "failed")
        state.moved += 1
        if record.rule:
            state.freed.append((record.rule, record.subject))
        state.note("command", record.id, f"{record.name} is withdrawn: {why}")


def withdraw_all(state: State, to: str, why: str) -> list[CommandRecord]:
    """Everything under way to a client that will not answer any more."""
    open_ones = [r for r in state.commands.values() if r.to == to and r.state in ("issued", "sent")]
    for record in open_ones:
        withdraw(state, record, why)
    return open_ones


def asked(state: State, to: str, name: str, guest: str) -> bool:
    """Is such a command about this guest under way?"""
    return any(
        record.to == to and record.name == name and record.args.get("name") == guest
        for record in state.commands.values()
        if record.state in ("issued", "sent")
    )


def under_way(state: State, rule: str, subject: str) -> int:
    """How many commands of this rule and subject are still unanswered."""
    return sum(
        1
        for record in state.commands.values()
        if record.rule == rule and record.subject == subject and record.state in ("issued", "sent")
    )


def _send(state: State, record: CommandRecord) -> None:
    if state.settings.observe:
        if record.attempt == 1:
            text = f"{record.name} to {record.to}"
            state.note("command", record.id, text, trail=record.trail, shadow=True)
        return
    # Growing gaps: a busy client is not buried under repeats.
    record.next_send_s = state.now_s + state.settings.resend_s * min(record.attempt, 6)
    client = state.clients.get(record.to)
    if client is None or not client.address:
        return
    command = Command(
        id=record.id,
        to=record.to,
        name=record.name,
        args=record.args,
        deadline_s=record.deadline_s,
        trail=record.trail,
        attempt=record.attempt,
    )
    state.outputs.append(Send(command, client.address))


def _move(record: CommandRecord, new: str) -> None:
    COMMAND.check(record.id, record.state, new)
    record.state = new


def _forget_old(state: State) -> None:
    if len(state.commands) <= 2 * KEEP_FINISHED:
        return
    finished = [r.id for r in state.commands.values() if r.state in ("done", "failed")]
    for record_id in finished[: max(0, len(finished) - KEEP_FINISHED)]:
        del state.commands[record_id]
