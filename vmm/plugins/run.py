"""Running a plugin's function so that nothing it does can harm its caller.

Each call gets a daemon thread of its own. A call that passes its time limit is given up: its thread is left
alone, the call counts as *busy* and is not started again before it has come back, and the number of such
threads is bounded. Whatever goes wrong is a value that names the plugin.
"""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from vmm.errors import VmmError
from vmm.messages.structs import Value
from vmm.plugins.hookspecs import Collector, CommandPlugin, Context

MAX_HUNG = 16
MAX_HUNG_EACH = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a plugin's function gave: a value, or an error (then `code` is set).

    Codes of this module: `plugin-raised`, `plugin-timeout`, `plugin-busy`, `plugin-type`, `bad-args`,
    `wrong-role`. A VmmError that the plugin raised keeps its own code.
    """

    value: Value = None
    code: str = ""
    message: str = ""
    next_step: str = ""
    duration_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.code

    @property
    def error(self) -> str:
        """The error on one line, empty when there is none."""
        if self.ok:
            return ""
        return f"[{self.code}] {self.message}" + (f" Next: {self.next_step}" if self.next_step else "")


class PluginRunner:
    """Runs collectors and commands; safe to call from several threads."""

    def __init__(self, max_hung: int = MAX_HUNG, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_hung = max_hung
        self._clock = clock
        self._lock = threading.Lock()
        self._hung: dict[tuple[str, str], float] = {}
        """Calls that were given up and have not come back: (label, arguments) -> when they were started."""

    def collect(self, collector: Collector, context: Context, parameters: str = "") -> Outcome:
        """The property's value, checked against what the collector declares."""
        label = f"collector {collector.name}"
        if context.role not in collector.roles:
            return _wrong_role(label, collector.roles, context.role)
        got = self._guard(label, parameters, lambda: collector.read(context, parameters), collector.timeout_s)
        return _checked(got, label, collector.returns) if got.ok else got

    def execute(self, command: CommandPlugin, context: Context, args: Mapping[str, Any]) -> Outcome:
        """The command's result. An argument called `grace_s` is added to the command's time limit."""
        label = f"command {command.name}"
        if context.role not in command.roles:
            return _wrong_role(label, command.roles, context.role)
        given = dict(args)
        wrong = wrong_args(command, given)
        if wrong:
            takes = ", ".join(f"{name}: {kind.__name__}" for name, kind in command.args.items())
            return Outcome(
                code="bad-args", message=f"{label}: {wrong}.", next_step=f"it takes {takes or 'no arguments'}"
            )
        limit_s = command.timeout_s + max(0.0, float(given.get("grace_s", 0.0)))
        key = repr(sorted(given.items(), key=lambda item: item[0]))
        got = self._guard(label, key, lambda: command.run(context, **given), limit_s)
        return _checked(got, label, None) if got.ok else got

    def busy(self) -> dict[str, float]:
        """Functions that were given up and still hang: what they are -> seconds since their start."""
        now = self._clock()
        with self._lock:
            return {f"{label}({args:.60})": now - since for (label, args), since in self._hung.items()}

    def _guard(self, label: str, args: str, work: Callable[[], Value], limit_s: float) -> Outcome:
        key = (label, args)
        began = self._clock()
        with self._lock:
            refusal = self._refusal(key, began)
        if refusal is not None:
            return refusal
        call = _Call(work)
        thread = threading.Thread(target=self._run, args=(call, key), name=f"plugin {label}", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:  # no more threads in this process
            return Outcome(
                code="plugin-busy", message=f"{label}: {exc}.", next_step="see `plugins` in doctor"
            )
        call.done.wait(limit_s)
        with self._lock:
            if not call.done.is_set():
                call.given_up = True
                self._hung[key] = began
                return Outcome(
                    code="plugin-timeout",
                    message=f"{label} did not come back within {limit_s:g} s.",
                    next_step="it is not started again before it does; see what it waits for",
                    duration_s=self._clock() - began,
                )
        return _outcome(call, label, self._clock() - began)

    def _run(self, call: _Call, key: tuple[str, str]) -> None:
        try:
            call.value = call.work()
        except BaseException as exc:
            call.raised = exc
        with self._lock:
            call.done.set()
            if call.given_up:
                self._hung.pop(key, None)

    def _refusal(self, key: tuple[str, str], now: float) -> Outcome | None:
        label = key[0]
        if key in self._hung:
            return Outcome(
                code="plugin-busy",
                message=f"{label} still hangs in a call begun {now - self._hung[key]:.0f} s ago.",
                next_step="see what it waits for; restarting the client ends it",
            )
        each = Counter(name for name, _ in self._hung)[label]
        if each >= MAX_HUNG_EACH or len(self._hung) >= self._max_hung:
            which = f"{each} calls of it" if each >= MAX_HUNG_EACH else f"{len(self._hung)} plugin calls"
            return Outcome(
                code="plugin-busy",
                message=f"{label} is not started: {which} hang already.",
                next_step="see what they wait for; restarting the client ends them",
            )
        return None


class _Call:
    __slots__ = ("done", "given_up", "raised", "value", "work")

    def __init__(self, work: Callable[[], Value]) -> None:
        self.work = work
        self.value: Value = None
        self.raised: BaseException | None = None
        self.done = threading.Event()
        self.given_up = False


def wrong_args(command: CommandPlugin, given: dict[str, Any]) -> str:
    """What is wrong with the arguments, or nothing. A whole number for a float is converted in place."""
    for name in given:
        if name not in command.args:
            return f"it has no argument {name!r}"
    try:
        parameters = inspect.signature(command.run).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    for name, kind in command.args.items():
        if name not in given:
            if name not in parameters or parameters[name].default is inspect.Parameter.empty:
                return f"the argument {name!r} is missing"
            continue
        if kind is float and type(given[name]) is int:
            given[name] = float(given[name])
        if not fits(given[name], kind):
            return f"the argument {name!r} is {given[name]!r:.80}, not {kind.__name__}"
        if kind is float and not math.isfinite(given[name]):
            return f"the argument {name!r} is not a finite number"
    return ""


def fits(value: object, kind: type) -> bool:
    """Whether `value` is of the declared type: a bool is no int, an int is a float."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _checked(got: Outcome, label: str, kind: type | None) -> Outcome:
    """`got`, unless its value is not what was declared or cannot travel."""
    value = got.value
    wrong = ""
    if kind is not None and not fits(value, kind):
        wrong = f"returned {value!r:.80}, not {kind.__name__}"
    elif kind is list and not all(isinstance(row, dict) for row in value or ()):  # type: ignore[union-attr]
        wrong = "returned a list whose rows are not all dicts"
    else:
        try:
            msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            wrong = f"returned a value that cannot be sent ({exc})"
    if not wrong:
        return got
    return Outcome(
        code="plugin-type",
        message=f"{label} {wrong}.",
        next_step="correct the plugin: numbers, text, lists and dicts of them",
        duration_s=got.duration_s,
    )


def _outcome(call: _Call, label: str, duration_s: float) -> Outcome:
    exc = call.raised
    if exc is None:
        return Outcome(value=call.value, duration_s=duration_s)
    if isinstance(exc, VmmError):
        return Outcome(
            code=exc.code,
            message=f"{label}: {exc.message}",
            next_step=exc.next_step,
            duration_s=duration_s,
        )
    return Outcome(
        code="plugin-raised",
        message=f"{label} raised {type(exc).__name__}: {exc}",
        next_step="see the plugin's code",
        duration_s=duration_s,
    )


def _wrong_role(label: str, roles: tuple[str, ...], role: str) -> Outcome:
    return Outcome(
        code="wrong-role",
        message=f"{label} is for the roles {', '.join(roles)}; this client is {role}.",
        next_step="send it to such a client",
    )
