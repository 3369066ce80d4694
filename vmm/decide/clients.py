"""Who is there: clients introduce themselves, report, fall silent, leave; two with one name."""

from __future__ import annotations

from math import inf

from vmm.cluster.model import Client
from vmm.cluster.states import CLIENT
from vmm.decide import commands, facts
from vmm.decide.events import Greeted, Reported, Viewed
from vmm.decide.outputs import Ask
from vmm.decide.rulebook import Rules
from vmm.decide.state import State
from vmm.messages.bus import shard_of
from vmm.messages.guest import life_of
from vmm.messages.structs import Query

ROLL_CALL_S = 5.0
"""How often it is looked for clients that fell silent: with ten thousand of them not at every beat."""


def greeted(state: State, event: Greeted) -> None:
    """A client's hello: known from here on, and given again what it may have missed."""
    hello, address = event.hello, event.address
    guest = state.guests.get(hello.name) if hello.role == "domU" else None
    life = life_of(hello.token)
    if guest is not None and life != guest.life:
        state.note(
            "client",
            hello.name,
            f"the client of an old copy (life {life}, now {guest.life}) introduced itself from {address}; it "
            "is ignored. Next: see that the host it ran on is really off.",
            level="error",
        )
        return
    client = state.clients.get(hello.name)
    other = client is not None and client.address != address and client.session != hello.session
    if client is not None and client.state != "gone" and other:
        state.note(
            "client",
            hello.name,
            f"a second client calls itself {hello.name} ({address}; the first is {client.address}); it is "
            "ignored until the first is gone. Next: give one of them another name.",
            level="error",
        )
        return
    if client is not None and client.role != hello.role and client.public_key == hello.public_key:
        # Else whoever gets hold of one host's key speaks for the batch system.
        state.note(
            "client",
            hello.name,
            f"the key of {hello.name} belongs to a {client.role} client; one calls itself {hello.role} and "
            "is ignored. Next: another name for it, or a new key pair.",
            level="error",
        )
        return
    if client is None:
        client = Client(hello.name, hello.role, address, hello.session, "up", state.now_s, state.now_s)
        state.clients[hello.name] = client
        state.note("client", hello.name, f"joined as {hello.role}")
    elif client.state != "up":
        _move(state, client, "up", "it introduced itself")
    if client.session != hello.session:
        client.seq = -1
    client.role, client.address, client.session = hello.role, address, hello.session
    client.public_key, client.heard_s, client.life = hello.public_key, state.now_s, life
    facts.publish_client(state, client)
    host = state.hosts.get(hello.name) if hello.role == "dom0" else None
    if host is not None and host.dead:
        host.returned = True
        text = f"it was dead and is back: no guests until `vmm host alive {host.name}`"
        state.note("host", host.name, text, level="warning")
    if guest is not None and guest.state != "lost":
        guest.joined = True
    commands.resend_all(state, hello.name)


def reported(state: State, rules: Rules, event: Reported) -> int:
    """Take a report; says what it means for the facts about the cluster: facts.NOTHING, SAME or CHANGED."""
    client = state.clients.get(event.client)
    if client is None or client.session != event.report.session or client.state == "gone":
        # It overtook its client's hello (or we never heard it): ask everybody unknown to say it again.
        address = client.address if client is not None else ""
        state.outputs.append(Ask(Query(f"hello:{event.client}"), address))
        return facts.NOTHING
    if event.report.seq <= client.seq:
        return facts.NOTHING  # an old report, played again
    client.seq, client.heard_s = event.report.seq, state.now_s
    changed = client.state == "silent"
    if changed:
        _move(state, client, "up", "it reports again")
    news = facts.take_report(state, rules, client, event.report)
    return facts.CHANGED if changed else news


def viewed(state: State, event: Viewed) -> bool:
    """Membership of a shard: whoever is not in it any more is gone, however it ended."""
    members = set(event.members)
    left = set(event.who) if event.cause in ("leave", "disconnect") else set()
    shards = int(state.settings.shards)
    changed = False
    for client in state.clients.values():
        if client.state == "gone":
            continue
        missing = client.address not in members and shard_of(client.name, shards) == event.group
        if missing or client.address in left:
            client.address = ""
            _move(state, client, "gone", f"it left the bus ({event.cause})")
            guest = state.guests.get(client.name)
            if guest is not None:
                guest.joined = False
            changed = True
    return changed


def tick(state: State, rules: Rules) -> None:
    """What time alone does: clients fall silent, and those of removed guests are forgotten."""
    if state.now_s < state.next_roll_call_s:
        return
    state.next_roll_call_s = state.now_s + ROLL_CALL_S
    limit_s = {role: silent_after_s(state, rules, role) for role in ("dom0", "domU", "batch")}
    for client in list(state.clients.values()):
        if client.state == "up" and state.now_s - client.heard_s > limit_s.get(client.role, inf):
            _move(state, client, "silent", "no word from it for too long")
        elif client.role == "domU" and client.state == "gone" and client.name not in state.guests:
            del state.clients[client.name]
            state.world.clients.remove(client.name)


def declare_gone(state: State, client: Client, why: str) -> None:
    """By somebody's word: it is not listened to until it introduces itself again."""
    if client.state != "gone":
        client.address = ""
        _move(state, client, "gone", why)


def silent_after_s(state: State, rules: Rules, role: str) -> float:
    """The setting, but never so short that a client with only slow properties would count as silent."""
    ticks_s = [spec.ticks_s for spec in rules.properties.values() if role in spec.roles]
    return max(state.settings.client_silent_s, 2.5 * min(ticks_s)) if ticks_s else inf


def _move(state: State, client: Client, new: str, why: str) -> None:
    """The one mutator of a client's state."""
    CLIENT.check(client.name, client.state, new)
    client.state, client.since_s = new, state.now_s
    if new == "up":
        client.heard_s = state.now_s
    state.note("client", client.name, f"{new}: {why}", level="info" if new == "up" else "warning")
    facts.publish_client(state, client)
