"""A minute of the demo in simulation."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_world import Minute, report_stats, simulate

from vmm.demo.follow import Follower


@pytest.fixture(scope="session")
def minute() -> Minute:
    sim = simulate()
    sim.run(16.6)
    report_stats(sim)
    sim._seq["batch"] = 2 * 10**6
    half = len(sim.entries)
    sim.run(60)
    sim._seq["batch"] = 3 * 10**6
    report_stats(sim)
    follower = Follower(Path("nowhere"))
    middle = follower.take(sim.entries[:half])
    end = follower.take(sim.entries[half:])
    state = sim.core.state
    return Minute(end, middle.lines + end.lines, sim.notes, dict(state.totals), dict(state.fired), middle)
