"""Packing the guests of hosts that go off into the hosts that stay on, moving as few others as possible.

First by best fit, the largest first, in a few orders; if some are left over, by repair: they are put where
they hurt least, and exchanges between hosts bring what exceeds the capacities down to nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import default_rng

from vmm.policies._check import NOWHERE
from vmm.policies._problem import Bools, Floats, Ints, Problem
from vmm.policies.constraints import SLACK

_HOT = 0.05
_AWAY_PRICE = 0.02
_HOPELESS, _PATIENCE = 0.05, 50
"""Repair is given up when so many steps found nothing better and this part of what is too much is left."""
_HOME = 0.1
"""How much less alike in proportions the host may be where a guest is already."""


def packed(problem: Problem, keep: Bools, steps: int, seed: int, *, anew: bool = False) -> Ints | None:
    """Counts (T x N) with all movable guests on the hosts of `keep`, or None if none was found.

    `steps` bounds the repair; 0 tries best fit alone. `anew`: where guests that stay on the hosts kept are
    in the way, those move as well.
    """
    p = problem
    if not p.kinds:
        return p.counts.copy()
    counts = np.where(keep, p.counts, 0)
    room = p.room + p.need @ (p.counts - counts)
    tags = p.apart.fixed + p.apart.member.T.astype(np.int64) @ counts
    units = p.counts.sum(axis=1) - counts.sum(axis=1)
    fill = (p.need @ p.counts.sum(axis=1)) / np.maximum(
        np.maximum(room + p.need @ counts, 0)[:, keep].sum(axis=1), 1e-9
    )
    fewest_left: tuple[Ints, Floats, Ints, Ints] | None = None
    for share in _orders(fill):
        size = share @ (p.need / np.maximum(p.need.max(axis=1, keepdims=True), 1e-9))
        result = _best_fit(p, keep, counts.copy(), room.copy(), tags.copy(), units, size, share)
        left = result[3]
        if not left.any():
            return result[0]
        if fewest_left is None or left.sum() < fewest_left[3].sum():
            fewest_left = result
    if anew:
        fewest_left = _aligned(p, keep)
        if not fewest_left[3].any():
            return fewest_left[0]
    if not steps or fewest_left is None:
        return None
    return _repaired(p, keep, *fewest_left, steps, seed)


def _orders(fill: Floats) -> list[Floats]:
    """Weights of the resources: the scarcest alone, all by scarcity, each of the others alone."""
    scarce = int(fill.argmax())
    alone = np.eye(len(fill))
    return [alone[scarce], fill**4, *(alone[r] for r in range(len(fill)) if r != scarce)]


def _best_fit(
    p: Problem, keep: Bools, counts: Ints, room: Floats, tags: Ints, units: Ints, size: Floats, share: Floats
) -> tuple[Ints, Floats, Ints, Ints]:
    """Each unit, the largest first, on the host that it fills up most; what is left over comes back too."""
    left = np.zeros_like(units)
    unit = share / np.maximum(p.need.max(axis=1), 1e-9)
    for kind in np.argsort(-size, kind="stable").tolist():
        need = p.need[:, kind, None]
        open_ = p.reach[kind] & keep
        member = p.apart.member[kind]
        for done in range(int(units[kind])):
            fits = open_ & (need <= np.maximum(room, 0.0) + SLACK).all(axis=0)
            if member.any():
                fits &= ~(tags[member] > 0).any(axis=0)
            if not fits.any():
                left[kind] = units[kind] - done
                break
            host = int(np.where(fits, unit @ room, np.inf).argmin())
            counts[kind, host] += 1
            room[:, host] -= need[:, 0]
            tags[member, host] += 1
    return counts, room, tags, left


def _aligned(p: Problem, keep: Bools) -> tuple[Ints, Floats, Ints, Ints]:
    """All guests anew, the most lopsided first, each on the host whose room has its proportions most.

    Where hosts are lopsided themselves (much memory and few CPUs, or the reverse), only this fills them.
    """
    counts = np.zeros_like(p.counts)
    room = p.room + p.need @ p.counts
    tags = p.apart.fixed.copy()
    left = p.counts.sum(axis=1)
    unit = 1 / np.maximum(p.need @ left, 1e-9)[:, None]
    shape = p.need * unit
    shape /= np.maximum(np.linalg.norm(shape, axis=0), 1e-9)
    for kind in np.argsort(shape.sum(axis=0), kind="stable").tolist():
        need, member = p.need[:, kind, None], p.apart.member[kind]
        open_ = p.reach[kind] & keep
        while left[kind]:
            fits = open_ & (need <= np.maximum(room, 0.0) + SLACK).all(axis=0)
            if member.any():
                fits &= ~(tags[member] > 0).any(axis=0)
            hosts = np.flatnonzero(fits)
            if not len(hosts):
                break
            there = room[:, hosts] * unit
            alike = shape[:, kind] @ there / np.maximum(np.linalg.norm(there, axis=0), 1e-9)
            host = int(hosts[(alike + _HOME * (counts[kind, hosts] < p.counts[kind, hosts])).argmax()])
            counts[kind, host] += 1
            room[:, host] -= need[:, 0]
            tags[member, host] += 1
            left[kind] -= 1
    return counts, room, tags, left


def _repaired(
    p: Problem, keep: Bools, counts: Ints, room: Floats, tags: Ints, left: Ints, steps: int, seed: int
) -> Ints | None:
    """Exchanges between kept hosts until nothing exceeds a capacity; None when the steps are used up."""
    hosts = np.flatnonzero(keep)
    unit = 1 / np.maximum(p.need.max(axis=1), 1e-9)
    need = np.pad(p.need, ((0, 0), (0, 1)))
    none = p.kinds
    apart = _Apart(p, tags)
    for kind in np.repeat(np.arange(p.kinds), left).tolist():
        open_ = p.reach[kind] & keep & ~apart.present[kind]
        over = np.where(open_, unit @ np.maximum(p.need[:, kind, None] - room, 0.0), np.inf)
        host = int(over.argmin())
        if not np.isfinite(over[host]):
            return None
        counts[kind, host] += 1
        room[:, host] -= p.need[:, kind]
        apart.add(kind, host, 1)
    rng = default_rng(seed)
    reach = np.pad(p.reach, ((0, 1), (0, 0)), constant_values=True)
    lowest, when, hopeless = math.inf, 0, 0.0
    for step in range(steps):
        over = unit @ np.maximum(-room[:, hosts] - SLACK, 0.0)
        bad = np.flatnonzero(over)
        if not len(bad):
            return counts
        total = float(over.sum())
        hopeless = hopeless or _HOPELESS * total
        if total < lowest:
            lowest, when = total, step
        elif step - when > _PATIENCE and lowest > hopeless:
            return None
        if len(hosts) < 2:
            return None  # nothing to exchange with
        host = int(hosts[rng.choice(bad)])
        others = hosts[hosts != host]
        k1 = np.append(np.flatnonzero(counts[:, host]), none)
        k2, at = np.nonzero(counts[:, others])
        k2 = np.concatenate([k2, np.full(len(others), none)])
        h2 = np.concatenate([others[at], others])
        net = need[:, None, k2] - need[:, k1][:, :, None]  # R x here x there
        after = np.maximum(net - room[:, host, None, None], 0.0)
        after += np.maximum(-net - room[:, None, h2], 0.0)
        before = np.maximum(-room[:, host, None], 0.0) + np.maximum(-room[:, h2], 0.0)
        change = np.tensordot(unit, after, 1) - unit @ before
        home = _away(p, counts, k1, host)[:, None] - _back(p, counts, k1[:, None], h2)
        home = home + _away(p, counts, k2, h2) - _back(p, counts, k2, host)
        change = change + _AWAY_PRICE * home
        change -= _HOT * (1 - step / steps) * rng.gumbel(size=change.shape)
        change[(k1[:, None] == k2) | ~reach[k1[:, None], h2] | ~reach[k2, host]] = np.inf
        if apart.any:
            change[apart.clash(k1, k2, host, h2)] = np.inf
        i, j = divmod(int(change.argmin()), len(k2))
        if not np.isfinite(change[i, j]):
            return None
        a, b, other = int(k1[i]), int(k2[j]), int(h2[j])
        for kind, source, target in ((a, host, other), (b, other, host)):
            if kind != none:
                counts[kind, source] -= 1
                counts[kind, target] += 1
                apart.add(kind, source, -1)
                apart.add(kind, target, 1)
        room[:, host] -= net[:, i, j]
        room[:, other] += net[:, i, j]
    return None


class _Apart:
    """Which kinds an exclusion tag keeps off which hosts, while guests are exchanged."""

    def __init__(self, p: Problem, tags: Ints) -> None:
        self.any = bool(p.apart.member.any())
        self._member, self._tags = p.apart.member.astype(np.int64), tags
        self.present = np.zeros((p.kinds + 1, p.hosts), dtype=np.bool_)
        """(T + 1) x N: is one with a tag of the kind there? The last row stands for no guest."""
        if self.any:
            self.present[:-1] = self._member @ (tags > 0) > 0
            rows = np.unique(self._member, axis=0, return_inverse=True)[1].reshape(-1)
            self._alike = np.append(rows, NOWHERE)

    def add(self, kind: int, host: int, number: int) -> None:
        if self.any and self._member[kind].any():
            self._tags[:, host] += number * self._member[kind]
            self.present[:-1, host] = self._member @ (self._tags[:, host] > 0) > 0

    def clash(self, k1: Ints, k2: Ints, host: int, h2: Ints) -> Bools:
        """Would the exchange break a tag? Those of guests with the same tags never do; others are not told
        from the guest that makes way for them."""
        clash = self.present[k1[:, None], h2] | self.present[k2, host]
        return np.asarray(clash & (self._alike[k1][:, None] != self._alike[k2]))


def _away(p: Problem, counts: Ints, kinds: Ints, hosts: Ints | int) -> Ints:
    """1 where one guest fewer of a kind on a host means one more away from home."""
    inside = np.minimum(kinds, p.kinds - 1)
    return np.asarray((counts[inside, hosts] <= p.counts[inside, hosts]) & (kinds < p.kinds), dtype=np.int64)


def _back(p: Problem, counts: Ints, kinds: Ints, hosts: Ints | int) -> Ints:
    """1 where one guest more of a kind on a host means one fewer away from home."""
    inside = np.minimum(kinds, p.kinds - 1)
    return np.asarray((counts[inside, hosts] < p.counts[inside, hosts]) & (kinds < p.kinds), dtype=np.int64)
