"""The main job, for real: a job waits, rules make the right guest, the job runs in it, the guest goes.

libvirtd, QEMU, slurmctld, slurmd and all of vmm's programs are real processes in the testbed's machines.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from story import PROOF, nothing_left, ran_in_guest_of
from testbed import Gate, Site, Testbed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MakeSite = Callable[..., Site]


def jobs_waiting(site: Site, share: str) -> int:
    """What the Manager knows of a share's queue."""
    return next(row["jobs_waiting"] for row in site.status()["shares"] if row["name"] == share)


def pauses_s(site: Site, share: str) -> list[float]:
    """Seconds from each failure of a share's guest to the next creation, by the Manager's log."""
    rows = site.said(rf"^(\d+):(\d+):([\d.]+) .*guest {share.lower()}-\d+: (draining: not ready|creating)")
    events = [(int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3]), m[4]) for m in rows]
    return [
        (then - before) % 86400
        for (before, what), (then, next_what) in itertools.pairwise(events)
        if (what, next_what) == ("draining: not ready", "creating")
    ]


def test_a_waiting_job_gets_its_guest_and_the_guest_goes(bed: Testbed, make_site: MakeSite) -> None:
    site = make_site()
    job = bed.ctl.submit("groupA", f"{PROOF.format(group='groupA')}; sleep 1")
    site.start()
    guest = ran_in_guest_of(site, job, "groupA")

    site.wait_said(rf"client {guest}: joined as domU")
    nothing_left(site)
    assert site.creations() == [guest]
    assert site.guest_starts() == {guest: 1}
    assert [m[1] for m in site.said(r"rule (\w+) on \w+: fires: create_guest\(")] == ["grow"]
    assert site.said(rf"rule shrink on {guest}: fires")
    assert "power button" in bed.hosts["a"].serial_log(guest), "it was switched off in good order"
    assert not site.said(" ERROR ")


def test_idle_guests_make_room_and_busy_ones_within_their_guarantee_do_not(
    bed: Testbed, make_site: MakeSite, gate: Gate
) -> None:
    site = make_site(rooms=1, idle_for="10m")
    first = bed.ctl.submit("groupA", PROOF.format(group="groupA"))
    site.start()
    guest_a = ran_in_guest_of(site, first, "groupA")
    site.wait_for("an idle node", lambda: bed.ctl.nodes().get(guest_a) == "idle")

    second = bed.ctl.submit("groupB", f"{PROOF.format(group='groupB')}; {gate.script}")
    guest_b = site.wait_job_running(second)
    assert bed.hosts["a"].domains() == [guest_b]
    assert list(bed.ctl.nodes()) == [guest_b]
    assert site.said(rf"guest {guest_a}: draining: makes room for groupB \(idle\)")

    third = bed.ctl.submit("groupA", PROOF.format(group="groupA"))
    site.wait_for("A's job to be seen", lambda: jobs_waiting(site, "groupA") == 1)
    site.wait_beats(4)
    assert bed.ctl.nodes() == {guest_b: "allocated"}
    assert bed.ctl.job(third).state == "PENDING"

    gate.open()
    assert ran_in_guest_of(site, second, "groupB") == guest_b
    gate.close()
    guest_a2 = ran_in_guest_of(site, third, "groupA")
    site.wait_said(rf"guest {guest_a2}: ready: ")
    site.wish("guest", "retire", guest_a2)
    nothing_left(site)
    assert site.guest_starts() == {guest_a: 1, guest_b: 1, guest_a2: 1}


