"""Which actions of a plan may run at the same time: groups that respect the limits on migrations.

A group starts when the one before it has ended. While it runs, a guest under way takes room on both hosts, so
every arrival must fit without the departures of its own group; and no host takes part in more
migrations than `Limits.per_host`, the cluster in no more than `Limits.total`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from vmm.policies.constraints import SLACK
from vmm.policies.model import Cluster, Guest
from vmm.policies.plan import Limits

Step = tuple[Guest | None, str, str]
"""Guest, source and target host ('' for none); no guest: a host to switch off, in `source`."""


def group_numbers(cluster: Cluster, steps: Iterable[Step], limits: Limits) -> list[int]:
    """Number of the group, counted from 1, of each of these steps."""
    room = _Room(cluster)
    group, running = 1, 0
    busy: Counter[str] = Counter()
    out: list[int] = []
    for guest, source, target in steps:
        ends = [h for h in (source, target) if h]
        if guest is None:
            full = busy[source] > 0
        else:
            full = (
                running >= limits.total
                or any(busy[h] >= limits.per_host for h in ends)
                or not room.takes(guest, target)
            )
        if full:
            room.settle()
            busy.clear()
            running = 0
            group += 1
        if guest is not None:
            room.move(guest, source, target)
            busy.update(ends)
            running += 1
        out.append(group)
    return out


class _Room:
    """Free room of each host while the current group runs: arrivals count at once, departures at its end."""

    def __init__(self, cluster: Cluster) -> None:
        columns = cluster.columns
        there = columns.host >= 0
        used = [
            np.bincount(columns.host[there], column[there], minlength=len(cluster.hosts)).tolist()
            for column in (columns.memory_mib, columns.vcpus, columns.disk_local_mib, columns.network_mbit)
        ]
        self._free = {
            h.name: [
                h.memory_mib - h.memory_own_mib - h.memory_reserve_mib - used[0][i],
                h.vcpu_ratio * h.cpus - h.vcpus_own - used[1][i],
                h.disk_mib - h.disk_own_mib - h.disk_reserve_mib - used[2][i],
                h.network_mbit - used[3][i],
            ]
            for i, h in enumerate(cluster.hosts)
        }
        self._tags: dict[str, Counter[str]] = {h.name: Counter() for h in cluster.hosts}
        self._leaving: list[tuple[Guest, str]] = []
        self._moving: set[str] = set()
        for guest in cluster.guests:
            if guest.anti_affinity and guest.host is not None:
                self._tags[guest.host].update(guest.anti_affinity)

    def takes(self, guest: Guest, host: str) -> bool:
        """Does the guest fit while everything under way still takes room where it came from?"""
        if guest.name in self._moving or any(self._tags[host][tag] for tag in guest.anti_affinity):
            return False
        fits = zip(_needs(guest), self._free[host], strict=True)
        return all(need <= max(free, 0.0) + SLACK for need, free in fits)

    def move(self, guest: Guest, source: str, target: str) -> None:
        self._take(guest, target, 1)
        self._moving.add(guest.name)
        if source:
            self._leaving.append((guest, source))

    def settle(self) -> None:
        """The group has ended: what left has left."""
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
