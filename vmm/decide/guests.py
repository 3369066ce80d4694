"""The life of a guest, from a rule's wish to the last trace of it: one step function a state.

Every state has a deadline or a repeat, every command it sends can be run twice, and no path destroys a
guest whose batch node may still have a job, unless a person or a rule said so in as many words.
"""

from __future__ import annotations

from math import inf

from vmm.cluster.model import CommandRecord, Guest, Promise, ShareLuck
from vmm.cluster.states import GUEST
from vmm.decide import commands, fencing, migration, resizing
from vmm.decide.state import State, extend_trail
from vmm.messages.guest import GuestSpec, spec_to_args
from vmm.messages.structs import Reason

MISSING_REPORTS = 2
NODE_GONE_CODES = ("no-such-node",)


def begin(state: State, spec: GuestSpec, host: str, trail: list[Reason]) -> Guest:
    """A new guest; its host is asked to make it."""
    guest = Guest(
        spec=spec,
        host=host,
        state="creating",
        since_s=state.now_s,
        deadline_s=state.now_s + state.settings.command_deadline_s,
        trail=trail,
    )
    state.guests[guest.name] = guest
    state.promises = _without_one(state.promises, spec.share, host)
    state.count("guests created")
    state.note("guest", guest.name, f"creating on {host} for share {spec.share}", trail=trail)
    command(state, guest, host, "create_guest", {"guest": spec_to_args(spec)})
    return guest


def retire(state: State, guest: Guest, reason: Reason, for_share: str = "") -> None:
    """Let its jobs end, then remove it."""
    guest.trail = extend_trail(guest.trail, reason)
    guest.for_share = for_share
    _drain(state, guest, reason.reason)


def destroy_now(state: State, guest: Guest, reason: Reason) -> None:
    """Remove it at once, jobs or not: only for a rule or a person that said so in as many words."""
    guest.trail = extend_trail(guest.trail, reason)
    _clean(state, guest, "", reason.reason)


def step(state: State, guest: Guest) -> None:
    """Move on by what is known now (reports, membership, time)."""
    fencing.overtaken(state, guest)
    if guest.resize is not None:
        resizing.step(state, guest, guest.resize)
    if guest.missing >= MISSING_REPORTS and guest.state in ("booting", "ready", "draining"):
        _clean(state, guest, "died", f"{guest.host} no longer has it running")
    elif guest.state == "booting":
        _step_booting(state, guest)
    elif guest.state == "ready":
        _step_ready(state, guest)
    elif guest.state == "migrating":
        migration.step(state, guest)
    elif guest.state == "lost":
        fencing.step(state, guest)
    elif guest.state == "draining":
        _step_draining(state, guest)
    elif guest.state != "creating" and not guest.command and state.now_s >= guest.retry_s:
        act(state, guest)


def next_step_s(state: State, guest: Guest) -> float:
    """Before this stream time `step` does nothing if nothing is learnt meanwhile; it may be early."""
    host = state.hosts.get(guest.host)
    if guest.missing >= MISSING_REPORTS or guest.state in ("migrating", "lost") or guest.resize is not None:
        return -inf
    if host is not None and (host.fenced_s >= 0 or host.emptied):
        return -inf
    if guest.state == "creating":
        return inf
    if guest.state == "booting":
        return -inf if guest.joined and guest.node_state in ("idle", "busy") else guest.deadline_s
    if guest.state == "ready":
        lost = guest.node_state in ("", "down") and state.nodes_seen_s > guest.node_seen_s
        return -inf if lost else inf
    if guest.state == "draining" and guest.drained_s >= 0:
        over = guest.jobs == 0 and guest.node_state in ("drained", "", "down")
        looked = state.nodes_seen_s > guest.drained_s
        return -inf if looked and (over or guest.node_state in ("idle", "busy")) else guest.deadline_s
    again_s = inf if guest.command else guest.retry_s
    return min(again_s, guest.deadline_s) if guest.state == "draining" else again_s


def on_result(state: State, guest: Guest, record: CommandRecord) -> None:
    """The answer (or the passed deadline) of a command that served this guest."""
    if record.name == "console_tail":
        guest.console = record.value
        return
    if guest.resize is not None and guest.resize.command == record.id:
        resizing.on_result(state, guest, guest.resize, record)
        return
    if guest.command != record.id:
        return
    guest.command = ""
    if guest.state == "migrating":
        migration.on_result(state, guest, record)
        return
    if guest.state == "lost":
        fencing.on_result(state, guest, record)
        return
    ok = record.state == "done"
    if guest.state == "creating":
        if ok:
            guest.deadline_s, guest.former = state.now_s + state.settings.boot_deadline_s, ""
            move(state, guest, "booting", f"{guest.host} started it")
        elif guest.former and record.code not in migration.UNCLEAR:
            fencing.failed_to_start(state, guest, f"[{record.code}] {record.message}")
        else:
            _clean(state, guest, f"[{record.code}] {record.message}", "it could not be made")
    elif guest.state == "draining":
        if ok or record.code in NODE_GONE_CODES:
            guest.drained_s = state.now_s
            if record.code in NODE_GONE_CODES and guest.node_state == "":
                _remove_node(state, guest, "it has no batch node")
        else:
            later(state, guest)
    elif guest.state == "removing":
        if ok or record.code in NODE_GONE_CODES:
            guest.node_state = ""
            move(state, guest, "stopping", "its batch node is deleted")
            act(state, guest)
        elif record.code == "node-busy":
            move(state, guest, "draining", "a job was still on it")
            later(state, guest)
        else:
            later(state, guest)
    elif guest.state in ("stopping", "cleaning"):
        _cleaned(state, guest, record)


