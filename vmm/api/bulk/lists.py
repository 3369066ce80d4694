"""Hosts whose reports mean something even where they say the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmm.cluster.model import Host
from vmm.decide import facts
from vmm.decide.core import Core
from vmm.decide.facts import LISTED, offer_of, read_guests, read_host

EVERY = frozenset({"*"})
"""Instead of names: all hosts."""

_MALFORMED = object()


class Lists:
    """Compares what hosts said last with what is known of them: that may have changed since.

    A report that only repeats the last one decides nothing if the core knows exactly what it says, and no
    guest waits to be seen in it, or is missed.
    """

    def __init__(self, core: Core, structural: list[tuple[str, str]]) -> None:
        """`structural` are the properties that make the picture of the cluster, with their collectors."""
        self._core = core
        self._said: list[tuple[str, str, Callable[[Any], Any]]] = [
            (name, command, read_host if command == "host_facts" else read_guests)
            for name, command in structural
            if command in ("host_facts", "guests")
        ]
        self._read: dict[str, dict[str, tuple[object, object]]] = {name: {} for name, _, _ in self._said}
        """Property -> host -> a value, and what it means: as long as the table holds this very object."""
        self.heard: set[str] = set()
        """Clients whose reports were stored in the ordinary way since the last look."""
        self._differing: set[str] = set()
        self._listed: dict[str, object] = {}
        """Hosts' lists of guests at the last look."""

    def unsettled(self) -> frozenset[str]:
        """Their names, or EVERY."""
        state = self._core.state
        out: set[str] = set()
        for guest in state.guests.values():
            if guest.state == "migrating":
                return EVERY
            if guest.state in LISTED:
                host = state.hosts.get(guest.host)
                if guest.missing or host is None or not facts.runs_in(host.guests, guest):
                    out.add(guest.host)
        hosts = state.hosts
        # Beside what they say, their guests' state may have moved others; then these have a new list.
        look = {name for name, host in hosts.items() if host.guests is not self._listed.get(name)}
        look |= self.heard
        self.heard.clear()
        self._differing -= look
        self._differing |= {name for name in look if name in hosts and self._differs(hosts[name])}
        self._listed.update((name, hosts[name].guests) for name in look if name in hosts)
        return frozenset(out | self._differing)

    def _differs(self, host: Host) -> bool:
        """Whether what it said last is not what is known of it."""
        clients = self._core.state.world.clients
        row = clients.rows.get(host.name)
        for name, command, read in self._said:
            value = None if row is None else clients.columns[name].values[row]
            if value is None:
                continue
            kept, is_offer = self._read[name], command == "host_facts"
            found = kept.get(host.name)
            if found is None or found[0] is not value:
                found = kept[host.name] = value, _understood(value, read)
            if is_offer:
                same = host.seen_s >= 0 and found[1] == offer_of(host)
            else:
                same = host.guests_seen_s >= 0 and (found[1] is host.guests or found[1] == host.guests)
                if same:
                    kept[host.name] = value, host.guests  # the next look is quicker
            if not same:
                return True
        return False


def _understood(value: Any, read: Callable[[Any], Any]) -> object:
    """What the core makes of the value."""
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return _MALFORMED
