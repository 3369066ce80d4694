"""Steepest descent by single moves, with the best move of all found without trying all.

The change of a variance is out[t, s] + into[t, d] plus a small cross term, so for each kind the best sources
and the best targets are found apart, by the linearised score; only the few best of each are tried together,
exactly. The cost of a step is O(kinds x hosts), not O(guests x hosts^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vmm.policies._problem import Floats, Ints, Problem
from vmm.policies._state import INF, MANY, State

Move = tuple[int, int, int]
"""Kind, source, target."""

_HOSTS = 8
_KINDS, _KINDS_MANY = 6, 16
"""Kinds tried exactly, with up to two metrics and with more: the linearised score ranks less well then."""
_POOL, _POOL_WIDE, _POOL_STEPS = 64, 1024, 16
_POOL_HOSTS, _POOL_LEAST = 16, 1e-9
_ALL = 6000
"""Up to so many moves (kinds x hosts x hosts), all are tried."""


@dataclass(frozen=True, slots=True)
class Stop:
    """When a descent ends: no move gains more than `min_gain`; or the score is at most `limit` and no move
    gains at least `limit_gain`; or `max_moves` are made."""

    max_moves: int | None = None
    min_gain: float = 1e-9
    limit: float = 0.0
    limit_gain: float = 0.0


class Neighbourhood:
    """All single moves of a state; constant arrays are made once per problem."""

    def __init__(self, problem: Problem) -> None:
        p = self.problem = problem
        few = p.kinds * p.hosts**2 <= _ALL
        kinds = p.kinds if few else _KINDS if len(p.weight) <= 2 else _KINDS_MANY
        hosts = p.hosts if few else _HOSTS
        n = max(float(p.online.sum()), 1.0)
        # Linearised change of a kind at a host = amounts (T x 2K) @ what the host is like (2K x N).
        self._twice = (2 / n) * p.amount  # K x T
        self._square = (1 / n - 1 / n**2) * p.amount**2
        self._cross = (2 / n**2) * p.amount**2
        self._left = np.ascontiguousarray(np.concatenate([self._twice, self._square]).T)
        self._scale2 = p.scale**2
        self._kinds = min(kinds, p.kinds)
        self._hosts = min(hosts, p.hosts)
        self._pool: Ints | None = None
        self._arrive, self._leave = np.empty((0, p.hosts)), np.empty((0, p.hosts))
        self._age, self._gain = 0, 0.0
        self._at: Ints | None = None  # 2 x P: kinds and hosts where they are, or were
        # A host as its own target shows as a gain only through prices that depend on who is there.
        self._own = bool(p.caps) or any(tags.member.any() for tags in (p.near, p.wide))

    def arrivals(self, state: State) -> Floats:
        """Linearised change of the score by one more unit of a kind on a host (T x N)."""
        root = np.sqrt(state.variance)
        slope = (self.problem.weight / (2 * np.maximum(root, 1e-9)))[:, None]
        pull = self.problem.scale * state.y
        return np.asarray(self._left @ np.concatenate([slope * pull, slope * self._scale2]) + state.arrive)

    def best(self, state: State) -> tuple[float, Move]:
        """The allowed move with the least change of the score, and that change (inf: none is allowed).

        With very many kinds, only those that looked best lately are tried, until none of them gains.
        """
        if self.problem.kinds <= MANY:
            return self._best(state)
        if self._pool is not None:
            self._age += 1
            if self._age <= _POOL_STEPS:
                found = self._best(state)
                if found[0] < self._gain / 2:
                    return found
        for size in (_POOL, _POOL_WIDE):
            if size < self.problem.kinds:
                self._pool, self._age = self._promising(state, size), 0
                self._arrive, self._leave = state.arrive[self._pool], state.leave[self._pool]
                found = self._best(state)
                if found[0] < -_POOL_LEAST:
                    break
        else:  # look at all of them before giving up
            self._pool = None
            found = self._best(state)
        self._gain = min(found[0], 0.0)
        return found

    def made(self, state: State, move: Move) -> None:
        """Note a move of the state: its guest is on another host from now on."""
        if self._at is not None:
            self._at = np.append(self._at, [[move[0]], [move[2]]], axis=1)
        if self._pool is not None:
            hosts = np.array(move[1:]) if state.plain else np.arange(self.problem.hosts)
            at = self._pool[:, None]
            self._arrive[:, hosts], self._leave[:, hosts] = state.arrive[at, hosts], state.leave[at, hosts]

    def _promising(self, state: State, size: int) -> Ints:
        """Kinds with the best linearised sum of leaving where they are and arriving on one of a few hosts."""
        if self._at is None:
            self._at = np.array(np.nonzero(state.counts))
        p = self.problem
        root = np.sqrt(state.variance)
        slope = (p.weight / (2 * np.maximum(root, 1e-9)))[:, None]
        steep, bend = slope * p.scale * state.y, slope * self._scale2
        where = np.concatenate([steep, bend])
        wanted = np.concatenate([steep, (self._left.mean(axis=0) @ where)[None]])
        some = min(_POOL_HOSTS, p.hosts - 1)
        hosts = np.unique(np.argpartition(wanted, some, axis=1)[:, :some])
        into = (where[:, hosts].T @ self._left.T + state.arrive.T[hosts]).min(axis=0)
        kinds, there = self._at
        leaving = np.einsum("pk,kp->p", self._left[kinds], np.concatenate([-steep, bend])[:, there])
        out = np.full(p.kinds, INF)
        np.minimum.at(out, kinds, leaving + state.leave[kinds, there])
        return np.asarray((into + out).argpartition(size)[:size])

    def _best(self, state: State) -> tuple[float, Move]:
        p = self.problem
        root = np.sqrt(state.variance)
        slope = (p.weight / (2 * np.maximum(root, 1e-9)))[:, None]
        pull = p.scale * state.y
        bend = slope * self._scale2
        steep = slope * pull
        pool = self._pool
        left = self._left if pool is None else self._left[pool]
        good_in = left @ np.concatenate([steep, bend])
        arrive, leave = (state.arrive, state.leave) if pool is None else (self._arrive, self._leave)
        good_in += arrive
        good_out = left @ np.concatenate([-steep, bend])
        good_out += leave
        kinds = np.arange(p.kinds) if pool is None else pool
        if self._kinds < len(kinds):
            bound = good_in.min(axis=1) + good_out.min(axis=1)
            rows = bound.argpartition(self._kinds - 1)[: self._kinds]
            good_in, good_out, kinds = good_in[rows], good_out[rows], kinds[rows]
        if self._hosts < p.hosts:
            d = good_in.argpartition(self._hosts - 1, axis=1)[:, : self._hosts]
            s = good_out.argpartition(self._hosts - 1, axis=1)[:, : self._hosts]
        else:
            s = d = np.broadcast_to(np.arange(p.hosts), (len(kinds), p.hosts))
        twice, square = self._twice[:, kinds, None], self._square[:, kinds, None]
        cross = self._cross[:, kinds, None]
        into = twice * pull.take(d, axis=1) + square * self._scale2.take(d, axis=1)
        out = square * self._scale2.take(s, axis=1) - twice * pull.take(s, axis=1)
        out += state.variance[:, None, None]
        v = (cross * p.scale.take(s, axis=1))[..., None] * p.scale.take(d, axis=1)[:, :, None, :]
        v += out[..., None]
        v += into[:, :, None, :]
        np.maximum(v, 0.0, out=v)
        np.sqrt(v, out=v)
        change: Floats = (p.weight @ v.reshape(len(v), math.prod(v.shape[1:]))).reshape(v.shape[1:])
        rows = kinds[:, None]
        change += state.leave[rows, s][..., None]
        change += state.arrive[rows, d][:, None, :]
        if self._own:
            change += state.same_rack(rows[..., None], s[..., None], d[:, None, :])
            change[s[..., None] == d[:, None, :]] = INF
        best = int(change.argmin())
        delta = float(change.reshape(-1)[best]) - float(p.weight @ root)
        kind, rest = divmod(best, s.shape[1] * d.shape[1])
        i, j = divmod(rest, d.shape[1])
        return delta, (int(kinds[kind]), int(s[kind, i]), int(d[kind, j]))


def descend(state: State, stop: Stop, over: Callable[[], bool] = lambda: False) -> list[Move]:
    """Make the best move again and again until `stop`, or until the time is over; the moves, each legal.

    However little time there is, one move is made if there is one.
    """
    moves: list[Move] = []
    if not state.problem.kinds or not state.problem.hosts:
        return moves
    around = Neighbourhood(state.problem)
    score = state.score() if stop.limit else INF
    while stop.max_moves is None or len(moves) < stop.max_moves:
        change, move = around.best(state)
        if not change < -stop.min_gain or (score <= stop.limit and -change < stop.limit_gain):
            break
        state.move(*move)
        around.made(state, move)
        moves.append(move)
        score += change
        if over():
            break
    return moves
