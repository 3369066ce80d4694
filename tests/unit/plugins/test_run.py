"""Running plugins: whatever they do is a value with their name in it."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vmm.errors import CommandFailed
from vmm.plugins.hookspecs import Collector, CommandPlugin, Context
from vmm.plugins.run import MAX_HUNG_EACH, PluginRunner

HERE = Context("host1", "dom0")
LONG_S = 20.0


def collector(read: Callable[..., Any], returns: type = int, **more: Any) -> Collector:
    return Collector("mine", read, returns, **{"timeout_s": LONG_S, **more})


def command(run: Callable[..., Any], args: dict[str, type] | None = None, **more: Any) -> CommandPlugin:
    return CommandPlugin("act", run, args or {}, ("dom0",), **{"timeout_s": LONG_S, **more})


class Gate:
    """A function that hangs until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.calls = 0
        self.left = threading.Semaphore(0)

    def __call__(self, *_args: object, **_kwargs: object) -> int:
        self.calls += 1
        self.open.wait()
        self.left.release()
        return 7


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.mark.parametrize(
    ("value", "returns"),
    [
        (5, int),
        (5, float),
        (5.5, float),
        ("x", str),
        (True, bool),
        ([{"a": 1}], list),
        ([], list),
        ({}, dict),
    ],
)
def test_what_fits(value: Any, returns: type) -> None:
    got = PluginRunner().collect(collector(lambda _c, _p: value, returns), HERE)
    assert (got.ok, got.value, got.error) == (True, value, "")
    assert got.duration_s >= 0


@pytest.mark.parametrize(
    ("value", "returns", "words"),
    [
        ("5", int, "returned '5', not int"),
        (5.0, int, "not int"),
        (True, int, "not int"),
        (True, float, "not float"),
        (None, int, "not int"),
        ("x" * 1000, int, "not int"),
        ({"a": 1}, list, "not list"),
        ([1, 2], list, "rows are not all dicts"),
        ([{"a": object()}], list, "cannot be sent"),
        ({"a": 1 << 80}, dict, "cannot be sent"),
        (1 << 80, int, "cannot be sent"),
    ],
)
def test_what_does_not_fit(value: Any, returns: type, words: str) -> None:
    got = PluginRunner().collect(collector(lambda _c, _p: value, returns), HERE)
    assert (got.ok, got.code, got.value) == (False, "plugin-type", None)
    assert "collector mine" in got.message
    assert words in got.message
    assert len(got.error) < 300


@pytest.mark.parametrize(
    "exc", [ValueError("no such disk"), SystemExit(3), KeyboardInterrupt(), RecursionError()]
)
def test_what_raises(exc: BaseException) -> None:
    def read(_context: Context, _parameters: str) -> int:
        raise exc

    got = PluginRunner().collect(collector(read), HERE)
    assert got.code == "plugin-raised"
    assert f"collector mine raised {type(exc).__name__}" in got.message


def test_our_own_errors_keep_their_code() -> None:
    def run(_context: Context) -> None:
        raise CommandFailed("the disk is full.", next_step="make room")

    got = PluginRunner().execute(command(run), HERE, {})
    assert (got.code, got.message, got.next_step) == (
        "command",
        "command act: the disk is full.",
        "make room",
    )


def test_what_hangs_is_given_up_and_not_started_again(gate: Gate) -> None:
    runner = PluginRunner()
    hangs = collector(gate, timeout_s=0.02)
    first = runner.collect(hangs, HERE, "/nfs")
    assert first.code == "plugin-timeout"
    assert "collector mine did not come back within 0.02 s" in first.message
    second = runner.collect(hangs, HERE, "/nfs")
    assert second.code == "plugin-busy"
    assert gate.calls == 1
    assert list(runner.busy()) == ["collector mine(/nfs)"]
    assert runner.collect(collector(lambda _c, p: len(p)), HERE, "/").value == 1  # others go on
    gate.open.set()
    assert gate.left.acquire(timeout=LONG_S)
    while runner.busy():
        threading.Event().wait(0.001)
    assert runner.collect(collector(gate), HERE, "/nfs").value == 7


