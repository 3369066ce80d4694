"""What planners reason about: hosts, guests, their resources and their constraints. Immutable values only.

Memory and disk are in MiB, network bandwidth in Mbit/s, power in W. Load is in units of the whole
guest (1.0 = one fully used guest, as in Ganeti) and may be a mean over any window the caller likes.

Hard constraints (no step of a plan may break one):
capacity after the reserve, host state, network and storage reach, CPU model, anti-affinity, pinning,
and `immovable` (for example because a batch job runs that forbids moving).
Soft constraints (they have a price in the objective): affinity, spread over racks, power.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from vmm.policies._check import Columns, check_cluster
from vmm.policies.errors import BadCluster


class HostState(enum.Enum):
    """What a host may do for guests."""

    UP = "up"
    """Runs guests and takes new ones."""
    DRAINING = "draining"
    """Runs its guests and gives them away, takes none. Each guest still there has a price, so that a
    balance takes them off."""
    OFFLINE = "offline"
    """Runs nothing; what the records show there has to be restarted elsewhere."""


@dataclass(frozen=True, slots=True)
class Load:
    """Measured load of one guest, any unit that adds up over guests; all finite and >= 0."""

    cpu: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    network: float = 0.0


@dataclass(frozen=True, slots=True)
class Host:
    """A physical machine. Capacities are totals; what the host uses itself and the reserve come off."""

    name: str
    memory_mib: float
    cpus: float
    memory_own_mib: float = 0.0
    """Used by the host itself (Dom0, hypervisor), and whatever else is not a guest's."""
    memory_reserve_mib: float = 0.0
    """Kept free at every step of every plan."""
    vcpus_own: float = 0.0
    vcpu_ratio: float = 4.0
    """At most so many vCPUs per physical CPU."""
    cpu_speed: float = 1.0
    disk_mib: float = 0.0
    """Local disk for guests; 0 = none, then only guests on shared storage fit."""
    disk_own_mib: float = 0.0
    disk_reserve_mib: float = 0.0
    network_mbit: float = math.inf
    state: HostState = HostState.UP
    networks: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    cpu_models: frozenset[str] = frozenset()
    """CPU models that guests may ask for here; a guest that asks for none runs anywhere."""
    rack: str = ""
    group: str = ""
    """Hosts of different groups never exchange guests; each group is balanced by itself."""
    power_w: float = 0.0
    spindles_used: float = 0.0
    """Part of its spindles that guests with local disks keep busy (Ganeti's; such guests never move)."""
    standby_mib: float = 0.0
    """Part of the reserve that is kept for guests whose `secondary` this host is (Ganeti's DRBD)."""

    @property
    def takes_guests(self) -> bool:
        """May a plan bring a guest here?"""
        return self.state is HostState.UP


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine. `host` is None when it runs nowhere yet."""

    name: str
    memory_mib: float
    vcpus: float
    host: str | None = None
    disk_mib: float = 0.0
    disk_local: bool = False
    """True: the disk takes room on the host and has to be copied by a move."""
    network_mbit: float = 0.0
    load: Load = Load()
    networks: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    cpu_model: str = ""
    anti_affinity: frozenset[str] = frozenset()
    """No two guests that share one of these tags run on the same host."""
    affinity: frozenset[str] = frozenset()
    """Guests that share one of these tags like to be on one host (soft)."""
    spread: frozenset[str] = frozenset()
    """Guests that share one of these tags like to be in different racks (soft)."""
    pinned: frozenset[str] = frozenset()
    """The only hosts it may run on; empty = any."""
    immovable: str = ""
    """Why it may not be moved now; empty = it may."""
    secondary: str = ""
    """Host with the second copy of its disk, which has to stay on; empty = none."""
    disk_bound: bool = False
    """True: no host but its own and `secondary` can reach its disk (whose room is not planned)."""
    priority: int = 0
    """Higher is recovered first."""
    share: str = ""


@dataclass(frozen=True)
class Cluster:
    """All hosts and guests of one planning problem, checked when made.

    Raises BadCluster with the object's name for nonsense, Contradiction for constraints that exclude
    each other. Order matters only for ties, which go to the first host.
    """

    hosts: tuple[Host, ...]
    guests: tuple[Guest, ...]
    host_by_name: Mapping[str, Host] = field(init=False, repr=False, compare=False)
    guest_by_name: Mapping[str, Guest] = field(init=False, repr=False, compare=False)
    columns: Columns = field(init=False, repr=False, compare=False)
    """The guests' numbers as arrays, made while checking; planners start from them."""

    def __init__(self, hosts: Iterable[Host], guests: Iterable[Guest] = ()) -> None:
        object.__setattr__(self, "hosts", tuple(hosts))
        object.__setattr__(self, "guests", tuple(guests))
        object.__setattr__(self, "host_by_name", MappingProxyType({h.name: h for h in self.hosts}))
        object.__setattr__(self, "guest_by_name", MappingProxyType({g.name: g for g in self.guests}))
        object.__setattr__(self, "columns", check_cluster(self.hosts, self.guests, self.host_by_name))

    def moved(self, places: Mapping[str, str | None]) -> Cluster:
        """The same cluster with the named guests on other hosts (nothing is checked but the names)."""
        unknown = [name for name in places if name not in self.guest_by_name]
        if unknown:
            raise BadCluster(
                f"guest {unknown[0]!r} is not in the cluster", next_step="take its name from the cluster"
            )
        return Cluster(
            self.hosts,
            (replace(g, host=places[g.name]) if g.name in places else g for g in self.guests),
        )

    def with_hosts(self, states: Mapping[str, HostState]) -> Cluster:
        """The same cluster with the named hosts in other states."""
        unknown = [name for name in states if name not in self.host_by_name]
        if unknown:
            raise BadCluster(
                f"host {unknown[0]!r} is not in the cluster", next_step="take its name from the cluster"
            )
        return Cluster(
            (replace(h, state=states[h.name]) if h.name in states else h for h in self.hosts), self.guests
        )

    def with_guests(self, guests: Iterable[Guest]) -> Cluster:
        """The same cluster with these guests added."""
        return Cluster(self.hosts, (*self.guests, *guests))

    def assignment(self) -> dict[str, str | None]:
        """Host name of each guest."""
        return {g.name: g.host for g in self.guests}
