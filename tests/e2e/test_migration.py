"""A host is emptied for maintenance under running jobs: their guests move to another host, jobs and all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from story import PROOF, nothing_left
from testbed import Gate, ImageSet, Site, Testbed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MakeSite = Callable[..., Site]


@pytest.fixture(scope="module")
def session_bed(images: ImageSet, cache: Path) -> Iterator[Testbed]:
    """In this file: a testbed of two hosts."""
    with Testbed(images, cache, hosts=("a", "b"), label="two").running() as bed:
        yield bed


def where(bed: Testbed) -> dict[str, list[str]]:
    """The guests that run on each host."""
    return {name: host.virsh("list", "--name").split() for name, host in bed.hosts.items()}


def start_time(bed: Testbed, job: int) -> str:
    """Slurm's word for when the job began, and how often it was begun anew."""
    words = bed.ctl.run(["scontrol", "-o", "show", "job", str(job)]).split()
    return " ".join(word for word in words if word.startswith(("StartTime=", "Restarts=", "NodeList=")))


def running_guest(site: Site, gate: Gate) -> tuple[int, str, str, str]:
    """(job, guest, its host, the other host): a job that waits at the gate in a ready guest."""
    bed = site.bed
    job = bed.ctl.submit("groupA", f"{PROOF.format(group='groupA')}; {gate.script}; echo END $(hostname)")
    site.start()
    guest = site.wait_job_running(job)
    site.wait_said(rf"guest {guest}: ready: ")
    source = next(name for name, guests in where(bed).items() if guest in guests)
    target = "b" if source == "a" else "a"
    known = lambda: {h["name"] for h in site.status()["hosts"] if h["memory_mib"] and h["state"] == "up"}  # noqa: E731
    site.wait_for("both hosts", lambda: known() == {"a", "b"})
    return job, guest, source, target


def ended_well(site: Site, job: int, guest: str, target: str) -> None:
    """The same job, in the same guest, ended by itself."""
    record = site.wait_job_ended(job)
    assert (record["JobState"], record["ExitCode"], record["NodeList"]) == ("COMPLETED", "0:0", guest)
    assert f"END {guest}" in site.bed.hosts[target].serial_log(guest), "it ended on the other host"
    assert site.creations() == [guest]


def test_a_host_is_evacuated_under_a_running_job(
    bed: Testbed, make_site: MakeSite, gate: Gate, tmp_path: Path
) -> None:
    site = make_site(shared=True)
    job, guest, source, target = running_guest(site, gate)
    began = start_time(bed, job)
    plan = tmp_path / "plan.json"

    site.wish("plan", "evacuate", "--hosts", source, "--out", str(plan))
    assert [(a["guest"], a["from"], a["to"]) for a in json.loads(plan.read_text())["actions"]] == [
        (guest, source, target)
    ]
    assert where(bed) == {source: [guest], target: []}, "a plan does nothing"

    said = site.wish("plan", "apply", str(plan))
    assert f"1/1 migrate {guest} from {source} to {target}: done" in said
    assert where(bed) == {source: [], target: [guest]}
    assert start_time(bed, job) == began
    site.wait_beats(15)  # the hosts have reported since, twice: it is not missed anywhere
    assert bed.ctl.job(job).state == "RUNNING"
    row = next(g for g in site.status()["guests"] if g["name"] == guest)
    assert (row["host"], row["state"]) == (target, "ready")

    late = bed.ctl.run([site.vmm, "plan", "apply", str(plan), "-c", site.etc], check=False)
    assert "done" not in late, "the plan was for another moment"

    gate.open()
    ended_well(site, job, guest, target)
    gate.close()
    assert not site.said(r"guest \S+: (cleaning|removing: .*died)")
    nothing_left(site)


def migrating(site: Site, gate: Gate) -> tuple[int, str, str, str, str]:
    """(job, guest, its host, the other host, when the job began) with the move asked for."""
    job, guest, source, target = running_guest(site, gate)
    began = start_time(site.bed, job)
    site.wish("guest", "migrate", guest, target)
    site.wait_said(rf"guest {guest}: migrating: ")
    return job, guest, source, target, began


def arrives(site: Site, gate: Gate, job: int, guest: str, source: str, target: str, began: str) -> None:
    """The guest gets where it was to go, and its job ends there."""
    site.wait_said(rf"guest {guest}: ready: moved from {source} to {target}")
    assert where(site.bed) == {source: [], target: [guest]}
    assert start_time(site.bed, job) == began
    gate.open()
    ended_well(site, job, guest, target)
    gate.close()
    nothing_left(site)


# The logs of two tests are told apart by the first words of their names: these are no parameters of one test.


def test_a_manager_killed_in_mid_migration(bed: Testbed, make_site: MakeSite, gate: Gate) -> None:
    site = make_site(shared=True)
    job, guest, source, target, began = migrating(site, gate)
    site["manager"].kill()
    site.start_manager()
    arrives(site, gate, job, guest, source, target, began)


def test_a_client_killed_in_mid_migration(bed: Testbed, make_site: MakeSite, gate: Gate) -> None:
    # libvirt goes on with what it was asked, or gives it up; the next client looks, and does the rest.
    site = make_site(shared=True)
    job, guest, source, target, began = migrating(site, gate)
    site.wait_for("the guest's double", lambda: guest in bed.hosts[target].domains(), interval_s=0.02)
    site[f"dom0{source}"].kill()
    site.start_host_client(source)
    arrives(site, gate, job, guest, source, target, began)
