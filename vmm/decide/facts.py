"""From reports to what rules can read: raw properties, and the facts the Manager derives from them."""

from __future__ import annotations

import math
from collections import Counter
from math import inf
from typing import Any

from vmm.cluster.columns import ValueRefused
from vmm.cluster.model import Client, Guest, Host
from vmm.cluster.states import ALIVE, COMING, LEAVING
from vmm.cluster.tables import Table
from vmm.decide import placement
from vmm.decide.rulebook import Rules
from vmm.decide.state import Free, HostFacts, State
from vmm.messages.structs import Report, Value

STRUCTURAL = ("host_facts", "guests", "batch_jobs", "batch_nodes")
"""Collectors whose values make the picture of the cluster."""

LISTED = ("booting", "ready", "draining")
"""States in which a guest must be in its host's report."""

NOTHING, SAME, CHANGED = 0, 1, 2
"""What a report means for that picture: nothing, seen again as it was, something may be different."""


def take_report(state: State, rules: Rules, client: Client, report: Report) -> int:
    """Store the values; says what they mean for the facts about hosts, guests and jobs."""
    news = NOTHING
    now_s, properties, errors = state.now_s, rules.properties, client.errors
    own = client.name
    tables = [state.world.clients]
    subject = _subject_table(state, client)
    if subject is not None and own in subject:
        tables.append(subject)
    for name, value in report.values.items():
        spec = properties.get(name)
        if spec is None:
            continue
        try:
            for table in tables:
                table.set(own, name, value, now_s)
        except ValueRefused as exc:
            _property_error(state, client, name, exc.message)
            continue
        if errors and errors.pop(name, None) is not None:
            state.note("client", own, f"property {name} can be read again")
        if spec.command in STRUCTURAL:
            news = max(news, _take_structural(state, rules, client, spec.command, value))
    for name, text in report.errors.items():
        if name in rules.properties:
            _property_error(state, client, name, text)
    return news


def _property_error(state: State, client: Client, name: str, text: str) -> None:
    """Said once, and again when the error is another one. The last good value ages until it is unknown."""
    if client.errors.get(name) != text:
        client.errors[name] = text
        state.note("client", client.name, f"property {name} cannot be read: {text}", level="warning")


def refresh(state: State, rules: Rules) -> None:
    """Publish the derived facts of hosts, guests and shares; only what changed is written.

    What follows from a report that has grown too old is unknown, as the report's own property is.
    """
    hosts_s, jobs_s, nodes_s = (
        max_age_s(rules, name) for name in ("host_facts", "batch_jobs", "batch_nodes")
    )
    nodes_known = state.nodes_seen_s >= 0 and state.now_s - state.nodes_seen_s <= nodes_s
    jobs_known = state.batch_seen_s >= 0 and state.now_s - state.batch_seen_s <= jobs_s
    ours = placement.ours_on(state)
    promises_on = {promise.host for promise in state.promises}
    open_: list[Free] = []
    promised: dict[str, Free] = {}
    for name, host in state.hosts.items():
        left = _host_facts(state, host, hosts_s, ours.get(name), name in promises_on)
        if left is None:
            continue
        if name in promises_on:
            promised[name] = left
        else:
            open_.append(left)
    free = Counter(open_)
    for guest in state.guests.values():
        _guest_facts(state, guest, nodes_known)
    waiting = _waiting_cpus(state)
    running = _running(state)
    for name, share in rules.entitlements.shares.items():
        profile = rules.entitlements.profiles[share.profile]
        mine = [g for g in state.guests.values() if g.spec.share == name]
        # One that moves serves its jobs meanwhile.
        ready = [g for g in mine if g.state in ("ready", "migrating")]
        idle = sum(1 for g in ready if g.node_state == "idle")
        coming = sum(1 for g in mine if g.state in COMING)
        staying = sum(1 for g in mine if g.state in (*COMING, "ready", "migrating"))
        expected = sum(1 for p in state.promises if p.share == name)
        expected += sum(1 for g in state.guests.values() if g.for_share == name and g.state in LEAVING)
        jobs, cpus = waiting.get(share.queue, (0, 0))
        wanted = max(0, math.ceil(cpus / profile.vcpus) - idle - coming)
        luck = state.luck.get(name)
        limit = share.max_guests
        can_grow = (limit == 0 or staying < limit) and (
            luck is None or (not luck.gave_up and state.now_s >= luck.next_try_s)
        )
        facts: dict[str, Value] = {
            "name": name,
            "queue": share.queue,
            "profile": share.profile,
            "jobs_waiting": jobs,
            "jobs_running": running.get(share.queue, 0),
            "guests": sum(1 for g in mine if g.state in ALIVE),
            "guests_coming": coming,
            "guests_ready": len(ready),
            "guests_idle": idle,
            "guests_busy": sum(1 for g in ready if g.jobs > 0),
            "guests_leaving": sum(1 for g in mine if g.state in LEAVING),
            "guests_promised": expected,
            "guests_wanted": wanted,
            "guaranteed": share.guaranteed,
            "max_guests": limit,
            "room": placement.room(state, free, promised, profile, name),
            "reclaimable": len(placement.victims(state, rules, share)) if wanted else 0,
            "failures": luck.failures if luck else 0,
            "can_grow": can_grow,
            "gave_up": bool(luck and luck.gave_up),
        }
        if not jobs_known:  # nobody looked at the queues yet, or any more: unknown, not zero
            for key in ("jobs_waiting", "jobs_running", "guests_wanted", "reclaimable"):
                facts[key] = None
        if not nodes_known:
            for key in ("guests_idle", "guests_busy", "guests_wanted", "reclaimable"):
                facts[key] = None
        _publish(state, state.world.shares, name, facts)


