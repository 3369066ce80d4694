"""What Slurm's tools print. Lines that look long are as Slurm 22.05.8 printed them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.batch.interface import BatchDown, Job
from vmm.batch.slurm_text import expand, node_state, parse_fields, parse_jobs, parse_nodes, parse_time_s

SQUEUE = """\
1|groupA|RUNNING|1|vma1|root|1795256002|1795256003|None
2|groupB|PENDING|1||root|1795256002|N/A|PartitionConfig
3|groupB,groupA|PENDING|1||root|1795256002|N/A|JobHeldUser
4_1|groupC|PENDING|2||nobody|1795256002|N/A|Resources
5|groupA|COMPLETING|4|vm[1-2,10]|root|1795256002|1795256003|None
6|groupA|COMPLETED|1||root|1795256002|1795256003|None
7|groupA|PENDING|1||root|1795256002|1795256900|(launch failed | requeued held)
"""
NODE = (
    "NodeName=vma1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=1 CPUEfctv=2 CPUTot=2 CPULoad=0.42 "
    "AvailableFeatures=groupA ActiveFeatures=groupA,big Gres=(null) NodeAddr=10.77.0.11 NodeHostName=vma1 "
    "Version=22.05.8 OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=24105 AllocMem=0 FreeMem=23181 "
    "Sockets=2 Boards=1 State=MIXED+DRAIN+DYNAMIC_NORM ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A "
    "MCS_label=N/A Partitions=groupA,all  BootTime=2026-11-21T09:38:40 SlurmdStartTime=2026-11-21T10:13:20 "
    "LastBusyTime=2026-11-21T10:13:20 CfgTRES=cpu=2,mem=24105M,billing=2 AllocTRES=cpu=1 CapWatts=n/a "
    "CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s "
    "Reason=a | b = c State=IDLE [x] [root@2026-11-21T10:13:24]"
)
STATIC = "NodeName=old1 CPUAlloc=0 CPUTot=4 State=DOWN*+CLOUD ThreadsPerCore=1 Partitions= Gres=(null)"


def test_jobs() -> None:
    jobs = {job.id: job for job in parse_jobs(SQUEUE)}
    assert list(jobs) == ["1", "2", "3", "4_1", "5", "7"]
    assert jobs["1"] == Job("1", "groupA", "running", 1, "vma1", "root", 1795256002.0, 1795256003.0)
    assert (jobs["2"].state, jobs["2"].reason, jobs["2"].held) == ("pending", "PartitionConfig", False)
    assert (jobs["3"].queue, jobs["3"].held) == ("groupB", True)
    assert (jobs["4_1"].cpus, jobs["4_1"].user, jobs["4_1"].held) == (2, "nobody", False)
    assert (jobs["5"].state, jobs["5"].node) == ("running", "vm1,vm2,vm10")
    assert jobs["7"].reason == "(launch failed | requeued held)"
    assert jobs["7"].started_s == 0.0


@pytest.mark.parametrize(
    ("state", "reason", "held"),
    [
        ("PENDING", "Resources", False),
        ("PENDING", "Priority", False),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:vma1", False),
        ("PENDING", "Nodes required for job are DOWN, DRAINED or reserved", False),
        ("PENDING", "Dependency", True),
        ("PENDING", "BeginTime", True),
        ("PENDING", "AssocGrpCpuLimit", True),
        ("PENDING", "QOSMaxJobsPerUserLimit", True),
        ("PENDING", "JobArrayTaskLimit", True),
        ("REQUEUE_HOLD", "None", True),
    ],
)
def test_which_waiting_jobs_a_new_node_would_not_help(state: str, reason: str, held: bool) -> None:
    (job,) = parse_jobs(f"1|q|{state}|1||u|1|N/A|{reason}")
    assert (job.state, job.held) == ("pending", held)


def test_what_is_no_output_of_squeue() -> None:
    assert parse_jobs("\n\n") == []
    with pytest.raises(BatchDown, match="not %i"):
        parse_jobs("JOBID PARTITION NAME\n")


def test_nodes() -> None:
    text = f"{NODE}\n{STATIC}\n"
    vma1, old1 = parse_nodes(text, {"vma1": 1})
    assert (vma1.name, vma1.state, vma1.jobs, vma1.cpus) == ("vma1", "draining", 1, 2)
    assert (vma1.queues, vma1.features) == (["groupA", "all"], ["groupA", "big"])
    assert vma1.raw_state == "MIXED+DRAIN+DYNAMIC_NORM"
    assert vma1.reason == "a | b = c State=IDLE [x]"
    assert (old1.name, old1.state, old1.queues, old1.cpus) == ("old1", "down", [], 4)


def test_no_nodes() -> None:
    assert parse_nodes("No nodes in the system\n", {}) == []


@pytest.mark.parametrize(
    ("raw", "busy", "state"),
    [
        ("IDLE", False, "idle"),
        ("IDLE+DYNAMIC_NORM", False, "idle"),
        ("IDLE+DYNAMIC_NORM+NOT_RESPONDING", False, "idle"),
        ("IDLE*", False, "idle"),
        ("IDLE+PLANNED", False, "idle"),
        ("IDLE", True, "busy"),
        ("MIXED", False, "busy"),
        ("ALLOCATED+DYNAMIC_NORM", False, "busy"),
        ("ALLOCATED*", True, "busy"),
        ("COMPLETING", False, "busy"),
        ("IDLE+COMPLETING+DRAIN", False, "draining"),
        ("MIXED+DRAIN", True, "draining"),
        ("IDLE+DRAIN", False, "drained"),
        ("IDLE+DRAIN+DYNAMIC_NORM", True, "draining"),
        ("DOWN", False, "down"),
        ("DOWN*+DYNAMIC_NORM", False, "down"),
        ("DOWN+DRAIN", False, "down"),
        ("IDLE+CLOUD+POWERED_DOWN", False, "down"),
        ("IDLE~", False, "down"),
        ("IDLE+DRAIN+INVALID_REG+DYNAMIC_NORM", False, "down"),
        ("ALLOCATED+INVALID_REG", True, "draining"),
        ("INVAL", False, "down"),
        ("UNKNOWN", False, "down"),
        ("FUTURE", False, "down"),
        ("SOMETHING_NEW", False, "down"),
        ("", False, "down"),
    ],
)
def test_node_states(raw: str, busy: bool, state: str) -> None:
    assert node_state(raw, busy=busy)[0] == state


def test_an_invalid_registration_says_why() -> None:
    line = (
        "NodeName=vm1 CPUAlloc=0 CPUTot=1 State=IDLE+DRAIN+INVALID_REG+DYNAMIC_NORM "
        "Reason=Low RealMemory (reported:44 < 100.00% of configured:50) [slurm@2026-01-01T00:00:00]"
    )
    (node,) = parse_nodes(line, {})
    assert node.state == "down"
    assert node.reason == ("invalid registration: Low RealMemory (reported:44 < 100.00% of configured:50)")


@given(
    st.sampled_from(["IDLE", "MIXED", "ALLOCATED", "DOWN", "X"]), st.lists(st.text("ABCDEFGH_", min_size=1))
)
def test_a_node_with_a_job_is_never_free_to_take(base: str, flags: list[str]) -> None:
    state, _ = node_state("+".join([base, *flags]), busy=True)
    assert state not in ("idle", "drained")


def test_fields_with_blanks() -> None:
    fields = parse_fields("NodeName=a OS=Linux 6 #1 Key=v Reason=x Foo=y Comment=z")
    assert fields["OS"] == "Linux 6 #1"
    assert fields["Reason"] == "x Foo=y"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("(null)", []),
        ("vm1", ["vm1"]),
        ("vm1,x2", ["vm1", "x2"]),
        ("vm[1-3]", ["vm1", "vm2", "vm3"]),
        ("vm[08-10,12],y", ["vm08", "vm09", "vm10", "vm12", "y"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("vm[a]", ["vm[a]"]),
    ],
)
def test_hostlists(text: str, names: list[str]) -> None:
    assert expand(text) == names


def test_times() -> None:
    assert parse_time_s("1795256002") == 1795256002.0
    assert parse_time_s("N/A") == 0.0
    assert parse_time_s("2026-11-21T10:13:20") > 1.7e9
