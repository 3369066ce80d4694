"""A person's wish: one signed message to the managers' group, and what the Manager made of it."""

from __future__ import annotations

import getpass
import os
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmm.config import Settings
from vmm.decide.core import Core
from vmm.decide.events import Entry, Wished
from vmm.decide.outputs import Note, Output
from vmm.errors import Refused, VmmError
from vmm.journal import JournalError
from vmm.manager.recovery import entries, recover
from vmm.messages import codec, keys
from vmm.messages.bus import MANAGERS, SpreadBus
from vmm.messages.structs import Intent

TAKEN_LIMIT_S = 10.0
"""A Manager that leads has a wish in its journal long before."""
_POLL_S = 0.05


class NobodyThere(VmmError):
    """The wish was sent, and no Manager took it."""

    code = "wish.lost"


@dataclass(frozen=True, slots=True)
class Granted:
    """`notes`: what the Manager logged in the step in which it granted the wish. `known` is False where the
    journal cannot be read (on another machine than the Manager's): then nobody can say here."""

    wish: str
    notes: tuple[Note, ...] = ()
    known: bool = True


def send_wish(settings: Settings, name: str, args: dict[str, Any], reason: str) -> str:
    """Sign with the Manager's key and multicast; returns the intent's id. Raises BusLost, ConfigError.

    What becomes of it stands in the decision log and the journal.
    """
    signer = keys.Signer.load(settings.keys_folder / f"{keys.MANAGER}.key")
    intent = Intent(uuid.uuid4().hex[:12], name, args, getpass.getuser(), reason)
    bus = SpreadBus(settings.bus.daemon, f"w{os.getpid() % 10**8}", membership=False)
    try:
        kind, body = codec.seal(intent, keys.MANAGER, signer)
        bus.multicast([MANAGERS], kind, body)
    finally:
        bus.close()
    return intent.id


def ask(
    settings: Settings,
    journal: Path,
    name: str,
    args: dict[str, Any],
    reason: str,
    *,
    limit_s: float = TAKEN_LIMIT_S,
) -> Granted:
    """Send the wish and follow the journal until the Manager has decided on it, `limit_s` at most.

    Raises Refused with the Manager's reason; NobodyThere when no Manager took it; as `send_wish`.
    """
    try:
        core = recover(journal)
    except (JournalError, OSError):
        return Granted(send_wish(settings, name, args, reason), known=False)
    wish = send_wish(settings, name, args, reason)
    pause = threading.Event()
    end_s = time.monotonic() + limit_s
    while True:
        taken = taken_wishes(core, entries(journal, core.state.position + 1))
        if wish in taken:
            return _outcome(wish, *taken[wish])
        if time.monotonic() >= end_s:
            raise NobodyThere(
                f"no Manager took the wish {name} within {limit_s:g} s; it is lost.",
                next_step="is `vmm manager` running, connected, and writing this journal? Then ask again",
            )
        pause.wait(_POLL_S)


def taken_wishes(core: Core, news: Iterable[Entry]) -> dict[str, tuple[str, list[Output]]]:
    """Feed `news` to the core; of each wish in it, by its id: its name, and what the step decided."""
    taken: dict[str, tuple[str, list[Output]]] = {}
    for entry in news:
        outputs = core.feed(entry)
        if isinstance(entry.event, Wished):
            taken[entry.event.intent.id] = entry.event.intent.name, outputs
    return taken


def why_refused(name: str, outputs: Iterable[Output]) -> str:
    """The Manager's words, empty when the wish was granted."""
    refusal = ("manager", name, "warning")
    for output in outputs:
        if isinstance(output, Note) and (output.kind, output.subject, output.level) == refusal:
            return output.text
    return ""


def _outcome(wish: str, name: str, outputs: list[Output]) -> Granted:
    if why := why_refused(name, outputs):
        raise Refused(why)
    told = [o for o in outputs if isinstance(o, Note) and o.level != "debug"]
    if name == "reload":
        wrong = [o.text for o in told if o.kind == "manager" and o.subject == "rules" and o.level == "error"]
        if wrong:
            raise Refused(wrong[0])
    return Granted(wish, tuple(told))
