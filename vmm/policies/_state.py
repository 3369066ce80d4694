"""The changing side of a planning problem: who is where, and what a move would do to the score.

A move takes one unit of kind t from host s to host d. Only two hosts' values change, so with values
centred on their mean the new variance of a metric is V + out[t, s] + into[t, d] - (mean shift)^2: closed
form, no loop. All other parts of the score are a price for leaving plus a price for arriving
(`leave`, `arrive`; inf = not allowed).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vmm.policies._problem import Floats, Ints, Problem
from vmm.policies.constraints import SLACK
from vmm.policies.objective import APART_PRICE, OVERFULL_PRICE

INF = math.inf


MANY = 256
"""Kinds above which arrays are stored by columns, and descent looks at a pool of promising kinds only."""


class State:
    """Counts per kind and host, and everything that follows from them, kept up to date move by move."""

    def __init__(self, problem: Problem, counts: Ints | None = None) -> None:
        p = self.problem = problem
        self.counts = (p.counts if counts is None else counts).copy()
        rows = slice(0) if counts is None else np.flatnonzero((counts != p.counts).any(axis=1))
        more = (self.counts[rows] - p.counts[rows]).astype(np.float64)
        self.room = p.room - p.need[:, rows] @ more
        self.n_online = max(float(p.online.sum()), 1.0)
        self._all_online = bool(p.online.all())
        self.y = p.value + p.scale * (p.amount[:, rows] @ more)
        self._recentre()
        self._caps = [cap.value + cap.scale * (cap.amount[rows] @ more) for cap in p.caps]
        self._apart, self._near, self._wide = (
            tags.fixed + tags.member.T.astype(np.int64) @ self.counts for tags in (p.apart, p.near, p.wide)
        )
        self._wide = self._by_rack(self._wide)
        self._free_mib = p.free_mib - p.need[0, rows] @ more
        self._overfull = bool(((self._free_mib < 0) & (p.online > 0)).any())
        self._guests = self.counts.sum(axis=0) + p.fixed_counts
        tagged = len(self._apart) or len(self._near) or len(self._wide)
        self.plain = not tagged and not p.caps and not self._overfull
        self._open = np.where(p.reach, p.price, INF)
        if p.kinds > MANY:  # moves change columns
            self._open = np.asfortranarray(self._open)
        self.arrive: Floats
        self.leave: Floats
        self.refresh(np.arange(p.hosts))

    # -- the score ------------------------------------------------------------------------------------

    def deviation(self) -> float:
        """The part of the score that is a weighted sum of standard deviations."""
        return float(self.problem.weight @ np.sqrt(self.variance)) if len(self.variance) else 0.0

    def score(self) -> float:
        """The whole score of the objective."""
        p = self.problem
        total = self.deviation() + p.constant + float((p.price * self.counts).sum())
        for cap, value in zip(p.caps, self._caps, strict=True):
            total += cap.weight * float(np.maximum(0.0, value - cap.limit).sum())
        if self._overfull:
            total += OVERFULL_PRICE * float(self._guests[(self._free_mib < 0) & (p.online > 0)].sum())
        if len(self._apart):
            total += APART_PRICE * float((np.maximum(self._apart - 1, 0) @ p.online).sum())
        if len(self._near):
            everywhere = self._near.sum(axis=1)
            together = (self._near * (self._near - 1)).sum()
            total += p.objective.affinity_price * float((everywhere * (everywhere - 1)).sum() - together) / 2
        if len(self._wide):
            first = np.unique(p.rack, return_index=True)[1]
            in_rack = self._wide[:, first]
            total += p.objective.spread_price * float((in_rack * (in_rack - 1)).sum()) / 2
        return total

    def deltas(self, kinds: Ints, sources: Ints, targets: Ints) -> Floats:
        """Change of the score for each of M moves (inf: not allowed). Index arrays of one shape M."""
        p = self.problem
        a = p.amount[:, kinds]
        out = -a * p.scale[:, sources]
        into = a * p.scale[:, targets]
        square = out * (2 * self.y[:, sources] + out) + into * (2 * self.y[:, targets] + into)
        v = self.variance[:, None] + square / self.n_online - ((out + into) / self.n_online) ** 2
        change = p.weight @ np.sqrt(np.maximum(v, 0.0)) - self.deviation()
        change += self.leave[kinds, sources] + self.arrive[kinds, targets]
        return np.asarray(change + self.same_rack(kinds, sources, targets))

    def same_rack(self, kinds: Any, sources: Any, targets: Any) -> Any:
        """Correction of the spread price for moves inside a rack, which change nothing there."""
        p = self.problem
        if not len(self._wide):
            return 0.0
        same = p.rack[sources] == p.rack[targets]
        return -p.objective.spread_price * same * p.wide.member.sum(axis=1)[kinds]

    def arrivals(self, kind: int) -> Floats:
        """Score after adding one unit of a kind on each host, as change (inf: not allowed)."""
        p = self.problem
        into = p.amount[:, kind, None] * p.scale
        v = self.variance[:, None] + into * (2 * self.y + into) / self.n_online - (into / self.n_online) ** 2
        return np.asarray(p.weight @ np.sqrt(np.maximum(v, 0.0)) - self.deviation() + self.arrive[kind])

    # -- changes --------------------------------------------------------------------------------------

    def move(self, kind: int, source: int, target: int) -> None:
        """Carry out a move; the caller has made sure that it is allowed."""
        if self.plain:
            self._move_plain(kind, source, target)
            return
        self._change(kind, source, -1)
        self._change(kind, target, 1)
        self._recentre()
        self.refresh(np.array([source, target]))

    def _move_plain(self, kind: int, source: int, target: int) -> None:
        """The same when only deviations, fixed prices and room matter: this is the inner loop of planning."""
        p = self.problem
        amount, need = p.amount[:, kind], p.need[:, kind]
        self.counts[kind, source] -= 1
        self.counts[kind, target] += 1
        self.y[:, source] -= amount * p.scale[:, source]
        self.y[:, target] += amount * p.scale[:, target]
        self._recentre()
        self.room[:, source] += need
        self.room[:, target] -= need
        for host in (source, target):
            column = self._open[:, host].copy()
            for needs, room in zip(p.need, self.room[:, host].tolist(), strict=True):
                column[needs > max(room, 0.0) + SLACK] = INF
            self.arrive[:, host] = column
        self.leave[kind, target] = -p.price[kind, target]
        if self.counts[kind, source] == 0:
            self.leave[kind, source] = INF

    def add(self, kind: int, host: int, units: int = 1) -> None:
        """Start (or, with -1, take away) a unit of a kind on a host."""
        self._change(kind, host, units)
        self._recentre()
        self.refresh(np.array([host]))

    def _change(self, kind: int, host: int, by: int) -> None:
        p = self.problem
        self.counts[kind, host] += by
        self.room[:, host] -= by * p.need[:, kind]
        self.y[:, host] += by * p.amount[:, kind] * p.scale[:, host]
        self._free_mib[host] -= by * p.need[0, kind]
        self._guests[host] += by
        if len(self._apart):
            self._apart[:, host] += by * p.apart.member[kind]
        if len(self._near):
            self._near[:, host] += by * p.near.member[kind]
        if len(self._wide):
            self._wide[:, p.rack == p.rack[host]] += by * p.wide.member[kind][:, None]
        for cap, value in zip(p.caps, self._caps, strict=True):
            value[host] += by * cap.amount[kind] * cap.scale[host]

    def _recentre(self) -> None:
        mean = self.y.sum(axis=1, keepdims=True) / self.n_online
        self.y -= mean if self._all_online else mean * self.problem.online
        self.variance: Floats = np.einsum("kn,kn->k", self.y, self.y) / self.n_online

    def refresh(self, hosts: Ints) -> None:
        """Prices of leaving and arriving at these hosts, from the counts."""
        p = self.problem
        if len(self._wide):  # spread prices are per rack: all hosts of these racks change
            hosts = np.flatnonzero(np.isin(p.rack, p.rack[hosts]))
        if whole := len(hosts) == p.hosts:
            hosts = np.arange(p.hosts)
        arrive = self._open.copy(order="K") if whole else self._open.take(hosts, axis=1)
        for need, room in zip(p.need, self.room, strict=True):
            full = need > np.maximum(room.take(hosts), 0.0)[:, None] + SLACK
            np.copyto(arrive.T, INF, where=full)
        leave = self._leaving(hosts)
        if self._overfull:
            self._overfull_prices(leave, hosts)
        if p.caps:
            self._cap_prices(arrive, leave, hosts)
        if len(self._apart):
            there = self._apart[:, hosts]
            arrive[p.apart.member @ (there > 0)] = INF
            if (there > 1).any():
                leave -= APART_PRICE * (p.apart.member.astype(np.int64) @ (there > 1)) * p.online[hosts]
        if len(self._near):
            arrive -= p.objective.affinity_price * (p.near.member @ self._near[:, hosts])
            leave += p.objective.affinity_price * (p.near.member @ (self._near[:, hosts] - 1))
        if len(self._wide):
            crowd = p.wide.member @ self._wide[:, hosts]
            arrive += p.objective.spread_price * crowd
            leave -= p.objective.spread_price * (crowd - p.wide.member.sum(axis=1)[:, None])
        if whole:
            self.arrive, self.leave = arrive, leave
        else:
            self.arrive[:, hosts] = arrive
            self.leave[:, hosts] = leave

    def _leaving(self, hosts: Ints) -> Floats:
        p = self.problem
        if len(hosts) < p.hosts or p.kinds <= MANY:
            return np.where(self.counts.take(hosts, axis=1) > 0, -p.price.take(hosts, axis=1), INF)
        leave = np.full((p.hosts, p.kinds), INF).T
        there = np.nonzero(self.counts)
        leave[there] = -p.price[there]
        return leave

    def _overfull_prices(self, leave: Floats, hosts: Ints) -> None:
        p = self.problem
        free, guests = self._free_mib[hosts], self._guests[hosts]
        over = (free < 0) & (p.online[hosts] > 0)
        cured = free + p.need[0][:, None] >= 0
        leave -= OVERFULL_PRICE * np.where(over, np.where(cured, guests, 1), 0)
        self._overfull = bool(((self._free_mib < 0) & (p.online > 0)).any())

    def _cap_prices(self, arrive: Floats, leave: Floats, hosts: Ints) -> None:
        for cap, value in zip(self.problem.caps, self._caps, strict=True):
            now = np.maximum(0.0, value[hosts] - cap.limit)
            step = cap.amount[:, None] * cap.scale[hosts]
            arrive += cap.weight * (np.maximum(0.0, value[hosts] + step - cap.limit) - now)
            leave += cap.weight * (np.maximum(0.0, value[hosts] - step - cap.limit) - now)

    def _by_rack(self, tag_counts: Ints) -> Ints:
        """Guests of each spread tag in each host's rack, from those on each host."""
        if not len(tag_counts):
            return tag_counts
        rack = self.problem.rack
        out = np.zeros_like(tag_counts)
        for r in np.unique(rack):
            mask = rack == r
            out[:, mask] = tag_counts[:, mask].sum(axis=1, keepdims=True)
        return out
