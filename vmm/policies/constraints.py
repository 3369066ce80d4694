"""Why a host can or cannot run a guest, in words. The planners' arrays decide the same; this says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmm.policies.model import Cluster, Guest, Host

SLACK = 1e-9
"""Rounding allowed in a comparison of a need with the room for it (MiB, vCPUs)."""


def forbidden(guest: Guest, host: Host) -> str:
    """Why this guest may not be on this host, whatever its size: networks, storages, CPU model, pins."""
    if guest.networks and not guest.networks <= host.networks:
        return f"{host.name} does not reach network {', '.join(sorted(guest.networks - host.networks))}"
    if guest.storages and not guest.storages <= host.storages:
        return f"{host.name} does not reach storage {', '.join(sorted(guest.storages - host.storages))}"
    if guest.cpu_model and guest.cpu_model not in host.cpu_models:
        return f"{host.name} cannot give CPU model {guest.cpu_model}"
    if guest.pinned and host.name not in guest.pinned:
        return f"{guest.name} is pinned to {', '.join(sorted(guest.pinned))}"
    return ""


def unreachable(guest: Guest, host: Host) -> str:
    """Why this host could never run this guest, whatever else runs there; empty if it could.

    Looks at what does not change during a plan: networks, storages, CPU model, pins, size.
    """
    if reason := forbidden(guest, host):
        return reason
    if guest.memory_mib > host.memory_mib - host.memory_own_mib - host.memory_reserve_mib:
        return f"{host.name} has too little memory even when empty"
    if guest.vcpus > host.vcpu_ratio * host.cpus - host.vcpus_own:
        return f"{host.name} has too few CPUs even when empty"
    if guest.disk_local and guest.disk_mib > host.disk_mib - host.disk_own_mib - host.disk_reserve_mib:
        return f"{host.name} has too little local disk even when empty"
    if guest.network_mbit > host.network_mbit:
        return f"{host.name} has too little network bandwidth even when empty"
    return ""


def why_not(guest: Guest, host: Host, there: Iterable[Guest]) -> str:
    """Why a guest cannot go to a host where the guests `there` run; empty if it can."""
    if not host.takes_guests:
        return f"{host.name} is {host.state.value}"
    if reason := unreachable(guest, host):
        return reason
    others = [g for g in there if g.name != guest.name]
    memory = (
        host.memory_mib - host.memory_own_mib - host.memory_reserve_mib - sum(g.memory_mib for g in others)
    )
    if guest.memory_mib > max(memory, 0.0) + SLACK:
        return f"{host.name} has {memory:g} MiB of memory free, {guest.memory_mib:g} needed"
    vcpus = host.vcpu_ratio * host.cpus - host.vcpus_own - sum(g.vcpus for g in others)
    if guest.vcpus > max(vcpus, 0.0) + SLACK:
        return f"{host.name} has {vcpus:g} vCPUs free, {guest.vcpus:g} needed"
    disk = (
        host.disk_mib
        - host.disk_own_mib
        - host.disk_reserve_mib
        - sum(g.disk_mib for g in others if g.disk_local)
    )
    if guest.disk_local and guest.disk_mib > max(disk, 0.0) + SLACK:
        return f"{host.name} has {disk:g} MiB of local disk free, {guest.disk_mib:g} needed"
    network = host.network_mbit - sum(g.network_mbit for g in others)
    if guest.network_mbit > max(network, 0.0) + SLACK:
        return f"{host.name} has {network:g} Mbit/s free, {guest.network_mbit:g} needed"
    for other in others:
        if common := guest.anti_affinity & other.anti_affinity:
            return f"{host.name} runs {other.name}, kept apart by tag {min(common)}"
    return ""


def why_nowhere(cluster: Cluster, guest: Guest) -> str:
    """Why no other host takes a guest, counted: '3 x too little memory (e.g. n1 has ...); ...'."""
    there: dict[str, list[Guest]] = {h.name: [] for h in cluster.hosts}
    for other in cluster.guests:
        if other.host is not None:
            there[other.host].append(other)
    hosts = [h for h in cluster.hosts if h.name != guest.host]
    if not hosts:
        return "there is no other host" if cluster.hosts else "the cluster has no host"
    count: Counter[str] = Counter()
    example: dict[str, str] = {}
    for host in hosts:
        reason = why_not(guest, host, there[host.name])
        what = _class(reason, host.name)
        count[what] += 1
        example.setdefault(what, reason or host.name)
    return "; ".join(f"{number} x {what} (e.g. {example[what]})" for what, number in count.most_common())


_CLASSES = {
    "of memory free": "too little memory",
    "vCPUs free": "too few vCPUs",
    "local disk free": "too little local disk",
    "Mbit/s free": "too little network bandwidth",
    "kept apart": "anti-affinity",
    "does not reach": "out of reach",
    "CPU model": "CPU model",
    "pinned": "pinned elsewhere",
    "even when empty": "host too small",
}


def _class(reason: str, host: str) -> str:
    for words, name in _CLASSES.items():
        if words in reason:
            return name
    return reason.removeprefix(host).strip() or "allowed"
