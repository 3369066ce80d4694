"""Slurm through its command-line tools, the interface that stays the same over its releases."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter

from vmm.batch.interface import BatchDown, Job, Node, NodeFailed
from vmm.batch.slurm_text import JOB_FORMAT, JOB_STATES, parse_jobs, parse_nodes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BLANK = re.compile(r"\s+")
# Messages of scontrol, the same since Slurm 2.x.
_NO_SUCH = ("invalid node name specified", "not found")
_BUSY = ("nodes are busy",)
_BAD_STATE = "bad-state"


class SlurmBatch:
    """A `BatchSystem` over squeue and scontrol.

    `bin_folder` is where the tools are (PATH when empty), `conf` the SLURM_CONF to use (the tools' own when
    empty; with a configless controller none is needed). Each call of a tool may take `timeout_s`.
    """

    def __init__(self, bin_folder: str = "", conf: str = "", timeout_s: float = 10.0) -> None:
        self._bin = bin_folder
        self._timeout_s = timeout_s
        # A user's SQUEUE_FORMAT and the like would change what is parsed here.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SINFO_", "SCONTROL_"))}
        self._env = {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
        if conf:
            self._env["SLURM_CONF"] = conf

    def jobs(self) -> list[Job]:
        # -r: one line a task of a job array; -a: hidden partitions too.
        return parse_jobs(self._query("squeue", "-h", "-a", "-r", "-t", JOB_STATES, "-o", JOB_FORMAT))

    def nodes(self) -> list[Node]:
        """All nodes with the number of jobs on each; static nodes and nodes of no partition included."""
        text = self._query("scontrol", "show", "node", "-o")
        jobs: Counter[str] = Counter()
        for job in self.jobs():
            if job.state == "running":
                jobs.update(job.node.split(","))
        return parse_nodes(text, jobs)

    def drain(self, node: str, reason: str) -> None:
        self._change(
            node, "drain", "update", f"NodeName={_checked(node)}", "State=DRAIN", f"Reason={_why(reason)}"
        )

    def resume(self, node: str) -> None:
        try:
            self._change(node, "resume", "update", f"NodeName={_checked(node)}", "State=RESUME")
        except NodeFailed as exc:
            # Slurm refuses to resume a node that is not drained: that is what was wanted.
            if exc.code != _BAD_STATE or self._state(node) not in ("idle", "busy"):
                raise

    def down(self, node: str, reason: str) -> None:
        """Slurm ends the runs there as NODE_FAIL and requeues their jobs, unless they forbid it."""
        self._change(
            node, "down", "update", f"NodeName={_checked(node)}", "State=DOWN", f"Reason={_why(reason)}"
        )

    def delete(self, node: str) -> None:
        try:
            self._change(node, "delete", "delete", f"NodeName={_checked(node)}")
        except NodeFailed as exc:
            if exc.code != "no-such-node":
                raise
            # The same words are used for a node of slurm.conf, which cannot be deleted.
            if self._state(node):
                raise NodeFailed(
                    "node-failed",
                    f"node {node} is there and cannot be deleted: it stands in slurm.conf.",
                    next_step="only dynamic nodes (slurmd -Z) can be deleted",
                ) from exc

    def close(self) -> None:
        """Nothing is held between calls."""

    def _state(self, node: str) -> str:
        return next((known.state for known in self.nodes() if known.name == node), "")

    def _change(self, node: str, doing: str, *args: str) -> None:
        done = self._run("scontrol", *args)
        if not done.returncode:
            return
        text = _one_line(done)
        low = text.lower()
        if any(mark in low for mark in _BUSY):
            raise NodeFailed(
                "node-busy", f"node {node} has jobs: {text}", next_step="drain it and wait for their end"
            )
        if any(mark in low for mark in _NO_SUCH):
            raise NodeFailed(
                "no-such-node", f"Slurm has no node {node!r}.", next_step="see `scontrol show node`"
            )
        if "invalid node state" in low:
            raise NodeFailed(_BAD_STATE, f"{doing} {node}: {text}", next_step="see `scontrol show node`")
        if "permission" in low or "access" in low:
            raise NodeFailed(
                "node-failed",
                f"{doing} {node}: {text}",
                next_step="run the client as SlurmUser or as a Slurm operator",
            )
        raise _down(f"scontrol {' '.join(args)}", text)

    def _query(self, tool: str, *args: str) -> str:
        done = self._run(tool, *args)
        if done.returncode:
            raise _down(tool, _one_line(done))
        return done.stdout

    def _run(self, tool: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = [os.path.join(self._bin, tool), *args]
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout_s,
                check=False,
                env=self._env,
            )
        except (FileNotFoundError, PermissionError) as exc:
            raise BatchDown(
                f"{command[0]} cannot be run: {exc.strerror}.",
                next_step="apt-get install slurm-client, or set `bin` in [batch] of vmm.ini",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise BatchDown(
                f"{tool} gave no answer within {self._timeout_s:g} s.",
                next_step="see whether slurmctld runs (scontrol ping)",
            ) from exc


def _checked(node: str) -> str:
    """scontrol takes lists, ranges and `ALL` for a name: one node only, so that none of them passes."""
    if not _NAME.fullmatch(node) or node.upper() == "ALL":
        raise NodeFailed("bad-node", f"{node!r} is not the name of one node.", next_step="name one node")
    return node


def _why(reason: str) -> str:
    return _BLANK.sub(" ", reason).strip()[:200] or "vmm"


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    text = " / ".join(line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip())
    return text[:400] or f"exit status {done.returncode}"


def _down(command: str, text: str) -> BatchDown:
    return BatchDown(
        f"{command}: {text}",
        next_step="see whether slurmctld and munge run (scontrol ping), and `conf` in [batch] of vmm.ini",
    )
