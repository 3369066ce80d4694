"""The clients as the arrays need them: by the decoder's numbers, with their rows in the tables."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.model import Client
from vmm.decide.clients import silent_after_s
from vmm.decide.core import Core

Ints = NDArray[np.int64]
_TABLES = {"dom0": "host", "domU": "guest"}


class People:
    """A look at the clients at one moment. `ok` are those whose ordinary reports only set values."""

    def __init__(self, core: Core, names: list[str]) -> None:
        state, count = core.state, len(names)
        self.known = count
        self.rows: dict[str, Ints] = {kind: np.full(count, -1) for kind in ("client", "host", "guest")}
        self.ok = np.zeros(count, np.bool_)
        self.errors: dict[int, dict[str, str]] = {}
        """What cannot be read of those of whom something cannot."""
        self.session = np.zeros(count, np.int64)
        world = state.world
        clients, limits = world.clients.rows, {}
        base = len(world.clients.row_names)
        self.by_row: list[Client | None] = [None] * base
        self.limit_s = np.full(base, inf)
        for role in ("dom0", "domU", "batch"):
            limits[role] = silent_after_s(state, core.rules, role)
        for name, client in state.clients.items():
            row = clients.get(name)
            if row is not None:
                self.by_row[row] = client
                if client.state == "up":
                    self.limit_s[row] = limits.get(client.role, inf)
        for index, name in enumerate(names):
            found = state.clients.get(name)
            if found is None or name not in clients:
                continue
            self.rows["client"][index] = clients[name]
            kind = _TABLES.get(found.role)
            if kind is not None:
                self.rows[kind][index] = world.table(kind).rows.get(name, -1)
            self.ok[index] = found.state == "up"
            if found.errors:
                self.errors[index] = found.errors
            self.session[index] = (found.session + 2**63) % 2**64 - 2**63

    def heard_s(self) -> NDArray[np.float64]:
        """When each row's client was last heard."""
        return np.array([-inf if c is None else c.heard_s for c in self.by_row], np.float64)

    def seqs(self) -> Ints:
        """The number of each row's last report."""
        return np.array([-1 if c is None else c.seq for c in self.by_row], np.int64)