def max_age_s(rules: Rules, command: str) -> float:
    """How old the values of a collector may be: the longest that its properties allow, else for ever."""
    ages = [spec.max_age_s for spec in rules.properties.values() if spec.command == command]
    return max((inf if age_s is None else age_s for age_s in ages), default=inf)


def publish_client(state: State, client: Client) -> None:
    facts: dict[str, Value] = {"name": client.name, "role": client.role, "state": client.state}
    _publish(state, state.world.clients, client.name, facts)


def _take_structural(state: State, rules: Rules, client: Client, command: str, value: Value) -> int:
    """The properties from which the picture of the cluster is made; malformed rows are skipped and said."""
    try:
        if command == "host_facts" and client.role == "dom0" and isinstance(value, dict):
            return _take_host(state, client.name, value, max_age_s(rules, command))
        if command == "guests" and client.role == "dom0" and isinstance(value, list):
            return _take_guests(state, client.name, value)
        if command == "batch_jobs" and client.role == "batch" and isinstance(value, list):
            return _take_jobs(state, value, max_age_s(rules, command))
        if command == "batch_nodes" and client.role == "batch" and isinstance(value, list):
            _take_nodes(state, value)
            return CHANGED
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        text = f"its {command} report is malformed ({type(exc).__name__}: {exc}) and was left out"
        state.note("client", client.name, text, level="warning")
        state.rest_until_s = -math.inf  # a part of it may be taken in
    return NOTHING


def read_host(row: dict[str, Any]) -> tuple[int, int, int, str, int]:
    """(memory, reserved, CPUs, hypervisor, room for images) of a host_facts report; memory in MiB.

    Raises what malformed rows raise: KeyError, TypeError, ValueError, AttributeError.
    """
    return (
        int(row["memory_mib"]), int(row["reserved_mib"]), int(row["cpus"]), str(row.get("hypervisor", "")),
        int(row.get("image_free_mib", 0)),
    )  # fmt: skip


def read_guests(rows: list[Any]) -> dict[str, tuple[int, int, str]]:
    """Name -> (MiB, vCPUs, state) of a guests report; raises as `read_host`."""
    return {str(r["name"]): (int(r["memory_mib"]), int(r["vcpus"]), str(r["state"])) for r in rows}


def offer_of(host: Host) -> tuple[int, int, int, str, int]:
    """What `read_host` gives, as it is known."""
    return host.memory_mib, host.reserved_mib, host.cpus, host.hypervisor, host.image_free_mib


def _take_host(state: State, name: str, row: dict[str, Any], limit_s: float) -> int:
    offer = read_host(row)
    new = name not in state.hosts or name not in state.world.hosts
    host = state.hosts.setdefault(name, Host(name))
    new |= host.seen_s < 0 or state.now_s - host.seen_s > limit_s or offer_of(host) != offer
    host.memory_mib, host.reserved_mib, host.cpus, host.hypervisor, host.image_free_mib = offer
    host.seen_s = state.now_s
    state.world.hosts.add(name)
    return CHANGED if new else SAME


def _take_guests(state: State, name: str, rows: list[Any]) -> int:
    seen = read_guests(rows)
    changed = name not in state.hosts or name not in state.world.hosts
    host = state.hosts.setdefault(name, Host(name))
    changed |= host.guests != seen or host.guests_seen_s < 0
    host.guests_seen_s = state.now_s
    if host.guests != seen:
        host.guests = seen  # never changed in place: the same object means the same guests
    state.world.hosts.add(name)
    for guest in state.guests.values():
        if guest.host == name and guest.state in LISTED:
            before, guest.missing = guest.missing, 0 if runs_in(seen, guest) else guest.missing + 1
            changed |= guest.missing != before
        changed |= guest.state == "migrating"  # when it was seen counts
    return CHANGED if changed else SAME


def runs_in(seen: dict[str, tuple[int, int, str]], guest: Guest) -> bool:
    """Whether a guests report has it running."""
    here = seen.get(guest.name)
    return here is not None and here[2] in ("running", "paused", "shutting-down")


