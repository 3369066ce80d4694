"""The testbed itself: one guest's life without vmm, and machines that come and go completely."""

from __future__ import annotations

import re

import pytest
from testbed import Testbed, domain_xml, make_overlay, tail, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_job_runs_in_a_guest_of_its_group(bed: Testbed) -> None:
    host, ctl, name = bed.hosts["a"], bed.ctl, "smoke-a"
    job = ctl.submit("groupA", "echo JOB $(hostname) $(/opt/sw-groupA/run); sleep 1")
    assert ctl.job(job).state == "PENDING"

    disk = make_overlay(host, name, "groupA.qcow2")
    definition = bed.shared / f"{name}.xml"
    definition.write_text(domain_xml(name, 1, disk))
    host.virsh("create", str(definition))
    try:
        wait_for("the node", lambda: name in ctl.nodes(), on_timeout=lambda: host.serial_log(name))
        wait_for(
            "the job's end", lambda: job in ctl.finished_jobs(), on_timeout=lambda: host.serial_log(name)
        )
        record = ctl.finished_jobs()[job]
        assert (record["JobState"], record["NodeList"]) == ("COMPLETED", name)
        printed = re.search(r"^JOB (.*?)\r?$", host.serial_log(name), re.MULTILINE)
        assert printed is not None
        assert printed[1] == f"{name} software of groupA on {name} from template-groupA"

        ctl.drain(name)
        wait_for("the drain", lambda: ctl.nodes().get(name) == "drained")
        ctl.delete_node(name)
        host.virsh("shutdown", name)
        wait_for(
            "the guest to go off",
            lambda: name not in host.domains(),
            on_timeout=lambda: host.serial_log(name),
        )
        assert "power button" in host.serial_log(name)
    finally:
        host.virsh("destroy", name, check=False)
        (bed.shared / f"{name}.qcow2").unlink()
        definition.unlink()
    assert ctl.nodes() == {}


def test_the_broken_template_boots_and_never_reports(bed: Testbed) -> None:
    host, name = bed.hosts["a"], "broken-a"
    disk = make_overlay(host, name, "broken.qcow2")
    definition = bed.shared / f"{name}.xml"
    definition.write_text(domain_xml(name, 2, disk))
    host.virsh("create", str(definition))
    try:
        wait_for("the hang", lambda: "GUEST-BROKEN" in host.serial_log(name))
        assert name not in bed.ctl.nodes()
        assert host.domains() == [name]
    finally:
        host.virsh("destroy", name)
        (bed.shared / f"{name}.qcow2").unlink()
        definition.unlink()


def test_a_power_cut_ends_everything_on_a_host_and_it_comes_back(bed: Testbed) -> None:
    host = bed.hosts["a"]
    sleeper = host.start("sleeper", ["sleep", "1000"])
    host.power_off()
    assert sleeper.returncode == -9
    assert host.pids() == []
    host.power_on()
    assert host.domains() == []


def test_a_cut_cable_and_a_frozen_host_are_silent(bed: Testbed) -> None:
    host = bed.hosts["a"]
    probe = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{host.address}/16509 && echo reached"]
    assert bed.ctl.run(probe) == "reached"
    bed.lan.cut("a")
    assert bed.ctl.run(probe, check=False) == ""
    bed.lan.join("a")
    wait_for("the cable", lambda: bed.ctl.run(probe, check=False) == "reached")

    counter = host.start("counter", ["bash", "-c", "while :; do echo x; sleep 0.02; done"])
    wait_for("the counter", lambda: tail(counter.log))
    host.pause()
    printed = len(counter.output())
    assert bed.ctl.run(["sleep", "0.2"]) == ""
    assert len(counter.output()) == printed
    host.resume()
    wait_for("the counter to go on", lambda: len(counter.output()) > printed)
    assert counter.kill() == -9
