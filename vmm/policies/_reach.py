"""Which hosts a guest may run on, whatever its size: networks, storages, CPU model, pins, host state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.policies.constraints import forbidden
from vmm.policies.model import Guest, Host

Bools = NDArray[np.bool_]


def reachable(samples: Sequence[Guest], hosts: Sequence[Host]) -> Bools:
    """T x N: hosts that take guests and could run this kind, whatever its size."""
    takes = np.array([h.takes_guests for h in hosts], dtype=np.bool_)
    rows: dict[Any, Bools] = {}
    reach = np.empty((len(samples), len(hosts)), dtype=np.bool_)
    for t, g in enumerate(samples):
        key = (g.networks, g.storages, g.cpu_model, g.pinned)
        row = rows.get(key)
        if row is None:
            asks = Guest(
                "", 0, 0, networks=g.networks, storages=g.storages, cpu_model=g.cpu_model, pinned=g.pinned
            )
            row = rows[key] = takes & _allowed(asks, hosts)
        reach[t] = row
    return reach


def _allowed(asks: Guest, hosts: Sequence[Host]) -> Bools:
    """Hosts that could run a guest of no size that asks for this; of hosts that are alike one is asked."""
    known: dict[Any, bool] = {}
    out = []
    for h in hosts:
        key = (h.networks, h.storages, h.cpu_models, h.name if asks.pinned else "")
        if (allowed := known.get(key)) is None:
            allowed = known[key] = not forbidden(asks, h)
        out.append(allowed and h.vcpus_own <= h.vcpu_ratio * h.cpus)
    return np.array(out, dtype=np.bool_)
