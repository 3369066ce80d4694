"""Exchanges carried out under a watch: annealing, and greedy ones for the hosts that are worst off."""

from __future__ import annotations

from collections.abc import Callable

from vmm.policies._exchange import PARTNERS, Exchange

Over = Callable[[], bool]
"""Is the time up? Asked between steps."""

_COOLING = 1 / 30
_STEP_S, _CANDIDATE_S = 110e-6, 11e-9
"""Nominal time of one exchange step and of one number in it. Only these turn a budget in s into steps, so
that a plan depends on the budget but not on how fast the machine was today."""
_BUDGET_PART = 0.75
_EQUAL = 1e-12


def never() -> bool:
    """No limit on time."""
    return False


def nominal_steps(exchange: Exchange, budget_s: float) -> int:
    """How many steps a budget is worth, by nominal times."""
    per_host = max(float((exchange.counts > 0).sum()) / max(len(exchange.hosts), 1), 1.0)
    partners = min(len(exchange.hosts) - 1, PARTNERS)
    numbers = (per_host + 1) * (per_host + 1) * partners * len(exchange.problem.weight)
    return max(1, int(_BUDGET_PART * budget_s / (_STEP_S + _CANDIDATE_S * numbers)))


def anneal(exchange: Exchange, steps: int, over: Over = never, heat: float = 1.0) -> None:
    """Cool down over so many steps, take up the best end state met, and descend from it to the bottom."""
    hosts = exchange.hosts
    hot = heat * exchange.score() / len(hosts)
    order = exchange.rng.integers(0, len(hosts), size=steps)

    def worth() -> float:
        return exchange.score() + exchange.move_price * exchange.moved

    start = len(exchange.log)
    best, length = worth(), start
    for i in range(steps):
        if over():
            break
        if exchange.step(int(hosts[order[i]]), hot * _COOLING ** (i / steps)) and worth() < best - _EQUAL:
            best, length = worth(), len(exchange.log)
    exchange.rewind(length)
    settle(exchange, over)


def settle(exchange: Exchange, over: Over = never) -> None:
    """The best change for one host after another, until none of them has one that gains."""
    hosts = exchange.hosts.tolist()
    idle = 0
    while idle < len(hosts):
        for host in hosts:
            if over():
                return
            idle = 0 if exchange.step(host) else idle + 1
            if idle >= len(hosts):
                break


def polish(exchange: Exchange, over: Over = never, steps: int | None = None) -> None:
    """The best changes for the hosts that contribute most to the deviations; a fixed amount of work."""
    tried: set[int] = set()
    for _ in range(max(20, len(exchange.hosts) // 4) if steps is None else steps):
        worst = exchange.worst()
        worst[list(tried)] = -1.0
        host = int(worst.argmax())
        if worst[host] <= 0 or over():
            break
        if exchange.step(host):
            tried.clear()
        else:
            tried.add(host)
