"""Another size for a running guest: asked of its host, believed only when the host says what the guest has.

The guest stays ready meanwhile and takes room by the larger of both sizes. A second change and a migration
are refused until it has ended; retiring and destroying are not, then nothing is asked again. Where no answer
came the same is asked again: a host does nothing twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from vmm.cluster.model import CommandRecord, Guest, Resize
from vmm.decide import commands
from vmm.decide.migration import UNCLEAR
from vmm.decide.state import State, extend_trail
from vmm.messages.guest import GuestSize, resized, size_of
from vmm.messages.structs import Reason

COMMAND = "resize_guest"
DEADLINE_S = 90.0
"""Longer than a host waits for a guest to follow; without an answer until then it is asked again."""


def begin(state: State, guest: Guest, wanted: GuestSize, asked: list[str], reason: Reason) -> None:
    """Ask the guest's host for what is `asked` of `wanted`."""
    guest.trail = extend_trail(guest.trail, reason)
    guest.resize = Resize(wanted, asked)
    now = size_of(guest.spec)
    text = f"is to have {wanted} instead of {now}: {reason.reason}"
    state.count("resizes begun")
    state.note("guest", guest.name, text, trail=guest.trail)
    _ask(state, guest, guest.resize)


def on_result(state: State, guest: Guest, resize: Resize, record: CommandRecord) -> None:
    """The host's answer, or the word that there was none."""
    resize.command = ""
    if record.state == "done":
        _done(state, guest, resize, record)
    elif record.code in UNCLEAR and guest.state == "ready":
        resize.tries += 1
        resize.retry_s = state.now_s + min(2.0 * 2 ** min(resize.tries - 1, 5), 60.0)
        text = f"whether it has {resize.wanted} is not clear: [{record.code}] {record.message}"
        state.note("guest", guest.name, text, level="warning", trail=guest.trail)
    else:
        _failed(state, guest, resize, f"[{record.code}] {record.message}")


def step(state: State, guest: Guest, resize: Resize) -> None:
    """Without an answer: the same question again, as long as the guest stays."""
    asked = state.commands.get(resize.command)
    if asked is not None and asked.state in ("issued", "sent"):
        return
    resize.command = ""  # or it was withdrawn: its host died
    if guest.state != "ready":
        guest.resize = None
    elif state.now_s >= resize.retry_s and (client := state.clients.get(guest.host)) and client.state == "up":
        _ask(state, guest, resize)


def _ask(state: State, guest: Guest, resize: Resize) -> None:
    args: dict[str, Any] = {"name": guest.name}
    args |= {key: getattr(resize.wanted, key) for key in resize.asked}
    record = commands.issue(
        state, guest.host, COMMAND, args, guest.trail, deadline_s=DEADLINE_S, owner=guest.name
    )
    resize.command = record.id


def _done(state: State, guest: Guest, resize: Resize, record: CommandRecord) -> None:
    """What the host read back is what the guest has, whatever was wanted."""
    try:
        size = msgspec.convert(record.answer, GuestSize)
    except msgspec.ValidationError as exc:
        _failed(state, guest, resize, f"{record.to} did not say what it has: {exc}")
        return
    guest.spec, guest.resize, guest.resized_s = resized(guest.spec, size), None, state.now_s
    host = state.hosts.get(guest.host)
    if host is not None and guest.name in host.guests:  # until the host reports again
        row = size.memory_mib, size.vcpus, host.guests[guest.name][2]
        host.guests = {**host.guests, guest.name: row}
    state.count("resizes done")
    _tell(state, guest, f"has {size}: {guest.host} read it back")


def _failed(state: State, guest: Guest, resize: Resize, failure: str) -> None:
    guest.resize = None
    state.count("resizes failed")
    text = f"still has {size_of(guest.spec)}, not {resize.wanted}: {failure}"
    _tell(state, guest, text, level="warning")


def _tell(state: State, guest: Guest, text: str, *, level: str = "info") -> None:
    guest.trail = extend_trail(guest.trail, state.reason(f"guest {guest.name}", text))
    state.note("guest", guest.name, text, level=level, trail=guest.trail)
