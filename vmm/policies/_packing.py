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
_FIRST, _FASTER = 15, 2.0
"""Repair is given up where even steps so much better than the first ones would not bring it to an end. One
step takes off about 1 at best: the largest need of a guest."""
_HOPELESS, _PATIENCE = 0.05, 50
"""Repair is given up when so many steps found nothing better and this part of what is too much is left."""
_HOME = 0.1
"""How much less alike in proportions the host may be where a guest is already."""


_Packing = tuple[Ints, Floats, Ints, Ints]
"""Counts (T x N), room (R x N), tags and what is left over (T)."""


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
    fewest_left: _Packing | None = None
    for share in [] if anew else _orders(fill):
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


class _Bins:
    """The hosts kept (H of them) while guests are put on them one after another."""

    def __init__(self, p: Problem, keep: Bools, counts: Ints, room: Floats, tags: Ints) -> None:
        self.p, self.counts, self.tags = p, counts, tags
        self.at = np.flatnonzero(keep)
        self.here = room[:, self.at]
        """R x H: room left."""
        self._room = room
        self._free = np.maximum(self.here, 0.0) + SLACK
        self._reach = p.reach[:, self.at]
        self._tagged: Bools = np.asarray(p.apart.member.any(axis=1))

    def fits(self, kind: int) -> Bools:
        """H: hosts that take one more of a kind."""
        fits: Bools = np.logical_and.reduce(self._free >= self.p.need[:, kind, None], axis=0)
        fits &= self._reach[kind]
        if self._tagged[kind]:
            fits &= ~(self.tags[self.p.apart.member[kind]][:, self.at] > 0).any(axis=0)
        return fits

    def put(self, kind: int, i: int) -> None:
        """One of a kind on the i-th of the hosts."""
        self.counts[kind, self.at[i]] += 1
        self.here[:, i] -= self.p.need[:, kind]
        self._free[:, i] = np.maximum(self.here[:, i], 0.0) + SLACK
        if self._tagged[kind]:
            self.tags[self.p.apart.member[kind], self.at[i]] += 1

    def result(self, left: Ints) -> _Packing:
        """With room (R x N), tags and those that were left over."""
        self._room[:, self.at] = self.here
        return self.counts, self._room, self.tags, left


def _best_fit(
    p: Problem, keep: Bools, counts: Ints, room: Floats, tags: Ints, units: Ints, size: Floats, share: Floats
) -> _Packing:
    """Each unit, the largest first, on the host that it fills up most; what is left over comes back too."""
    left = np.zeros_like(units)
    unit = share / np.maximum(p.need.max(axis=1), 1e-9)
    bins = _Bins(p, keep, counts, room, tags)
    empty = unit @ bins.here
    order = np.argsort(-size, kind="stable")
    for kind in order[units[order] > 0].tolist():
        for done in range(int(units[kind])):
            wasted = np.where(bins.fits(kind), empty, np.inf)
            i = int(wasted.argmin()) if len(wasted) else 0
            if not len(wasted) or wasted[i] == np.inf:
                left[kind] = units[kind] - done
                break
            bins.put(kind, i)
            empty[i] = unit @ bins.here[:, i]
    return bins.result(left)


def _aligned(p: Problem, keep: Bools) -> _Packing:
    """All guests anew, the most lopsided first, each on the host whose room has its proportions most.

    Where hosts are lopsided themselves (much memory and few CPUs, or the reverse), only this fills them.
    """
    left = p.counts.sum(axis=1)
    bins = _Bins(p, keep, np.zeros_like(p.counts), p.room + p.need @ p.counts, p.apart.fixed.copy())
    unit = 1 / np.maximum(p.need @ left, 1e-9)
    shape = p.need * unit[:, None]
    shape /= np.maximum(np.linalg.norm(shape, axis=0), 1e-9)
    there = bins.here * unit[:, None]  # room as vectors of length 1, once divided
    there /= np.maximum(np.linalg.norm(there, axis=0), 1e-9)
    for kind in np.argsort(shape.sum(axis=0), kind="stable").tolist():
        home = p.counts[kind, bins.at]
        stays = bool(home.any())
        while left[kind]:
            alike = shape[:, kind] @ there
            if stays:
                alike = alike + _HOME * (bins.counts[kind, bins.at] < home)
            alike = np.where(bins.fits(kind), alike, -np.inf)
            i = int(alike.argmax()) if len(alike) else 0
            if not len(alike) or alike[i] == -np.inf:
                break
            bins.put(kind, i)
            direction = bins.here[:, i] * unit
            there[:, i] = direction / max(float(np.sqrt(direction @ direction)), 1e-9)
            left[kind] -= 1
    return bins.result(left)


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
    lowest, when, start = math.inf, 0, 0.0
    for step in range(steps):
        over = unit @ np.maximum(-room[:, hosts] - SLACK, 0.0)
        bad = np.flatnonzero(over)
        if not len(bad):
            return counts
        total = float(over.sum())
        start = start or total
        if total < lowest:
            lowest, when = total, step
        elif step - when > _PATIENCE and lowest > _HOPELESS * start:
            return None
        rate = _FASTER * (start - total) / step if step >= _FIRST else _FASTER
        if total > rate * (steps - step):
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