def move(state: State, guest: Guest, new: str, why: str, *, level: str = "info") -> None:
    """The one mutator of a guest's state."""
    GUEST.check(guest.name, guest.state, new)
    guest.state, guest.since_s, guest.tries, guest.retry_s = new, state.now_s, 0, 0.0
    guest.command = ""
    guest.trail = extend_trail(guest.trail, state.reason(f"guest {guest.name}", f"{new}: {why}"))
    state.note("guest", guest.name, f"{new}: {why}", level=level, trail=guest.trail)


def _step_booting(state: State, guest: Guest) -> None:
    if guest.joined and guest.node_state in ("idle", "busy"):
        move(state, guest, "ready", "its client joined and its batch node is registered")
        guest.ever_ready = True
        luck = state.luck.setdefault(guest.spec.share, ShareLuck())
        luck.failures, luck.next_try_s, luck.gave_up, luck.last_failure = 0, 0.0, False, ""
    elif state.now_s >= guest.deadline_s:
        missing = [] if guest.joined else ["its client did not join the bus"]
        if guest.node_state in ("", "down"):
            missing.append("its batch node did not register" if not guest.node_state else "its node is down")
        limit_s = state.settings.boot_deadline_s
        _failed(state, guest, f"not ready {limit_s:g} s after its start: {' and '.join(missing)}")
        commands.issue(
            state,
            guest.host,
            "console_tail",
            {"name": guest.name, "lines": 15},
            guest.trail,
            owner=guest.name,
        )
        _drain(state, guest, guest.failure, level="warning")


def _step_ready(state: State, guest: Guest) -> None:
    host = state.hosts.get(guest.host)
    if host is not None and host.emptied:  # it came up, or arrived, after the drain had begun
        _drain(state, guest, f"{guest.host} is being drained")
        return
    if guest.node_state in ("", "down") and state.nodes_seen_s > guest.node_seen_s:
        client = state.clients.get(guest.host)
        if client is None or client.state != "up":
            return  # it may be the loss of its host: somebody has to look before anything is concluded
        silent_s = state.now_s - max(guest.node_seen_s, guest.since_s)
        if silent_s >= state.settings.boot_deadline_s:
            _drain(state, guest, "its batch node is gone or down", level="warning")


def _step_draining(state: State, guest: Guest) -> None:
    if state.now_s >= guest.deadline_s:
        limit_s = state.settings.drain_deadline_s
        guest.deadline_s = state.now_s + limit_s
        text = f"still draining, its job runs on; `vmm guest kill {guest.name}` would end both"
        state.note("guest", guest.name, text, level="warning", trail=guest.trail)
    if guest.drained_s >= 0 and state.nodes_seen_s > guest.drained_s:
        # Only a look at the batch system that is younger than the drain counts.
        if guest.jobs == 0 and guest.node_state in ("drained", "", "down"):
            _remove_node(state, guest, "no job left")
            return
        if guest.node_state in ("idle", "busy"):
            guest.drained_s = -1.0  # somebody resumed it by hand; drain again
    if guest.drained_s < 0 and not guest.command and state.now_s >= guest.retry_s:
        act(state, guest)


def _drain(state: State, guest: Guest, why: str, *, level: str = "info") -> None:
    move(state, guest, "draining", why, level=level)
    guest.drained_s = -1.0
    guest.deadline_s = state.now_s + state.settings.drain_deadline_s
    act(state, guest)


def _remove_node(state: State, guest: Guest, why: str) -> None:
    move(state, guest, "removing", why)
    act(state, guest)


def _clean(state: State, guest: Guest, failure: str, why: str) -> None:
    if failure and not guest.ever_ready and not guest.failure:
        _failed(state, guest, failure)
    text = f"{why}: {failure}" if failure else why
    move(state, guest, "cleaning", text, level="warning" if failure else "info")
    act(state, guest)


def act(state: State, guest: Guest) -> None:
    """Send the command that the present state is about."""
    batch = _batch_client(state)
    host = state.hosts.get(guest.host)
    if not batch and guest.state in ("draining", "removing"):
        _skip_batch(state, guest)
    elif guest.state == "draining":
        reason = guest.trail[-1].reason[:60] if guest.trail else "vmm"
        command(state, guest, batch, "drain_node", {"node": guest.name, "reason": f"vmm: {reason}"})
    elif guest.state == "removing":
        command(state, guest, batch, "delete_node", {"node": guest.name})
    elif guest.state == "stopping":
        # One that never gave a sign of life does not hear the power button either.
        alive = guest.joined or guest.ever_ready or guest.node_seen_s >= 0
        grace_s = state.settings.shutdown_grace_s if alive else 0.0
        command(state, guest, guest.host, "destroy_guest", {"name": guest.name, "grace_s": grace_s})
    elif guest.state == "cleaning" and host is not None and host.dead:
        if batch:
            forget_node(state, guest)
        else:
            _gone(state, guest)
    elif guest.state == "cleaning":
        command(state, guest, guest.host, "destroy_guest", {"name": guest.name, "grace_s": 0.0})


