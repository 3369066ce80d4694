"""The state that decisions are made from and change: one owner, canonical bytes, nothing hidden."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import msgspec

from vmm.cluster.model import Client, CommandRecord, Guest, Host, LastFiring, Promise, ShareLuck
from vmm.cluster.tables import World
from vmm.decide.outputs import Note, Output, encode_output
from vmm.decide.rulebook import DecisionSettings
from vmm.messages.structs import Reason

_TRAIL_LIMIT = 24


class Saved(msgspec.Struct):
    """A state in a snapshot of the journal."""

    epoch: str
    starts: int
    position: int
    now_s: float
    serial: int
    digest: bytes
    clients: dict[str, Client]
    hosts: dict[str, Host]
    guests: dict[str, Guest]
    commands: dict[str, CommandRecord]
    luck: dict[str, ShareLuck]
    promises: list[Promise]
    paused: dict[str, str]
    fired: dict[str, int]
    last_fired: dict[str, LastFiring]
    totals: dict[str, int]
    batch_seen_s: float
    nodes_seen_s: float
    next_roll_call_s: float
    wishes: list[str]
    batch_jobs: list[tuple[str, str, str, int, str]]
    unknown_queues: list[str]
    settings: dict[str, float]
    files: dict[str, str]
    world: Any
    engine: Any
    bus_lost: str = ""


class Free(NamedTuple):
    """What nobody has on a host."""

    memory_mib: int
    vcpus: int


class HostFacts(NamedTuple):
    """A host's facts as last worked out (facts.py): what they follow from (`of`, `guests`), the facts, the
    edition of the table of hosts in which they were published, and its free room (None: it takes none)."""

    of: tuple[Any, ...]
    guests: dict[str, tuple[int, int, str]]
    facts: dict[str, Any]
    edition: int
    free: Free | None


@dataclass(slots=True)
class State:
    """Everything a decision may depend on. `outputs` collects what the current step decides."""

    world: World = field(default_factory=World)
    settings: DecisionSettings = field(default_factory=DecisionSettings)
    epoch: str = ""
    starts: int = 0
    position: int = 0
    now_s: float = 0.0
    serial: int = 0
    digest: bytes = b""
    clients: dict[str, Client] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    guests: dict[str, Guest] = field(default_factory=dict)
    commands: dict[str, CommandRecord] = field(default_factory=dict)
    luck: dict[str, ShareLuck] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    paused: dict[str, str] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    last_fired: dict[str, LastFiring] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    batch_seen_s: float = -1.0
    nodes_seen_s: float = -1.0
    next_roll_call_s: float = 0.0
    wishes: list[str] = field(default_factory=list)
    batch_jobs: list[tuple[str, str, str, int, str]] = field(default_factory=list)
    unknown_queues: list[str] = field(default_factory=list)
    bus_lost: str = "no Manager has connected yet"
    """Why the Manager has no connection, so that nothing is decided; empty while it has one."""
    outputs: list[Output] = field(default_factory=list)
    moved: int = 0
    """Grows whenever a command is put under way, or ends. Not kept."""
    freed: list[tuple[str, str]] = field(default_factory=list)
    """Rules and subjects whose commands were withdrawn in this step: rules.Engine is told before it looks."""
    looks: int = 0
    """How often guests were looked at: in between nothing about them changes but by their hosts' reports."""
    host_facts: dict[str, HostFacts] = field(default_factory=dict)
    """Of hosts without guests of ours and promises. Not kept."""
    rest_until_s: float = -inf
    """Guests and facts were found at rest: before this time beats find nothing to do about them (quiet.py).
    Not kept: after a restart it is found out anew."""
    facts_until_s: float = -inf
    """While at rest: before this stream time no report that facts follow from has grown too old."""

    def note(
        self,
        kind: str,
        subject: str,
        text: str,
        *,
        level: str = "info",
        trail: list[Reason] | None = None,
        shadow: bool = False,
    ) -> None:
        """Write a line of the decision log."""
        self.outputs.append(
            Note(kind, subject, text, self.now_s, self.position, level, list(trail or ()), shadow)
        )

    def reason(self, source: str, text: str) -> Reason:
        return Reason(source, text, self.now_s, self.position)

    def count(self, what: str, n: int = 1) -> None:
        """Totals for people: guests created, destroyed, commands sent, ..."""
        self.totals[what] = self.totals.get(what, 0) + n

    def take_outputs(self) -> list[Output]:
        """The step's decisions; they are folded into the running digest, which a replay must reproduce."""
        outputs, self.outputs = self.outputs, []
        for output in outputs:
            self.digest = hashlib.blake2b(self.digest + encode_output(output), digest_size=16).digest()
        return outputs


def extend_trail(trail: list[Reason], reason: Reason) -> list[Reason]:
    """A trail with one more step; the oldest steps but the first give way when it grows too long."""
    longer = [*trail, reason]
    if len(longer) > _TRAIL_LIMIT:
        longer = [longer[0], *longer[2:]]
    return longer


def save(state: State, files: dict[str, str], engine: Any) -> bytes:
    """Canonical bytes of the state between two steps, with the rules' files and the engine's state."""
    saved = Saved(
        **{name: getattr(state, name) for name in _PLAIN},
        settings=dataclasses.asdict(state.settings),
        files=files,
        world=state.world.dump(),
        engine=engine,
    )
    return msgspec.msgpack.encode(saved)


def restore(payload: bytes) -> tuple[State, dict[str, str], Any]:
    """(state, rules' files, engine's state). Raises msgspec.ValidationError on foreign bytes."""
    saved = msgspec.msgpack.decode(payload, type=Saved)
    state = State(
        world=World.load(saved.world),
        settings=DecisionSettings.from_mapping(saved.settings),
        **{name: getattr(saved, name) for name in _PLAIN},
    )
    return state, saved.files, saved.engine


_PLAIN = [f for f in Saved.__struct_fields__ if f not in ("settings", "files", "world", "engine")]
