"""The machine that runs the batch server: munged and slurmctld with empty partitions, one per group.

The Manager, the bus daemon and the batch client of a scenario run here too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .network import PREFIX_LENGTH, address
from .pod import Pod, PodProcess
from .shell import run, tail, wait_for

_CONFIGURATION = Path(__file__).with_name("slurm.conf.in")
_JOB_FIELDS = "%i|%P|%T|%r|%N"


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it; `state` and `reason` in Slurm's own words."""

    number: int
    partition: str
    state: str
    reason: str
    nodes: str


class Controller(Pod):
    """Host name `ctl`. Slurm's commands find their configuration and munge's socket in the default places."""

    def __init__(
        self,
        netns: str,
        directory: Path,
        *,
        hosts: Mapping[str, str],
        munge_key: Path,
        groups: Sequence[str],
    ) -> None:
        super().__init__("ctl", netns, directory, hosts)
        self.address = address(1)
        self.groups = tuple(groups)
        self.munged: PodProcess | None = None
        self.slurmctld: PodProcess | None = None
        self._munge_key = munge_key

    def binds(self) -> list[tuple[Path, str]]:
        return [*super().binds(), (self.directory / "slurm-etc", "/etc/slurm")]

    def connect(self) -> None:
        """Give eth0 the controller's address."""
        run(["ip", "-n", self.netns, "addr", "add", f"{self.address}/{PREFIX_LENGTH}", "dev", "eth0"])

    def power_on(self) -> None:
        """Boot, and wait until slurmctld answers."""
        if self.is_on:
            return
        self.make_etc()
        (self.directory / "slurm-etc").mkdir(exist_ok=True)
        (self.directory / "etc/slurm").mkdir(exist_ok=True)  # the mount point
        text = _CONFIGURATION.read_text().replace("@ADDRESS@", self.address)
        rows = [
            f"NodeSet=nodes_{g} Feature={g}\nPartitionName={g} Nodes=nodes_{g} State=UP\n"
            for g in self.groups
        ]
        (self.directory / "slurm-etc/slurm.conf").write_text(text + "".join(rows))
        super().power_on()
        self._start_munged()
        self.start_slurmctld(fresh=True)

    def _start_munged(self) -> None:
        inside = self.directory / "run/munge"
        inside.mkdir(mode=0o755)
        key = inside / "munge.key"
        shutil.copyfile(self._munge_key, key)
        key.chmod(0o400)
        files = ["--key-file=/run/munge/munge.key", "--log-file=/run/munge/munged.log"]
        files += ["--seed-file=/run/munge/munged.seed", "--pid-file=/run/munge/munged.pid"]
        self.munged = self.start("munged", ["munged", "--foreground", "--force", *files])
        wait_for("munged", (inside / "munge.socket.2").exists, interval_s=0.01)

    def start_slurmctld(self, *, fresh: bool = False) -> None:
        """Start the batch server and wait for its answer; `fresh` forgets all jobs and nodes."""
        (self.directory / "run/slurmctld/state").mkdir(parents=True, exist_ok=True)
        daemon = self.start("slurmctld", ["slurmctld", "-D", "-c" if fresh else "-R"])
        self.slurmctld = daemon
        wait_for(
            "slurmctld",
            lambda: not daemon.running or "is UP" in self.run(["scontrol", "ping"], check=False),
            on_timeout=lambda: tail(daemon.log),
        )
        if not daemon.running:
            raise AssertionError(f"slurmctld ended:\n{tail(daemon.log)}")

    # -- jobs and nodes

    def submit(self, partition: str, script: str, *, output: str = "/dev/ttyS0") -> int:
        """Submit a one-CPU job that runs `script` with sh; returns its number.

        There is no shared file system: the working directory is the guest's /tmp, and the output goes to
        the guest's serial line unless another file of the guest is named.
        """
        place = ["-p", partition, "--chdir=/tmp", "-o", output]
        return int(self.run(["sbatch", "--parsable", *place, "--wrap", script]).partition(";")[0])

    def jobs(self) -> dict[int, Job]:
        """Jobs that slurmctld still remembers, finished ones included, by number."""
        found = {}
        for line in self.run(["squeue", "-h", "-t", "all", "-o", _JOB_FIELDS]).splitlines():
            number, partition, state, reason, nodes = line.split("|")
            found[int(number)] = Job(int(number), partition, state, reason, nodes)
        return found

    def job(self, number: int) -> Job:
        return self.jobs()[number]

    def finished_jobs(self) -> dict[int, dict[str, str]]:
        """Slurm's completion record of each ended job (JobState, NodeList, StartTime, ...), by number."""
        text = tail(self.directory / "run/slurmctld/jobcomp.txt", 10_000_000)
        records = [
            dict(word.split("=", 1) for word in line.split() if "=" in word) for line in text.splitlines()
        ]
        return {int(record["JobId"]): record for record in records}

    def cancel_all(self) -> None:
        """Cancel whatever waits or runs: a job left over would run on the next test's first node."""
        self.run(["scancel", "--full", "--user=root"], check=False)

    def stop_slurmctld(self) -> None:
        """End the batch server as a shutdown would; it keeps its state for `start_slurmctld`."""
        assert self.slurmctld is not None
        self.slurmctld.terminate(30.0)

    def nodes(self) -> dict[str, str]:
        """State of every node known to the batch system, by name."""
        rows = self.run(["sinfo", "-h", "-N", "-o", "%N|%T"]).splitlines()
        return dict(row.split("|", 1) for row in rows if row.partition("|")[0])

    def drain(self, node: str, reason: str = "test") -> None:
        self.run(["scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}"])

    def delete_node(self, node: str) -> None:
        self.run(["scontrol", "delete", f"nodename={node}"])