def forget_node(state: State, guest: Guest) -> None:
    """Its host is dead: the batch system is told that the node is, which frees its jobs, and to forget it."""
    batch = _batch_client(state)
    if batch:
        args: dict[str, object] = {"node": guest.name, "down": f"vmm: host {guest.host} is dead"}
        command(state, guest, batch, "delete_node", args)
    else:
        guest.drained_s, guest.node_state, guest.jobs = state.now_s, "", 0


def _skip_batch(state: State, guest: Guest) -> None:
    """There never was a batch client here, so no job can be on it."""
    if guest.state == "draining":
        move(state, guest, "removing", "there is no batch system")
    move(state, guest, "stopping", "there is no batch system")
    act(state, guest)


def _cleaned(state: State, guest: Guest, record: CommandRecord) -> None:
    if record.state != "done" and record.code not in NODE_GONE_CODES:
        later(state, guest)
    elif guest.state == "cleaning" and record.name == "destroy_guest" and guest.node_state:
        # Its node is still listed: without its guest it can only be deleted.
        command(state, guest, _batch_client(state), "delete_node", {"node": guest.name})
    else:
        _gone(state, guest)


def _gone(state: State, guest: Guest) -> None:
    move(state, guest, "gone", "nothing of it is left")
    state.count("guests destroyed")
    del state.guests[guest.name]
    if guest.name in state.world.guests:
        state.world.guests.remove(guest.name)
    if guest.for_share:
        state.promises.append(
            Promise(
                share=guest.for_share,
                host=guest.host,
                memory_mib=guest.spec.memory_mib,
                vcpus=guest.spec.vcpus,
                guest=guest.name,
                until_s=state.now_s + state.settings.promise_s,
            )
        )
    if guest.failure and not guest.ever_ready:
        _tell_failure(state, guest)


def _failed(state: State, guest: Guest, failure: str) -> None:
    """A creation failed, known from now on: wait longer before each new try, and stop after the limit."""
    guest.failure = failure
    luck = state.luck.setdefault(guest.spec.share, ShareLuck())
    luck.failures += 1
    luck.last_failure = failure
    state.count("creations failed")
    if luck.failures >= int(state.settings.give_up_after):
        luck.gave_up = True
        return
    delay_s = min(state.settings.backoff_s * 2 ** (luck.failures - 1), state.settings.backoff_max_s)
    luck.next_try_s = state.now_s + delay_s


def _tell_failure(state: State, guest: Guest) -> None:
    """After the clean-up, when its console has been read: one line; a clear one if it was the last try."""
    share, limit = guest.spec.share, int(state.settings.give_up_after)
    luck = state.luck.get(share)
    if luck is None or not luck.failures:
        return  # another guest of the share came up meanwhile, or a person said to try again
    if luck.gave_up:
        if any(g.spec.share == share and g.failure and not g.ever_ready for g in state.guests.values()):
            return  # several failed together: the last one speaks for all
        console = f" Last lines of its console: {guest.console.strip()[-400:]!r}." if guest.console else ""
        state.note(
            "share",
            share,
            f"gave up after {luck.failures} guests that could not be brought up; the last one, {guest.name} "
            f"on {guest.host}: {guest.failure}.{console} Next: mend template {guest.spec.template!r} of "
            f"profile {guest.spec.profile!r}, then `vmm share retry {share}`.",
            level="error",
            trail=guest.trail,
        )
        return
    delay_s = round(luck.next_try_s - state.now_s)
    when = f"in {delay_s} s" if delay_s > 0 else "now"
    state.note(
        "share",
        share,
        f"guest {guest.name} failed ({guest.failure}); try {luck.failures + 1} of {limit} {when}",
        level="warning",
        trail=guest.trail,
    )


def later(state: State, guest: Guest) -> None:
    guest.tries += 1
    guest.retry_s = state.now_s + min(2.0 * 2 ** min(guest.tries - 1, 5), 60.0)


def command(state: State, guest: Guest, to: str, name: str, args: dict[str, object]) -> None:
    record = commands.issue(state, to, name, args, guest.trail, owner=guest.name)
    guest.command = record.id


def _batch_client(state: State) -> str:
    """The batch client that answers now, else one known before (its command waits); empty: never one."""
    batch = [c for c in state.clients.values() if c.role == "batch"]
    batch.sort(key=lambda c: (c.state != "up", c.name))
    return batch[0].name if batch else ""


def _without_one(promises: list[Promise], share: str, host: str) -> list[Promise]:
    for index, promise in enumerate(promises):
        if promise.share == share and promise.host == host:
            return promises[:index] + promises[index + 1 :]
    return promises
