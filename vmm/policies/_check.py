"""Checks of a cluster when it is made, done on arrays; words are looked for only when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vmm.policies.constraints import forbidden, unreachable
from vmm.policies.errors import BadCluster, Contradiction

if TYPE_CHECKING:
    from vmm.policies.model import Guest, Host

NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The guests' numbers as arrays of length G (see model.Guest for the units)."""

    host: NDArray[np.int64]
    """Index of the host, NOWHERE for none."""
    memory_mib: NDArray[np.float64]
    vcpus: NDArray[np.float64]
    disk_local_mib: NDArray[np.float64]
    """0 for guests whose disk is shared."""
    network_mbit: NDArray[np.float64]
    load: NDArray[np.float64]
    """4 x G: cpu, memory, disk, network."""
    apart: tuple[int, ...]
    """Guests that some tag keeps apart from others."""
    misplaced: tuple[int, ...]
    """Guests that may not be where they are: out of reach of a network or storage, off their pins."""


_HOST_NUMBERS = (
    "memory_mib",
    "cpus",
    "memory_own_mib",
    "memory_reserve_mib",
    "vcpus_own",
    "vcpu_ratio",
    "cpu_speed",
    "disk_mib",
    "disk_own_mib",
    "disk_reserve_mib",
    "power_w",
    "spindles_used",
    "standby_mib",
)
_GUEST_NUMBERS = ("memory_mib", "vcpus", "disk_mib", "network_mbit")
_LOAD_NUMBERS = ("cpu", "memory", "disk", "network")
_MOST, _LEAST = 1e12, 1e-6
"""Numbers above the first are nonsense in any unit, and so are capacities below the second."""
_RANGE = f"give a number from 0 to {_MOST:g}"


def check_cluster(hosts: Sequence[Host], guests: Sequence[Guest], by_name: Mapping[str, Host]) -> Columns:
    """Columns of a cluster that makes sense; BadCluster or Contradiction for one that does not."""
    if len(by_name) != len(hosts):
        raise BadCluster(f"host {_twice(h.name for h in hosts)!r} is there twice", next_step="rename one")
    for host in hosts:
        _check_host(host)
    columns = check_guests(guests, by_name)
    if len({g.name for g in guests}) != len(guests):
        raise BadCluster(f"guest {_twice(g.name for g in guests)!r} is there twice", next_step="rename one")
    return columns


def check_guests(guests: Sequence[Guest], by_name: Mapping[str, Host]) -> Columns:
    """Columns of guests that make sense on these hosts."""
    index: dict[str | None, int] = {name: i for i, name in enumerate(by_name)}
    index[None] = NOWHERE
    try:
        at = np.array([index[g.host] for g in guests], dtype=np.int64)
    except KeyError as missing:
        guest = next(g for g in guests if g.host not in index)
        raise BadCluster(
            f"guest {guest.name!r} is on host {missing.args[0]!r}, which is not in the cluster",
            next_step="add the host, or clear the guest's host",
        ) from None
    loads = [g.load for g in guests]
    columns = Columns(
        at,
        np.array([g.memory_mib for g in guests], dtype=np.float64),
        np.array([g.vcpus for g in guests], dtype=np.float64),
        np.array([g.disk_mib if g.disk_local else 0.0 for g in guests], dtype=np.float64),
        np.array([g.network_mbit for g in guests], dtype=np.float64),
        np.array(
            [
                [x.cpu for x in loads],
                [x.memory for x in loads],
                [x.disk for x in loads],
                [x.network for x in loads],
            ],
            dtype=np.float64,
        ),
        tuple(i for i, g in enumerate(guests) if g.anti_affinity),
        _misplaced(guests, by_name),
    )
    disks = np.array([g.disk_mib for g in guests], dtype=np.float64)
    for column in (columns.memory_mib, columns.vcpus, disks, columns.network_mbit, columns.load):
        if not ((column >= 0) & (column <= _MOST)).all():
            _blame(guests)
    for guest in guests:
        if not guest.name:
            raise BadCluster(
                f"a guest has no name ({guest.memory_mib:g} MiB, on host {guest.host!r})",
                next_step="name it",
            )
        if both := guest.affinity & guest.anti_affinity:
            raise Contradiction(
                f"guest {guest.name!r}: tag {min(both)!r} draws it to others and keeps it apart",
                next_step="drop the tag from its affinity or its anti_affinity",
            )
        if guest.secondary and guest.secondary not in by_name:
            raise BadCluster(
                f"guest {guest.name!r} has its secondary on host {guest.secondary!r},"
                " which is not in the cluster",
                next_step="add the host, or clear the guest's secondary",
            )
    pinned = [g for g in guests if g.pinned]
    for guest in pinned:
        _check_pins(guest, by_name)
    _check_pinned_apart(pinned)
    return columns


