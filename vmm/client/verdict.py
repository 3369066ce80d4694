"""Is this command for us, in time, known and well formed? Pure: the caller brings clock and plugins."""

from __future__ import annotations

from collections.abc import Mapping

from vmm.durations import show_duration
from vmm.messages.structs import Command, Result
from vmm.plugins.hookspecs import CommandPlugin
from vmm.plugins.run import wrong_args

REFUSED, FAILED, DONE, RUNNING = "refused", "failed", "done", "running"


def refuse(command: Command, code: str, message: str, next_step: str = "") -> Result:
    """A result that says the command was not run at all."""
    return Result(command.id, REFUSED, code=code, message=message, next_step=next_step)


def check_address(command: Command, name: str) -> Result | None:
    """Refused when the command is for another client; it came here by mistake or by malice."""
    if command.to == name:
        return None
    return refuse(command, "not-for-me", f"the command is for {command.to!r}, this is {name!r}.")


def check_deadline(command: Command, now_s: float) -> Result | None:
    """Refused when the deadline (stream time) has passed."""
    late = now_s - command.deadline_s
    if late <= 0:
        return None
    return refuse(command, "expired", f"the deadline passed {show_duration(late)} ago.", "send a new command")


def check_call(command: Command, plugins: Mapping[str, CommandPlugin], role: str) -> Result | None:
    """Refused when there is no such command in this role, or its arguments do not fit."""
    plugin = plugins.get(command.name)
    if plugin is None:
        return refuse(
            command,
            "unknown-command",
            f"no plugin here knows {command.name!r}.",
            f"known: {', '.join(sorted(plugins)) or 'none'}",
        )
    if role not in plugin.roles:
        return refuse(
            command,
            "unknown-command",
            f"{command.name!r} is for the roles {', '.join(plugin.roles)}; this client is {role}.",
        )
    wrong = wrong_args(plugin, dict(command.args))
    if wrong:
        return refuse(command, "bad-args", f"{command.name}: {wrong}.", f"it takes {_signature(plugin)}")
    return None


def subject_of(command: Command) -> str:
    """What the command acts on: commands on one subject are run in order of arrival."""
    for key in ("guest", "node", "name", "spec"):
        value = command.args.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str) and value:
            return value
    return f"command {command.name}"


def _signature(plugin: CommandPlugin) -> str:
    return ", ".join(f"{name}: {kind.__name__}" for name, kind in plugin.args.items()) or "no arguments"
