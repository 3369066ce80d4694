"""Carrying out a plan on the live cluster: look, check, wish one step, follow the stream until it happened.

It acts only by wishes, as a person would, and sees only what is in the stream: what it does can be read in
the journal, and the Manager may refuse any of it. When the cluster is not as the plan expects, it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vmm.api.wish import taken_wishes, why_refused
from vmm.cluster.model import Guest
from vmm.cluster.states import COMING
from vmm.decide.core import Core
from vmm.decide.events import Entry
from vmm.decide.modelling import cluster_of
from vmm.errors import VmmError
from vmm.messages.guest import size_of
from vmm.policies.apply import Finished, Stop, next_step
from vmm.policies.plan import Action, Kind

TAKEN_LIMIT_S = 30.0
"""A Manager that leads has a wish in its journal long before."""


class PlanStopped(VmmError):
    """The plan is not carried on with: the cluster has changed, or a step failed."""

    code = "plan.stopped"


class Carrier:
    """Follows `core` along the stream (`news` gives the entries after its position) and sends wishes.

    `wish(name, args)` returns the wish's id; `wait()` lets some time pass; `clock` is in s.
    """

    def __init__(
        self,
        core: Core,
        *,
        news: Callable[[], Iterable[Entry]],
        wish: Callable[[str, dict[str, Any]], str],
        wait: Callable[[], object],
        clock: Callable[[], float],
        tell: Callable[[str], None],
        limit_s: float,
    ) -> None:
        self._core, self._news, self._wish = core, news, wish
        self._wait, self._clock, self._tell, self._limit_s = wait, clock, tell, limit_s
        self._taken: dict[str, str] = {}
        """Wishes seen in the stream: id -> why it was refused, empty when it was granted."""

    def carry_out(self, actions: Sequence[Action], *, hold: bool = False) -> None:
        """Every step, in order. With `hold`, the hosts that guests leave take no new ones from now on.

        Raises PlanStopped naming the step, the reason and what remains to be done.
        """
        self._look()
        first = next_step(actions, 0, cluster_of(self._core.state, self._core.rules))
        if hold and not isinstance(first, Stop):
            for host in dict.fromkeys(a.source for a in actions if a.kind is Kind.MIGRATE):
                self._hold(host, actions)
        for done in range(len(actions) + 1):
            self._look()
            step = next_step(actions, done, cluster_of(self._core.state, self._core.rules))
            if isinstance(step, Stop):
                raise _stopped(actions, done, step.position, step.reason)
            if isinstance(step, Finished):
                break
            (action,) = step.actions
            began_s = self._clock()
            if why := self._do(action):
                raise _stopped(actions, done, done, why)
            self._tell(f"{done + 1}/{len(actions)} {_words(action)}: done in {self._clock() - began_s:.1f} s")
        self._tell(f"the plan is carried out: {len(actions)} steps")

    def _do(self, action: Action) -> str:
        """Why it failed; empty when the step has happened."""
        if action.kind is Kind.MIGRATE:
            return self._migrate(action)
        if action.kind is Kind.START and action.source:
            return self._restart(action)
        if action.kind is Kind.RESIZE:
            return self._resize(action)
        if action.kind is Kind.POWER_OFF:
            host = self._core.state.hosts.get(action.source)
            if host is None or host.maintenance:
                return ""
            if why := self._ask("hold_host", {"host": action.source}):
                return why
            self._tell(f"host {action.source} is empty and takes no guests: it can be switched off")
            return ""
        return f"a {action.kind.value} of a guest cannot be asked of the Manager; do it by hand"

    def _migrate(self, action: Action) -> str:
        args = {"guest": action.guest, "host": action.target, "source": action.source}
        if why := self._ask("migrate_guest", args):
            return why
        guests = self._core.state.guests
        end_s = self._clock() + self._limit_s
        while (guest := guests.get(action.guest)) is not None and guest.state == "migrating":
            if self._clock() >= end_s:
                return f"it has not ended after {self._limit_s:g} s; the Manager goes on with it"
            self._wait()
            self._look()
        if guest is None:
            return f"guest {action.guest} is gone"
        if guest.host != action.target:
            told = f" ({guest.trail[-1].reason})" if guest.trail else ""
            return f"guest {action.guest} is {guest.state} on {guest.host}{told}"
        return ""

    def _restart(self, action: Action) -> str:
        """Ask once its batch node is out of the way, and wait until it is ready on the other host."""
        state = self._core.state
        end_s = self._clock() + self._limit_s

        def wait_while(holds: Callable[[Guest], bool]) -> Guest | None:
            while (guest := state.guests.get(action.guest)) is not None and holds(guest):
                if self._clock() >= end_s:
                    break
                self._wait()
                self._look()
            return guest

        wait_while(lambda guest: guest.state == "lost" and guest.drained_s < 0)
        args = {"guest": action.guest, "host": action.target, "source": action.source}
        if why := self._ask("restart_guest", args):
            return why
        guest = wait_while(lambda guest: guest.state in COMING)
        if guest is None:
            return f"guest {action.guest} is gone: it could not be started"
        if guest.state != "ready":
            told = f" ({guest.trail[-1].reason})" if guest.trail else ""
            return f"guest {action.guest} is {guest.state} on {guest.host}{told}"
        return ""

    def _resize(self, action: Action) -> str:
        guests = self._core.state.guests
        sizes = {k: int(v) if k in ("memory_mib", "vcpus") else v for k, v in action.sizes.items()}
        guest = guests.get(action.guest)
        if guest is not None and _has(guest, sizes):
            return ""
        if why := self._ask("resize_guest", {"guest": action.guest, "host": action.source, **sizes}):
            return why
        end_s = self._clock() + self._limit_s
        while (guest := guests.get(action.guest)) is not None and guest.resize is not None:
            if self._clock() >= end_s:
                return f"it has not ended after {self._limit_s:g} s; the Manager goes on with it"
            self._wait()
            self._look()
        if guest is None:
            return f"guest {action.guest} is gone"
        if not _has(guest, sizes):
            return guest.trail[-1].reason if guest.trail else f"it has {size_of(guest.spec)}"
        return ""

    def _hold(self, host: str, actions: Sequence[Action]) -> None:
        found = self._core.state.hosts.get(host)
        if found is None:
            raise _stopped(actions, 0, 0, f"host {host} is gone")
        if found.maintenance:
            return
        if why := self._ask("hold_host", {"host": host}):
            raise _stopped(actions, 0, 0, why)
        self._tell(f"host {host} takes no new guests from now on; `vmm host undrain {host}` ends that")

    def _ask(self, name: str, args: dict[str, Any]) -> str:
        """Send a wish and wait until the Manager has decided on it; why it refused, empty if it did not."""
        wish = self._wish(name, args)
        end_s = self._clock() + TAKEN_LIMIT_S
        while wish not in self._taken:
            if self._clock() >= end_s:
                return f"no Manager took the wish within {TAKEN_LIMIT_S:g} s; is one running on this journal?"
            self._wait()
            self._look()
        return self._taken[wish]

    def _look(self) -> None:
        for wish, (name, outputs) in taken_wishes(self._core, self._news()).items():
            self._taken[wish] = why_refused(name, outputs)


def _has(guest: Guest, sizes: Mapping[str, float]) -> bool:
    return all(abs(getattr(guest.spec, name) - value) < 0.002 for name, value in sizes.items())


def _words(action: Action) -> str:
    if action.kind is Kind.RESIZE:
        return f"resize {action.guest} to {' '.join(f'{k}={v:g}' for k, v in action.sizes.items())}"
    if action.kind is Kind.POWER_OFF:
        return f"power-off {action.source}"
    return f"{action.kind.value} {action.guest} from {action.source or '-'} to {action.target or '-'}"


def _stopped(actions: Sequence[Action], done: int, position: int, reason: str) -> PlanStopped:
    at = min(position, len(actions) - 1)
    remaining = "; ".join(_words(action) for action in actions[done:]) or "nothing"
    where = f"step {at + 1} of {len(actions)} ({_words(actions[at])})" if actions else "the plan"
    return PlanStopped(
        f"{where}: {reason}. {done} steps are done; not done: {remaining}.",
        next_step="make a new plan from what is there now",
    )
