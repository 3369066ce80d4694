"""Which actions of a plan may run at the same time: groups that respect the limits on migrations.

A group starts when the one before it has ended. While it runs, a guest under way takes room on both hosts, so
every arrival must fit without the departures of its own group; and no host takes part in more
migrations than `Limits.per_host`, the cluster in no more than `Limits.total`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vmm.policies.constraints import SLACK
from vmm.policies.model import Cluster, Guest
from vmm.policies.plan import Action, Kind, Limits


def grouped(cluster: Cluster, actions: Sequence[Action], limits: Limits) -> tuple[Action, ...]:
    """The actions, in their order, with group numbers counted from 1."""
    room = _Room(cluster)
    group = 1
    busy: Counter[str] = Counter()
    running = 0
    out: list[Action] = []
    for action in actions:
        if action.kind in (Kind.MIGRATE, Kind.START):
            guest = cluster.guest_by_name[action.guest]
            ends = [h for h in (action.source, action.target) if h]
            if (
                running >= limits.total
                or any(busy[h] >= limits.per_host for h in ends)
                or not room.takes(guest, action.target)
            ):
                room.settle()
                busy.clear()
                running = 0
                group += 1
            room.move(guest, action.source, action.target)
            busy.update(ends)
            running += 1
        elif action.kind is Kind.POWER_OFF and busy[action.source]:
            room.settle()
            busy.clear()
            running = 0
            group += 1
        out.append(replace(action, group=group))
    return tuple(out)


class _Room:
    """Free room of each host while the current group runs: arrivals count at once, departures at its end."""

    def __init__(self, cluster: Cluster) -> None:
        self._free = {
            h.name: [
                h.memory_mib - h.memory_own_mib - h.memory_reserve_mib,
                h.vcpu_ratio * h.cpus - h.vcpus_own,
                h.disk_mib - h.disk_own_mib - h.disk_reserve_mib,
                h.network_mbit,
            ]
            for h in cluster.hosts
        }
        self._tags: dict[str, Counter[str]] = {h.name: Counter() for h in cluster.hosts}
        self._leaving: list[tuple[Guest, str]] = []
        self._moving: set[str] = set()
        for guest in cluster.guests:
            if guest.host is not None:
                self._take(guest, guest.host, 1)

    def takes(self, guest: Guest, host: str) -> bool:
        fits = all(
            need <= max(free, 0.0) + SLACK for need, free in zip(_needs(guest), self._free[host], strict=True)
        )
        apart = not any(self._tags[host][tag] for tag in guest.anti_affinity)
        return fits and apart and guest.name not in self._moving

    def move(self, guest: Guest, source: str, target: str) -> None:
        self._take(guest, target, 1)
        self._moving.add(guest.name)
        if source:
            self._leaving.append((guest, source))

    def settle(self) -> None:
        for guest, host in self._leaving:
            self._take(guest, host, -1)
        self._leaving.clear()
        self._moving.clear()

    def _take(self, guest: Guest, host: str, by: int) -> None:
        free = self._free[host]
        for i, need in enumerate(_needs(guest)):
            free[i] -= by * need
        for tag in guest.anti_affinity:
            self._tags[host][tag] += by


def _needs(guest: Guest) -> tuple[float, float, float, float]:
    return (guest.memory_mib, guest.vcpus, guest.disk_mib if guest.disk_local else 0.0, guest.network_mbit)
