"""Objectives that plugins bring by the hook `vmm_objectives`, checked. pluggy's project name is `vmm`.

    from vmm.policies.hooks import hookimpl
    from vmm.policies.objective import Deviation, Metric, Objective

    @hookimpl
    def vmm_objectives():
        licences = Metric("licences", amount=lambda guest: 1.0 if "paid" in guest.share else 0.0,
                          scale=lambda host: 1.0, base=lambda host: 0.0)
        return [Objective("licences", deviations=(Deviation(licences),))]

Its name can then stand in `[objective] name` of `etc/policies.ini`. An objective is made of terms that are
linear per host, so that it is planned as fast as the built-in ones.
"""

from __future__ import annotations

from vmm.plugins.hookspecs import hookimpl
from vmm.plugins.manager import PluginSet
from vmm.policies.objective import OBJECTIVES, Objective

__all__ = ["hookimpl", "objectives"]


def objectives(plugins: PluginSet) -> dict[str, Objective]:
    """Objectives by name; what is none, or takes a name that is there, is left out and told in `problems`."""
    found: dict[str, Objective] = {}
    for plugin, item in plugins.objectives:
        if not isinstance(item, Objective):
            plugins.problems.append(
                f"plugin {plugin}: vmm_objectives() returned {item!r:.80}, which is not an Objective."
            )
        elif item.name in found or item.name in OBJECTIVES or item.name == "weighted":
            plugins.problems.append(
                f"plugin {plugin}: objective {item.name!r} is already there; this one is left out."
            )
        else:
            found[item.name] = item
    return found
