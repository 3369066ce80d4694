"""The state machines of the cluster as tables: which state may follow which, and why it would.

The docs' diagrams are made from these tables; `Machine.check` is what the one mutator of each object calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmm.errors import VmmError


class IllegalTransition(VmmError):
    """A bug: the code tried to move an object along an arrow that is not in its table."""

    code = "illegal-transition"


@dataclass(frozen=True)
class Machine:
    """`arrows[state]` maps each state that may follow to what causes the move."""

    name: str
    arrows: dict[str, dict[str, str]]

    def check(self, subject: str, old: str, new: str) -> None:
        if new not in self.arrows.get(old, {}):
            raise IllegalTransition(f"{self.name} {subject!r} cannot go from {old} to {new}.")

    def mermaid(self) -> str:
        lines = ["stateDiagram-v2"]
        for old, nexts in self.arrows.items():
            lines += [f"    {old} --> {new}: {why}" for new, why in nexts.items()]
        return "\n".join(lines)


GUEST = Machine(
    "guest",
    {
        "creating": {
            "booting": "the host made and started it",
            "cleaning": "the host could not, or did not answer in time",
            "lost": "its host is dead; or, a restart: the new host could not make it",
        },
        "booting": {
            "ready": "its client and its batch node are there",
            "draining": "not complete at the deadline, but its batch node is there",
            "cleaning": "nothing of it is there at the deadline, or it died",
            "lost": "its host is dead",
        },
        "ready": {
            "draining": "a rule or a person retires it",
            "migrating": "a rule or a person moves it to another host",
            "cleaning": "it died",
            "lost": "its host is dead",
        },
        "migrating": {
            "ready": "it runs on the other host, or still on the first",
            "lost": "its host is dead, and it has not arrived on the other",
        },
        "draining": {
            "removing": "no job left and drained",
            "cleaning": "it died, or its host is dead",
            "ready": "the drain was taken back",
        },
        "removing": {
            "stopping": "its batch node is deleted",
            "draining": "a job was still on it",
            "cleaning": "its host is dead",
        },
        "stopping": {"gone": "domain and overlay are removed", "cleaning": "its host is dead"},
        "lost": {
            "creating": "a person or a rule restarts it on another host",
            "cleaning": "a person gives it up, or its host came back",
        },
        "cleaning": {"gone": "batch node, domain and overlay are removed"},
        "gone": {},
    },
)

COMMAND = Machine(
    "command",
    {
        "issued": {
            "sent": "it was seen in the stream",
            "done": "the client answered",
            "failed": "the client answered with an error, or the deadline passed",
        },
        "sent": {
            "done": "the client answered",
            "failed": "the client answered with an error, or the deadline passed",
        },
        "done": {},
        "failed": {},
    },
)

CLIENT = Machine(
    "client",
    {
        "up": {"silent": "no report for too long", "gone": "its connection to the bus ended"},
        "silent": {"up": "it reports again", "gone": "its connection to the bus ended"},
        "gone": {"up": "it introduced itself again"},
    },
)

ALIVE = ("creating", "booting", "ready", "migrating", "draining", "removing", "stopping", "cleaning")
"""Takes room and counts for its share. A lost guest does neither: nothing of it runs, by somebody's word."""
COMING = ("creating", "booting")
LEAVING = ("draining", "removing", "stopping", "cleaning")
