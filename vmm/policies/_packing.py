"""Packing the guests of hosts that go off into the hosts that stay on, moving as few others as possible.

First by best fit, the largest first, in a few orders; if some are left over, by repair: they are put where
they hurt least, and exchanges between hosts bring what exceeds the capacities down to nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.random import default_rng

from vmm.policies._problem import Bools, Floats, Ints, Problem
from vmm.policies.constraints import SLACK

_HOT = 0.05
_AWAY_PRICE = 0.02


def packed(problem: Problem, keep: Bools, steps: int, seed: int) -> Ints | None:
    """Counts (T x N) with all movable guests on the hosts of `keep`, or None if none was found.

    `steps` bounds the repair; 0 tries best fit alone.
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
    if not steps or fewest_left is None or p.apart.member.any():
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


def _repaired(
    p: Problem, keep: Bools, counts: Ints, room: Floats, _: Ints, left: Ints, steps: int, seed: int
) -> Ints | None:
    """Exchanges between kept hosts until nothing exceeds a capacity; None when the steps are used up."""
    hosts = np.flatnonzero(keep)
    unit = 1 / np.maximum(p.need.max(axis=1), 1e-9)
    need = np.pad(p.need, ((0, 0), (0, 1)))
    none = p.kinds
    for kind in np.repeat(np.arange(p.kinds), left).tolist():
        over = np.where(p.reach[kind] & keep, unit @ np.maximum(p.need[:, kind, None] - room, 0.0), np.inf)
        host = int(over.argmin())
        if not np.isfinite(over[host]):
            return None
        counts[kind, host] += 1
        room[:, host] -= p.need[:, kind]
    rng = default_rng(seed)
    reach = np.pad(p.reach, ((0, 1), (0, 0)), constant_values=True)
    for step in range(steps):
        over = unit @ np.maximum(-room[:, hosts] - SLACK, 0.0)
        bad = np.flatnonzero(over)
        if not len(bad):
            return counts
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
        i, j = divmod(int(change.argmin()), len(k2))
        a, b, other = int(k1[i]), int(k2[j]), int(h2[j])
        for kind, source, target in ((a, host, other), (b, other, host)):
            if kind != none:
                counts[kind, source] -= 1
                counts[kind, target] += 1
        room[:, host] -= net[:, i, j]
        room[:, other] += net[:, i, j]
    return None


def _away(p: Problem, counts: Ints, kinds: Ints, hosts: Ints | int) -> Ints:
    """1 where one guest fewer of a kind on a host means one more away from home."""
    inside = np.minimum(kinds, p.kinds - 1)
    return np.asarray((counts[inside, hosts] <= p.counts[inside, hosts]) & (kinds < p.kinds), dtype=np.int64)


def _back(p: Problem, counts: Ints, kinds: Ints, hosts: Ints | int) -> Ints:
    """1 where one guest more of a kind on a host means one fewer away from home."""
    inside = np.minimum(kinds, p.kinds - 1)
    return np.asarray((counts[inside, hosts] < p.counts[inside, hosts]) & (kinds < p.kinds), dtype=np.int64)
