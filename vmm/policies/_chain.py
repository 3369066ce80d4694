"""Room for a guest that fits nowhere: a guest of another host makes it by moving on to a third host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vmm.policies.constraints import unreachable, why_not
from vmm.policies.model import Cluster, Guest

_LOOKS = 30_000
"""Guests of hosts looked through, at most; then those that still wait are given up."""


def chained(
    cluster: Cluster, places: Mapping[str, str], waiting: Iterable[Guest], fixed: Iterable[str]
) -> list[tuple[str, str]]:
    """Moves (guest, target) in order, by which waiting guests come to a host after another made room.

    `places` are the hosts of guests that have moved already; these and the guests on the `fixed` hosts do not
    make room. The smallest guest that makes enough of it goes, each at most once.
    """
    keep = set(places)
    shut = set(fixed)
    there: dict[str, list[Guest]] = {h.name: [] for h in cluster.hosts}
    for guest in cluster.guests:
        at = places.get(guest.name, guest.host)
        if at is not None:
            there[at].append(replace(guest, host=at))
    looks = _LOOKS
    moves: list[tuple[str, str]] = []
    for guest in sorted(waiting, key=lambda g: -g.memory_mib):
        found: tuple[float, Guest, str, str] | None = None
        for host in cluster.hosts:
            if host.name in shut or not host.takes_guests or unreachable(guest, host):
                continue
            here = there[host.name]
            for other in here:
                if other.immovable or other.name in keep or (found and other.memory_mib >= found[0]):
                    continue
                looks -= len(here)
                if looks < 0:
                    return moves
                if why_not(guest, host, [g for g in here if g is not other]):
                    continue
                target, seen = _third(cluster, other, there, shut | {host.name})
                looks -= seen
                if target:
                    found = (other.memory_mib, other, host.name, target)
        if found:
            _, other, name, target = found
            there[name].remove(other)
            there[target].append(replace(other, host=target))
            there[guest.host or name].remove(
                next(g for g in there[guest.host or name] if g.name == guest.name)
            )
            there[name].append(replace(guest, host=name))
            keep |= {other.name, guest.name}
            moves += [(other.name, target), (guest.name, name)]
    return moves


def _third(
    cluster: Cluster, guest: Guest, there: Mapping[str, Sequence[Guest]], shut: set[str]
) -> tuple[str, int]:
    """The first other host that takes the guest, and how many guests were looked through."""
    seen = 0
    for host in cluster.hosts:
        if host.name not in shut:
            seen += 1 + len(there[host.name])
            if not why_not(guest, host, there[host.name]):
                return host.name, seen
    return "", seen
