"""Search by moves and exchanges under a limit on how many guests a plan moves.

One step looks at one host against a set of partner hosts: every move out, every move in and every
exchange of a guest here for one there, some thousand changes evaluated at once, exactly. The best is
made; at a temperature above 0, Gumbel noise makes that a draw from the Boltzmann distribution over all
of them (and over staying), which is annealing without rejected trials.

The number of guests moved is that of the end state against the start: sending a guest back, or on to
another host, costs nothing. Kinds with tags (anti-affinity, affinity, spread) stay where they are.
"""

from __future__ import annotations

import numpy as np
from numpy.random import default_rng

from vmm.policies._problem import Bools, Floats, Ints, Problem
from vmm.policies._state import State
from vmm.policies.constraints import SLACK

_NOISE = 1 << 18
PARTNERS = 48
_LEAST = 1e-12
"""Least gain that counts as one."""


def exchangeable(problem: Problem) -> bool:
    """False when nothing can be exchanged: no metric, ceilings, only tagged kinds, or no second host."""
    p = problem
    hosts = int((p.online > 0).sum())
    return bool(len(p.weight)) and not p.caps and bool(_untagged(p).any()) and hosts > 1


def _untagged(p: Problem) -> Bools:
    return np.asarray(~(p.apart.member.any(axis=1) | p.near.member.any(axis=1) | p.wide.member.any(axis=1)))