def test_hanging_threads_are_few(gate: Gate) -> None:
    runner = PluginRunner(max_hung=MAX_HUNG_EACH + 1)
    codes = [runner.collect(collector(gate, timeout_s=0.005), HERE, str(n)).code for n in range(7)]
    assert codes == ["plugin-timeout"] * MAX_HUNG_EACH + ["plugin-busy"] * 3
    other = Collector("other", gate, int, timeout_s=0.005)
    assert runner.collect(other, HERE).code == "plugin-timeout"
    third = Collector("third", lambda _c, _p: 1, int)
    refused = runner.collect(third, HERE)
    assert refused.code == "plugin-busy"
    assert "5 plugin calls hang already" in refused.message
    assert gate.calls == MAX_HUNG_EACH + 1


def test_wrong_role() -> None:
    elsewhere = Context("batch1", "batch")
    runner = PluginRunner()
    assert runner.execute(command(print), elsewhere, {}).code == "wrong-role"
    assert runner.collect(collector(print, roles=("domU",)), HERE).code == "wrong-role"


def run_with(_context: Context, name: str, grace_s: float = 1.5, spec: dict[str, Any] | None = None) -> Any:
    return [name, grace_s, spec]


ARGS: dict[str, type] = {"name": str, "grace_s": float, "spec": dict}


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"name": "a"}, ["a", 1.5, None]),
        ({"name": "a", "grace_s": 3}, ["a", 3.0, None]),
        ({"name": "a", "grace_s": 0.5, "spec": {"b": 1}}, ["a", 0.5, {"b": 1}]),
    ],
)
def test_arguments(given: dict[str, Any], value: list[Any]) -> None:
    got = PluginRunner().execute(command(run_with, ARGS), HERE, given)
    assert got.value == value
    assert isinstance(got.value, list)
    assert isinstance(got.value[1], float)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the argument 'name' is missing"),
        ({"name": 5}, "the argument 'name' is 5, not str"),
        ({"name": "a", "nme": 1}, "no argument 'nme'"),
        ({"name": "a", "grace_s": "long"}, "not float"),
        ({"name": "a", "grace_s": float("inf")}, "not a finite number"),
        ({"name": "a", "grace_s": True}, "not float"),
        ({"name": "a", "spec": [1]}, "not dict"),
        ({"name": "a", "context": 1}, "no argument 'context'"),
    ],
)
def test_wrong_arguments(given: dict[str, Any], words: str) -> None:
    got = PluginRunner().execute(command(run_with, ARGS), HERE, given)
    assert got.code == "bad-args"
    assert words in got.message
    assert "name: str" in got.next_step


def test_a_grace_adds_to_the_limit(gate: Gate) -> None:
    def run(_context: Context, grace_s: float) -> str:
        gate.open.wait(grace_s)
        return "done"

    got = PluginRunner().execute(command(run, {"grace_s": float}, timeout_s=5.0), HERE, {"grace_s": 0.05})
    assert got.value == "done"
    late = PluginRunner().execute(command(gate, {"grace_s": float}, timeout_s=0.01), HERE, {"grace_s": 0.05})
    assert "within 0.06 s" in late.message


def test_a_value_of_a_command_must_travel() -> None:
    assert PluginRunner().execute(command(lambda _c: object()), HERE, {}).code == "plugin-type"
    assert PluginRunner().execute(command(lambda _c: None), HERE, {}).ok
    assert PluginRunner().execute(command(lambda _c: datetime.date(2026, 1, 1)), HERE, {}).code in (
        "",
        "plugin-type",
    )


def test_many_at_once() -> None:
    runner, results = PluginRunner(), []

    def work(n: int) -> None:
        results.append(runner.collect(collector(lambda _c, p: int(p)), HERE, str(n)).value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(30))
    assert runner.busy() == {}


def test_threads_have_names() -> None:
    name = PluginRunner().collect(collector(lambda _c, _p: threading.current_thread().name, str), HERE).value
    assert name == "plugin collector mine"
