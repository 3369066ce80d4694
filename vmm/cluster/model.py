"""What the Manager knows besides property columns: clients, guests, commands under way, shares' luck.

Mutable, because one thread owns them; plain structs, because a snapshot of the journal holds them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from vmm.messages.guest import GuestSize, GuestSpec
from vmm.messages.structs import Reason


class Client(msgspec.Struct):
    """One vmm client. `address` is its private group on the bus, empty while it is gone."""

    name: str
    role: str
    address: str
    session: int
    state: str
    since_s: float
    heard_s: float
    public_key: bytes = b""
    seq: int = -1
    errors: dict[str, str] = {}
    life: int = 0
    """Of a guest's client: which of the guest's lives it is of."""


class Host(msgspec.Struct):
    """A host as its dom0 client last described it. `guests` maps name -> (memory in MiB, vCPUs, state)."""

    name: str
    memory_mib: int = 0
    reserved_mib: int = 0
    cpus: int = 0
    hypervisor: str = ""
    image_free_mib: int = 0
    guests: dict[str, tuple[int, int, str]] = {}
    seen_s: float = -1.0
    maintenance: bool = False
    guests_seen_s: float = -1.0
    emptied: bool = False
    """In maintenance, and its guests are to go as soon as they can."""
    fenced_s: float = -1.0
    """Since when it is dead by an administrator's word; negative while it is not."""
    fenced_why: str = ""
    returned: bool = False
    """Its client has come back since; it takes no guests until its old ones are gone and somebody says so."""
    leftovers: dict[str, float] = {}
    """Guests that may still be here and must not run here any more -> when to ask (again) for their end."""

    @property
    def dead(self) -> bool:
        """By an administrator's word, and nothing was heard from it since."""
        return self.fenced_s >= 0 and not self.returned


class Resize(msgspec.Struct):
    """A guest's change of size under way: what it is to have, and which names of it somebody asked for.

    `command` is empty while nothing is asked of the host; it is asked again at `retry_s`.
    """

    wanted: GuestSize
    asked: list[str]
    command: str = ""
    tries: int = 0
    retry_s: float = 0.0


class Guest(msgspec.Struct):
    """A guest that vmm made, in one state of `states.GUEST` since `since_s` until at most `deadline_s`."""

    spec: GuestSpec
    host: str
    state: str
    since_s: float
    deadline_s: float
    trail: list[Reason]
    joined: bool = False
    node_state: str = ""
    node_seen_s: float = -1.0
    jobs: int = 0
    ever_ready: bool = False
    command: str = ""
    retry_s: float = 0.0
    tries: int = 0
    for_share: str = ""
    failure: str = ""
    console: str = ""
    missing: int = 0
    drained_s: float = -1.0
    target: str = ""
    """The host that it is being moved to; empty when it is not."""
    life: int = 0
    """How often it was started anew after the death of its host."""
    former: str = ""
    """The dead host that it is being restarted from, until the new host has started it."""
    resize: Resize | None = None
    """Its change of size under way; `spec` has the size that it is known to have."""
    resized_s: float = -1.0
    """When that last changed: what was measured before says nothing about it."""

    @property
    def name(self) -> str:
        return self.spec.name


class CommandRecord(msgspec.Struct):
    """A command from its issue to its result. `owner` is the guest it serves, or the rule that asked."""

    id: str
    to: str
    name: str
    args: dict[str, Any]
    state: str
    issued_s: float
    deadline_s: float
    trail: list[Reason]
    owner: str = ""
    rule: str = ""
    subject: str = ""
    attempt: int = 1
    next_send_s: float = 0.0
    status: str = ""
    code: str = ""
    message: str = ""
    value: str = ""
    answer: dict[str, Any] = {}
    """The value of a done command, when it is a table of names and values."""


class ShareLuck(msgspec.Struct):
    """How creating guests for a share has gone lately: failures in a row, and when to try again."""

    failures: int = 0
    next_try_s: float = 0.0
    gave_up: bool = False
    last_failure: str = ""


class Promise(msgspec.Struct):
    """Room on a host that a leaving guest frees for a share; nobody else is placed there until `until_s`."""

    share: str
    host: str
    memory_mib: int
    vcpus: int
    guest: str
    until_s: float


class LastFiring(msgspec.Struct):
    """The latest firing of a rule for a subject: what made it true, what it called, and what followed."""

    time_s: float
    position: int
    why: str
    calls: list[str]
    shadow: bool = False
    refused: list[str] = []
    commands: list[str] = []
