"""`vmm plan`: make a plan, print it, do nothing. For the live cluster, or offline for a file of Ganeti's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmm.cli.plan_files import check, make, read, tell_unmeasured, write
from vmm.cli.plan_live import LIVE_OPTIONS, Live, open_live
from vmm.cli.plan_live import apply as apply_live
from vmm.plugins.manager import load_plugins
from vmm.policies.balance import Search
from vmm.policies.balance import balance as plan_balance
from vmm.policies.config import Policies, parse_policies
from vmm.policies.consolidate import consolidate as plan_consolidate
from vmm.policies.errors import BadRequest
from vmm.policies.evacuate import evacuate as plan_evacuate
from vmm.policies.explain import explain
from vmm.policies.ganeti import parse_cluster, parse_loads
from vmm.policies.groups import only
from vmm.policies.hooks import objectives
from vmm.policies.model import Cluster, Guest, HostState, Load
from vmm.policies.objective import OBJECTIVES, Objective, without_load
from vmm.policies.place import place as plan_place
from vmm.policies.plan import Plan
from vmm.policies.recover import recover as plan_recover
from vmm.policies.scale import Bands, Demand
from vmm.policies.scale import scale as plan_scale

if TYPE_CHECKING:
    from vmm.api.rounds import Advice

_REASONS_UP_TO = 2000
"""Guests up to which the reasons are given unless asked otherwise: they take longer than the plan."""

_MOST_NEW = 100_000

_File = click.Path(path_type=Path, dir_okay=False)
_Command = Callable[..., Any]


def _source(command: _Command) -> _Command:
    """Options that say which cluster is planned for and what is good."""
    options = (
        click.option("--ganeti", "data", type=_File, help="Offline: the cluster in Ganeti's text format."),
        *LIVE_OPTIONS,
        click.option("--util", type=_File, help="Measured loads: guest cpu memory disk network, one a line."),
        click.option("--static", is_flag=True, help="Leave measured load out of the score."),
        click.option("--objective", "name", help="Objective by name; overrides the policies' and --static."),
        click.option("--policies", type=_File, help="A policies.ini with weights, prices and limits."),
        click.option("--group", help="Only this group of hosts and the guests on them.", metavar="NAME"),
        click.option("--out", type=_File, help="Write the plan there as well, for `vmm plan apply`."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _output(command: _Command) -> _Command:
    options = (
        click.option(
            "--reasons/--no-reasons", default=None, help="Why guests stay and hosts are not chosen."
        ),
        click.option("-o", "form", type=click.Choice(["table", "json"]), default="table", show_default=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


class _Problem:
    """The cluster and the policies that the options name."""

    def __init__(
        self,
        data: Path | None,
        util: Path | None,
        static: bool,
        name: str | None,
        policies: Path | None,
        group: str | None,
        out: Path | None,
        **place: Any,
    ) -> None:
        if static and util is not None:
            raise click.UsageError("--static leaves loads out: give it or --util, not both.")
        if out is not None and not out.parent.is_dir():
            raise BadRequest(f"--out {out}: {out.parent} is no folder", next_step="make it, or name another")
        self.out = out
        self.live: Live | None = None
        self.measured: frozenset[str] = frozenset()
        self.cluster: Cluster
        if data is None:
            if util is not None:
                raise click.UsageError("--util goes with --ganeti; the live cluster measures its loads.")
            self.live = open_live(**place)
            self.cluster, policies = self.live.cluster, policies or self.live.policies
        else:
            loads = parse_loads(read(util), str(util)) if util else None
            self.measured = frozenset(loads or ())
            self.cluster = parse_cluster(read(data), str(data), loads)
            if loads is not None:
                tell_unmeasured(self.cluster, loads, util)
        if group is not None:
            self.cluster = only(self.cluster, group)
        extra = _plugin_objectives() if policies or (name and name not in OBJECTIVES) else {}
        self.policies: Policies = (
            parse_policies(read(policies), str(policies), tuple(extra.values())) if policies else Policies()
        )
        self.objective: Objective = self.policies.objective
        if static:
            self.objective = without_load(self.objective)
        if name is not None:
            known = {**OBJECTIVES, **extra}
            if name not in known:
                raise BadRequest(f"unknown objective {name!r}", next_step=f"use one of {', '.join(known)}")
            self.objective = known[name]


def _plugin_objectives() -> dict[str, Objective]:
    """Those of installed plugins; what is wrong with a plugin goes to stderr."""
    plugins = load_plugins()
    found = objectives(plugins)
    for problem in plugins.problems:
        click.echo(problem, err=True)
    return found


def _print(
    plan: Plan, problem: _Problem, planning_s: float, reasons: bool | None, form: str, **asked: Any
) -> None:
    """Write the plan out; what was `asked` for goes to `explain`."""
    few = len(problem.cluster.guests) <= _REASONS_UP_TO
    why: dict[str, str] = dict(plan.reasons)
    if reasons or (reasons is None and few and form == "json"):
        why = explain(problem.cluster, plan, problem.objective, **asked) | why
    out = plan.to_json() | {"planning_s": planning_s} | ({"reasons": why} if why else {})
    if problem.live is not None:
        out |= {"live": problem.live.origin()}
    if problem.out is not None:
        write(problem.out, json.dumps(out, indent=1) + "\n")
    if form == "json":
        click.echo(json.dumps(out, indent=1))
    else:
        from vmm.cli._plan_show import show_plan  # rich takes as long to import as a plan to make

        show_plan(plan, planning_s, why)


def _timed(make: Callable[[], Plan]) -> tuple[Plan, float]:
    start = time.perf_counter()
    plan = make()
    return plan, time.perf_counter() - start


@click.group()
def plan() -> None:
    """Make plans: what to move where, at what cost.

    Prints; only `apply` does something.

    Plans for the live cluster (its journal), or offline for a file in Ganeti's text format (--ganeti).
    """


for _command in (apply_live, make, check):
    plan.add_command(_command)


@plan.command()
@_source
@click.option("--max-moves", type=int, help="Move at most so many guests, as well as possible.")
@click.option("--min-gain", type=float, help="Score that a plan must gain [default: 1 % of the score].")
@click.option(
    "--swaps", is_flag=True, help="Search deeper, for exchanges of guests, until the budget is over."
)
@click.option("--budget-s", type=float, help="Time for --swaps, in s [default: 1].")
@click.option("--seed", type=click.IntRange(min=0), help="[default: that of the policies, or 0]")
@click.option("--now", is_flag=True, help="Live: by the last measures alone, whatever speaks for waiting.")
@_output
def balance(
    max_moves: int | None,
    min_gain: float | None,
    swaps: bool,
    budget_s: float | None,
    seed: int | None,
    now: bool,
    reasons: bool | None,
    form: str,
    **source: Any,
) -> None:
    """Spread guests evenly over the hosts, moving few of them.

    For the live cluster loads are smoothed over the recorded past, a guest that moved lately rests, and a
    plan is withheld until the imbalance has held for some rounds: see [antiflap] in policies.ini.
    """
    problem = _Problem(**source)
    asked = problem.policies.search
    search = Search(
        max_moves=asked.max_moves if max_moves is None else max_moves,
        min_gain=asked.min_gain if min_gain is None else min_gain,
        swaps=swaps,
        budget_s=budget_s,
        seed=asked.seed if seed is None else seed,
        clock=time.monotonic,
    )

    def make(cluster: Cluster) -> Plan:
        return plan_balance(cluster, problem.objective, search, limits=problem.policies.limits)

    live = problem.live
    if live is None or now:
        made, took_s = _timed(lambda: make(problem.cluster))
    else:
        advice = live.advice(make, problem.policies, problem.objective)
        problem.cluster = advice.cluster
        made, took_s = _calm(advice), advice.planning_s
    _print(made, problem, took_s, reasons, form, min_gain=search.min_gain)


def _calm(advice: Advice) -> Plan:
    """The plan, or an empty one that says why it is withheld."""
    plan = advice.plan
    if not advice.withheld:
        return plan
    why = (
        f"a plan of {len(plan.actions)} moves, score {plan.score_before:.6f} -> {plan.score_after:.6f}, is "
        f"withheld: {advice.withheld}; --now makes it all the same"
    )
    return replace(plan, actions=(), score_after=plan.score_before, why_empty=why)


@plan.command()
@_source
@click.option("--hosts", required=True, help="Hosts to empty, separated by commas.")
@_output
def evacuate(hosts: str, reasons: bool | None, form: str, **source: Any) -> None:
    """Empty one or several hosts, one migration a guest."""
    problem = _Problem(**source)
    names = _names(hosts)
    made, took_s = _timed(
        lambda: plan_evacuate(problem.cluster, names, problem.objective, limits=problem.policies.limits)
    )
    _print(made, problem, took_s, reasons, form, leaving=names)


@plan.command()
@_source
@click.option(
    "--spare", type=int, default=0, show_default=True, help="Keep so many hosts more than needed on."
)
@click.option("--seed", type=click.IntRange(min=0), help="[default: that of the policies, or 0]")
@_output
def consolidate(spare: int, seed: int | None, reasons: bool | None, form: str, **source: Any) -> None:
    """Put all guests on as few hosts as possible, and switch the others off."""
    problem = _Problem(**source)
    draws = problem.policies.search.seed if seed is None else seed
    made, took_s = _timed(
        lambda: plan_consolidate(
            problem.cluster, problem.objective, spare=spare, seed=draws, limits=problem.policies.limits
        )
    )
    _print(made, problem, took_s, reasons, form)


@plan.command()
@_source
@click.option(
    "--count", type=click.IntRange(1, _MOST_NEW), default=1, show_default=True, help="How many equal guests."
)
@click.option("--memory-mib", type=click.FloatRange(min=0, min_open=True), required=True)
@click.option("--vcpus", type=click.FloatRange(min=0), required=True)
@click.option("--name", "stem", default="new", show_default=True, help="Guests are called NAME0, NAME1, ...")
@_output
def place(
    count: int, memory_mib: float, vcpus: float, stem: str, reasons: bool | None, form: str, **source: Any
) -> None:
    """Choose a host for each of some new guests, one after another."""
    if not stem:
        raise click.UsageError("--name is empty.")
    problem = _Problem(**source)
    load = Load(1.0, 1.0, 1.0, 1.0)
    guests = [Guest(f"{stem}{i}", memory_mib, vcpus, load=load) for i in range(count)]
    made, took_s = _timed(
        lambda: plan_place(problem.cluster, guests, problem.objective, limits=problem.policies.limits)
    )
    _print(made, problem, took_s, reasons, form, new=guests)


@plan.command()
@_source
@click.option("--dead", default="", help="Hosts that are dead, besides those that the file calls offline.")
@click.option("--use-reserve", is_flag=True, help="Start guests even in the room kept for one more loss.")
@_output
def recover(dead: str, use_reserve: bool, reasons: bool | None, form: str, **source: Any) -> None:
    """Start the guests of dead hosts elsewhere, by priority."""
    problem = _Problem(**source)
    problem.cluster = problem.cluster.with_hosts(dict.fromkeys(_names(dead), HostState.OFFLINE))
    made, took_s = _timed(
        lambda: plan_recover(
            problem.cluster,
            problem.objective,
            keep_reserve=not use_reserve,
            limits=problem.policies.limits,
        )
    )
    _print(made, problem, took_s, reasons, form)


@plan.command()
@_source
@click.option("--vcpus-min", type=int, default=1, show_default=True)
@click.option("--vcpus-max", type=int, default=16, show_default=True)
@click.option("--memory-min-mib", type=float, default=512, show_default=True)
@click.option("--memory-max-mib", type=float, default=65536, show_default=True)
@click.option("--low", type=float, default=0.3, show_default=True, help="Less use than this shrinks a guest.")
@click.option("--aim", type=float, default=0.6, show_default=True, help="Use that a new size aims at.")
@click.option("--high", type=float, default=0.85, show_default=True, help="More use than this grows a guest.")
@_output
def scale(
    vcpus_min: int,
    vcpus_max: int,
    memory_min_mib: float,
    memory_max_mib: float,
    low: float,
    aim: float,
    high: float,
    reasons: bool | None,
    form: str,
    **source: Any,
) -> None:
    """Give guests the vCPUs and memory that their load (--util, as parts of their size) asks for."""
    if source["util"] is None and source["data"] is not None:
        raise click.UsageError("scaling needs measured loads: give --util.")
    problem = _Problem(**source)
    demands = (
        problem.live.demands()
        if problem.live
        else [
            Demand(
                guest.name,
                guest.load.cpu * guest.vcpus,
                guest.load.memory * guest.memory_mib,
                vcpus_min,
                vcpus_max,
                memory_min_mib,
                memory_max_mib,
            )
            for guest in problem.cluster.guests
            if guest.name in problem.measured  # of the others the use is not known: they keep what they have
        ]
    )
    made, took_s = _timed(
        lambda: plan_scale(
            problem.cluster, demands, bands=Bands(low, aim, high), limits=problem.policies.limits
        )
    )
    _print(made, problem, took_s, reasons, form)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    plan(prog_name="vmm plan")
