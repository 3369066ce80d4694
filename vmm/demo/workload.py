"""The demo's workload, as long as the demo runs."""

from __future__ import annotations

LENGTH_S = 60
"""The shipped workload is done after so many seconds."""


def repeat(text: str, seconds: float) -> str:
    """The workload over and over, minute after minute, until `seconds` are filled; fresh job numbers."""
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith(";")]
    jobs = [line.split() for line in lines if line.strip() and not line.startswith(";")]
    rows = []
    for turn in range(max(1, round(seconds / LENGTH_S))):
        for number, submit_s, *rest in jobs:
            fresh, later_s = int(number) + turn * len(jobs), float(submit_s) + turn * LENGTH_S
            rows.append(f"{fresh:4d} {later_s:6g} {' '.join(rest)}")
    return "\n".join([*comments, *rows]) + "\n"
