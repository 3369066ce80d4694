"""Filling hosts guest by guest: where a guest is best put, and taking it out again.

When only deviations, fixed prices and room matter, this is a dozen operations on arrays of N numbers a
guest; all else goes through the State.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vmm.policies._problem import Floats, Ints, Problem
from vmm.policies._state import INF, State
from vmm.policies.constraints import SLACK

_PASSES = 3
"""Times that each guest is taken out and put back, at most, where other prices than fixed ones count."""
_EFFORT = 10_000_000
"""Numbers looked at while arrivals change places, at most."""
_CHANGES, _PER_CHANGE = 3, 8
"""Changes of place, at most: so many, or one for so many arrivals. The first few gain nearly all."""
_LOOKS = 10_000
"""Arrivals times kinds up to which the best first is tried where prices change with each arrival."""
_TIE = 1e-12
"""Scores that differ by no more are equal but for rounding: the first host is taken."""


def fill(base: State, kinds: Sequence[int]) -> list[tuple[int, int]]:
    """A host for each arrival: pairs of position in `kinds` and host, without those that fit nowhere.

    The best arrival first, as long as that leaves room for all; else the largest first, each to the best
    host. Then they change hosts until no change is better.
    """
    problem = base.problem
    if base.plain and len(problem.weight) and (puts := _steepest(base, kinds)) is not None:
        filler, at, units = puts
        return list(enumerate(rearranged(filler, units, at).tolist()))
    filler = Filler(base if base.plain else State(problem))
    part = (problem.need / np.maximum(np.maximum(problem.room, 0.0).sum(axis=1), 1e-9)[:, None]).max(axis=0)
    by_size = sorted(range(len(kinds)), key=lambda i: -part[kinds[i]])
    hosts = _in_turn(filler, kinds, by_size)
    if len(hosts) < len(kinds):  # not for all: the smallest first leaves room for more of them
        again = Filler(State(problem))
        if len(more := _in_turn(again, kinds, by_size[::-1])) > len(hosts):
            filler, hosts = again, more
    if len(hosts) < 2 or not len(problem.weight):
        return list(hosts.items())
    if not filler.plain:
        _put_back(filler, kinds, hosts)
        if len(kinds) * problem.kinds <= _LOOKS and (other := _best_first(problem, kinds)) is not None:
            second = Filler(State(problem))
            for i, host in other.items():
                second.add(kinds[i], host)
            _put_back(second, kinds, other)
            if len(hosts) < len(other) or second.score() < filler.score() - _TIE:
                hosts = other
        return list(hosts.items())
    units = np.array([kinds[i] for i in hosts], dtype=np.int64)
    at = rearranged(filler, units, np.array(list(hosts.values()), dtype=np.int64))
    return list(zip(hosts, at.tolist(), strict=True))


def _in_turn(filler: Filler, kinds: Sequence[int], order: Sequence[int]) -> dict[int, int]:
    """The best host for one arrival after another, for those that find one."""
    hosts = {}
    for i in order:
        host, _ = filler.best(kinds[i])
        if host >= 0:
            filler.add(kinds[i], host)
            hosts[i] = host
    return hosts


def _steepest(base: State, kinds: Sequence[int]) -> tuple[Filler, Ints, Ints] | None:
    """Always the arrival that leads to the least score; None when some guest does not fit in the end."""
    p = base.problem
    filler = Filler(base)
    waiting: list[list[int]] = [[] for _ in range(p.kinds)]
    for i, kind in enumerate(kinds):
        waiting[kind].append(i)
    fixed = np.where(p.reach, p.price, INF)
    for need, room in zip(p.need, filler.room, strict=True):
        fixed[need[:, None] > room + SLACK] = INF
    hosts = np.zeros(len(kinds), dtype=np.int64)
    for _ in kinds:
        after = filler.all_arrivals()
        after += fixed
        kind, host = divmod(int(after.argmin()), p.hosts)
        if not after[kind, host] < INF:
            return None
        hosts[waiting[kind].pop()] = host
        filler.add(kind, host)
        if not waiting[kind]:
            fixed[kind] = INF
        fits = (p.need <= filler.room[:, host, None] + SLACK).all(axis=0)
        fixed[~fits, host] = INF
    return filler, hosts, np.array(kinds, dtype=np.int64)


def _best_first(problem: Problem, kinds: Sequence[int]) -> dict[int, int] | None:
    """As `_steepest`, whatever the prices: a look at all hosts for each waiting kind before each arrival."""
    filler = Filler(State(problem))
    waiting: dict[int, list[int]] = {}
    for i, kind in enumerate(kinds):
        waiting.setdefault(kind, []).append(i)
    hosts: dict[int, int] = {}
    while waiting:
        found = min(((*filler.best(kind), kind) for kind in waiting), key=lambda at: at[1])
        host, change, kind = found
        if change == INF:
            return None
        filler.add(kind, host)
        hosts[waiting[kind].pop()] = host
        if not waiting[kind]:
            del waiting[kind]
    return hosts


def _put_back(filler: Filler, kinds: Sequence[int], hosts: dict[int, int]) -> None:
    for _ in range(_PASSES):
        changed = False
        for i, host in hosts.items():
            filler.add(kinds[i], host, -1)
            best, _ = filler.best(kinds[i])
            filler.add(kinds[i], best)
            changed |= best != host
            hosts[i] = best
        if not changed:
            return


def rearranged(filler: Filler, kinds: Ints, hosts: Ints) -> Ints:
    """Better hosts for E arrivals: the best move of one or exchange of two, again and again."""
    p = filler.problem
    n, scale = filler.n, p.scale
    units = len(kinds)
    amount, need = p.amount[:, kinds], p.need[:, kinds]
    none_a, none_n = np.zeros((len(amount), p.hosts)), np.zeros((len(need), p.hosts))
    net = np.concatenate([none_a, amount], axis=1)[:, None, :] - amount[:, :, None]  # K x E x (N + E)
    more = np.concatenate([none_n, need], axis=1)[:, None, :] - need[:, :, None]
    fixed = np.where(p.reach, p.price, INF)[kinds]
    shut = ~np.isfinite(fixed).all(axis=0)  # hosts that some arrival may not go to
    fixed_matters = bool(np.ptp(fixed[:, ~shut], axis=1).any()) or bool(np.isfinite(fixed[:, shut]).any())
    hosts = hosts.copy()
    everywhere = np.arange(p.hosts)
    for _ in range(min(max(_CHANGES, units // _PER_CHANGE), 1 + _EFFORT // max(net.size, 1))):
        other = np.concatenate([everywhere, hosts])
        c, d = scale[:, hosts, None], scale[:, None, other]
        v = net * ((c * c + d * d - (c - d) ** 2 / n) / n)
        v += (2 / n) * (c * filler.y[:, hosts, None] - d * filler.y[:, None, other])
        v *= net
        v += filler.variance[:, None, None]
        np.maximum(v, 0.0, out=v)
        np.sqrt(v, out=v)
        after: Floats = (p.weight @ v.reshape(len(v), -1)).reshape(v.shape[1:])
        if fixed_matters:
            now = fixed[np.arange(units), hosts]
            after += fixed[:, other] - now[:, None]
            after[:, p.hosts :] += fixed[:, hosts].T - now
        else:
            after[:, : p.hosts][:, shut] = INF
        for row, room in zip(more, np.maximum(filler.room, 0.0) + SLACK, strict=True):
            after[(row > room[hosts, None]) | (-row > room[other])] = INF
        i, j = divmod(int(after.argmin()), after.shape[1])
        if not after[i, j] < filler.deviation - 1e-12:
            break
        source, target = int(hosts[i]), int(other[j])
        filler.add(int(kinds[i]), source, -1)
        filler.add(int(kinds[i]), target)
        hosts[i] = target
        if j >= p.hosts:
            filler.add(int(kinds[j - p.hosts]), target, -1)
            filler.add(int(kinds[j - p.hosts]), source)
            hosts[j - p.hosts] = source
    return hosts


def arrival_scores(base: State, puts: Sequence[tuple[int, int]]) -> list[float]:
    """Score at the start and after each of these arrivals (kind, host)."""
    problem = base.problem
    scores = [base.score()]
    if not base.plain:
        state = State(problem)
        for kind, host in puts:
            state.add(kind, host)
            scores.append(state.score())
        return scores
    # Plain numbers: a few microseconds an arrival, where arrays of two or three elements take more.
    n, values = base.n_online, base.y.tolist()
    amounts, scales, weights = (x.tolist() for x in (problem.amount, problem.scale, problem.weight))
    sums = [0.0] * len(values)
    squares = [variance * n for variance in base.variance.tolist()]
    fixed = scores[0] - base.deviation()
    for kind, host in puts:
        fixed += float(problem.price[kind, host])
        score = fixed
        for k, row in enumerate(values):
            into = amounts[k][kind] * scales[k][host]
            squares[k] += into * (into + 2 * row[host])
            sums[k] += into
            row[host] += into
            score += weights[k] * math.sqrt(max(squares[k] / n - (sums[k] / n) ** 2, 0.0))
        scores.append(score)
    return scores


class Filler:
    """The room and the score of all hosts while guests come and go."""

    def __init__(self, state: State) -> None:
        p = self.problem = state.problem
        self.plain = state.plain
        self._state = state
        n = self.n = state.n_online
        self.y = state.y.copy()
        self.room = state.room.copy()
        self.variance = state.variance
        self.deviation = state.deviation()
        into = self._into = p.amount[:, :, None] * p.scale[:, None, :]  # K x T x N
        self._twice = (2 / n) * into
        self._fixed = into**2 * (1 / n - 1 / n**2)
        self._all_online = bool(p.online.all())
        self._open = np.where(p.reach, p.price, INF)
        self._needs = [[(r, need) for r, need in enumerate(column) if need] for column in p.need.T.tolist()]
        self._prices: dict[int, Floats] = {}
        self._seen: dict[int, int] = {}
        self._changed: list[int] = []
        self._work = np.empty_like(self.y)

    def best(self, kind: int) -> tuple[int, float]:
        """Host with the least score after an arrival of this kind, and the change; (-1, inf) if none."""
        if not self.problem.hosts:
            return -1, INF
        if not self.plain:
            scores = self._state.arrivals(kind)
            host = int((scores <= scores.min() + _TIE).argmax())
            return (host, float(scores[host])) if scores[host] < INF else (-1, INF)
        # variance + into * (2 y + into) / n - (into / n)^2
        work = self._work
        np.multiply(self.y, self._twice[:, kind], out=work)
        work += self._fixed[:, kind]
        work += self.variance[:, None]
        np.maximum(work, 0.0, out=work)
        np.sqrt(work, out=work)
        scores = self.problem.weight @ work
        scores += self._price(kind)
        host = int((scores <= scores.min() + _TIE).argmax())
        after = float(scores[host])
        return (host, after - self.deviation) if after < INF else (-1, INF)

    def score(self) -> float:
        """The whole score, where other prices than fixed ones count; else its deviations."""
        return self.deviation if self.plain else self._state.score()

    def all_arrivals(self) -> Floats:
        """Deviations after one more unit of each kind on each host (T x N), room or not."""
        work = self.y[:, None, :] * self._twice
        work += self._fixed
        work += self.variance[:, None, None]
        np.maximum(work, 0.0, out=work)
        np.sqrt(work, out=work)
        return np.asarray((self.problem.weight @ work.reshape(len(work), -1)).reshape(work.shape[1:]))

    def add(self, kind: int, host: int, units: int = 1) -> None:
        """Put a guest of a kind on a host, or take one away (-1)."""
        if not self.plain:
            self._state.add(kind, host, units)
            return
        into = units * self._into[:, kind, host]
        shift = into / self.n
        variance = self.variance + shift * (2 * self.y[:, host] + into - shift)
        self.variance = np.maximum(variance, 0.0, out=variance)
        self.deviation = float(self.problem.weight @ np.sqrt(variance))
        self.y[:, host] += into
        self.y -= shift[:, None] if self._all_online else shift[:, None] * self.problem.online
        self.room[:, host] -= units * self.problem.need[:, kind]
        self._changed.append(host)

    def _price(self, kind: int) -> Floats:
        """Fixed price of an arrival on each host, inf where there is no room."""
        prices = self._prices.get(kind)
        if prices is None:
            prices = self._prices[kind] = self._open[kind].copy()
            for r, need in self._needs[kind]:
                prices[need > self.room[r] + SLACK] = INF
        else:
            for host in set(self._changed[self._seen[kind] :]):
                fits = all(need <= self.room[r, host] + SLACK for r, need in self._needs[kind])
                prices[host] = self._open[kind, host] if fits else INF
        self._seen[kind] = len(self._changed)
        return prices
