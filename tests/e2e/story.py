"""What the end-to-end tests prove again and again: a job ran where it should, and nothing is left."""

from __future__ import annotations

import re

from testbed import Site

PROOF = "echo JOB $(hostname) $(/opt/sw-{group}/run)"


def printed(site: Site, guest: str) -> str:
    """What the job in this guest printed."""
    found = re.search(r"JOB (.*?)\r?$", site.bed.hosts["a"].serial_log(guest), re.MULTILINE)
    assert found is not None, f"no job's output on the serial line of {guest}"
    return found[1]


def ran_in_guest_of(site: Site, job: int, group: str) -> str:
    """Wait for the job's end; prove that it ran in a guest of the group's template; the guest's name."""
    record = site.wait_job_ended(job)
    guest = record["NodeList"]
    assert (record["JobState"], record["ExitCode"]) == ("COMPLETED", "0:0")
    assert guest.startswith(f"{group.lower()}-")
    assert printed(site, guest) == f"{guest} software of {group} on {guest} from template-{group}"
    return guest


def nothing_left(site: Site) -> None:
    """No node, domain, overlay; the Manager knows of none; its programs end in order and leave no process."""
    site.wait_empty()
    site.wait_for("the Manager to know", lambda: site.status()["guests"] == [])
    assert site.status()["commands_under_way"] == 0
    ended = site.stop()
    assert set(ended.values()) == {0}, ended
    assert site.new_processes() == []
