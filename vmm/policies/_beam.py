"""Beam search by single moves on a small cluster: the best few hundred states after each number of moves.

What is found for a number of moves does not depend on how many are allowed in all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vmm.policies._anneal import Over
from vmm.policies._descent import Move
from vmm.policies._problem import Problem
from vmm.policies.constraints import SLACK

_WORK, _WIDEST, _NARROWEST = 120_000, 150, 8
"""Numbers looked at for each further move; states kept, at most and at least."""
DEEPEST = 24
_IDLE = 4
"""Moves without any gain after which nothing more is expected."""


def beam(problem: Problem, most: int, over: Over) -> Iterator[list[Move]]:
    """The best sequence found of 1, 2, ... moves. Only for plain problems with a metric."""
    p = problem
    k, t, n = len(p.weight), p.kinds, p.hosts
    width = max(_NARROWEST, min(_WIDEST, _WORK // max(k * t * n * n, 1)))
    online = max(float(p.online.sum()), 1.0)
    amount = p.amount[:, :, None, None]
    out = amount * p.scale[:, None, :, None]  # K x T x N x 1
    into = amount * p.scale[:, None, None, :]
    shift = (into - out)[None]
    closed = ~p.reach[:, None, :] | np.eye(n, dtype=np.bool_)
    price = p.price[:, None, :] - p.price[:, :, None]
    value, room, counts = p.value[None].copy(), p.room[None].copy(), p.counts[None].copy()
    base = np.zeros(1)  # prices paid so far
    paths: list[list[Move]] = [[]]
    least, idle = np.inf, 0
    for _ in range(min(most, DEEPEST)):
        if over():
            return
        total, square = value.sum(axis=2)[:, :, None, None, None], (value * value).sum(axis=2)
        v = out * (out - 2 * value[:, :, None, :, None]) + into * (into + 2 * value[:, :, None, None, :])
        v += square[:, :, None, None, None]
        v /= online
        v -= ((total + shift) / online) ** 2
        np.sqrt(np.maximum(v, 0.0, out=v), out=v)
        score = np.einsum("k,bktsd->btsd", p.weight, v) + price + base[:, None, None, None]
        score[np.broadcast_to(closed, score.shape)] = np.inf
        score[counts == 0] = np.inf
        for r, need in enumerate(p.need):
            full = need[None, :, None] > np.maximum(room[:, r, None, :], 0.0) + SLACK
            score[np.broadcast_to(full[:, :, None, :], score.shape)] = np.inf
        flat = score.reshape(-1)
        some = min(4 * width, flat.size)
        order = np.argpartition(flat, some - 1)[:some]
        order = order[np.argsort(flat[order], kind="stable")]
        order = order[np.isfinite(flat[order])]
        if not len(order):
            return
        b, kind, source, target = np.unravel_index(order, score.shape)
        after = counts[b]
        rows = np.arange(len(order))
        after[rows, kind, source] -= 1
        after[rows, kind, target] += 1
        new = np.sort(np.unique(after.reshape(len(order), -1), axis=0, return_index=True)[1])[:width]
        if not len(new):
            return
        b, kind, source, target, counts = b[new], kind[new], source[new], target[new], after[new]
        rows = np.arange(len(new))
        value, room = value[b], room[b]
        value[rows, :, source] -= (p.amount[:, kind] * p.scale[:, source]).T
        value[rows, :, target] += (p.amount[:, kind] * p.scale[:, target]).T
        room[rows, :, source] += p.need[:, kind].T
        room[rows, :, target] -= p.need[:, kind].T
        base = base[b] + price[kind, source, target]
        steps = zip(b.tolist(), kind.tolist(), source.tolist(), target.tolist(), strict=True)
        paths = [[*paths[i], (x, s, d)] for i, x, s, d in steps]
        yield paths[0]
        idle = 0 if flat[order[0]] < least - SLACK else idle + 1
        least = min(least, float(flat[order[0]]))
        if idle >= _IDLE:
            return
