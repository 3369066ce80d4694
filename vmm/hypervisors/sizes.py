"""Sizes of running guests: what is wanted, whether it can be, and what to say when a guest did not follow."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from vmm.hypervisors.interface import GuestFailed
from vmm.messages.guest import LEAST_CAP, MAX_WEIGHT, GuestSize


def changes(
    memory_mib: int | None, vcpus: int | None, cpu_weight: float | None, cpu_cap: float | None
) -> dict[str, float]:
    """Only what is to change."""
    asked = {"memory_mib": memory_mib, "vcpus": vcpus, "cpu_weight": cpu_weight, "cpu_cap": cpu_cap}
    return {key: value for key, value in asked.items() if value is not None}


def wanted_size(
    name: str, now: GuestSize, asked: Mapping[str, float], max_memory_mib: int, max_vcpus: int
) -> GuestSize:
    """`now` with the changes. Raises GuestFailed `bad-guest` (no guest could have that), `over-limit`."""
    for key, value in asked.items():
        if not _can_be(key, value):
            raise GuestFailed(
                "bad-guest",
                f"guest {name}: {key} = {value!r} cannot be.",
                next_step=f"give memory and vCPUs above zero, a weight up to {MAX_WEIGHT:g}, a cap of "
                f"at least {LEAST_CAP:g} CPUs (0: none)",
            )
    wanted: GuestSize = msgspec.structs.replace(now, **asked)
    for what, value, most, key in (
        ("MiB", wanted.memory_mib, max_memory_mib, "max_memory"),
        ("vCPUs", wanted.vcpus, max_vcpus, "max_vcpus"),
    ):
        if value > most:
            raise GuestFailed(
                "over-limit",
                f"guest {name} was made for at most {most} {what}, {value} are wanted.",
                next_step=f"set {key} in its profile: it holds for guests made from then on",
            )
    return wanted


def not_followed(name: str, what: str, wanted: object, has: object, why: str, next_step: str) -> GuestFailed:
    """The guest, or what runs in it, did not do its part."""
    return GuestFailed(
        "not-followed",
        f"guest {name} did not follow: {wanted} {what} wanted, it has {has}{why and f' ({why})'}.",
        next_step=next_step,
    )


def _can_be(key: str, value: float) -> bool:
    if key == "cpu_weight":
        return 0 < value <= MAX_WEIGHT
    if key == "cpu_cap":
        return value == 0 or LEAST_CAP <= value < math.inf
    return value >= 1


NO_BALLOON = "load virtio_balloon in the guest's image, or give it more memory than its programs need"
NO_UNPLUG = (
    "leave it its vCPUs, or retire it and make another: emulation (domain_type = qemu) takes no vCPU away, "
    "and a kernel may refuse to"
)
