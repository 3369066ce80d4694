"""Rule evaluation against plain `eval` and other expression engines, in one run, as ratios.

    python bench/bench_rules.py [--quick] [--no-peers]

State: N clients with 10 float properties. Every figure is the median of several batches, in time of the
processor, so that other work on the machine counts little. Its absolute speed does not matter, the ratios do;
updates/s are those of one of its cores. The aims stand at the end, each met or not.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from rules_peers import PEERS

from vmm.cluster.tables import World
from vmm.rules import Engine, PropertySpec, default_schema, load_triggers

_clock = time.process_time

PROPERTIES = (
    "ram_total",
    "ram_free",
    "cpu_load",
    "cpu_count",
    "disk_free",
    "net_rx",
    "net_tx",
    "uptime",
    "n_vms",
    "load15",
)
SPECS = [PropertySpec(p, p, "", "float", 60.0, ("dom0",), "", 180.0, "") for p in PROPERTIES]
SCHEMA = default_schema().with_properties(SPECS)

# name: (class, expression of a rule, the same for plain eval)
EXPRESSIONS = {
    "cheap": ("kept", "len(manager.clients) != 0", ""),
    "any": ("kept", "any(c['ram_free'] < 100 for c in manager.clients.values())", ""),
    "count": ("kept", "sum(1 for c in manager.clients.values() if c['cpu_load'] > 0.9) > 100000", ""),
    "mean": ("kept", "sum(c['cpu_load'] for c in manager.clients.values()) / len(manager.clients) > 0.9", ""),
    "min": ("kept", "min(c['ram_free'] for c in manager.clients.values()) < 100", ""),
    "age": (
        "arrays",
        "any(age(c.ram_free) > 300 for c in manager.clients.values())",
        "any(manager.now - c['ram_free@'] > 300 for c in manager.clients.values())",
    ),
    "gap": (
        "arrays",
        "count(c['net_rx'] < manager.now and c['load15'] > 0.5 for c in manager.clients.values()) > 10000",
        "sum(1 for c in manager.clients.values() if c['net_rx'] < manager.now and c['load15'] > 0.5) > 10000",
    ),
    "above": (
        "arrays",
        "any(c['cpu_load'] > 1 + mean(d['cpu_load'] for d in manager.clients.values()) "
        "for c in manager.clients.values())",
        "(lambda m: any(c['cpu_load'] > 1 + m for c in manager.clients.values()))"
        "(sum(d['cpu_load'] for d in manager.clients.values()) / len(manager.clients))",
    ),
    "aged_sum": (
        "arrays",
        "sum(c['ram_free'] * manager.now for c in manager.clients.values()) < 100",
        "",
    ),
    "half": (
        "arrays",
        "count(c['net_rx'] > 1e4 * manager.now and c['load15'] > 5e4 "
        "for c in manager.clients.values()) > 9999",
        "sum(1 for c in manager.clients.values() "
        "if c['net_rx'] > 1e4 * manager.now and c['load15'] > 5e4) > 9999",
    ),
    "lookup": (
        "compiled",
        "any(c['ram_free'] < 100 and manager.shares['s'].jobs_waiting > 0 and c.name in manager.hosts "
        "for c in manager.clients.values())",
        "any(c['ram_free'] < 100 and manager.shares['s']['jobs_waiting'] > 0 and c['name'] in manager.hosts "
        "for c in manager.clients.values())",
    ),
    "floor": (
        "compiled",
        "any(c['ram_free'] // manager.now < 10 for c in manager.clients.values())",
        "",
    ),
    "text": (
        "arrays",
        "count(c.name.startswith('x') and c['cpu_load'] > manager.now for c in manager.clients.values()) > 0",
        "sum(1 for c in manager.clients.values() "
        "if c['name'].startswith('x') and c['cpu_load'] > manager.now) > 0",
    ),
}  # fmt: skip


class Manager:
    """What plain eval reads."""

    def __init__(self, clients: dict[str, dict[str, Any]]) -> None:
        self.clients = clients
        self.hosts: dict[str, Any] = {}
        self.shares = {"s": {"jobs_waiting": 3}}
        self.now = 5.0


def build(count: int) -> tuple[World, Any]:
    """The same random state for the engine and for eval."""
    rng = random.Random(1)
    world = World(5.0)
    for p in PROPERTIES:
        world.clients.declare(p, type="float", max_age_s=180.0)
    clients: dict[str, dict[str, Any]] = {}
    for i in range(count):
        name = f"h{i:05d}"
        world.clients.add(name)
        row: dict[str, Any] = {"name": name, "ram_free@": 5.0}
        for p in PROPERTIES:
            row[p] = rng.random() if p == "cpu_load" else float(rng.randint(200, 100_000))
            world.clients.set(name, p, row[p], 5.0)
        clients[name] = row
    world.shares.add("s")
    world.shares.set("s", "jobs_waiting", 3, 5.0)
    return world, Manager(clients)


def rates(batch_s: float, *runs: Callable[[], Any]) -> list[float]:
    """Calls a second of each: medians of 5 batches, taken in turns so that all meet the same noise.

    What takes longer than a batch in one call is called once.
    """
    counts = []
    for run in runs:
        start = _clock()
        run()
        passed_s = max(_clock() - start, 1e-8)
        count = 1
        while passed_s < batch_s / 4:
            count = min(count * 8, max(count * 2, int(count * batch_s / 3 / passed_s)))
            start = _clock()
            for _ in range(count):
                run()
            passed_s = _clock() - start
        counts.append((max(1, int(count * batch_s / passed_s)), count / passed_s))
    results: list[list[float]] = [[] for _ in runs]
    for _ in range(5):
        for run, (count, first), found in zip(runs, counts, results, strict=True):
            if first < 1 / batch_s:
                found.append(first)
                continue
            start = _clock()
            for _ in range(count):
                run()
            found.append(count / (_clock() - start))
    return [statistics.median(found) for found in results]


def evaluations(count: int, batch_s: float) -> dict[str, float]:
    world, manager = build(count)
    text = "".join(
        f"[{name}]\nexpr = {{ {expr} }}\ncmd = {{ sender.notify('x') }}\nticks = 60\n"
        for name, (_, expr, _) in EXPRESSIONS.items()
    )
    engine = Engine(load_triggers(text, "bench", SCHEMA), world)
    engine.step()
    scope = {"__builtins__": {"len": len, "any": any, "sum": sum, "min": min}, "manager": manager}
    base: dict[str, float] = {}
    print(f"\nevaluations/s, {count} clients x {len(PROPERTIES)} properties")
    print(f"{'expression':10} {'class':9} {'eval':>11} {'vmm':>12} {'ratio':>9}")
    for name, (kind, expr, plain) in EXPRESSIONS.items():
        code = compile(plain or expr, name, "eval")
        truth = engine._by_name[name].expr.truth
        assert truth(0) is bool(eval(code, scope)), name
        base[name], ours = rates(batch_s, lambda code=code: eval(code, scope), lambda truth=truth: truth(0))
        print(f"{name:10} {kind:9} {base[name]:11,.0f} {ours:12,.0f} {ours / base[name]:9,.1f}")
        base[f"vmm {name}"] = ours
    engine.close()
    return base


def independence(batch_s: float) -> float:
    """The kept class does not depend on the number of clients."""
    worst = 0.0
    engines = []
    for count in (1750, 10_000):
        world, _ = build(count)
        text = "".join(
            f"[{name}]\nexpr = {{ {expr} }}\ncmd = {{ sender.notify('x') }}\n"
            for name, (kind, expr, _) in EXPRESSIONS.items()
            if kind == "kept"
        )
        engines.append(Engine(load_triggers(text, "bench", SCHEMA), world))
    for name in engines[0].book.rules:
        truths = [engine._by_name[name].expr.truth for engine in engines]
        runs = [lambda truth=truth: truth(0) for truth in truths]
        pairs = [rates(batch_s / 2, *runs) for _ in range(3)]
        worst = max(worst, statistics.median(few / many for few, many in pairs))
    print(f"kept class: with 1,750 clients at most {worst:.2f} times as fast as with 10,000")
    return worst


def updates(count: int, batch_s: float) -> tuple[float, float]:
    """Two values of one client change; then three rules (any, count, mean) are up to date.

    Updates a second, and the ratio to plain eval.
    """
    world, manager = build(count)
    names = ("any", "count", "mean")
    text = "".join(
        f"[{n}]\nexpr = {{ {EXPRESSIONS[n][1]} }}\ncmd = {{ sender.notify('x') }}\n" for n in names
    )
    engine = Engine(load_triggers(text, "bench", SCHEMA), world)
    engine.step()
    rng = random.Random(2)
    keys = list(manager.clients)
    # Two passes over the same clients with other values each, so that every value set is a change.
    some = rng.sample(keys, 1000)
    passes = [[(k, float(rng.randint(200, 100_000)), rng.random()) for k in some] for _ in range(2)]
    turn = itertools.cycle(passes)
    scope = {"__builtins__": {"len": len, "any": any, "sum": sum}, "manager": manager}
    codes = [compile(EXPRESSIONS[n][1], n, "eval") for n in names]

    def naive() -> None:
        for key, ram, load in next(turn)[:20]:
            row = manager.clients[key]
            row["ram_free"], row["cpu_load"] = ram, load
            for code in codes:
                eval(code, scope)

    def ours() -> None:
        put, step = world.clients.set, engine.step
        for key, ram, load in next(turn):
            put(key, "ram_free", ram, 5.0)
            put(key, "cpu_load", load, 5.0)
            step()

    plain, fast = rates(batch_s, naive, ours)
    plain, fast = plain * 20, fast * len(some)
    print(f"{count:7} clients: eval {plain:9,.0f}/s   vmm {fast:11,.0f}/s   ratio {fast / plain:7,.0f}")
    engine.close()
    return fast, fast / plain


def hundred(count: int, batch_s: float) -> tuple[float, float]:
    """100 rules of all kinds over the 10 properties; values arrive, a step after each report of 10, or after
    each value: updates a second of both."""
    world, manager = build(count)
    parts = []
    for i in range(100):
        p, q = PROPERTIES[i % 10], PROPERTIES[(i + 3) % 10]
        bound = 0.9 + i / 1000 if p == "cpu_load" else 99_000 + 10 * i
        expr = (
            f"any(c.{p} > {bound} for c in manager.clients.values())",
            f"count(c.{p} > {bound} for c in manager.clients.values()) > {count // 10}",
            f"mean(c.{p} for c in manager.clients.values()) > {bound}",
            f"min(c.{p} for c in manager.clients.values()) < 0",
            f"client.{p} > {bound} and client.{q} < 50",
        )[i // 20]
        each = "each = client\n" if i // 20 == 4 else ""
        parts.append(f"[r{i}]\n{each}expr = {{ {expr} }}\ncmd = {{ sender.notify('x') }}\n")
    engine = Engine(load_triggers("".join(parts), "bench", SCHEMA), world)
    engine.step()
    rng = random.Random(3)
    keys = list(manager.clients)
    some = rng.sample(keys, 500)
    passes = [
        [
            (
                k,
                {
                    p: rng.random() if p == "cpu_load" else float(rng.randint(200, 100_000))
                    for p in PROPERTIES
                },
            )
            for k in some
        ]
        for _ in range(2)
    ]
    turn = itertools.cycle(passes)

    def one_step_a_report() -> None:
        put, step = world.clients.set, engine.step
        for key, values in next(turn):
            for p, value in values.items():
                put(key, p, value, 5.0)
            step()

    def one_step_an_update() -> None:
        put, step = world.clients.set, engine.step
        for key, values in next(turn):
            for p, value in values.items():
                put(key, p, value, 5.0)
                step()

    whole, single = (
        r * len(some) * len(PROPERTIES) for r in rates(batch_s, one_step_a_report, one_step_an_update)
    )
    print(f"{count:7} clients, 100 rules: {whole:9,.0f} updates/s, a step after each report of 10 values")
    print(f"{count:7} clients, 100 rules: {single:9,.0f} updates/s, a step after each value")
    engine.close()
    return whole, single


def peers(count: int, batch_s: float, base: dict[str, float]) -> float:
    """The least ratio of ours to any peer's."""
    _, manager = build(count)
    rows = list(manager.clients.values())
    print(f"\npeers, {count} clients: evaluations/s (ratio to eval in brackets); - means it has no such form")
    print(f"{'engine':44} {'any':>22} {'count':>22} {'mean':>22}")
    vmm = {k: base[f"vmm {k}"] for k in ("any", "count", "mean")}
    _row("plain eval", {k: base[k] for k in vmm}, base)
    _row("vmm", vmm, base)
    least = float("inf")
    for name, make in PEERS:
        try:
            functions = make(manager, rows, {k: EXPRESSIONS[k][1] for k in vmm})
        except ImportError as exc:
            print(f"{name:44} not installed ({exc.name}); pip install vmm[bench]")
            continue
        theirs = {k: rates(batch_s, f)[0] if f else None for k, f in functions.items()}
        _row(name, theirs, base)
        least = min([least, *(vmm[k] / rate for k, rate in theirs.items() if rate)])
    return least


