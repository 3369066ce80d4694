"""What the engine hands out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Call:
    """One command with its arguments' values; subjects are names."""

    operation: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.operation}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule fired, for `subject` if it has `each`.

    `why` is the condition with the values that made it true. `restart`: cancel this rule's commands that
    are still under way for the subject. `dry_run`: report the calls, do not carry them out.
    """

    rule: str
    subject: str | None
    calls: list[Call]
    time_s: float
    priority: int = 0
    dry_run: bool = False
    why: str = ""
    restart: bool = False


class Transition(NamedTuple):
    """A rule's state for a subject changed: idle, pending, firing, latched, unknown, gone."""

    rule: str
    subject: str | None
    old: str
    new: str
    time_s: float
