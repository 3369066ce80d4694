"""The Standard Workload Format: 18 numbers a line, `;` comments, -1 for unknown.

https://www.cs.huji.ac.il/labs/parallel/workload/swf.html. Queues get their names from header lines
`; Queue: 1 groupA`; logs that tell users apart by group only use `; Group: 1 groupA`.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vmm.errors import ConfigError
from vmm.ini import Finding, FindingsError

FIELDS = (
    "job number",
    "submit time",
    "wait time",
    "run time",
    "allocated processors",
    "average CPU time",
    "used memory",
    "requested processors",
    "requested time",
    "requested memory",
    "status",
    "user",
    "group",
    "executable",
    "queue",
    "partition",
    "preceding job",
    "think time",
)
_NAMED = re.compile(r";\s*(Queue|Group):\s*(\d+)[\s,]+([A-Za-z0-9][A-Za-z0-9._-]*)", re.IGNORECASE)
_MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Work:
    """One job to run: seconds from the start of the log, seconds of run time, CPUs."""

    id: str
    queue: str
    submit_s: float
    runtime_s: float
    cpus: int = 1
    user: str = ""


def read_swf(path: Path) -> list[Work]:
    """The jobs of a file (`.gz` too), in order of submission. Raises ConfigError or FindingsError."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8", errors="replace")
    except (OSError, EOFError) as exc:
        raise ConfigError(
            f"{path}: the workload cannot be read: {exc}.",
            next_step="correct `workload` in [batch] of vmm.ini",
        ) from exc
    works, findings = parse_swf(text.splitlines(), str(path))
    if findings:
        raise FindingsError(findings)
    return works


def parse_swf(lines: Iterable[str], file: str = "workload") -> tuple[list[Work], list[Finding]]:
    """Jobs, and what is wrong (at most 20 findings). Jobs that never ran (no run time) are left out."""
    names: dict[tuple[str, int], str] = {}
    works: list[Work] = []
    findings: list[Finding] = []
    seen: dict[int, int] = {}
    for at, line in enumerate(lines, 1):
        body = line.strip()
        if not body:
            continue
        if body.startswith(";"):
            if found := _NAMED.match(body):
                names[found[1].lower(), int(found[2])] = found[3]
            continue
        numbers, wrong = _numbers(body)
        number = int(numbers[0]) if numbers else 0
        if not wrong and number in seen:
            wrong = f"job {number} stands here a second time (first at line {seen[number]})."
        if wrong:
            findings.append(Finding(file, at, wrong, "Write the 18 fields of the format, -1 for unknown."))
            if len(findings) == _MAX_FINDINGS:
                break
            continue
        seen[number] = at
        work = _work(numbers, names)
        if work is not None:
            works.append(work)
    works.sort(key=lambda work: work.submit_s)
    return works, findings


def _numbers(body: str) -> tuple[list[float], str]:
    words = body.split()
    if len(words) != len(FIELDS):
        return [], f"{len(words)} fields instead of {len(FIELDS)}."
    numbers = []
    for name, word in zip(FIELDS, words, strict=True):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            return [], f"{name}: {word!r} is not a number."
        numbers.append(value)
    if numbers[0] < 0 or numbers[1] < 0:
        which = FIELDS[0 if numbers[0] < 0 else 1]
        return [], f"{which}: it cannot be negative."
    return numbers, ""


def _work(numbers: list[float], names: dict[tuple[str, int], str]) -> Work | None:
    runtime_s = numbers[3]
    if runtime_s < 0:
        return None  # cancelled before it ran
    cpus = numbers[4] if numbers[4] > 0 else numbers[7]
    kind, number = ("queue", int(numbers[14])) if numbers[14] >= 0 else ("group", int(numbers[12]))
    user = int(numbers[11])
    return Work(
        id=str(int(numbers[0])),
        queue=names.get((kind, number), f"{kind}{max(number, 0)}"),
        submit_s=numbers[1],
        runtime_s=runtime_s,
        cpus=max(1, int(cpus)),
        user=f"user{user}" if user >= 0 else "",
    )
