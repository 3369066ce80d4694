"""What planners hand out: an ordered list of actions, their cost, what they lead to, and why not more.

A plan only says what to do; nothing here acts. `score_before` and every action's `score_after` are of the
plan's objective and hold when the actions are carried out in order.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmm.policies.errors import BadRequest


class Kind(enum.Enum):
    """What an action does."""

    MIGRATE = "migrate"
    START = "start"
    """Start a guest that runs nowhere (new, or its host is dead)."""
    POWER_OFF = "power-off"
    """Switch off a host that the plan has emptied."""
    RESIZE = "resize"
    """Give a guest other vCPUs, memory, CPU weight or CPU cap, where it is."""


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a plan."""

    kind: Kind
    guest: str = ""
    source: str = ""
    target: str = ""
    data_mib: float = 0.0
    """Data to copy: memory, and the disk when it is local."""
    expected_s: float = 0.0
    group: int = 0
    """Actions of one group may run at the same time; groups run one after another."""
    score_after: float | None = None
    reason: str = ""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """RESIZE: the new `vcpus`, `memory_mib`, `cpu_weight`, `cpu_cap` (only what changes)."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `-o json`; a migration has the keys `guest`, `from`, `to`."""
        out: dict[str, Any] = {"action": self.kind.value}
        if self.guest:
            out["guest"] = self.guest
        if self.kind is Kind.POWER_OFF:
            out["host"] = self.source
        else:
            out["from"] = self.source or None
            out["to"] = self.target or None
        out |= {
            "data_mib": round(self.data_mib, 3),
            "expected_s": round(self.expected_s, 3),
            "group": self.group,
        }
        if self.score_after is not None:
            out["score_after"] = self.score_after
        if self.sizes:
            out["sizes"] = dict(self.sizes)
        if self.reason:
            out["reason"] = self.reason
        return out


@dataclass(frozen=True, slots=True)
class Limits:
    """What the network and the hosts bear while a plan runs."""

    per_host: int = 2
    """Migrations at the same time that a host takes part in, as source or target."""
    total: int = 8
    """Migrations at the same time in the cluster."""
    bandwidth_mib_s: float = 110.0
    """Of one migration; 110 MiB/s is a 1 Gbit/s network."""
    dirty_factor: float = 1.3
    """How much more than its memory a running guest's migration copies, on average."""
    overhead_s: float = 2.0
    """Of one action, whatever its size."""

    def __post_init__(self) -> None:
        for name in ("per_host", "total", "bandwidth_mib_s"):
            if not getattr(self, name) > 0:
                raise BadRequest(f"limit {name} is {getattr(self, name)}", next_step="give a number > 0")


@dataclass(frozen=True)
class Plan:
    """An ordered list of actions with what they lead to."""

    policy: str
    objective: str
    score_before: float
    score_after: float
    actions: tuple[Action, ...] = ()
    why_empty: str = ""
    """Why there is nothing to do; empty when there is."""
    hosts_left: tuple[str, ...] = ()
    """Consolidation: hosts that stay on."""
    unplaced: Mapping[str, str] = field(default_factory=dict)
    """Guests that found no host, with the reason."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a guest is not moved or a host not chosen, by name."""
    cut_by_clock: bool = False
    """The caller's clock ended the search before its work was done: another run may find another plan."""
    seed: int = 0

    @property
    def moves(self) -> tuple[Action, ...]:
        """The actions that take a guest from one host to another, in order: migrations, and starts of guests
        whose host is offline."""
        return tuple(
            a for a in self.actions if a.target and a.source and a.kind in (Kind.MIGRATE, Kind.START)
        )

    @property
    def data_mib(self) -> float:
        return sum(a.data_mib for a in self.actions)

    @property
    def expected_s(self) -> float:
        """Groups one after another, each as long as its longest action."""
        longest: dict[int, float] = {}
        for action in self.actions:
            longest[action.group] = max(longest.get(action.group, 0.0), action.expected_s)
        return sum(longest.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values for `-o json` and for plan files."""
        out: dict[str, Any] = {
            "policy": self.policy,
            "objective": self.objective,
            "score_before": self.score_before,
            "score_after": self.score_after,
            "moves": [a.to_json() for a in self.moves],
            "actions": [a.to_json() for a in self.actions],
            "data_mib": round(self.data_mib, 3),
            "expected_s": round(self.expected_s, 3),
            "seed": self.seed,
            "cut_by_clock": self.cut_by_clock,
        }
        if self.policy in ("place", "recover"):
            out["placements"] = [
                {"guest": a.guest, "host": a.target, "score_after": a.score_after}
                for a in self.actions
                if a.kind is Kind.START
            ]
        if self.hosts_left or self.policy == "consolidate":
            out["hosts_left"] = len(self.hosts_left)
            out["hosts_on"] = list(self.hosts_left)
            out["hosts_off"] = [a.source for a in self.actions if a.kind is Kind.POWER_OFF]
        if self.why_empty:
            out["why_empty"] = self.why_empty
        if self.unplaced or self.policy in ("place", "recover", "evacuate"):
            out["unplaced"] = dict(self.unplaced)
        if self.reasons:
            out["reasons"] = dict(self.reasons)
        return out


def migration_seconds(data_mib: float, limits: Limits) -> float:
    """Expected time of one migration in s."""
    return limits.overhead_s + data_mib * limits.dirty_factor / limits.bandwidth_mib_s
