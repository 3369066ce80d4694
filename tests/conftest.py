"""Which test files are too long for `make unit`, which is run by habit; and how random examples are drawn.

The same examples at each run, so that a red run is red because of a change. `make explore` draws others.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("repeatable")

LONG = {
    "test_backtest_in_bulk.py": "many random streams",
    "test_client_commands.py": "waits for time limits of commands",
    "test_client_link.py": "waits for reconnects",
    "test_dead_hosts.py": "dozens of simulated stories",
    "test_dead_hosts_at_random.py": "many random streams",
    "test_demo_story.py": "simulates the demo's minute",
    "test_journal_format.py": "flips every byte",
    "test_journal_recovery.py": "cuts and flips every byte",
    "test_live_plans.py": "records a run for each planner",
    "test_manager.py": "a real Manager and daemon for each test",
    "test_moving_guests.py": "many random streams",
    "test_on_a_journal.py": "records runs",
    "test_plan_fuzz.py": "damages many files",
    "test_plan_fewest.py": "packs many clusters",
    "test_parts.py": "random orders on threads",
    "test_plan_invariants.py": "many random clusters",
    "test_plan_known.py": "exhaustive optima",
    "test_plan_more_is_better.py": "dozens of searches for each cluster",
    "test_plan_parts.py": "plans of larger clusters",
    "test_pure_core.py": "many random streams",
    "test_plan_check.py": "rehearses many plans",
    "test_plan_check_steps.py": "runs the benchmark",
    "test_record.py": "waits for synced disks",
    "test_discovery.py": "installs a package with pip",
    "test_rounds.py": "records minutes of reports",
    "test_spread_codec.py": "many random streams",
    "test_spread_replay.py": "waits for a daemon's time limits",
    "test_codec.py": "many random messages",
    "test_evaluators.py": "many random worlds",
    "test_totals.py": "many random sums",
    "test_settled.py": "many random streams",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in LONG:
            item.add_marker(pytest.mark.slow(reason=LONG[item.path.name]))