class Exchange:
    """The changing side of the search; `counts` and `moved` are the result at any time."""

    def __init__(
        self, state: State, limit: int | None, move_price: float, seed: int, partners: int = PARTNERS
    ) -> None:
        p = self.problem = state.problem
        self.partners = partners
        self.limit = limit
        self.move_price = move_price
        self.n = state.n_online
        self.rng = default_rng(seed)
        self._noise: Floats = np.empty(0)
        pad = ((0, 0), (0, 1))  # kind T: no guest, nothing needed
        self._amount = np.pad(p.amount, pad)
        self._need = np.pad(p.need, pad)
        self._square = p.scale**2
        self._none = p.kinds
        self._plain = _untagged(p)
        self.hosts = np.flatnonzero(p.online > 0)
        self._reach = np.pad(p.reach, ((0, 1), (0, 0)), constant_values=True)
        self._anywhere = bool(p.reach[:, self.hosts].all())
        price = p.price[:, self.hosts]
        self._priced = bool(price.size) and bool(np.ptp(price, axis=1).any())
        self._price = np.pad(p.price, ((0, 1), (0, 0)))
        self.load(state)

    def load(self, state: State) -> None:
        """Start (again) from a state."""
        p = self.problem
        self.counts = state.counts.copy()
        self.y = state.y.copy()
        self.room = state.room.copy()
        self.variance = state.variance
        self._out = np.zeros((p.kinds + 1, p.hosts), dtype=np.int8)
        self._back = np.zeros((p.kinds + 1, p.hosts), dtype=np.int8)
        self._out[:-1] = self.counts <= p.counts  # one more guest away from home
        self._back[:-1] = self.counts < p.counts  # one fewer
        self.moved = int(np.maximum(0, p.counts - self.counts).sum())
        self._here: list[Ints] = [self._kinds_at(h) for h in range(p.hosts)]
        self.log: list[tuple[int, int, int, int]] = []
        """Changes made: kind from host to other, kind from other to host, host, other."""
        self.price = float((p.price * self.counts).sum()) if self._priced else 0.0

    def score(self) -> float:
        """Deviations and prices; other parts of the score do not change here."""
        return float(self.problem.weight @ np.sqrt(self.variance)) + self.price

    def worst(self) -> Floats:
        """How much each host contributes to the deviations."""
        root = np.maximum(np.sqrt(self.variance), 1e-12)
        return np.asarray((self.problem.weight / root) @ (self.y * self.y))

    def step(self, host: int, temperature: float = 0.0) -> bool:
        """Make the best (or, at a temperature, a drawn) change between a host and partners, if any."""
        p, none = self.problem, self._none
        partners = self._partners(host)
        here = [self._here[s] for s in partners.tolist()]
        k1 = np.append(self._here[host], none)
        sizes = [len(x) for x in here]
        k2 = np.concatenate([*here, np.full(len(partners), none)])
        h2 = np.concatenate([np.repeat(partners, sizes), partners])

        # net amount into `host` = E; new variance = V + E * (P + E * R), all per metric
        c, cs = p.scale[:, host, None], p.scale.take(h2, axis=1)
        linear = (2 / self.n) * (c * self.y[:, host, None] - cs * self.y.take(h2, axis=1))
        square = (c * c + cs * cs - (c - cs) ** 2 / self.n) / self.n
        net = self._amount.take(k2, axis=1)[:, None, :] - self._amount.take(k1, axis=1)[:, :, None]
        v = net * square[:, None, :]
        v += linear[:, None, :]
        v *= net
        v += self.variance[:, None, None]
        np.maximum(v, 0.0, out=v)
        np.sqrt(v, out=v)
        change: Floats = (p.weight @ v.reshape(len(v), len(k1) * len(k2))).reshape(v.shape[1:])
        change -= float(p.weight @ np.sqrt(self.variance))
        if self._priced:
            change += self._price[k1[:, None], h2] - self._price[k1, host][:, None]
            change += self._price[k2, host] - self._price[k2, h2]

        cost = self._out[k1, host][:, None] - self._back[k1[:, None], h2]
        cost += self._out[k2, h2] - self._back[k2, host]
        bad = k1[:, None] == k2
        if self.limit is not None:
            bad |= cost > self.limit - self.moved
        for need, room in zip(self._need, self.room, strict=True):
            into = need[k2] - need[k1][:, None]
            bad |= into > max(float(room[host]), 0.0) + SLACK
            bad |= into < -np.maximum(room[h2], 0.0) - SLACK
        if not self._anywhere:
            bad |= ~self._reach[k1[:, None], h2]
            bad |= ~self._reach[k2, host]
        change[bad] = np.inf
        worth = change + self.move_price * cost
        stay = -_LEAST
        if temperature > 0:
            noise = self._draw(worth.size + 1)
            stay = -temperature * float(noise[-1])
            worth -= temperature * noise[:-1].reshape(worth.shape)
        best = int(worth.argmin())
        if not worth.flat[best] < stay:
            return False
        i, j = divmod(best, len(k2))
        self._apply(int(k1[i]), int(k2[j]), host, int(h2[j]))
        self.log.append((int(k1[i]), int(k2[j]), host, int(h2[j])))
        return True

    def rewind(self, length: int) -> None:
        """Take back the last changes until only `length` are left."""
        while len(self.log) > length:
            k1, k2, host, other = self.log.pop()
            self._apply(k2, k1, host, other)

    def _draw(self, size: int) -> Floats:
        if size > _NOISE:
            return self.rng.gumbel(size=size)
        if not len(self._noise):
            self._noise = self.rng.gumbel(size=_NOISE)
        at = int(self.rng.integers(0, _NOISE - size + 1))
        return self._noise[at : at + size]

    def _partners(self, host: int) -> Ints:
        others = self.hosts[self.hosts != host]
        if len(others) <= self.partners:
            return np.asarray(others)
        return np.asarray(np.sort(self.rng.choice(others, self.partners, replace=False)), dtype=np.int64)

    def _kinds_at(self, host: int) -> Ints:
        return np.flatnonzero((self.counts[:, host] > 0) & self._plain)

    def _apply(self, k1: int, k2: int, host: int, other: int) -> None:
        """Guest of kind k1 from `host` to `other`, of kind k2 the other way (either may be none)."""
        p = self.problem
        net = self._amount[:, k2] - self._amount[:, k1]
        into, out = net * p.scale[:, host], net * p.scale[:, other]
        self.y[:, host] += into
        self.y[:, other] -= out
        self.y -= ((into - out) / self.n)[:, None] * p.online
        self.variance = np.einsum("kn,kn->k", self.y, self.y) / self.n
        need = self._need[:, k2] - self._need[:, k1]
        self.room[:, host] -= need
        self.room[:, other] += need
        for kind, source, target in ((k1, host, other), (k2, other, host)):
            if kind == self._none:
                continue
            self.moved += int(self._out[kind, source] - self._back[kind, target])
            self.counts[kind, source] -= 1
            self.counts[kind, target] += 1
            if self._priced:
                self.price += float(p.price[kind, target] - p.price[kind, source])
            for at in (source, target):
                self._out[kind, at] = self.counts[kind, at] <= p.counts[kind, at]
                self._back[kind, at] = self.counts[kind, at] < p.counts[kind, at]
        self._here[host] = self._kinds_at(host)
        self._here[other] = self._kinds_at(other)
