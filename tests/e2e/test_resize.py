"""A guest gets more memory under a running job, by a plan from its measured load; and gives some back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from story import nothing_left
from testbed import Gate, Site, Testbed

from vmm.messages.guest import GuestSize

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MakeSite = Callable[..., Site]
SEEN = "echo MEMORY $(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)"


def balloon_mib(site: Site, guest: str) -> int:
    """What libvirt says that the guest's balloon leaves it."""
    said = site.bed.hosts["a"].virsh("dommemstat", guest)
    found = re.search(r"^actual (\d+)$", said, re.MULTILINE)
    assert found is not None, said
    return int(found[1]) // 1024


def size(site: Site, guest: str) -> GuestSize:
    """What the Manager knows that it has."""
    found = site.said(rf"guest {guest}: has (\d+) MiB, (\d+) vCPUs: a read it back")[-1]
    return GuestSize(int(found[1]), int(found[2]))


def test_a_guest_grows_by_plan_and_shrinks_by_hand_under_its_job(
    bed: Testbed, make_site: MakeSite, gate: Gate, tmp_path: Path
) -> None:
    site = make_site(most_mib=384)
    job = bed.ctl.submit("groupA", f"{SEEN}; {gate.script}; {SEEN}; echo END $(hostname)")
    site.start()
    guest = site.wait_job_running(job)
    site.wait_said(rf"guest {guest}: ready: ")
    site.wait_for("the balloon", lambda: balloon_mib(site, guest) == 160)

    scale = ("plan", "scale", "--low", "0.01", "--aim", "0.3", "--high", "0.4", "-o", "json")
    text = site.wait_for(
        "its load to be known", lambda: (said := site.wish(*scale)) and json.loads(said)["actions"] and said
    )
    (action,) = json.loads(text)["actions"]
    assert (action["action"], action["guest"], action["sizes"]) == ("resize", guest, {"memory_mib": 384})
    assert balloon_mib(site, guest) == 160, "a plan does nothing"
    plan = tmp_path / "sizes.json"
    plan.write_text(text)
    said = site.wish("plan", "apply", str(plan))
    assert f"1/1 resize {guest} to memory_mib=384: done" in said
    assert balloon_mib(site, guest) == 384
    assert size(site, guest) == GuestSize(384, 1)

    bed.ctl.run([site.vmm, "guest", "resize", guest, "--memory-mib=385", "-c", site.etc], check=False)
    site.wait_said(r"resize_guest by .* was refused: guest \S+ may have between 160 and 384 MiB, not 385")
    site.wish("guest", "resize", guest, "--memory-mib", "256", "--even-if-busy")
    site.wait_for("it to shrink", lambda: size(site, guest) == GuestSize(256, 1))
    assert balloon_mib(site, guest) == 256

    gate.open()
    record = site.wait_job_ended(job)
    assert (record["JobState"], record["ExitCode"]) == ("COMPLETED", "0:0")
    seen = [int(n) for n in re.findall(r"MEMORY (\d+)", bed.hosts["a"].serial_log(guest))]
    assert seen[1] - seen[0] == 256 - 160, "the guest itself sees it"
    gate.close()
    nothing_left(site)
