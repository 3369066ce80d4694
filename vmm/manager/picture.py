"""An immutable picture of the cluster for readers in other threads and programs."""

from __future__ import annotations

import msgspec

from vmm.decide import placement
from vmm.decide.core import Core


class ClientRow(msgspec.Struct, frozen=True):
    name: str
    role: str
    state: str
    since_s: float


class HostRow(msgspec.Struct, frozen=True):
    name: str
    state: str
    memory_mib: int
    memory_free_mib: int
    cpus: int
    guests: list[str]
    maintenance: bool


class GuestRow(msgspec.Struct, frozen=True):
    name: str
    share: str
    host: str
    state: str
    since_s: float
    node_state: str
    jobs: int
    why: str
    address: str


class ShareRow(msgspec.Struct, frozen=True):
    name: str
    queue: str
    jobs_waiting: int
    jobs_running: int
    guests: int
    guaranteed: int
    failures: int
    gave_up: bool
    last_failure: str


class Picture(msgspec.Struct, frozen=True):
    """All of it at one journal position."""

    position: int
    now_s: float
    epoch: str
    clients: list[ClientRow]
    hosts: list[HostRow]
    guests: list[GuestRow]
    shares: list[ShareRow]
    rules_fired: dict[str, int]
    totals: dict[str, int]
    paused: dict[str, str]
    commands_under_way: int
    observing: bool = False
    bus_lost: str = ""


def picture_of(core: Core) -> Picture:
    """Costs a walk over hosts, guests and clients; not over property columns."""
    state, rules = core.state, core.rules
    waiting = placement.jobs_waiting(state)
    running: dict[str, int] = {}
    for _, queue_name, job_state, _, _ in state.batch_jobs:
        if job_state == "running":
            running[queue_name] = running.get(queue_name, 0) + 1
    hosts = []
    for host in state.hosts.values():
        client = state.clients.get(host.name)
        guests = sorted({*host.guests, *(g.name for g in state.guests.values() if g.host == host.name)})
        hosts.append(
            HostRow(
                host.name,
                "dead" if host.dead else client.state if client else "gone",
                host.memory_mib,
                placement.free_on(state, host).memory_mib,
                host.cpus,
                guests,
                host.maintenance,
            )
        )
    guest_rows = [
        GuestRow(
            g.name,
            g.spec.share,
            g.host,
            g.state,
            g.since_s,
            g.node_state,
            g.jobs,
            g.trail[-1].reason if g.trail else "",
            g.spec.address,
        )
        for g in state.guests.values()
    ]
    shares = []
    for name, share in rules.entitlements.shares.items():
        luck = state.luck.get(name)
        shares.append(
            ShareRow(
                name,
                share.queue,
                waiting.get(share.queue, 0),
                running.get(share.queue, 0),
                sum(1 for g in state.guests.values() if g.spec.share == name and g.state != "lost"),
                share.guaranteed,
                luck.failures if luck else 0,
                bool(luck and luck.gave_up),
                luck.last_failure if luck else "",
            )
        )
    return Picture(
        position=state.position,
        now_s=state.now_s,
        epoch=state.epoch,
        clients=[ClientRow(c.name, c.role, c.state, c.since_s) for c in state.clients.values()],
        hosts=hosts,
        guests=guest_rows,
        shares=shares,
        rules_fired=dict(state.fired),
        totals=dict(state.totals),
        paused=dict(state.paused),
        commands_under_way=sum(1 for c in state.commands.values() if c.state in ("issued", "sent")),
        observing=bool(state.settings.observe),
        bus_lost=state.bus_lost,
    )
