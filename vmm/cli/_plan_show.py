"""Plans for people: a table on the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vmm.durations import show_duration
from vmm.policies.plan import Action, Kind, Plan

_PIPED = 400


def show_plan(plan: Plan, planning_s: float, reasons: Mapping[str, str]) -> None:
    """The actions, what they cost and lead to, and why the rest is left alone."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED  # names in files and pipes are whole, one action a line
    if plan.actions:
        console.print(_table(plan))
    console.print(
        f"{plan.policy} by {escape(plan.objective)}: score {plan.score_before:.8f} -> {plan.score_after:.8f},"
        f" {len(plan.actions)} actions, {plan.data_mib / 1024:.1f} GiB to copy,"
        f" {show_duration(round(plan.expected_s))} expected, planned in {planning_s * 1000:.1f} ms"
    )
    if plan.policy == "consolidate":
        console.print(f"hosts left: {len(plan.hosts_left)} ({escape(', '.join(plan.hosts_left))})")
    if plan.why_empty:
        console.print(
            f"{'no step can be taken' if plan.unplaced else 'nothing to do'}: {escape(plan.why_empty)}"
        )
    if plan.cut_by_clock:
        console.print("the time was over before the search was done: another run may find another plan")
    for name, reason in plan.unplaced.items():
        console.print(f"cannot be placed: {escape(name)}: {escape(reason)}")
    for name, reason in reasons.items():
        if name not in plan.unplaced:
            console.print(f"  {escape(name)}: {escape(reason)}")


def _table(plan: Plan) -> Table:
    table = Table(box=None)
    for head in ("#", "group", "action", "guest", "from", "to", "MiB", "time", "score after"):
        name = head in ("guest", "from", "to")  # long ones go on in the next line; numbers are never cut
        table.add_column(head, overflow="fold", no_wrap=not name, header_style="bold")
    for number, action in enumerate(plan.actions, 1):
        table.add_row(
            str(number),
            str(action.group),
            action.kind.value,
            escape(action.guest),
            escape(action.source),
            escape(_target(action)),
            f"{action.data_mib:.0f}",
            show_duration(round(action.expected_s)),
            "" if action.score_after is None else f"{action.score_after:.6f}",
        )
    return table


def _target(action: Action) -> str:
    if action.kind is Kind.RESIZE:
        return " ".join(f"{key}={value:g}" for key, value in action.sizes.items())
    return action.target
