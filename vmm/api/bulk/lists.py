"""Hosts whose reports mean something even where they say the same again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        clients, hosts = state.world.clients, state.hosts
        rows = clients.rows
        for name, command, read in self._said:
            values, kept, is_offer = clients.columns[name].values, self._read[name], command == "host_facts"
            for client, host in hosts.items():
                row = rows.get(client)
                value = None if row is None else values[row]
                if value is None:
                    continue
                found = kept.get(client)
                if found is None or found[0] is not value:
                    found = kept[client] = value, _understood(value, read)
                if is_offer:
                    same = host.seen_s >= 0 and found[1] == offer_of(host)
                else:
                    same = host.guests_seen_s >= 0 and (found[1] is host.guests or found[1] == host.guests)
                    if same:
                        kept[client] = value, host.guests  # the next look is quicker
                if not same:
                    out.add(client)
        return frozenset(out)


def _understood(value: Any, read: Callable[[Any], Any]) -> object:
    """What the core makes of the value."""
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return _MALFORMED
