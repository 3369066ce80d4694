"""Answers for people, from the state alone: why a rule fired or not, why a share has no guest."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vmm.api.answer import answer
from vmm.cluster.model import CommandRecord, LastFiring
from vmm.cluster.profiles import Share
from vmm.cluster.states import LEAVING
from vmm.decide import placement
from vmm.decide.core import Core
from vmm.decide.firing import firing_key
from vmm.durations import show_duration
from vmm.errors import Refused
from vmm.rules import Explanation

OBSERVING = "the Manager only observes: it sends no command"


def explain_rule(core: Core, rule: str, subject: str | None) -> tuple[Explanation, list[str]]:
    """The rule's explanation, and what its last firing led to, line by line. Raises RuleError."""
    explanation = core.engine.explain(rule, subject)
    last = core.state.last_fired.get(firing_key(rule, subject))
    lines = [] if last is None else _aftermath(core, last)
    if core.state.settings.observe:
        lines.insert(0, OBSERVING)
    return explanation, lines


def explain_all(core: Core, rule: str) -> list[Explanation]:
    """The rule's explanations, one for each of its subjects; one alone for a rule without `each`.

    Raises RuleError when there is no such rule.
    """
    found = core.rules.book.rules.get(rule)
    kind = None if found is None else found.each
    subjects = [None] if kind is None else core.state.world.table(kind).names()
    return [core.engine.explain(rule, subject) for subject in subjects]


def _aftermath(core: Core, last: LastFiring) -> list[str]:
    now_s = core.state.now_s
    shadow = " (dry run: nothing was sent)" if last.shadow else ""
    lines = [
        f"last fired {show_duration(now_s - last.time_s)} ago at journal position {last.position}{shadow}",
        f"  because {last.why}",
        *(f"  calls {call}" for call in last.calls),
        *(f"  refused {text}" for text in last.refused),
    ]
    for command_id in last.commands:
        record = core.state.commands.get(command_id)
        lines.append(f"  command {command_id}: {_fate(record)}")
        guest = core.state.guests.get(record.owner) if record is not None else None
        if guest is not None:
            steps = [
                f"    {reason.source}: {reason.reason} (position {reason.position})" for reason in guest.trail
            ]
            lines += [f"  guest {guest.name} is {guest.state}; its reason trail:", *steps]
    return lines


def _fate(record: CommandRecord | None) -> str:
    if record is None:
        return "finished and forgotten"
    end = f" [{record.code}] {record.message}" if record.code else ""
    return f"{record.name} to {record.to}, {record.state}{end}, attempt {record.attempt}"


def why_share(core: Core, share: str) -> list[str]:
    """Why a share has the guests it has: the answer in a sentence, then demand, guests, luck, room on
    each host, others' guests, rules.

    Raises Refused when there is no such share.
    """
    state, rules = core.state, core.rules
    entitled = _entitled(core, share)
    profile = rules.entitlements.profiles[entitled.profile]
    lines = [f"{share}: {answer(core, entitled)}", *_demand(core, entitled.queue)]
    mine = [g for g in state.guests.values() if g.spec.share == share]
    lines.append(
        f"guests: {len(mine)} (guaranteed {entitled.guaranteed}, at most {entitled.max_guests or 'any'})"
    )
    for guest in mine:
        age = show_duration(state.now_s - guest.since_s)
        lines.append(f"  {guest.name} on {guest.host}: {guest.state} for {age}, {guest.jobs} jobs")
    lines += _luck(core, share)
    lines.append(
        f"room for a guest of profile {profile.name} ({profile.memory_mib} MiB, {profile.vcpus} vCPUs):"
    )
    for name, host in sorted(state.hosts.items()):
        refusal = placement.refusal(state, host, profile, share)
        lines.append(f"  {name}: {refusal or 'yes'}")
    if not state.hosts:
        lines.append("  no host has ever reported")
    leaving = [g for g in state.guests.values() if g.for_share == share and g.state in LEAVING]
    lines += [f"  {g.name} leaves {g.host} to make room ({g.state})" for g in leaving]
    found = placement.victims(state, rules, entitled)
    if found:
        lines.append(f"could be asked to leave: {', '.join(g.name for g in found)}")
    if state.paused:
        lines += [
            f"PAUSED {'all rules' if rule == '*' else rule}: {why}" for rule, why in state.paused.items()
        ]
    if state.settings.observe:
        lines.append(OBSERVING)
    lines.append("rules about shares:")
    for name, rule in rules.book.rules.items():
        if rule.each == "share":
            lines += [f"  {line}" for line in str(core.engine.explain(name, share)).splitlines()]
    return lines


def share_as_json(core: Core, share: str) -> dict[str, Any]:
    """The same as builtins. Raises Refused when there is no such share."""
    state, rules = core.state, core.rules
    entitled = _entitled(core, share)
    profile = rules.entitlements.profiles[entitled.profile]
    luck = state.luck.get(share)
    return {
        "share": share,
        "answer": answer(core, entitled),
        "queue": entitled.queue,
        "jobs": None if state.batch_seen_s < 0 else _jobs(core, entitled.queue),
        "jobs_seen_s": None if state.batch_seen_s < 0 else state.batch_seen_s,
        "guests": [
            {"name": g.name, "host": g.host, "state": g.state, "since_s": g.since_s, "jobs": g.jobs}
            for g in state.guests.values()
            if g.spec.share == share
        ],
        "failures": 0 if luck is None else luck.failures,
        "last_failure": "" if luck is None else luck.last_failure,
        "gave_up": luck is not None and luck.gave_up,
        "hosts": {
            name: placement.refusal(state, host, profile, share) for name, host in sorted(state.hosts.items())
        },
        "could_leave": [g.name for g in placement.victims(state, rules, entitled)],
        "paused": dict(state.paused),
        "observing": bool(state.settings.observe),
        "rules": [
            core.engine.explain(name, share).as_dict()
            for name, rule in rules.book.rules.items()
            if rule.each == "share"
        ],
    }


def _entitled(core: Core, share: str) -> Share:
    shares = core.rules.entitlements.shares
    if share not in shares:
        raise Refused(f"there is no share {share!r} (known: {', '.join(shares) or 'none'}).")
    return shares[share]


def _demand(core: Core, queue: str) -> list[str]:
    state = core.state
    if state.batch_seen_s < 0:
        return ["queue: no batch client has reported yet, so nobody knows what waits"]
    age = show_duration(state.now_s - state.batch_seen_s)
    told = ", ".join(f"{n} {what}" for what, n in sorted(_jobs(core, queue).items())) or "no jobs"
    return [f"queue {queue}: {told} (reported {age} ago)"]


def _jobs(core: Core, queue: str) -> dict[str, int]:
    """State -> number of the queue's jobs."""
    return dict(Counter(state for _, name, state, _, _ in core.state.batch_jobs if name == queue))


def _luck(core: Core, share: str) -> list[str]:
    luck = core.state.luck.get(share)
    if luck is None or not luck.failures:
        return []
    text = f"{luck.failures} creations failed in a row, the last: {luck.last_failure}"
    if luck.gave_up:
        return [f"{text}", f"  gave up; `vmm share retry {share}` starts again"]
    wait_s = luck.next_try_s - core.state.now_s
    return [text, f"  next try in {show_duration(wait_s)}" if wait_s > 0 else "  may try again now"]


def as_json(explanation: Explanation, aftermath: list[str]) -> dict[str, Any]:
    """The explanation as builtins, with its aftermath."""
    return {**explanation.as_dict(), "aftermath": aftermath}
