"""Commands: checked, recorded, run once, answered. The record decides, not memory."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from vmm.client import verdict
from vmm.client.errors import RecordError
from vmm.client.lanes import Job, Lanes
from vmm.client.packing import fit_result
from vmm.client.record import Entry, Record, State
from vmm.messages.structs import Command, Result, Value
from vmm.plugins.hookspecs import CommandPlugin
from vmm.plugins.run import Outcome

log = logging.getLogger(__name__)

Run = Callable[[CommandPlugin, Mapping[str, Any]], Outcome]
"""Runs a command with its time limit; never raises."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command that came in, and how far stream time is ahead of our clock."""

    command: Command
    offset_s: float


class Workers:
    """`accept` in the Receiver's thread, `run` in each worker thread; `answer` takes the results."""

    def __init__(
        self,
        *,
        name: str,
        role: str,
        plugins: Mapping[str, CommandPlugin],
        record: Record,
        run: Run,
        answer: Callable[[Result], None],
        clock: Callable[[], float],
    ) -> None:
        self._name, self._role, self._plugins = name, role, plugins
        self._record, self._run, self._answer, self._clock = record, run, answer, clock
        self._lanes: Lanes[Order] = Lanes()
        self._running: dict[str, str] = {}
        self._busy: dict[str, str] = {}

    def accept(self, command: Command, stream_s: float) -> None:
        """Take a command whose signature held. Never blocks; answers at once what needs no record."""
        refused = verdict.check_address(command, self._name)
        if refused is not None:
            self._tell(command, refused)
            return
        job = Job(command.id, verdict.subject_of(command), Order(command, stream_s - self._clock()))
        taken = self._lanes.put(job)
        if taken == "known":
            self._answer(Result(command.id, verdict.RUNNING))
        elif taken != "taken":
            why = "the client is stopping." if taken == "closed" else "too many commands wait already."
            self._tell(command, verdict.refuse(command, "busy", why, "send it again later"))

    def run(self) -> None:
        while (job := self._lanes.take()) is not None:
            command = job.work.command
            self._running[command.id] = command.name
            try:
                result = self._handle(command, job.work.offset_s)
            finally:
                self._running.pop(command.id, None)
                self._lanes.done(job)
            self._tell(command, result)

    def close(self) -> None:
        """Take and hand out nothing more. What is being run goes on until the program ends."""
        waiting = self._lanes.close()
        if waiting:
            log.warning("stopping: %d commands that waited are not run; they can be sent again", len(waiting))

    def running(self) -> list[str]:
        """Names of the commands that are being run."""
        return list(self._running.values())

    def _handle(self, command: Command, offset_s: float) -> Result:
        try:
            entry = self._record.look(command)
            earlier = self._from_record(command, entry)
            if earlier is not None:
                return earlier
            now_s = self._clock() + offset_s
            refused = (
                verdict.check_deadline(command, now_s)
                or verdict.check_call(command, self._plugins, self._role)
                or self._check_busy(command)
            )
            if entry.state is State.STARTED and (refused or not self._plugins[command.name].repeatable):
                return self._finish(_interrupted(command, refused))
            if refused is not None:
                return refused
            self._record.begin(command, now_s)
        except RecordError as exc:
            log.error("%s is refused: %s", command.name, exc)
            return verdict.refuse(command, exc.code, exc.message, exc.next_step)
        if entry.state is State.STARTED:
            log.info("%s (%s) was interrupted by a crash and is run again", command.name, command.id)
        return self._finish(self._call(command))

    def _from_record(self, command: Command, entry: Entry) -> Result | None:
        if entry.result is not None:
            return msgspec.structs.replace(entry.result, repeated=True)
        if entry.state is State.OTHER:
            return verdict.refuse(
                command,
                "id-reused",
                "this id was used before, for another command or another object.",
                "give every command an id of its own",
            )
        if entry.state is State.FORGOTTEN:
            return verdict.refuse(
                command, "expired", "a command this old may have been run before.", "send a new command"
            )
        return None

    def _check_busy(self, command: Command) -> Result | None:
        subject = verdict.subject_of(command)
        other = self._busy.get(subject)
        if other is None:
            return None
        return verdict.refuse(
            command,
            "busy",
            f"{other} on {subject} was given up after its time limit, but has not come back yet.",
            "see what it waits for; restarting the client ends it",
        )

    def _call(self, command: Command) -> Result:
        log.info("running %s for %s (%s)", command.name, verdict.subject_of(command), command.id)
        outcome = self._run(self._guarded(command), command.args)
        result = Result(
            command.id,
            verdict.DONE if outcome.ok else verdict.FAILED,
            value=outcome.value,
            code=outcome.code,
            message=outcome.message,
            next_step=outcome.next_step,
            duration_s=round(outcome.duration_s, 6),
        )
        return fit_result(result)

    def _guarded(self, command: Command) -> CommandPlugin:
        """The plugin, with its function marking the subject as busy until it really comes back.

        A call over its time limit is given up but goes on in its thread; until it ends nothing else may
        touch the same subject.
        """
        plugin = self._plugins[command.name]
        subject = verdict.subject_of(command)

        @functools.wraps(plugin.run)
        def run(*args: Any, **kwargs: Any) -> Value:
            self._busy[subject] = command.name
            try:
                return plugin.run(*args, **kwargs)
            finally:
                self._busy.pop(subject, None)

        return dataclasses.replace(plugin, run=run)

    def _finish(self, result: Result) -> Result:
        """Record the result and hand it on. While the disk refuses it, memory answers for it."""
        try:
            self._record.finish(result)
        except RecordError as exc:
            log.error("the result of %s is kept in memory only: %s", result.id, exc)
        return result

    def _tell(self, command: Command, result: Result) -> None:
        text = f" [{result.code}] {result.message}" if result.code else ""
        again = " (answered from the record)" if result.repeated else ""
        level = logging.INFO if result.status == verdict.DONE else logging.WARNING
        log.log(level, "%s %s (%s)%s%s", command.name, result.status, command.id, again, text)
        self._answer(result)


def _interrupted(command: Command, refused: Result | None) -> Result:
    why = f" It cannot be run again: {refused.message}" if refused else " It cannot safely be run twice."
    return Result(
        command.id,
        verdict.FAILED,
        code="interrupted",
        message=f"the client ended while it ran {command.name}; how far it came is not known.{why}",
        next_step="look at the object it acts on, then send a new command",
    )