def _row(name: str, rates: dict[str, float | None], base: dict[str, float]) -> None:
    cells = [f"{v:,.1f} ({v / base[k]:.3g})" if v else "-" for k, v in rates.items()]
    print(f"{name:44} " + " ".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="shorter batches")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    batch_s = 0.04 if options.quick else 0.1
    evaluations(1750, batch_s)
    base = evaluations(10_000, batch_s)
    worst = independence(batch_s)
    print("\nupdates/s, each followed by the truth of three rules (any, count, mean)")
    (few, _), (many, ratio) = updates(1750, batch_s), updates(10_000, batch_s)
    print(f"1,750 against 10,000 clients: {few / many:.2f}")
    print("\n100 rules (20 each of any, count, mean, min, and per client)")
    whole, single = hundred(10_000, batch_s)
    least = None if options.no_peers else peers(10_000, batch_s / 3, base)
    print("\naims, with 10,000 clients x 10 properties")
    kept, arrays, rest = (_least(base, kind) for kind in ("kept", "arrays", "compiled"))
    _aim("incremental class: 1,000 x plain eval, the slowest of them", kept, 1000, " x")
    _aim("  the same, its updates included (three rules)", ratio, 1000, " x")
    _aim("  evaluations with 1,750 clients at most 1.5 x as fast", worst, 1.5, " x", most=True)
    _aim("  updates with 1,750 clients at most 1.5 x as fast", few / many, 1.5, " x", most=True)
    _aim("vectorised class: 100 x plain eval, the slowest of them", arrays, 100, " x")
    _aim("the rest: never under 0.8 x plain eval", min(rest, base["vmm cheap"] / base["cheap"]), 0.8, " x")
    _aim("100 rules: 100,000 updates/s, a step a report", whole, 100_000, "/s")
    _aim("  the same, a step a value", single, 100_000, "/s")
    if least is not None:
        _aim("faster than every peer, the nearest of them", least, 1.0, " x")


def _least(base: dict[str, float], kind: str) -> float:
    """The least ratio of a class. `cheap` is one look at a number for plain eval, too: it is of the rest."""
    names = [n for n, (of, _, _) in EXPRESSIONS.items() if of == kind and n != "cheap"]
    return min(base[f"vmm {n}"] / base[n] for n in names)


def _aim(text: str, found: float, wanted: float, unit: str, most: bool = False) -> None:
    met = found <= wanted if most else found >= wanted
    shown = f"{found:,.2f}" if found < 10 else f"{found:,.0f}"
    print(f"{text:58} {shown:>12}{unit:3} {'met' if met else 'NOT MET'}")


if __name__ == "__main__":
    main()