def test_a_busy_guest_keeps_its_job_while_another_share_waits(
    bed: Testbed, make_site: MakeSite, gate: Gate
) -> None:
    # A has more than it is guaranteed: its busy guest is drained, which must not touch the job.
    site = make_site(rooms=1, guaranteed={"groupA": 0, "groupB": 1})
    first = bed.ctl.submit("groupA", f"{PROOF.format(group='groupA')}; {gate.script}")
    site.start()
    guest_a = site.wait_job_running(first)

    second = bed.ctl.submit("groupB", PROOF.format(group="groupB"))
    site.wait_said(rf"guest {guest_a}: draining: makes room for groupB \(busy")
    site.wait_for("the drain", lambda: bed.ctl.nodes().get(guest_a) == "draining")
    site.wait_beats(4)
    assert bed.ctl.job(first).state == "RUNNING"
    assert bed.ctl.job(second).state == "PENDING"
    assert bed.hosts["a"].domains() == [guest_a]

    gate.open()
    assert ran_in_guest_of(site, first, "groupA") == guest_a
    gate.close()
    guest_b = ran_in_guest_of(site, second, "groupB")
    records = bed.ctl.finished_jobs()
    assert records[first]["EndTime"] <= records[second]["StartTime"]
    nothing_left(site)
    assert site.guest_starts() == {guest_a: 1, guest_b: 1}


@pytest.mark.parametrize("moment", ["command not answered", "four times"])
def test_a_killed_manager_is_followed_by_one_that_finishes(
    bed: Testbed, make_site: MakeSite, gate: Gate, moment: str
) -> None:
    site = make_site()
    host = bed.hosts["a"]

    def replace_manager() -> None:
        site["manager"].kill()
        site.start_manager()

    site.start()
    site.wait_for("all clients", lambda: {c["name"] for c in site.status()["clients"]} >= {"a", "batch"})
    if moment == "command not answered":
        site.wait_for("the host's offer", lambda: any(h["memory_mib"] for h in site.status()["hosts"]))
        site["dom0a"].pause()
    job = bed.ctl.submit("groupA", f"{PROOF.format(group='groupA')}; {gate.script}")
    site.wait_said(r"guest (\S+): creating on a")
    if moment == "command not answered":
        # The command lies in the client's connection; the next Manager sends it a second time.
        replace_manager()
        site.wait_said(r"connected as .* leading", count=2)
        site["dom0a"].resume()
        guest = site.wait_job_running(job)
    else:
        replace_manager()
        site.wait_for("the domain", lambda: host.domains())
        replace_manager()
        guest = site.wait_job_running(job)
        replace_manager()
    gate.open()
    assert ran_in_guest_of(site, job, "groupA") == guest
    gate.close()
    if moment == "four times":
        site.wait_said(rf"guest {guest}: draining: ")
        replace_manager()
    nothing_left(site)
    assert site.creations() == [guest]
    assert site.guest_starts() == {guest: 1}


def test_a_template_that_does_not_boot_is_given_up_and_others_go_on(
    bed: Testbed, make_site: MakeSite
) -> None:
    site = make_site(
        templates={"groupA": "broken.qcow2"},
        manager={"boot_deadline_s": 20, "backoff_s": 2, "give_up_after": 3},
    )
    broken = bed.ctl.submit("groupA", PROOF.format(group="groupA"))
    site.start()
    site.wait_said(r"guest groupa-\d+: booting")
    good = bed.ctl.submit("groupB", PROOF.format(group="groupB"))
    ran_in_guest_of(site, good, "groupB")
    site.wait_said(r"guest groupa-\d+: booting", count=3)
    late = bed.ctl.submit("groupB", PROOF.format(group="groupB"))
    ran_in_guest_of(site, late, "groupB")
    assert not site.said("gave up after"), "B is served while A's guests fail"

    site.wait_said(r" ERROR .*share groupA: gave up after 3 guests")
    site.wait_empty()
    site.wait_beats(5)
    assert bed.ctl.job(broken).state == "PENDING"
    errors = [m[0] for m in site.said(r"^.* ERROR .*$")]
    assert len(errors) == 1
    said = ("broken.qcow2", "not ready 20 s after its start", "did not join", "GUEST-BROKEN", "share retry")
    assert [part for part in said if part not in errors[0]] == []
    assert len(site.said(r"share groupA: guest \S+ failed .* try \d of 3 ")) == 2
    starts = site.guest_starts()
    assert len([name for name in starts if name.startswith("groupa-")]) == 3
    assert set(starts.values()) == {1}
    first_s, second_s = pauses_s(site, "groupA")
    assert first_s >= 2
    assert second_s >= 4
    bed.ctl.cancel_all()
    nothing_left(site)
