"""The hook by which a plugin brings an objective of its own. pluggy's project name is `vmm`.

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

from collections.abc import Iterable

import pluggy

from vmm.plugins.hookspecs import PROJECT, hookimpl
from vmm.policies.errors import BadRequest
from vmm.policies.objective import OBJECTIVES, Objective

__all__ = ["PlanningSpecs", "hookimpl", "objectives"]

_hookspec = pluggy.HookspecMarker(PROJECT)


class PlanningSpecs:
    """What a plugin can bring to planning."""

    @_hookspec
    def vmm_objectives(self) -> Iterable[Objective]:  # type: ignore[empty-body]
        """Objectives, each with a name of its own."""


def objectives(manager: pluggy.PluginManager) -> list[Objective]:
    """All objectives that the manager's plugins bring; BadRequest for a name that is taken."""
    if not hasattr(manager.hook, "vmm_objectives"):
        manager.add_hookspecs(PlanningSpecs)
    found: dict[str, Objective] = {}
    for plugin in manager.hook.vmm_objectives():
        for objective in plugin:
            if not isinstance(objective, Objective):
                raise BadRequest(
                    f"a plugin's vmm_objectives() gave {objective!r}", next_step="return a list of Objective"
                )
            if objective.name in found or objective.name in OBJECTIVES or objective.name == "weighted":
                raise BadRequest(
                    f"objective {objective.name!r} is there twice", next_step="rename the plugin's"
                )
            found[objective.name] = objective
    return list(found.values())
