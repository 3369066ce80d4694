"""Which guests break a hard constraint where they are, in words: what an empty plan could not mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from vmm.policies.constraints import SLACK, forbidden
from vmm.policies.model import Cluster, Guest, Host, HostState

_SAID = 3


def still_broken(cluster: Cluster) -> str:
    """End of a sentence that names the constraints broken now, the first few; empty when all are kept."""
    found = list(broken(cluster))
    if not found:
        return ""
    more = f"; and {len(found) - _SAID} more" if len(found) > _SAID else ""
    return f"; broken, and no legal move mends it: {'; '.join(found[:_SAID])}{more}"


def broken(cluster: Cluster) -> Iterator[str]:
    """Each constraint that is broken on a host that is not offline, with the names."""
    there: dict[str, list[Guest]] = {h.name: [] for h in cluster.hosts}
    for guest in cluster.guests:
        if guest.host is not None:
            there[guest.host].append(guest)
    for host in cluster.hosts:
        guests = there[host.name]
        if host.state is HostState.OFFLINE or not guests:
            continue
        if host.state is HostState.DRAINING:
            yield f"{host.name} is draining and runs {guests[0].name}" + (
                f" and {len(guests) - 1} more" if len(guests) > 1 else ""
            )
        for guest in guests:
            if reason := forbidden(guest, host):
                yield f"{guest.name} is on {host.name}, but {reason}"
        yield from _clashes(host, guests)
        yield from _overfull(host, guests)
    yield from _torn(cluster.guests)


def _torn(guests: Iterable[Guest]) -> Iterator[str]:
    """Pairs that one tag draws together and another keeps apart."""
    first: dict[tuple[str, str], str] = {}
    for guest in guests:
        for near, apart in sorted(product(guest.affinity, guest.anti_affinity)):
            other = first.setdefault((near, apart), guest.name)
            if other != guest.name:
                yield f"{other} and {guest.name} are drawn together by tag {near}, kept apart by tag {apart}"


def _clashes(host: Host, guests: list[Guest]) -> Iterator[str]:
    first: dict[str, str] = {}
    for guest in guests:
        for tag in sorted(guest.anti_affinity):
            other = first.setdefault(tag, guest.name)
            if other != guest.name:
                yield f"{other} and {guest.name} are both on {host.name}, kept apart by tag {tag}"


def _overfull(host: Host, guests: list[Guest]) -> Iterator[str]:
    """Capacities exceeded by what runs there; the reserve does not count."""
    for what, room, used in (
        ("MiB of memory", host.memory_mib - host.memory_own_mib, sum(g.memory_mib for g in guests)),
        ("vCPUs", host.vcpu_ratio * host.cpus - host.vcpus_own, sum(g.vcpus for g in guests)),
        (
            "MiB of local disk",
            host.disk_mib - host.disk_own_mib,
            sum(g.disk_mib for g in guests if g.disk_local),
        ),
        ("Mbit/s", host.network_mbit, sum(g.network_mbit for g in guests)),
    ):
        if used > max(room, 0.0) + SLACK:
            yield f"guests of {host.name} use {used:g} {what}, it has {room:g}"