def _take_jobs(state: State, rows: list[Any], limit_s: float) -> int:
    before = state.batch_jobs
    new = state.batch_seen_s < 0 or state.now_s - state.batch_seen_s > limit_s
    state.batch_jobs = [
        (str(r["id"]), str(r["queue"]), _job_state(r), int(r.get("cpus", 1)), str(r.get("node", "")))
        for r in rows
    ]
    state.batch_seen_s = state.now_s
    return CHANGED if new or before != state.batch_jobs else SAME


def _job_state(row: dict[str, Any]) -> str:
    """A held job would not start on a new guest either, so it is no demand."""
    return "held" if row["state"] == "pending" and row.get("held") else str(row["state"])


def _take_nodes(state: State, rows: list[Any]) -> None:
    nodes = {str(r["name"]): r for r in rows}
    state.nodes_seen_s = state.now_s
    for guest in state.guests.values():
        row = nodes.get(guest.name)
        if row is None:
            guest.node_state, guest.jobs = "", 0
            continue
        guest.node_state, guest.jobs = str(row["state"]), int(row.get("jobs", 0))
        guest.node_seen_s = state.now_s


def _host_facts(
    state: State, host: Host, limit_s: float, ours: list[Guest] | None, promised: bool
) -> Free | None:
    """Publishes them; returns its free room, promised or not, or None where it takes no guests.

    `ours` are the guests of ours that take room on it.
    """
    client = state.clients.get(host.name)
    up = client.state if client is not None else "gone"
    seen = host.seen_s >= 0
    known = seen and state.now_s - host.seen_s <= limit_s
    busy = promised or ours is not None
    # Of most hosts nothing has changed: work it out only where something did.
    from_these = (
        host.memory_mib, host.reserved_mib, host.cpus, host.hypervisor, up, seen, known,
        host.fenced_s, host.returned, host.maintenance, state.settings,
    )  # fmt: skip
    kept = state.host_facts.get(host.name)
    if kept is not None and not busy and kept.of == from_these and kept.guests is host.guests:
        if kept.edition != state.world.hosts.edition:  # nobody else writes these columns
            _publish(state, state.world.hosts, host.name, kept.facts)
            state.host_facts[host.name] = kept._replace(edition=state.world.hosts.edition)
        return kept.free
    whole = placement.free_beside(state, host, ours or [])
    free = placement.unpromised(state, host.name, "", whole)
    facts: dict[str, Value] = {
        "name": host.name,
        "state": "dead" if host.dead else "maintenance" if up == "up" and host.maintenance else up,
        "memory_mib": host.memory_mib if known else None,
        "memory_free_mib": free.memory_mib if known else None,
        "vcpus": int(host.cpus * state.settings.vcpus_per_cpu) if known else None,
        "vcpus_free": free.vcpus if known else None,
        "guests": len(host.guests) if known else None,
        "hypervisor": host.hypervisor,
    }
    _publish(state, state.world.hosts, host.name, facts)
    left = None if placement.why_closed(state, host) else whole
    if busy:
        state.host_facts.pop(host.name, None)
    else:
        edition = state.world.hosts.edition
        state.host_facts[host.name] = HostFacts(from_these, host.guests, facts, edition, left)
    return left


def _guest_facts(state: State, guest: Guest, nodes_known: bool) -> None:
    facts: dict[str, Value] = {
        "name": guest.name,
        "share": guest.spec.share,
        "profile": guest.spec.profile,
        "host": guest.host,
        "state": guest.state,
        "memory_mib": guest.spec.memory_mib,
        "vcpus": guest.spec.vcpus,
        "resizing": guest.resize is not None,
        "jobs": guest.jobs if nodes_known else None,
        "idle": guest.state == "ready" and guest.node_state == "idle" if nodes_known else None,
        "node_state": guest.node_state if nodes_known else None,
    }
    _publish(state, state.world.guests, guest.name, facts)


def _publish(state: State, table: Table, name: str, facts: dict[str, Value]) -> None:
    """Write what differs; a fact that stays the same keeps the time since which it holds."""
    if name not in table:
        table.add(name)
    columns, row = table.columns, table.rows[name]
    for column, value in facts.items():
        col = columns.get(column)
        known = col.values[row] if col is not None else name if column == "name" else None
        if value != known:
            table.set(name, column, value, state.now_s)


def _waiting_cpus(state: State) -> dict[str, tuple[int, int]]:
    out: dict[str, tuple[int, int]] = {}
    for _, queue, job_state, cpus, _ in state.batch_jobs:
        if job_state == "pending":
            jobs, total = out.get(queue, (0, 0))
            out[queue] = (jobs + 1, total + cpus)
    return out


def _running(state: State) -> dict[str, int]:
    out: dict[str, int] = {}
    for _, queue, job_state, _, _ in state.batch_jobs:
        if job_state == "running":
            out[queue] = out.get(queue, 0) + 1
    return out


def _subject_table(state: State, client: Client) -> Table | None:
    if client.role == "dom0":
        return state.world.hosts
    return state.world.guests if client.role == "domU" else None
