"""A runner's memory as builtins, by the subjects' names, so that it outlives process and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vmm.rules.gates import Instance
from vmm.rules.runner import Runner
from vmm.rules.watches import Watch


def dump_runner(runner: Runner) -> dict[str, Any]:
    """Canonical: subjects in order of their names."""
    return {
        "hash": runner.rule.content_hash,
        "next_tick_s": runner.next_tick_s,
        "instances": {name: runner.instances[row].dump() for name, row in _named(runner, runner.instances)},
        "recheck": [name for name, _ in _named(runner, runner.recheck)],
        "samples": [name for name, _ in _named(runner, runner.samples)],
        "unseen": _unseen(runner, runner.expr) if runner.timed else None,
        "until_unseen": _unseen(runner, runner.until) if runner.timed else None,
    }


def load_runner(runner: Runner, data: Mapping[str, Any]) -> None:
    """Put a dump back; subjects that are gone are passed over."""
    runner.next_tick_s = data["next_tick_s"]
    for name, fields in data["instances"].items():
        row = runner.row(name)
        if row is not None:
            runner.remember(row, Instance.load(fields))
    runner.recheck.update(_rows(runner, data["recheck"]))
    runner.samples.update(_rows(runner, data["samples"]))
    if runner.timed:
        # Looking at these at another moment than the first run did could give another answer.
        for watch, names in ((runner.expr, data["unseen"]), (runner.until, data["until_unseen"])):
            if watch is not None and names is not None:
                watch.every = False
                watch.changed = set(_rows(runner, names))


def _unseen(runner: Runner, watch: Watch | None) -> list[str] | None:
    """Names of the rows that the watch would look at next; None for all."""
    if watch is None or watch.every:
        return None
    return [name for name, _ in _named(runner, watch.changed)]


def _named(runner: Runner, rows: Iterable[int]) -> list[tuple[str, int]]:
    return sorted((runner.subject(row) or "", row) for row in rows)


def _rows(runner: Runner, names: Iterable[str]) -> list[int]:
    found = (runner.row(name) for name in names)
    return [row for row in found if row is not None]
