"""Commands of batch clients: drain, resume and delete execution nodes."""

from __future__ import annotations

import contextlib

from vmm.batch.interface import BatchSystem, NodeFailed
from vmm.errors import CommandFailed
from vmm.messages.structs import Value
from vmm.plugins.hookspecs import CommandPlugin, Context, hookimpl

_ROLES = ("batch",)
_TIMEOUT_S = 30.0


def _batch(context: Context) -> BatchSystem:
    if context.batch is None:
        raise CommandFailed(
            f"client {context.client} has no batch system.", next_step="send it to the client of role batch"
        )
    return context.batch


def drain_node(context: Context, node: str, reason: str = "vmm") -> Value:
    """Let the node's jobs end and start none on it."""
    _batch(context).drain(node, reason)
    return {"node": node}


def resume_node(context: Context, node: str) -> Value:
    """Take a drain back."""
    _batch(context).resume(node)
    return {"node": node}


def delete_node(context: Context, node: str, down: str = "") -> Value:
    """Let the batch system forget the node; with `down` (why it is known to be dead), jobs and all."""
    batch = _batch(context)
    if down:
        with contextlib.suppress(NodeFailed):  # it is gone already, or the deletion says what is wrong
            batch.down(node, down)
    batch.delete(node)
    return {"node": node}


@hookimpl
def vmm_commands() -> list[CommandPlugin]:
    named: dict[str, type] = {"node": str}
    deleted: dict[str, type] = {"node": str, "down": str}
    drained: dict[str, type] = {"node": str, "reason": str}
    return [
        CommandPlugin("drain_node", drain_node, drained, _ROLES, _TIMEOUT_S, True, "Start no job on a node"),
        CommandPlugin("resume_node", resume_node, named, _ROLES, _TIMEOUT_S, True, "Take a drain back"),
        CommandPlugin("delete_node", delete_node, deleted, _ROLES, _TIMEOUT_S, True, "Forget a node"),
    ]
