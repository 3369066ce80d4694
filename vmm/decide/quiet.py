"""When beats decide nothing: until when time alone makes no guest, command, promise or client move on.

Most beats change only the clock. Here is said until when that is certain; each part of it stands beside the
function that acts when it is over. Rules and readings have their own times (`rules.Timers`,
`World.next_expiry_s`), and so have clients that may fall silent (`clients.silent_after_s`).
"""

from __future__ import annotations

from math import inf

from vmm.decide import commands, facts, guests
from vmm.decide.rulebook import Rules
from vmm.decide.state import State


def rests_until_s(state: State) -> float:
    """Beats before this stream time find nothing to do, if nothing else happens meanwhile; it may be early.

    Only right for a state that is at rest: one in which a look at guests has changed nothing. What is left
    out: rules, readings that grow too old, clients that fall silent, and what `facts_until_s` says.
    """
    now_s = state.now_s
    if any(host.leftovers for host in state.hosts.values()):
        return -inf
    times = [guests.next_step_s(state, guest) for guest in state.guests.values()]
    times += [promise.until_s for promise in state.promises]
    times += [luck.next_try_s for luck in state.luck.values() if luck.next_try_s > now_s]
    if not state.settings.observe:
        times += [commands.next_step_s(record) for record in state.commands.values()]
    for client in state.clients.values():
        if client.state == "gone" and client.role == "domU" and client.name not in state.guests:
            times.append(state.next_roll_call_s)
            break
    return min(times, default=inf)


def facts_until_s(state: State, rules: Rules, since_s: float) -> float:
    """When the first of the reports that facts follow from, not too old at `since_s`, will be so."""
    hosts_s, jobs_s, nodes_s = (
        facts.max_age_s(rules, name) for name in ("host_facts", "batch_jobs", "batch_nodes")
    )
    times = [host.seen_s + hosts_s for host in state.hosts.values() if host.seen_s >= 0]
    if state.batch_seen_s >= 0:
        times.append(state.batch_seen_s + jobs_s)
    if state.nodes_seen_s >= 0:
        times.append(state.nodes_seen_s + nodes_s)
    return min((time_s for time_s in times if time_s >= since_s), default=inf)


def is_at_rest(state: State, rules: Rules) -> bool:
    """Whether a look at guests and facts now would find nothing to do."""
    if state.now_s >= state.rest_until_s:
        return False
    if state.now_s >= state.facts_until_s:
        # Most of what was young then has been reported again.
        state.facts_until_s = facts_until_s(state, rules, state.facts_until_s)
    return state.now_s < state.facts_until_s
