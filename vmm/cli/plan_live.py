"""The live side of `vmm plan`: the cluster from the Manager's journal, and `vmm plan apply`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmm.cli import _beside as beside
from vmm.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmm.api.rounds import Advice
    from vmm.decide.core import Core
    from vmm.policies.config import Policies
    from vmm.policies.model import Cluster
    from vmm.policies.objective import Objective
    from vmm.policies.plan import Plan
    from vmm.policies.scale import Demand

POLICIES_FILE = "policies.ini"
_POLL_S = 0.1
_MARGIN_S = 60.0
"""How much longer than the Manager we wait for the end of a step."""

LIVE_OPTIONS = (beside.journal, beside.config, beside.at)


class Live:
    """The cluster as the Manager knows it. `policies`: the site's policies.ini, None when it has none."""

    def __init__(self, core: Core, policies: Path | None, place: Path) -> None:
        from vmm.decide.modelling import cluster_of

        self.core, self.place = core, place
        self.policies = policies
        self.cluster: Cluster = cluster_of(core.state, core.rules)

    def demands(self) -> list[Demand]:
        from vmm.decide.modelling import demands_of

        return demands_of(self.core.state)

    def advice(self, make: Callable[[Cluster], Plan], policies: Policies, objective: Objective) -> Advice:
        """A plan on smoothed loads, and why it is withheld: by the rounds in the journal until then."""
        from vmm.api.rounds import Rounds, reach_s
        from vmm.manager.recovery import entries, recover_before

        end = self.core.state
        early = recover_before(self.place, reach_s(policies.antiflap), self.core)
        rounds = Rounds(early, policies.antiflap, objective, end.now_s)
        rounds.follow(entries(self.place, early.state.position + 1, end.position))
        return rounds.advise(make)

    def origin(self) -> dict[str, Any]:
        """What a plan file says about the moment the plan was made in."""
        return {"journal": self.core.state.epoch, "position": self.core.state.position}


def open_live(folder: Path | None, etc: Path, at: int | None) -> Live:
    """Recover the cluster from the journal. Raises NoJournal, ConfigError, BadCluster."""
    from vmm.manager.recovery import recover

    policies = etc / POLICIES_FILE
    place = beside.place_of(folder, etc)
    return Live(recover(place, at), policies if policies.is_file() else None, place)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--reason", default="", help="Why; it stands in the reason trail.")
@beside.journal
@beside.config
def apply(file: Path, reason: str, folder: Path | None, etc: Path) -> None:
    """Carry out the plan in FILE, step by step.

    FILE is what `--out` or `-o json` wrote of a plan for the live cluster. Each step is checked again before
    it is asked for. When the cluster is not as the plan expects, nothing more is done: exit status 1, and
    what remains is said. The hosts of an evacuation are held first: they take no new guests until
    `vmm host undrain`.
    """
    from vmm.api.carry import Carrier
    from vmm.api.wish import send_wish
    from vmm.manager.recovery import entries, recover
    from vmm.policies.apply import read_actions
    from vmm.policies.errors import BadFile

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadFile(str(file), 1, f"cannot be read: {exc}", next_step="give a plan's file") from None
    actions = read_actions(text, str(file))
    policy = str(json.loads(text).get("policy", ""))
    settings = load_settings(etc)
    place = beside.place_of(folder, etc)
    pause = threading.Event()
    core = recover(place)
    Carrier(
        core,
        news=lambda: entries(place, core.state.position + 1),
        wish=lambda name, args: send_wish(settings, name, args, reason or f"plan {file.name}"),
        wait=lambda: bool(pause.wait(_POLL_S)),
        clock=time.monotonic,
        tell=click.echo,
        limit_s=settings.manager.migration_deadline_s + _MARGIN_S,
    ).carry_out(actions, hold=policy == "evacuate")
