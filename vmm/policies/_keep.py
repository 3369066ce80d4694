"""Which hosts to keep on when as few as possible shall: sets of hosts that are large enough in sum.

A lower bound on the hosts follows from the largest capacities; a lower bound on the migrations of a set
from the guests outside of it. Sets are found by weighing guests against capacity, then by swapping hosts.
Where hosts differ much, such sets are barely sufficient and cannot be packed: the roomiest ones, and those
with some slack, come next.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from vmm.policies._problem import Bools, Floats, Ints
from vmm.policies.constraints import SLACK

_WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0, 100.0)
_PARTS = tuple(i / 20 for i in range(1, 20))
_COARSE, _TIE = 5, 1e-3
_SETS = 60
"""Sets of hosts handed out for one number of hosts, at most."""


def fewest(capacity: Floats, needed: Floats, must: Bools) -> int:
    """Lower bound on the number of hosts: the largest capacities have to cover each need, and each weighted
    sum of two needs. R x N, R, N."""
    base = int(must.sum())
    weights = _weights(needed)
    rest = weights @ (needed - capacity[:, must].sum(axis=1))
    free = np.sort(weights @ capacity[:, ~must], axis=1)[:, ::-1]
    sums = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(free, axis=1)], axis=1)
    enough = (sums >= rest[:, None] - SLACK * (1 + np.abs(rest[:, None]))).all(axis=0)
    return base + int(enough.argmax()) if enough.any() else len(must) + 1


def _weights(needed: Floats) -> Floats:
    """Rows of weights (W x R): each need alone, and each two of them in some proportions."""
    unit = np.diag(1 / np.maximum(needed, 1e-9))
    rows = list(unit)
    for r in range(len(unit)):
        for s in range(r):
            rows += [part * unit[r] + (1 - part) * unit[s] for part in _PARTS]
    return np.array(rows, dtype=np.float64).reshape(-1, len(needed))


def roomiest(capacity: Floats, needed: Floats, must: Bools, size: int) -> list[Bools]:
    """Sets of `size` hosts that cover the needs, those with the most to spare of the scarcest first."""
    unit = capacity / np.maximum(needed, 1e-9)[:, None]
    found: dict[bytes, tuple[float, int, Bools]] = {}

    def note(keep: Bools) -> None:
        spare = (unit[:, keep].sum(axis=1)).min()
        if (capacity[:, keep].sum(axis=1) >= needed - SLACK).all():
            found.setdefault(keep.tobytes(), (-float(spare), len(found), keep.copy()))

    for weights in _weights(needed)[:: _COARSE if len(needed) > 2 else 1]:
        worth = np.where(must, np.inf, weights @ capacity)
        keep = np.zeros(len(must), dtype=np.bool_)
        keep[np.argsort(-worth, kind="stable")[:size]] = True
        while True:
            note(keep)
            out, into = np.flatnonzero(keep & ~must), np.flatnonzero(~keep)
            have = unit[:, keep].sum(axis=1)
            after = have[:, None, None] + unit[:, None, into] - unit[:, out, None]
            gain = after.min(axis=0) + _TIE * after.sum(axis=0) - have.min() - _TIE * have.sum()
            if not gain.size or gain.max() <= SLACK:
                break
            i, j = divmod(int(gain.argmax()), gain.shape[1])
            keep[out[i]], keep[into[j]] = False, True
    return [keep for _, _, keep in sorted(found.values(), key=lambda row: row[:2])]


def host_sets(
    capacity: Floats,
    needed: Floats,
    guests: Ints,
    must: Bools,
    size: int,
    starts: Sequence[Bools] | None = None,
) -> Iterator[tuple[int, Bools]]:
    """Sets of `size` hosts that cover the needs in sum, those with fewer guests outside first.

    Yields the number of guests outside and the hosts' mask. `starts`: sets to begin from.
    """
    total = int(guests.sum())
    heap: list[tuple[int, float, int, Bools]] = []
    seen: set[bytes] = set()

    def push(keep: Bools) -> None:
        key = np.packbits(keep).tobytes()
        if key in seen:
            return
        seen.add(key)
        cover = capacity[:, keep].sum(axis=1) - needed
        if (cover >= -SLACK).all():
            spare = float((cover / np.maximum(needed, 1e-9)).min())
            heapq.heappush(heap, (total - int(guests[keep].sum()), -spare, len(seen), keep))

    first = _starts(capacity, needed, guests, must, size) if starts is None else starts
    for keep in first:
        push(_improved(keep, capacity, needed, guests, must))
    for _ in range(_SETS):
        if not heap:
            return
        outside, _, _, keep = heapq.heappop(heap)
        yield outside, keep
        for other in swaps(keep, capacity, needed, guests, must):
            push(other)


def _starts(capacity: Floats, needed: Floats, guests: Ints, must: Bools, size: int) -> Iterator[Bools]:
    """Sets by the largest weighted sums of guests and capacities."""
    unit = capacity / np.maximum(capacity.mean(axis=1, keepdims=True), 1e-9)
    home = guests / max(float(guests.mean()), 1e-9)
    scarce = np.argsort(capacity.sum(axis=1) / np.maximum(needed, 1e-9))[:2]
    for a in _WEIGHTS:
        for b in _WEIGHTS:
            worth = home + a * unit[scarce[0]] + (b * unit[scarce[-1]] if len(scarce) > 1 else 0.0)
            worth = np.where(must, np.inf, worth)
            keep = np.zeros(len(must), dtype=np.bool_)
            keep[np.argsort(-worth, kind="stable")[:size]] = True
            if (capacity[:, keep].sum(axis=1) >= needed - SLACK).all():
                yield keep
            if len(scarce) == 1:
                break


def _improved(keep: Bools, capacity: Floats, needed: Floats, guests: Ints, must: Bools) -> Bools:
    """Swap hosts in and out while that keeps more guests at home."""
    keep = keep.copy()
    while True:
        out, into, gain, fits = _pairs(keep, capacity, needed, guests, must)
        gain = np.where(fits, gain, -1)
        if not gain.size or gain.max() <= 0:
            return keep
        i, j = divmod(int(gain.argmax()), gain.shape[1])
        keep[out[i]], keep[into[j]] = False, True


def swaps(keep: Bools, capacity: Floats, needed: Floats, guests: Ints, must: Bools) -> Iterator[Bools]:
    """Sets one swap away, the best few of them."""
    out, into, gain, fits = _pairs(keep, capacity, needed, guests, must)
    gain = np.where(fits, gain, np.iinfo(np.int64).min)
    for at in np.argsort(-gain, axis=None, kind="stable")[:24].tolist():
        i, j = divmod(at, gain.shape[1])
        if fits[i, j]:
            other = keep.copy()
            other[out[i]], other[into[j]] = False, True
            yield other


def _pairs(
    keep: Bools, capacity: Floats, needed: Floats, guests: Ints, must: Bools
) -> tuple[Ints, Ints, Ints, Bools]:
    out, into = np.flatnonzero(keep & ~must), np.flatnonzero(~keep)
    spare = capacity[:, keep].sum(axis=1) - needed
    change = capacity[:, None, into] - capacity[:, out, None]
    fits = (change + spare[:, None, None] >= -SLACK).all(axis=0)
    return out, into, guests[None, into] - guests[out, None], fits
