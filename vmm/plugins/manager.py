"""Finding plugins: the built-in ones, and those that other packages register under the entry point `vmm`.

A plugin that cannot be loaded, is malformed or takes a name that is already there is left out and reported by
its name; the others are not touched by it.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import pluggy

from vmm.plugins.hookspecs import PROJECT, ROLES, Collector, CommandPlugin, Specs

GROUP = "vmm"
BUILTIN = (
    "vmm.plugins.properties.memory",
    "vmm.plugins.properties.cpu",
    "vmm.plugins.properties.disk",
    "vmm.plugins.properties.network",
    "vmm.plugins.properties.system",
    "vmm.plugins.properties.hypervisor",
    "vmm.plugins.properties.batch",
    "vmm.plugins.commands.guests",
    "vmm.plugins.commands.nodes",
)
RETURNS = (bool, int, float, str, list, dict)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class PluginSet:
    """What was found. `origins` maps `Collector ram` or `CommandPlugin create_guest` to the plugin's name."""

    collectors: dict[str, Collector] = field(default_factory=dict)
    commands: dict[str, CommandPlugin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)
    objectives: list[tuple[str, object]] = field(default_factory=list)
    """Plugin's name and what its vmm_objectives() gave; `vmm.policies.hooks.objectives` checks them."""

    def for_role(self, role: str) -> PluginSet:
        """The collectors and commands that a client of this role has."""
        return PluginSet(
            {name: c for name, c in self.collectors.items() if role in c.roles},
            {name: c for name, c in self.commands.items() if role in c.roles},
            self.problems,
            self.origins,
            self.objectives,
        )


def load_plugins(extra: Iterable[object] = ()) -> PluginSet:
    """Built-in plugins, then `extra` (modules or objects with hooks), then installed ones by entry point.

    Of two with one name the earlier stays. Never raises because of a plugin: see `problems`.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specs)
    found = PluginSet()
    for module in BUILTIN:
        _register(manager, importlib.import_module(module), module, found)
    for plugin in extra:
        _register(manager, plugin, _name_of(plugin), found)
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as exc:
            found.problems.append(f"plugin {entry.name} ({entry.value}): cannot be loaded: {_say(exc)}.")
            continue
        _register(manager, plugin, entry.name, found)
    return found


def arguments_of(commands: Mapping[str, CommandPlugin]) -> dict[str, tuple[str, ...]]:
    """Command plugin -> the names of its arguments."""
    return {name: tuple(command.args) for name, command in commands.items()}


def _register(manager: pluggy.PluginManager, plugin: object, name: str, found: PluginSet) -> None:
    try:
        registered = manager.register(plugin, name)
    except (pluggy.PluginValidationError, ValueError) as exc:
        found.problems.append(f"plugin {name}: cannot be registered: {_say(exc)}.")
        return
    if registered is None:
        found.problems.append(f"plugin {name}: blocked.")
        return
    brought = 0
    for hook, kind in (("vmm_collectors", Collector), ("vmm_commands", CommandPlugin)):
        for impl in getattr(manager.hook, hook).get_hookimpls():
            if impl.plugin is plugin:
                brought += 1
                _take(impl.function, hook, kind, name, found)
    for impl in manager.hook.vmm_objectives.get_hookimpls():
        if impl.plugin is plugin:
            brought += 1
            found.objectives.extend(
                (name, item) for item in _given(impl.function, "vmm_objectives", name, found)
            )
    if not brought:
        found.problems.append(
            f"plugin {name}: has none of vmm_collectors, vmm_commands and vmm_objectives, marked with "
            f"@hookimpl of vmm.plugins.hookspecs."
        )


def _given(function: Any, hook: str, name: str, found: PluginSet) -> list[Any]:
    """What a hook returns; nothing, and a problem, when it fails."""
    try:
        return list(function())
    except Exception as exc:
        found.problems.append(f"plugin {name}: {hook}() raised {_say(exc)}.")
        return []


def _take(function: Any, hook: str, kind: type, name: str, found: PluginSet) -> None:
    table: dict[str, Any] = found.collectors if kind is Collector else found.commands
    what = kind.__name__
    for item in _given(function, hook, name, found):
        if not isinstance(item, kind):
            found.problems.append(f"plugin {name}: {hook}() returned {item!r:.80}, which is not a {what}.")
            continue
        wrong = _wrong(item)
        label = getattr(item, "name", "?")
        if wrong:
            found.problems.append(f"plugin {name}: {what} {label!r:.40}: {wrong}.")
        elif label in table:
            first = found.origins[f"{what} {label}"]
            found.problems.append(
                f"plugin {name}: {what} {label!r} is already there from plugin {first}; this one is left out."
            )
        else:
            table[label] = item
            found.origins[f"{what} {label}"] = name


def _wrong(item: Any) -> str:
    """What is malformed, or nothing."""
    if not isinstance(item.name, str) or not _NAME.fullmatch(item.name):
        return "its name is not a word of letters, digits and '_'"
    timeout = item.timeout_s
    if not isinstance(timeout, int | float) or not math.isfinite(timeout) or timeout <= 0:
        return f"timeout_s = {timeout!r} is not a number of seconds above zero"
    if not item.roles or any(role not in ROLES for role in item.roles):
        return f"roles = {item.roles!r} is not some of {', '.join(ROLES)}"
    if isinstance(item, Collector):
        if item.returns not in RETURNS:
            return f"returns = {item.returns!r} is not one of {', '.join(t.__name__ for t in RETURNS)}"
        return "" if callable(item.read) else "read is not callable"
    if not isinstance(item.args, dict) or any(kind not in RETURNS for kind in item.args.values()):
        return f"args = {item.args!r} does not map names to types"
    return "" if callable(item.run) else "run is not callable"


def _name_of(plugin: object) -> str:
    return str(getattr(plugin, "__name__", None) or type(plugin).__qualname__)


def _say(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}".strip(": ").rstrip(".")
