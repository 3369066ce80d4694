"""`vmm status` says when nothing is decided, and why."""

from __future__ import annotations

import json

import msgspec
from click.testing import CliRunner
from manager_site import Site, wait_for
from rich.console import Console

from vmm.cli.main import vmm
from vmm.cli.status import render
from vmm.decide.core import Core
from vmm.manager.picture import GuestRow, HostRow, picture_of
from vmm.manager.recovery import recover


def status(site: Site, *more: str) -> str:
    return CliRunner().invoke(vmm, ["status", "-c", str(site.folder), *more]).output


def test_a_lost_bus_is_a_standstill_until_it_is_back(site: Site) -> None:
    site.manager()
    wait_for(lambda: site.told("bus: connected"), "the connection")
    assert "STANDSTILL" not in status(site)
    site.daemon.stop()
    wait_for(lambda: site.told("connection lost"), "the loss")
    lost = json.loads(status(site, "-o", "json"))["bus_lost"]
    assert lost
    assert f"STANDSTILL: nothing is decided: {lost}"[:60] in status(site)


def test_a_journal_that_does_not_grow_is_a_standstill(site: Site) -> None:
    manager = site.manager()
    wait_for(lambda: site.told("bus: connected"), "the connection")
    manager.stop()
    console = Console(width=120)
    for age_s, said in ((2.0, False), (3600.0, True)):
        with console.capture() as shown:
            console.print(render(picture_of(recover(site.folder / "journal")), age_s))
        assert ("STANDSTILL: the last event is 1h old" in shown.get()) is said


def test_a_guest_on_a_host_that_is_away_is_shown_with_it() -> None:
    hosts = [HostRow(name, state, 8192, 4096, 8, [], False) for name, state in (("h1", "gone"), ("h2", "up"))]
    guests = [GuestRow(f"g-{h.name}", "s", h.name, "ready", 0.0, "idle", 0, "", "") for h in hosts]
    picture = msgspec.structs.replace(picture_of(Core()), hosts=hosts, guests=guests)
    console = Console(width=120)
    with console.capture() as shown:
        console.print(render(picture))
    assert [line.split()[2:5] for line in shown.get().splitlines() if "g-h" in line] == [
        ["h1", "(gone)", "ready"],
        ["h2", "ready", "0s"],
    ]
