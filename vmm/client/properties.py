"""Which properties this client reads: from `properties.ini`, or a guest's built-in set."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vmm.client.options import ClientOptions
from vmm.errors import ConfigError
from vmm.ini import FindingsError
from vmm.plugins.hookspecs import Collector
from vmm.plugins.manager import PluginSet
from vmm.plugins.run import Outcome

if TYPE_CHECKING:
    from vmm.rules.properties import PropertySpec

log = logging.getLogger(__name__)

PROPERTIES_FILE = "properties.ini"
GUEST_DEFAULTS = (
    ("uptime", "uptime", "", 10.0),
    ("load", "load", "", 10.0),
    ("cpu_used", "cpu", "", 10.0),
    ("ram_free", "ram", "MemFree", 10.0),
)
"""(property, collector, parameters, ticks in seconds) of a guest without a file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One property: its name, the collector that reads it, that collector's parameters, and its ticks."""

    name: str
    collector: Collector
    parameters: str
    ticks_s: float
    return_type: str = ""
    """`int` or `float` where the file wants another number than the collector gives."""

    def convert(self, outcome: Outcome) -> Outcome:
        """The outcome with its value as the file wants it."""
        kind = {"int": int, "float": float}.get(self.return_type)
        if kind is None or not outcome.ok or type(outcome.value) is kind:
            return outcome
        try:
            return replace(outcome, value=kind(outcome.value))
        except (TypeError, ValueError, OverflowError) as exc:
            message = f"property {self.name}: {outcome.value!r:.80} is no {self.return_type}: {exc}."
            return Outcome(code="plugin-type", message=message, next_step="correct return_type")


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
    return {
        spec.name: Item(
            spec.name, plugins.collectors[spec.command], spec.parameters, spec.ticks_s, spec.return_type
        )
        for spec in _read_file(path, plugins)
        if options.role in spec.roles and options.role in plugins.collectors[spec.command].roles
    }


def _read_file(path: Path, plugins: PluginSet) -> list[PropertySpec]:
    # A guest mostly has no such file, and starts faster without the rules' modules.
    from vmm.rules.properties import check_properties

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"{path}: cannot be read: {exc}.", next_step="make it a readable UTF-8 text"
        ) from exc
    specs, findings = check_properties(text, str(path), plugins.collectors)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and not plugins.problems:
        raise FindingsError(errors)
    for (
        finding
    ) in errors:  # a plugin that cannot be loaded on this machine takes only its own properties along
        log.error("%s", finding)
    return list(specs.values())
