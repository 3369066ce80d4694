"""The Slurm driver over stand-ins for its tools: which are run how, and what their failures mean.

The messages are those of Slurm 22.05.8.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmm.batch.factory import open_batch
from vmm.batch.interface import BatchDown, NodeFailed
from vmm.batch.memory import MemoryBatch
from vmm.batch.slurm import SlurmBatch
from vmm.config import BatchSettings, Settings

IDLE = "NodeName=vm1 CPUAlloc=0 CPUTot=1 State=IDLE+DYNAMIC_NORM Partitions=groupA"


class Tools:
    """A folder of stand-ins that log how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("squeue", "exit 0")
        self.put("scontrol", "exit 0")

    def put(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.folder}/log"\n{script}\n')
        path.chmod(0o755)

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


@pytest.fixture
def slurm(tools: Tools) -> SlurmBatch:
    return SlurmBatch(str(tools.folder), conf="/etc/slurm/other.conf", timeout_s=5.0)


def code_of(call: object, *args: object) -> str:
    with pytest.raises(NodeFailed) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


def test_jobs_and_nodes(tools: Tools, slurm: SlurmBatch) -> None:
    tools.put("squeue", "echo '1|groupA|RUNNING|1|vm1|u|1|2|None'")
    tools.put("scontrol", f"echo '{IDLE}'")
    assert [job.id for job in slurm.jobs()] == ["1"]
    (node,) = slurm.nodes()
    assert (node.state, node.jobs) == ("busy", 1)  # the queue knew before the node did


def test_the_environment(
    tools: Tools, slurm: SlurmBatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SQUEUE_FORMAT", "%all")
    monkeypatch.setenv("KEPT", "yes")
    tools.put("squeue", f'env >"{tmp_path}/env"')
    SlurmBatch(str(tools.folder), conf="/x/slurm.conf").jobs()
    env = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert (env["SLURM_CONF"], env["SLURM_TIME_FORMAT"], env["KEPT"]) == ("/x/slurm.conf", "%s", "yes")
    assert "SQUEUE_FORMAT" not in env


def test_changes(tools: Tools, slurm: SlurmBatch) -> None:
    slurm.drain("vm1", "make room\nfor B  ")
    slurm.drain("vm1", "")
    slurm.resume("vm1")
    slurm.down("vm1", "host h1 is dead")
    slurm.delete("vm1")
    assert tools.log() == [
        "scontrol update NodeName=vm1 State=DRAIN Reason=make room for B",
        "scontrol update NodeName=vm1 State=DRAIN Reason=vmm",
        "scontrol update NodeName=vm1 State=RESUME",
        "scontrol update NodeName=vm1 State=DOWN Reason=host h1 is dead",
        "scontrol delete NodeName=vm1",
    ]


@pytest.mark.parametrize("name", ["", "ALL", "all", "vm[1-3]", "vm1,vm2", "-x", "a b", "vm1 State=DOWN"])
def test_only_one_node_at_a_time(tools: Tools, slurm: SlurmBatch, name: str) -> None:
    for call in (
        lambda: slurm.drain(name, "x"),
        lambda: slurm.resume(name),
        lambda: slurm.delete(name),
        lambda: slurm.down(name, "x"),
    ):
        assert code_of(call) == "bad-node"
    assert not (tools.folder / "log").exists()


def test_nodes_that_are_not_there(tools: Tools, slurm: SlurmBatch) -> None:
    tools.put(
        "scontrol",
        'case $1 in show) exit 0;; delete) echo "scontrol: error: failed to delete nodes vm1" >&2;; esac\n'
        'echo "slurm_update error: Invalid node name specified" >&2; exit 1',
    )
    assert code_of(slurm.drain, "vm1", "x") == "no-such-node"
    assert code_of(slurm.resume, "vm1") == "no-such-node"
    slurm.delete("vm1")  # gone is what was wanted


def test_a_node_of_slurm_conf_cannot_be_deleted(tools: Tools, slurm: SlurmBatch) -> None:
    tools.put(
        "scontrol",
        f"[ $1 = show ] && {{ echo '{IDLE}'; exit 0; }}\n"
        'echo "delete_node NodeName=vm1: Invalid node name specified" >&2; exit 1',
    )
    with pytest.raises(NodeFailed, match=r"stands in slurm\.conf"):
        slurm.delete("vm1")


def test_a_busy_node(tools: Tools, slurm: SlurmBatch) -> None:
    tools.put("scontrol", 'echo "delete_node nodename=vm1: Requested nodes are busy" >&2; exit 1')
    assert code_of(slurm.delete, "vm1") == "node-busy"


@pytest.mark.parametrize(("state", "fails"), [("IDLE", False), ("MIXED", False), ("DOWN", True)])
def test_resuming_what_is_not_drained(tools: Tools, slurm: SlurmBatch, state: str, fails: bool) -> None:
    tools.put(
        "scontrol",
        f"[ $1 = show ] && {{ echo '{IDLE.replace('IDLE', state)}'; exit 0; }}\n"
        'echo "slurm_update error: Invalid node state specified" >&2; exit 1',
    )
    if fails:
        assert code_of(slurm.resume, "vm1") == "bad-state"
    else:
        slurm.resume("vm1")


def test_no_rights(tools: Tools, slurm: SlurmBatch) -> None:
    tools.put(
        "scontrol", 'echo "slurm_update error: Invalid user id or access/permission denied" >&2; exit 1'
    )
    assert code_of(slurm.drain, "vm1", "x") == "node-failed"


@pytest.mark.parametrize(
    "message",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "squeue: fatal: Could not establish a configuration source",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
    ],
)
def test_the_controller_is_down(tools: Tools, slurm: SlurmBatch, message: str) -> None:
    for tool in ("squeue", "scontrol"):
        tools.put(tool, f'echo "{message}" >&2; exit 1')
    calls = [slurm.jobs, slurm.nodes, lambda: slurm.drain("vm1", "x"), lambda: slurm.delete("vm1")]
    for call in calls:
        with pytest.raises(BatchDown) as caught:
            call()
        assert message in caught.value.message
        assert "slurmctld" in caught.value.next_step


def test_a_tool_that_hangs(tools: Tools) -> None:
    tools.put("squeue", "exec sleep 60")
    with pytest.raises(BatchDown, match=r"no answer within 0\.1 s"):
        SlurmBatch(str(tools.folder), timeout_s=0.1).jobs()


def test_tools_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(BatchDown, match="squeue cannot be run") as caught:
        SlurmBatch(str(tmp_path)).jobs()
    assert "slurm-client" in caught.value.next_step


def test_the_settings_choose(tmp_path: Path) -> None:
    assert open_batch(Settings(tmp_path, batch=BatchSettings(driver="none"))) is None
    assert isinstance(open_batch(Settings(tmp_path)), SlurmBatch)
    (tmp_path / "w.swf").write_text("; Queue: 1 groupA\n" + "1 0 -1 60 1" + " -1" * 9 + " 1 -1 -1 -1\n")
    settings = BatchSettings(driver="memory", workload="w.swf", socket="./s/batch.sock")
    batch = open_batch(Settings(tmp_path, batch=settings))
    assert isinstance(batch, MemoryBatch)
    assert batch.address == str(tmp_path / "s/batch.sock")
    assert [job.queue for job in batch.jobs()] == ["groupA"]
    batch.close()
    assert os.listdir(tmp_path / "s") == []
