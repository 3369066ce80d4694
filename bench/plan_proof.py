"""Proof of a consolidation by OR-tools' CP-SAT, when it is installed (`pip install 'vmm[bench]'`).

Finds the fewest hosts that hold all guests, then the fewest migrations to so many hosts. Planning itself
needs no solver; this only says how near to the best it came. Transient capacity is not part of the proof.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import Any

from vmm.policies.model import Cluster

_SECONDS = 20.0


def available() -> bool:
    return find_spec("ortools") is not None


def fewest(cluster: Cluster) -> str:
    """'10 hosts, 65 migrations', with a mark where the solver's time was too short for a proof."""
    from ortools.sat.python import cp_model

    index = {h.name: i for i, h in enumerate(cluster.hosts)}
    memory = [int(h.memory_mib - h.memory_own_mib - h.memory_reserve_mib) for h in cluster.hosts]
    vcpus = [int(h.vcpu_ratio * h.cpus - h.vcpus_own) for h in cluster.hosts]
    home = Counter((index[g.host or ""], int(g.memory_mib), int(g.vcpus)) for g in cluster.guests)
    total: Counter[tuple[int, int]] = Counter()
    for (_, m, c), count in home.items():
        total[m, c] += count
    kinds = sorted(total)
    hosts = range(len(memory))

    def solve(most: int | None) -> tuple[int, bool]:
        model: Any = cp_model.CpModel()
        on = [model.NewBoolVar(f"on{h}") for h in hosts]
        units = {(h, k): model.NewIntVar(0, total[k], f"u{h},{k}") for h in hosts for k in kinds}
        for k in kinds:
            model.Add(sum(units[h, k] for h in hosts) == total[k])
        for h in hosts:
            model.Add(sum(k[0] * units[h, k] for k in kinds) <= memory[h] * on[h])
            model.Add(sum(k[1] * units[h, k] for k in kinds) <= vcpus[h] * on[h])
        if most is None:
            model.Minimize(sum(on))
        else:
            model.Add(sum(on) <= most)
            stay = []
            for (h, m, c), count in home.items():
                here = model.NewIntVar(0, count, f"s{h},{m},{c}")
                model.Add(here <= units[h, (m, c)])
                stay.append(here)
            model.Maximize(sum(stay))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_time_in_seconds = _SECONDS
        status = solver.Solve(model)
        return round(solver.ObjectiveValue()), status == cp_model.OPTIMAL

    left, proven_left = solve(None)
    stay, proven_stay = solve(left)
    mark = "" if proven_left and proven_stay else " (not proven in time)"
    return f"{left} hosts, {len(cluster.guests) - stay} migrations{mark}"
