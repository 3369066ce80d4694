"""A host's power fails: at an administrator's word its guest starts on the other host. Then it comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from story import nothing_left
from testbed import Gate, ImageSet, Site, Testbed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MakeSite = Callable[..., Site]


@pytest.fixture(scope="module")
def session_bed(images: ImageSet, cache: Path) -> Iterator[Testbed]:
    """In this file: a testbed of two hosts."""
    with Testbed(images, cache, hosts=("a", "b"), label="dead").running() as bed:
        yield bed


def refused(site: Site, *words: str) -> str:
    """What was said of a wish that must be refused."""
    said = site.bed.ctl.run(["sh", "-c", '"$@" 2>&1', "sh", site.vmm, *words, "-c", site.etc], check=False)
    assert "[refused]" in said or "[plan.stopped]" in said, said
    return said


def test_a_host_dies_and_comes_back(bed: Testbed, make_site: MakeSite, gate: Gate, tmp_path: Path) -> None:
    site = make_site(shared=True, idle_for="10m")
    properties = site.etc / "properties.ini"  # a dead guest's client is noticed after two and a half reports
    properties.write_text(properties.read_text().replace("ticks = 15", "ticks = 5"))
    job = bed.ctl.submit("groupA", gate.script)
    site.start()
    guest = site.wait_job_running(job)
    site.wait_said(rf"guest {guest}: ready: ")
    (dead,) = [name for name, host in bed.hosts.items() if guest in host.domains()]
    other = "b" if dead == "a" else "a"
    site.wait_for(
        "both hosts", lambda: {h["name"] for h in site.status()["hosts"] if h["memory_mib"]} == {"a", "b"}
    )
    site.wish("pause", "--reason", "only what the test says is done")
    assert "so it is not dead" in refused(site, "host", "dead", dead, "--yes", "--reason", "a guess")

    bed.hosts[dead].power_off()
    site.wait_said(rf"client {dead}: gone")
    assert f"nobody said that {dead} is dead" in refused(site, "guest", "restart", guest, other)
    site.wait_said(rf"client {guest}: (silent|gone)")
    site.wish("host", "dead", dead, "--yes", "--reason", "its power is off")
    row = next(h for h in site.status()["hosts"] if h["name"] == dead)
    assert row["state"] == "dead"
    site.wait_for("the job to wait again", lambda: bed.ctl.job(job).state == "PENDING")
    bed.ctl.cancel_all()

    plan = tmp_path / "plan.json"
    site.wish("plan", "recover", "--out", str(plan))
    steps = [(a["action"], a["guest"], a["from"], a["to"]) for a in json.loads(plan.read_text())["actions"]]
    assert steps == [("start", guest, dead, other)]
    said = site.wish("plan", "apply", str(plan))
    assert f"1/1 start {guest} from {dead} to {other}: done" in said
    assert bed.hosts[other].virsh("list", "--name").split() == [guest]
    assert bed.ctl.nodes()[guest] == "idle"
    assert "the plan expected" in refused(site, "plan", "apply", str(plan))
    assert "it is ready on" in refused(site, "guest", "restart", guest, other)

    site.power_on(dead)
    assert bed.hosts[dead].domains() == [guest], "its libvirtd still knows it"
    site.start_host_client(dead)
    site.wait_said(rf"guest {guest}: its old copy is still on {dead} \(off\)")
    site.wait_for("the old copy to be gone", lambda: bed.hosts[dead].domains() == [])
    site.wait_said(rf"host {dead}: nothing is left here")
    site.wish("host", "alive", dead)
    assert {h["state"] for h in site.status()["hosts"]} == {"up"}
    assert bed.hosts[other].virsh("list", "--name").split() == [guest], "its disk was not taken from it"
    site.wait_beats(6)  # it has reported since: it lives
    assert next(g["state"] for g in site.status()["guests"]) == "ready"

    site.wish("guest", "retire", guest)
    nothing_left(site)
    assert site.creations() == [guest, guest], "two lives"
