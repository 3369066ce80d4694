"""What goes wrong in real installations: a clear message, nothing lost, and on it goes when it is mended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from story import PROOF, nothing_left, ran_in_guest_of
from testbed import Gate, Pod, Site, Testbed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MakeSite = Callable[..., Site]
JOB_A = PROOF.format(group="groupA")
OVERLAYS = "/srv/images/overlays"


@contextmanager
def small_disk(machine: Pod, folder: str, size: str) -> Iterator[None]:
    """A disk of this size in place of a folder of the machine."""
    machine.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder])
    try:
        yield
    finally:
        machine.run(["umount", "--lazy", folder])


def test_a_template_that_is_not_there_is_named_and_can_be_mended(bed: Testbed, make_site: MakeSite) -> None:
    site = make_site(templates={"groupA": "nowhere.qcow2"}, manager={"backoff_s": 1, "give_up_after": 2})
    job = bed.ctl.submit("groupA", JOB_A)
    site.start()
    error = site.wait_said(r"^.* ERROR .*share groupA: gave up after 2 guests.*$")[0]
    assert "no-template" in error
    assert "there is no template 'nowhere.qcow2' in /srv/images" in error
    site.wait_empty()
    assert site.guest_starts() == {}

    profiles = site.etc / "profiles.ini"
    profiles.write_text(profiles.read_text().replace("nowhere.qcow2", "groupA.qcow2"))
    site["manager"].send_signal(1)
    site.wait_said(r"manager rules: reload by ")
    site.wish("share", "retry", "groupA")
    ran_in_guest_of(site, job, "groupA")
    nothing_left(site)
    assert len(site.said(" ERROR ")) == 1


def test_a_full_disk_under_the_images_fails_the_guest_and_it_is_tried_again(
    bed: Testbed, make_site: MakeSite
) -> None:
    site = make_site(manager={"backoff_s": 1, "give_up_after": 20, "backoff_max_s": 2})
    host = bed.hosts["a"]
    with small_disk(host, OVERLAYS, "64k"):
        job = bed.ctl.submit("groupA", JOB_A)
        site.start()
        site.wait_said(r"share groupA: guest \S+ failed .*disk-full.*no space left in /srv/images")
        site.wait_said(r"guest groupa-\d+: gone", count=2)
        assert host.run(["find", OVERLAYS, "-type", "f"]) == "", "no torn overlay"
        assert host.domains() == []
    ran_in_guest_of(site, job, "groupA")
    nothing_left(site)
    assert len(site.guest_starts()) == 1


def test_slurmctld_and_libvirtd_may_be_down_at_the_start_and_in_the_middle(
    bed: Testbed, make_site: MakeSite, gate: Gate
) -> None:
    site, ctl, host = make_site(), bed.ctl, bed.hosts["a"]
    no_jobs = r"WARNING .*client batch: property batch_jobs cannot be read: .*Unable to contact slurm"
    no_guests = r"WARNING .*client a: property host_guests cannot be read: .*libvirt does not answer"
    ctl.stop_slurmctld()
    host.stop_libvirtd()
    site.start()
    site.wait_said(no_guests)
    site.wait_said(no_jobs)
    assert {c["state"] for c in site.status()["clients"]} == {"up"}

    host.start_libvirtd()
    ctl.start_slurmctld()
    job = ctl.submit("groupA", f"{JOB_A}; {gate.script}")
    site.wait_said(r"guest (\S+): booting")
    ctl.stop_slurmctld()
    site.wait_said(no_jobs, count=2)
    ctl.start_slurmctld()
    guest = site.wait_job_running(job)

    host.stop_libvirtd()
    site.wait_said(no_guests, count=2)
    site.wait_beats(5)
    assert ctl.job(job).state == "RUNNING"
    gate.open()
    assert ran_in_guest_of(site, job, "groupA") == guest
    gate.close()
    site.wait_said(rf"guest {guest}: stopping")
    site.wait_said(r"command \S+: destroy_guest failed|did not answer destroy_guest")
    host.start_libvirtd()
    nothing_left(site)
    assert site.creations() == [guest]
    assert site.guest_starts() == {guest: 1}


def test_killed_daemon_and_killed_host_client_come_back(
    bed: Testbed, make_site: MakeSite, gate: Gate
) -> None:
    site, host = make_site(), bed.hosts["a"]
    job = bed.ctl.submit("groupA", f"{JOB_A}; {gate.script}")
    site.start()
    site.wait_for("the domain", host.domains)
    site["daemon"].kill()
    site.wait_said("manager bus: connection lost")
    site.start_daemon()
    site.wait_said("connected as .* leading", count=2)
    guest = site.wait_job_running(job)
    site.wait_said(rf"guest {guest}: ready")

    gone, back = r"client a: gone: it left the bus", r"client a: up: it introduced itself"
    left, came = len(site.said(gone)), len(site.said(back))
    site["dom0a"].kill()
    site.wait_said(gone, count=left + 1)
    site.start_host_client("a")
    site.wait_said(back, count=came + 1)
    gate.open()
    assert ran_in_guest_of(site, job, "groupA") == guest
    gate.close()
    nothing_left(site)
    assert site.creations() == [guest]
    assert site.guest_starts() == {guest: 1}


def test_a_second_manager_and_a_second_client_of_one_name_refuse(bed: Testbed, make_site: MakeSite) -> None:
    site = make_site()
    site.start()
    site.wait_for("all clients", lambda: {c["name"] for c in site.status()["clients"]} == {"a", "batch"})

    site.launch("second", bed.ctl, ["manager", "-c", site.etc])
    assert site.wait_ended("second") == 4
    assert "another Manager writes the journal" in site.log("second")
    site.launch("third", bed.ctl, ["manager", "-c", site.etc, "--journal", site.state / "other"])
    assert site.wait_ended("third") == 4
    assert "another Manager is connected under this name" in site.log("third")

    twin = ["client", "--role", "dom0", "--name", "a", "-c", site.etc]
    site.launch("twin", bed.hosts["a"], twin)
    assert site.wait_ended("twin") == 4
    site.launch("far-twin", bed.ctl, [*twin, "--state", site.state / "elsewhere"])
    assert site.wait_ended("far-twin") == 4
    assert "already has a client 'a'" in site.log("far-twin")

    site.wait_beats(2)
    assert {c["state"] for c in site.status()["clients"]} == {"up"}
    assert not site.said(" WARNING | ERROR ")
    nothing_left(site)


def test_a_full_disk_under_the_journal_stops_decisions_until_there_is_room(
    bed: Testbed, make_site: MakeSite
) -> None:
    site, ctl = make_site(), bed.ctl
    site.journal.mkdir()
    with small_disk(ctl, str(site.journal), "512k"):
        site.start()
        site.wait_for("all clients", lambda: {c["name"] for c in site.status()["clients"]} == {"a", "batch"})
        filler = site.journal / "filler"
        ctl.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False)
        site.wait_said(r"ERROR .*nothing is decided while the journal cannot be written")
        job = ctl.submit("groupA", JOB_A)
        time.sleep(6)  # three tries
        assert site["manager"].running
        assert "the journal cannot be written" in site.status()["bus_lost"]
        assert not site.said(r"creating on")

        ctl.run(["rm", filler])
        guest = ran_in_guest_of(site, job, "groupA")
        nothing_left(site)
        assert site.creations() == [guest]
        assert "same" in ctl.run([site.vmm, "journal", "replay", "--verify", site.journal])
