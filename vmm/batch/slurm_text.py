"""What Slurm's tools print, as jobs and nodes. Pure; written for 22.05 to 25.05.

Node states: `scontrol show node -o` gives a base state and flags (`IDLE+DRAIN+DYNAMIC_NORM`), which say more
than sinfo's one word. Job times are seconds since the epoch (SLURM_TIME_FORMAT=%s) or ISO local time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from vmm.batch.interface import BatchDown, Job, Node

JOB_FORMAT = "%i|%P|%T|%C|%N|%u|%V|%S|%r"
"""Id, partition, state, CPUs, nodes, user, submitted, started; the reason last, because it is free text."""

_PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
_RUNNING = (
    "RUNNING",
    "CONFIGURING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "STAGE_OUT",
    "RESIZING",
)
JOB_STATES = ",".join((*_PENDING, *_RUNNING))
"""For squeue -t: what waits, and what holds a node in any way."""

HELD = (
    "JobHeld",
    "Dependency",
    "BeginTime",
    "JobArrayTaskLimit",
    "Assoc",
    "QOS",
    "Max",
    "PartitionDown",
    "PartitionInactive",
    "PartitionTimeLimit",
    "InvalidAccount",
    "InvalidQOS",
    "BadConstraints",
    "AccountNotAllowed",
    "JobHoldMaxRequeue",
    "launch failed requeued held",
    "job requeued in held state",
    "Licenses",
    "Reservation",
    "DeadLine",
    "Cleaning",
    "Prolog",
    "FrontEndDown",
    "BurstBuffer",
)
"""Beginnings of the reasons for which a pending job would not start on a fresh node either."""

_DOWN_FLAGS = {"DOWN", "FAIL", "ERROR", "FUTURE", "UNKNOWN", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN"}
_SUFFIX = "*~#!%$@^-+"
_FIELD = re.compile(r"(?:^|\s)([A-Z][A-Za-z_]*)=")
_SIGNED = re.compile(r"\s*\[[^\[\]]*@[^\[\]]*\]$")
_RANGE = re.compile(r"^([^\[\],]*)\[([^\[\]]+)\](.*)$")


def parse_jobs(text: str) -> list[Job]:
    """Jobs from squeue's output in JOB_FORMAT; states that hold nothing and wait for nothing are left out."""
    jobs = []
    for line in text.splitlines():
        if not line.strip():
            continue
        words = line.split("|", 8)
        if len(words) != 9:
            raise BatchDown(
                f"squeue printed a line that is not {JOB_FORMAT}: {line[:120]!r}.",
                next_step="see whether `bin` names Slurm's own squeue",
            )
        job_id, queue, state, cpus, nodes, user, submitted, started, reason = (word.strip() for word in words)
        pending = state in _PENDING
        if not pending and state not in _RUNNING and not nodes:
            continue
        reason = "" if reason in ("None", "(null)") else reason
        jobs.append(
            Job(
                id=job_id,
                queue=queue.split(",")[0],  # a job that may go to several is counted for its first choice
                state="pending" if pending else "running",
                cpus=_number(cpus),
                node="" if pending else ",".join(expand(nodes)),
                user=user,
                submitted_s=parse_time_s(submitted),
                started_s=0.0 if pending else parse_time_s(started),
                reason=reason,
                held=pending and (state != "PENDING" or reason.startswith(HELD)),
            )
        )
    return jobs


def parse_nodes(text: str, jobs: Mapping[str, int]) -> list[Node]:
    """Nodes from `scontrol show node -o`; `jobs` says how many jobs are on each."""
    nodes = []
    for line in text.splitlines():
        if not line.startswith("NodeName="):
            continue
        fields = parse_fields(line)
        name, raw = fields["NodeName"], fields.get("State", "UNKNOWN")
        state, why = node_state(raw, busy=fields.get("CPUAlloc", "0") != "0" or jobs.get(name, 0) > 0)
        reason = _SIGNED.sub("", fields.get("Reason", ""))
        nodes.append(
            Node(
                name=name,
                state=state,
                queues=_list(fields.get("Partitions", "")),
                features=_list(fields.get("ActiveFeatures", fields.get("AvailableFeatures", ""))),
                cpus=_number(fields.get("CPUTot", "1")),
                jobs=jobs.get(name, 0),
                raw_state=raw,
                reason=f"{why}: {reason}" if why and reason else why or reason,
            )
        )
    return nodes


def node_state(raw: str, *, busy: bool = False) -> tuple[str, str]:
    """The interface's state for Slurm's, and a word of explanation where the state alone would puzzle.

    `busy` (jobs hold it) wins over everything but DOWN: a node with a job is never shown as free to take.
    """
    words = [word for word in raw.upper().split("+") if word]
    suffix = words[0][len(words[0].rstrip(_SUFFIX)) :] if words else ""
    flags = {word.rstrip(_SUFFIX) for word in words}
    base = words[0].rstrip(_SUFFIX) if words else "UNKNOWN"
    busy = busy or bool(flags & {"ALLOCATED", "MIXED", "COMPLETING", "ALLOC", "MIX", "COMP"})
    silent = "NOT_RESPONDING" in flags or "*" in suffix
    invalid = bool(flags & {"INVALID_REG", "INVAL"})
    draining = bool(flags & {"DRAIN", "DRAINED", "DRAINING", "DRNG", "FAILING"}) or invalid
    if flags & _DOWN_FLAGS or "~" in suffix:
        return "down", ""
    if busy:
        return ("draining" if draining else "busy"), ("not responding" if silent else "")
    if invalid:
        return "down", "invalid registration"
    # Not responding is no verdict: Slurm says so for a second after each resume, and DOWN when it means it.
    if draining:
        return "drained", "not responding" if silent else ""
    if base in ("IDLE", "PLANNED", "RESERVED", "MAINT", "POWERED_UP"):
        return "idle", "not responding" if silent else ""
    return "down", f"unknown state {raw}"


def parse_fields(line: str) -> dict[str, str]:
    """`Key=value ...` with blanks in values. The first of two equal keys counts: free text comes last."""
    marks = list(_FIELD.finditer(line))
    fields: dict[str, str] = {}
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(line)
        fields.setdefault(mark[1], line[mark.end() : end].strip())
    if "Reason" in fields:
        at = next(mark.end() for mark in marks if mark[1] == "Reason")
        end = next((m.start() for m in marks if m.start() >= at and m[1] in ("Comment", "Extra")), len(line))
        fields["Reason"] = line[at:end].strip()
    return fields


def expand(hostlist: str) -> list[str]:
    """`vm[1-3,07],x` -> vm1 vm2 vm3 vm07 x. Ranges keep their leading zeros."""
    names: list[str] = []
    for part in re.split(r",(?![^\[]*\])", hostlist):
        match = _RANGE.match(part)
        if match is None:
            names += [part] if part and part not in ("(null)", "None") else []
            continue
        for span in match[2].split(","):
            low, dash, high = span.partition("-")
            if not (low.isdigit() and (not dash or high.isdigit())):
                names.append(part)
                break
            for number in range(int(low), int(high if dash else low) + 1):
                names += expand(f"{match[1]}{number:0{len(low)}d}{match[3]}")
    return names


def parse_time_s(text: str) -> float:
    """Seconds since the epoch; 0 for none (N/A, Unknown)."""
    if text.isdigit():
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _list(text: str) -> list[str]:
    return [] if text in ("", "(null)", "N/A") else text.split(",")


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 1
