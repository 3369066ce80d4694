"""The console blocks of the documentation: parsed, compared, and typed into a real shell."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from docs_blocks import Block

from vmm.cli.main import vmm

_READ_ONLY = (
    "vmm status",
    "vmm rules explain",
    "vmm rules backtest",
    "vmm why",
    "vmm journal show",
    "tail",
    "grep",
    "vmm doctor",
)
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Step:
    """One command, what is typed when it asks, and what the document shows behind it."""

    place: str
    command: str
    typed: str
    shown: tuple[str, ...]

    @property
    def repeatable(self) -> bool:
        return self.command.startswith(_READ_ONLY)


def steps(block: Block) -> Iterator[Step]:
    """`$ ` begins a command, `> ` continues it; an answer stands behind a question: `Apply? [y/N]: y`."""
    command, line, shown = "", 0, []
    for number, text in enumerate([*block.text.splitlines(), "$ "], block.line):
        if text.startswith("$ "):
            if command:
                yield _step(f"{block.file}:{line}", command, shown)
            command, line, shown = text[2:], number, []
        elif text.startswith("> ") and not shown:
            command += "\n" + text[2:]
        else:
            shown.append(text)


def _step(place: str, command: str, shown: list[str]) -> Step:
    """What is typed is not printed by a pipe, nor is the line end behind it."""
    typed, lines, asked = "", [], ""
    for text in shown:
        question = re.fullmatch(r"(.*\[y/N\]: )(\w+)", text)
        if question:
            typed, asked = f"{typed}{question[2]}\n", asked + question[1]
        else:
            lines.append(asked + text)
            asked = ""
    return Step(place, command, typed, tuple([*lines, asked] if asked else lines))


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """`...` in a line is any text, a line `...` for any lines; blanks and empty lines do not count."""
    lines = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    return _fits([" ".join(line.split()) for line in shown if line.strip()], lines)


def _fits(wanted: list[str], lines: list[str]) -> bool:
    if not wanted:
        return not lines
    if wanted[0] == "...":
        return any(_fits(wanted[1:], lines[skip:]) for skip in range(len(lines) + 1))
    if not lines:
        return False
    pattern = ".*?".join(re.escape(part) for part in wanted[0].split("..."))
    return re.fullmatch(pattern, lines[0]) is not None and _fits(wanted[1:], lines[1:])


def wrong_usage(line: str) -> str:
    """Why `vmm` would not understand this command line; empty when it would. Nothing is run."""
    try:
        words = shlex.split(line.split(" # ")[0], comments=False)
    except ValueError as exc:
        return str(exc)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    for prefix in ("sudo",):
        if words[:1] == [prefix]:
            words.pop(0)
    if words[:1] != ["vmm"]:
        return ""
    cut = next((i for i, w in enumerate(words) if re.match(r"^(\||\d?>>?|<|&&?|;)", w)), len(words))
    return _parse(vmm, "vmm", words[1:cut])


def _parse(command: click.Command, name: str, words: list[str]) -> str:
    try:
        context = command.make_context(name, list(words), resilient_parsing=False)
    except click.exceptions.Exit:
        return ""  # --help, --version
    except click.exceptions.NoArgsIsHelpError:
        return "a subcommand is missing"
    except click.BadParameter as exc:
        return "" if "does not exist" in exc.format_message() else exc.format_message()
    except click.ClickException as exc:
        return exc.format_message()
    if not isinstance(command, click.Group):
        return ""
    left = [*getattr(context, "_protected_args", ()), *context.args]
    if not left:
        return "a subcommand is missing"
    found = command.get_command(context, left[0])
    return f"no command {left[0]!r}" if found is None else _parse(found, f"{name} {left[0]}", left[1:])


class Shell:
    """A bash with `vmm` of this environment on its path. Ends with everything it started."""

    def __init__(self, home: Path, folder: Path, replace: dict[str, str]) -> None:
        self._replace = replace
        bin_folder = str(Path(sys.executable).parent)
        environment = {
            "HOME": str(home), "PATH": f"{bin_folder}:{os.environ['PATH']}", "LANG": "C.UTF-8",
            "COLUMNS": "100", "USER": "reader", "LOGNAME": "reader",
        }  # fmt: skip
        self._out = home / "shell.out"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-m"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._out.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._asked = 0

    def type(self, step: Step) -> str:
        """Run it and return what it printed; a read-only one again until it prints what is shown."""
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            printed = self._run(step)
            if matches(step.shown, printed) or not step.shown:
                return printed
            if not step.repeatable or time.monotonic() > end_s:
                shown = "\n".join(step.shown)
                raise AssertionError(
                    f"{step.place}: $ {step.command}\n--- shown:\n{shown}\n--- printed:\n{printed}"
                )
            threading.Event().wait(0.3)

    def _run(self, step: Step) -> str:
        self._asked += 1
        mark = f"-- step {self._asked} done --"
        command = step.command
        for old, new in self._replace.items():
            command = command.replace(old, new)
        if step.typed:
            command = f"printf %s {shlex.quote(step.typed)} | {command}"
        began = self._out.stat().st_size
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(f"{command}\necho; echo '{mark}'\n".encode())
        pipe.flush()
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            with self._out.open("rb") as out:
                out.seek(began)
                text = out.read().decode(errors="replace")
            if mark in text:
                return _without_chatter(text.partition(mark)[0])
            assert time.monotonic() < end_s, f"{step.place}: $ {command}\n... does not come back:\n{text}"
            assert self._process.poll() is None, f"{step.place}: the shell ended:\n{text}"
            threading.Event().wait(0.02)

    def close(self) -> None:
        """End the shell, then what its jobs left: each job leads a process group of the shell's session."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\nkill -9 $(jobs -p) 2>/dev/null\nexit\n")
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for pid in _session(self._process.pid):
            os.kill(pid, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """Processes that still belong to the session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


_CHATTER = re.compile(r"bash: (line \d+: +\d+ \w+|cannot set terminal|no job control)|\[\d+\]")


def _without_chatter(text: str) -> str:
    """Without what bash says of its jobs, and the line end that came before the mark."""
    return "\n".join(line for line in text.splitlines() if not _CHATTER.match(line)).strip("\n")