def _misplaced(guests: Sequence[Guest], by_name: Mapping[str, Host]) -> tuple[int, ...]:
    seen: dict[object, bool] = {}
    out = []
    for i, g in enumerate(guests):
        if g.host is None:
            continue
        key = (g.host, g.networks, g.storages, g.cpu_model, g.pinned)
        wrong = seen.get(key)
        if wrong is None:
            wrong = seen[key] = bool(forbidden(g, by_name[g.host]))
        if wrong:
            out.append(i)
    return tuple(out)


def _check_host(host: Host) -> None:
    if not host.name:
        raise BadCluster("a host has no name", next_step="name it")
    for name in _HOST_NUMBERS:
        value = getattr(host, name)
        if not 0 <= value <= _MOST:
            raise BadCluster(f"host {host.name!r}: {name} is {value}", next_step=_RANGE)
    for name in ("memory_mib", "cpus", "cpu_speed", "vcpu_ratio"):
        if getattr(host, name) < _LEAST:
            raise BadCluster(
                f"host {host.name!r}: {name} is {getattr(host, name):g}",
                next_step="give its real capacity, or drop the host",
            )
    if not host.network_mbit > 0:
        raise BadCluster(
            f"host {host.name!r}: network_mbit is {host.network_mbit}",
            next_step="leave it out when not known",
        )
    own_mib = host.memory_own_mib + host.memory_reserve_mib
    if own_mib > host.memory_mib:
        raise BadCluster(
            f"host {host.name!r}: its own use and reserve ({own_mib:g} MiB) exceed its"
            f" memory ({host.memory_mib:g} MiB)",
            next_step="correct the reserve or the host's own memory",
        )


def _blame(guests: Sequence[Guest]) -> None:
    for guest in guests:
        for name in _GUEST_NUMBERS:
            value = getattr(guest, name)
            if not 0 <= value <= _MOST:
                raise BadCluster(f"guest {guest.name!r}: {name} is {value}", next_step=_RANGE)
        for name in _LOAD_NUMBERS:
            value = getattr(guest.load, name)
            if not 0 <= value <= _MOST:
                raise BadCluster(
                    f"guest {guest.name!r}: load.{name} is {value}",
                    next_step="leave the load out when not measured",
                )


def _check_pins(guest: Guest, by_name: Mapping[str, Host]) -> None:
    unknown = sorted(guest.pinned - by_name.keys())
    if unknown:
        raise BadCluster(
            f"guest {guest.name!r} is pinned to host {unknown[0]!r}, which is not in the cluster",
            next_step="correct the pin",
        )
    pins = ", ".join(sorted(guest.pinned))
    if guest.host is not None and guest.host not in guest.pinned and guest.immovable:
        raise Contradiction(
            f"guest {guest.name!r} is pinned to {pins} but may not leave {guest.host}: {guest.immovable}",
            next_step="drop the pin or wait until it may move",
        )
    reasons = [unreachable(guest, by_name[name]) for name in sorted(guest.pinned)]
    if all(reasons):
        raise Contradiction(
            f"guest {guest.name!r} is pinned to {pins}, where it cannot run: {reasons[0]}",
            next_step="correct the pin or the guest's needs",
        )


def _check_pinned_apart(pinned: Sequence[Guest]) -> None:
    alone: dict[tuple[str, str], str] = {}
    for guest in pinned:
        if len(guest.pinned) == 1:
            (host,) = guest.pinned
            for tag in sorted(guest.anti_affinity):
                other = alone.setdefault((tag, host), guest.name)
                if other != guest.name:
                    raise Contradiction(
                        f"guests {other!r} and {guest.name!r} are both pinned to host {host!r}"
                        f" and kept apart by tag {tag!r}",
                        next_step="drop one of the pins or the tag",
                    )


def _twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
