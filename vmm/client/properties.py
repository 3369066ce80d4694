"""Which properties this client reads: from `properties.ini`, or a guest's built-in set."""

from __future__ import annotations

from dataclasses import dataclass

from vmm.client.options import ClientOptions
from vmm.errors import ConfigError
from vmm.plugins.hookspecs import Collector
from vmm.plugins.manager import PluginSet

PROPERTIES_FILE = "properties.ini"
GUEST_DEFAULTS = (
    ("uptime", "uptime", "", 30.0),
    ("load", "load", "", 30.0),
    ("ram_free", "ram", "MemFree", 30.0),
)
"""(property, collector, parameters, ticks in seconds) of a guest without a file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One property: its name, the collector that reads it, that collector's parameters, and its ticks."""

    name: str
    collector: Collector
    parameters: str
    ticks_s: float


def load_items(options: ClientOptions, plugins: PluginSet) -> dict[str, Item]:
    """The properties of this client's role. Raises FindingsError with all errors of the file."""
    path = options.settings.folder / PROPERTIES_FILE
    if not path.exists():
        if options.role != "domU":
            raise ConfigError(
                f"{path}: no such file.",
                next_step="a client needs the Manager's properties.ini; copy it here",
            )
        return {
            name: Item(name, plugins.collectors[collector], parameters, ticks_s)
            for name, collector, parameters, ticks_s in GUEST_DEFAULTS
        }
    from vmm.rules import load_properties  # a guest mostly needs no rules, and starts faster without

    items = {}
    for name, spec in load_properties(path, plugins.collectors).items():
        collector = plugins.collectors[spec.command]
        if options.role in spec.roles and options.role in collector.roles:
            items[name] = Item(name, collector, spec.parameters, spec.ticks_s)
    return items
