"""A machine made of namespaces: own network, mounts, host name, IPC and process numbers.

The first process is a reaper. Killing it with SIGKILL is a power cut: the kernel ends everything inside.
It dies with the test process, so an aborted session leaves no running machine behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .shell import CommandFailed, environment, run, tail, wait_for

INIT = Path(__file__).with_name("pod_init.sh")
_PIPE_OUTPUT_LIMIT_S = 60.0


def _only_child(pid: int) -> int | None:
    """The child of a process that forks once (unshare, nsenter); None when it is not there (yet)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _state(pid: int) -> str:
    """The kernel's letter for a process's state (R, S, T, Z, ...); empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(") ")[2][:1]


def _is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return _state(pid) not in ("Z", "X", "")


class PodProcess:
    """A program running in a pod. `pid` is its number outside, so os.kill works on it."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self.pid: int = wait_for(
            f"{name} to start",
            lambda: _only_child(popen.pid) or (-1 if popen.poll() is not None else 0),
            interval_s=0.005,
            on_timeout=lambda: tail(log),
        )

    @property
    def returncode(self) -> int | None:
        """None while it runs; -N when signal N ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def output(self) -> str:
        """Everything it has printed so far (standard output and error)."""
        return tail(self.log, 10_000_000)

    def send_signal(self, number: int) -> None:
        if self.running and self.pid > 0:
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Its exit status. Raises WaitedTooLong with the log's tail."""
        wait_for(
            f"{self.name} to end",
            lambda: not self.running,
            timeout_s=timeout_s,
            on_timeout=lambda: tail(self.log),
        )
        return self._popen.wait()

    def wait_until_stopped(self) -> None:
        """Wait until nsenter, which stops itself after its child was stopped, has done so."""
        wait_for(f"{self.name} to stop", lambda: not self.running or _state(self._popen.pid) == "T")

    def pause(self) -> None:
        """Freeze it: a hung program."""
        self.send_signal(signal.SIGSTOP)
        self.wait_until_stopped()

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)
        self.let_go_on()

    def let_go_on(self) -> None:
        """Wake a stopped nsenter, or it never notices its child's end."""
        if self.running:
            self._popen.send_signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = 10.0) -> int:
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> int:
        self.send_signal(signal.SIGKILL)
        return self.wait()


class Pod:
    """One machine: powered on and off, paused, and entered with commands.

    `directory` is its disk: what is bound from there survives a power cut. /srv/state inside is
    `directory`/state, for whatever a program keeps.
    """

    def __init__(self, hostname: str, netns: str, directory: Path, hosts: Mapping[str, str]) -> None:
        self.hostname = hostname
        self.netns = netns
        self.directory = directory
        self._hosts = hosts
        self._unshare: subprocess.Popen[bytes] | None = None
        self._first = 0
        self._processes: list[PodProcess] = []
        self.directory.mkdir(parents=True, exist_ok=True)

    # -- what a kind of machine adds

    def binds(self) -> list[tuple[Path, str]]:
        """(source outside, target inside) of the bind mounts, made in this order."""
        return [
            (self.directory / "run", "/run"),
            (self.directory / "state", "/srv/state"),
            (self.directory / "etc", "/etc"),
        ]

    def make_etc(self) -> None:
        """The machine's /etc: a copy of the real one, without its secrets.

        A copy, not mounts over single files: those vanish when the real file is replaced (by adduser, say).
        """
        if not (self.directory / "etc").is_dir():
            ignored = shutil.ignore_patterns("*shadow*", "private", "ssh", "sudoers*")
            shutil.copytree("/etc", self.directory / "etc", symlinks=True, ignore=ignored)

    # -- power

    @property
    def is_on(self) -> bool:
        return self._unshare is not None and self._unshare.poll() is None

    def power_on(self) -> None:
        if self.is_on:
            return
        shutil.rmtree(self.directory / "run", ignore_errors=True)  # /run does not survive a reboot
        for name in ("run", "state", "log"):
            (self.directory / name).mkdir(exist_ok=True)
        (self.directory / "run/lock").mkdir()
        lines = [f"{where} {name}\n" for name, where in {"localhost": "127.0.0.1", **self._hosts}.items()]
        self.make_etc()
        (self.directory / "etc/hosts").write_text("".join(lines))
        binds = self.directory / "binds"
        binds.write_text("".join(f"{source} {target}\n" for source, target in self.binds()))
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        log = self.directory / "log/init.log"
        # setns first, then unshare: so /sys can be mounted for the right network namespace.
        enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.netns}"]
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL"]
        first = ["--propagation", "private", "--", "bash", str(INIT), self.hostname, str(binds), str(ready)]
        with log.open("ab") as sink:
            self._unshare = subprocess.Popen(
                [*enter, *spaces, *first],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment(),
                start_new_session=True,
            )
        started = self._unshare
        wait_for(
            f"{self.hostname} to power on",
            lambda: ready.exists() or started.poll() is not None,
            interval_s=0.01,
            on_timeout=lambda: tail(log),
        )
        child = _only_child(started.pid)
        if child is None:
            raise CommandFailed(f"{self.hostname} did not power on:\n{tail(log)}")
        self._first = child

    def power_off(self) -> None:
        """A power cut. Returns when nothing of the machine runs any more; may be called twice."""
        if self._unshare is None:
            return
        inside = self.pids()
        if self._first and _is_alive(self._first):
            os.kill(self._first, signal.SIGKILL)
        for process in self._processes:
            process.let_go_on()
        self._unshare.wait(timeout=30)
        self._unshare = None
        self._first = 0
        wait_for(
            f"{self.hostname} to power off",
            lambda: not any(_is_alive(pid) for pid in inside),
            interval_s=0.01,
        )
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def pids(self) -> list[int]:
        """Every process of the machine, as numbered outside."""
        if not self._first:
            return []
        try:
            space = os.readlink(f"/proc/{self._first}/ns/pid")
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == space:
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def pause(self) -> None:
        """Freeze every process: a hung machine."""
        self._signal_all(signal.SIGSTOP)
        for process in self._processes:
            process.wait_until_stopped()

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)
        for process in self._processes:
            process.let_go_on()

    def _signal_all(self, number: int) -> None:
        for pid in self.pids():
            if pid != self._first:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue

    # -- programs

    def _enter(self, argv: Sequence[str | Path]) -> list[str]:
        if not self.is_on:
            raise CommandFailed(f"{self.hostname} is off; cannot run {argv}")
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        words = [str(word) for word in argv]
        # Neither nsenter nor the program outlives the test process.
        bound = ["setpriv", "--pdeathsig", "KILL"]
        return [*bound, "nsenter", "-t", str(self._first), *spaces, "--", *bound, *words]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout_s: float = _PIPE_OUTPUT_LIMIT_S,
    ) -> str:
        """Run a command in the machine to its end; see `shell.run`."""
        return run(self._enter(argv), check=check, env=env, timeout_s=timeout_s)

    def start(
        self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None
    ) -> PodProcess:
        """Start a program in the machine; it prints to log/NAME.log of the machine's directory."""
        log = self.directory / f"log/{name}.log"
        with log.open("ab") as sink:
            popen = subprocess.Popen(
                self._enter(argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment(env),
                start_new_session=True,
            )
        process = PodProcess(name, popen, log)
        self._processes.append(process)
        return process
