"""A vmm installation in the testbed: its configuration, its programs as processes, and what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .bed import Testbed
from .network import address
from .pod import Pod, PodProcess
from .settings import BUS_PORT, Choices, write_configuration
from .shell import WaitedTooLong, run, tail, wait_for

# What waits for a guest: some seconds when the machine is idle, a minute when it is not.
GUEST_TIMEOUT_S = 150.0
_POLL_S = 0.15
_OF_SLURMCTLD = ("slurmctld", ": slurmscriptd")  # the second is its helper, which names itself so


class Site:
    """One test's vmm: bus daemon, Manager and batch client on `ctl`, a client on every host.

    `folder` is a fresh directory of the test. Every start of a program gets a log of its own, so that
    a Manager and its successor can be told apart.
    """

    def __init__(self, bed: Testbed, folder: Path, repository: Path, label: str, choices: Choices) -> None:
        self.bed = bed
        self.etc = folder / "etc"
        self.state = folder / "state"
        self.journal = self.state / "journal"
        self.vmm = repository / ".venv/bin/vmm"
        self.label = label
        self.processes: list[PodProcess] = []
        self._current: dict[str, PodProcess] = {}
        self._machine_pids = self._pids()
        self._starts_before = {name: host.starts() for name, host in bed.hosts.items()}
        self.state.mkdir(parents=True)
        write_configuration(self.etc, repository / "etc", bed.images.groups, choices, self.state)
        names = [f"--client={name}" for name in (*bed.hosts, "batch")]
        run([self.vmm, "keys", "init", "-c", self.etc, *names])

    # -- programs

    def start(self) -> None:
        """Everything, in the order in which a person would type it; nothing is waited for."""
        self.start_daemon()
        self.start_manager()
        self.start_batch_client()
        for name in self.bed.hosts:
            self.start_host_client(name)

    def start_daemon(self) -> PodProcess:
        return self.launch("daemon", self.bed.ctl, ["daemon", "--listen", f"{address(1)}:{BUS_PORT}"])

    def start_manager(self, *options: str | Path) -> PodProcess:
        return self.launch("manager", self.bed.ctl, ["manager", "-c", self.etc, *options])

    def start_batch_client(self) -> PodProcess:
        argv = ["client", "--role", "batch", "--name", "batch", "-c", self.etc]
        return self.launch("batch", self.bed.ctl, argv)

    def start_host_client(self, host: str, *options: str | Path) -> PodProcess:
        argv = ["client", "--role", "dom0", "--name", host, "-c", self.etc, *options]
        return self.launch(f"dom0{host}", self.bed.hosts[host], argv)

    def launch(self, program: str, machine: Pod, argv: Sequence[str | Path]) -> PodProcess:
        """Start a program of vmm; `self[program]` is its last start."""
        number = 1 + sum(p.name.startswith(f"{self.label}-{program}-") for p in self.processes)
        process = machine.start(f"{self.label}-{program}-{number}", [self.vmm, *argv])
        self.processes.append(process)
        self._current[program] = process
        return process

    def __getitem__(self, program: str) -> PodProcess:
        return self._current[program]

    def wait_ended(self, program: str, timeout_s: float = 30.0) -> int:
        """Wait for a program that is to end by itself; its exit status."""
        return self._current.pop(program).wait(timeout_s)

    def stop(self) -> dict[str, int]:
        """SIGTERM to all that runs, clients first; exit status of each by its log's name."""
        found = {}
        for process in reversed(self.processes):
            if process.running:
                found[process.name] = process.terminate()
        return found

    def close(self) -> None:
        """End everything by force. May be called at any time, also twice."""
        for process in reversed(self.processes):
            if process.running:
                process.resume()
                process.kill()

    # -- what can be seen from outside

    def log(self, program: str = "manager") -> str:
        """What all starts of a program printed, in order."""
        mine = [p for p in self.processes if p.name.startswith(f"{self.label}-{program}-")]
        return "".join(process.output() for process in mine)

    def said(self, pattern: str, program: str = "manager") -> list[re.Match[str]]:
        """Where a program's log matches (each line on its own)."""
        return list(re.finditer(pattern, self.log(program), re.MULTILINE))

    def wait_said(self, pattern: str, program: str = "manager", *, count: int = 1) -> re.Match[str]:
        """Wait until a log has so many matches; the last of them."""
        found = self.wait_for(
            f"{program} to say {pattern!r}",
            lambda: (m := self.said(pattern, program)) and len(m) >= count and m,
            interval_s=0.02,
        )
        assert found
        return found[count - 1]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The journal's events of these kinds, as `vmm journal show` prints them; none without a journal."""
        if not self.journal.is_dir():
            return []
        chosen = [f"--kind={kind}" for kind in kinds]
        text = self.bed.ctl.run([self.vmm, "journal", "show", self.journal, "-o", "json", *chosen])
        return [json.loads(line) for line in text.splitlines()]

    def status(self) -> dict[str, Any]:
        """The cluster as `vmm status` shows it."""
        argv = [self.vmm, "status", self.journal, "-o", "json"]
        text = self.wait_for("a journal", lambda: self.bed.ctl.run(argv, check=False))
        found: dict[str, Any] = json.loads(text)
        return found

    def wish(self, *words: str) -> str:
        """Run a subcommand that asks something of the running Manager, as a person would."""
        return self.bed.ctl.run([self.vmm, *words, "-c", self.etc])

    def creations(self) -> list[str]:
        """Names of the guests that hosts were told to make, one entry per command (repeats not counted)."""
        sent = {
            e["id"]: e["args"]["guest"]["name"] for e in self.events("command") if e["name"] == "create_guest"
        }
        return list(sent.values())

    def guest_starts(self) -> dict[str, int]:
        """How often a guest of each name was started since this test began, by libvirt's own logs."""
        found: dict[str, int] = {}
        for name, host in self.bed.hosts.items():
            for guest, count in (host.starts() - self._starts_before[name]).items():
                found[guest] = found.get(guest, 0) + count
        return found

    def power_on(self, host: str) -> None:
        """Boot a host again after a power cut; what runs on it then belongs to the machine, not to vmm."""
        machine = self.bed.hosts[host]
        machine.power_on()
        self._machine_pids |= set(machine.pids())

    def new_processes(self) -> list[str]:
        """Programs in the testbed's machines that were not there when the test began."""
        found = []
        daemons = [self.bed.ctl.slurmctld, *(host.libvirtd for host in self.bed.hosts.values())]
        restarted = {daemon.pid for daemon in daemons if daemon is not None}
        for pid in self._pids() - self._machine_pids - restarted:
            words = tail(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
            if words and not words.startswith(_OF_SLURMCTLD):
                found.append(f"{pid} {words}")
        return found

    def _pids(self) -> set[int]:
        return {pid for machine in (self.bed.ctl, *self.bed.hosts.values()) for pid in machine.pids()}

    # -- waiting

    def wait_for(
        self,
        what: str,
        condition: Callable[[], Any],
        *,
        timeout_s: float = GUEST_TIMEOUT_S,
        interval_s: float = _POLL_S,
    ) -> Any:
        """`shell.wait_for` that also ends when one of vmm's programs has died by itself."""

        def check() -> Any:
            for process in self._current.values():
                if process.returncode not in (None, 0, -9, -15):
                    raise WaitedTooLong(
                        f"{process.name} ended with {process.returncode} while waiting for: {what}"
                    )
            return condition()

        return wait_for(what, check, timeout_s=timeout_s, interval_s=interval_s)

    def wait_job_running(self, job: int) -> str:
        """The node that a job runs on, once it runs."""
        self.wait_for(f"job {job} to run", lambda: self.bed.ctl.job(job).state == "RUNNING")
        return self.bed.ctl.job(job).nodes

    def wait_job_ended(self, job: int) -> dict[str, str]:
        """Slurm's completion record of a job, once it ended."""
        record: dict[str, str] = self.wait_for(
            f"job {job} to end", lambda: self.bed.ctl.finished_jobs().get(job)
        )
        return record

    def wait_empty(self) -> None:
        """Until no batch node, domain or overlay is left; jobs may still wait."""
        self.wait_for(
            "everything to be gone",
            lambda: not [row for row in self.bed.residue() if not row.startswith("job ")],
        )

    def wait_beats(self, count: int) -> None:
        """Until the Manager has lived through so many more beats of its clock."""
        first = self.status()["now_s"]
        self.wait_for(f"{count} beats", lambda: self.status()["now_s"] >= first + count, interval_s=0.5)
