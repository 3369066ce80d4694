"""Which size a guest may have: what is asked for, within what it was made for. Pure looks at the guest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from vmm.cluster.model import Guest, Host
from vmm.decide.state import State
from vmm.errors import Refused
from vmm.messages.guest import LEAST_CAP, MAX_WEIGHT, GuestSize, bounds_of, size_of


def wanted(guest: Guest, asked: Mapping[str, Any]) -> GuestSize:
    """The guest's size with what is asked for (see `GuestSize`). Raises Refused with the bound it breaks."""
    now, bounds = size_of(guest.spec), bounds_of(guest.spec)
    size: GuestSize = msgspec.structs.replace(now, **{key: _number(guest, key, asked[key]) for key in asked})
    for key, value, least, most in (
        ("memory", size.memory_mib, bounds.min_memory_mib, bounds.max_memory_mib),
        ("vcpus", size.vcpus, bounds.min_vcpus, bounds.max_vcpus),
    ):
        unit = " MiB" if key == "memory" else " vCPUs"
        if not least <= value <= most:
            between = f"between {least} and {most}" if least < most else f"always {most}"
            raise Refused(
                f"guest {guest.name} may have {between}{unit}, not {value}: so it was made. Set min_{key}, "
                f"max_{key} in profile {guest.spec.profile} for guests made from then on."
            )
    if not 0 < size.cpu_weight <= MAX_WEIGHT:
        raise Refused(f"cpu_weight = {size.cpu_weight:g} is not above 0 and at most {MAX_WEIGHT:g}.")
    if size.cpu_cap and not LEAST_CAP <= size.cpu_cap < math.inf:
        raise Refused(f"cpu_cap = {size.cpu_cap:g} is neither 0 (none) nor at least {LEAST_CAP:g} CPUs.")
    return size


def smaller(guest: Guest, size: GuestSize) -> bool:
    """Whether it would lose memory or vCPUs."""
    return size.memory_mib < guest.spec.memory_mib or size.vcpus < guest.spec.vcpus


def may_have_a_job(state: State, guest: Guest) -> bool:
    """By its batch node's state; while the batch system is not heard, nobody knows."""
    if guest.jobs or guest.node_state not in ("", "idle", "drained", "down"):
        return True
    batch = [client for client in state.clients.values() if client.role == "batch"]
    return bool(batch) and guest.node_seen_s >= 0 and all(client.state != "up" for client in batch)


def differs(guest: Guest, size: GuestSize, host: Host) -> bool:
    """Whether it has another size, by what is known or by its host's last report."""
    row = host.guests.get(guest.name)
    return size != size_of(guest.spec) or (row is not None and row[:2] != (size.memory_mib, size.vcpus))


def _number(guest: Guest, key: str, value: Any) -> Any:
    """A whole number for memory and vCPUs, a finite one for the rest."""
    whole = key in ("memory_mib", "vcpus")
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or (whole and value != int(value)):
        raise Refused(f"{key} = {value!r} for guest {guest.name} is not a {'whole ' * whole}number.")
    return int(value) if whole else float(value)
