"""Commands: signed, in time, known, recorded, run once. A whole client on an in-process bus."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import pytest
from client_world import LIMIT_S, World, does

from vmm.client.record import Record, State
from vmm.errors import CommandFailed
from vmm.messages.codec import seal
from vmm.messages.keys import Signer
from vmm.messages.structs import SCHEMA, Beat, Command, Hello, Kind, Query, Report, Result
from vmm.plugins.hookspecs import CommandPlugin


class Counter:
    """A command that counts its runs."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def __call__(self, context: object, **args: Any) -> int:
        self.runs.append(args)
        return len(self.runs)


def no_template(context: object) -> None:
    error = CommandFailed("there is no t.img.", next_step="copy it")
    error.code = "no-template"
    raise error


def test_a_command_is_run_and_answered(world: World) -> None:
    count = Counter()
    world.joined(commands=[does("count", count, {"name": str})])
    world.manager.command("c1", "count", name="g1")
    result = world.manager.answer("c1")
    assert (result.status, result.value, result.repeated) == ("done", 1, False)
    assert count.runs == [{"name": "g1"}]


def test_a_repeated_id_is_answered_from_the_record_even_after_its_deadline(world: World) -> None:
    count = Counter()
    world.joined(commands=[does("count", count)], link_timeout_s=1e6)
    command = world.manager.command("c1", "count")
    first = world.manager.answer("c1")
    world.clock.ahead_s += 3600
    world.manager.send(command)
    again = world.manager.answer("c1")
    assert again == msgspec.structs.replace(first, repeated=True)
    assert len(count.runs) == 1


def test_a_failed_command_keeps_its_code_and_is_not_run_again(world: World) -> None:
    world.joined(commands=[does("fails", no_template)])
    command = world.manager.command("c1", "fails")
    result = world.manager.answer("c1")
    assert (result.status, result.code, result.next_step) == ("failed", "no-template", "copy it")
    world.manager.send(command)
    assert world.manager.answer("c1").repeated


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"to": "h2"}, "not-for-me"),
        ({"deadline_s": 0.0}, "expired"),
        ({"name": "cuont"}, "unknown-command"),
        ({"args": {"name": "g1", "size": 1}}, "bad-args"),
        ({"args": {}}, "bad-args"),
        ({"args": {"name": 7}}, "bad-args"),
        ({"name": "for_batch"}, "unknown-command"),
    ],
)
def test_what_is_refused_is_neither_run_nor_recorded(world: World, change: dict[str, Any], code: str) -> None:
    count = Counter()
    batch = CommandPlugin("for_batch", count, {}, ("batch",))
    client = world.joined(commands=[does("count", count, {"name": str}), batch])
    good = Command("c1", "h1", "count", {"name": "g1"}, world.manager.time_s() + 60)
    world.manager.send(msgspec.structs.replace(good, **change))
    result = world.manager.answer("c1")
    assert (result.status, result.code) == ("refused", code)
    assert result.message
    assert count.runs == []
    assert client._record is not None
    assert client._record.look(good).state is State.UNKNOWN
    world.manager.send(good)
    assert world.manager.answer("c1").status == "done", "the id is free for the right command"


def test_an_id_that_was_used_for_something_else_is_refused(world: World) -> None:
    count = Counter()
    world.joined(commands=[does("count", count, {"name": str})])
    world.manager.command("c1", "count", name="g1")
    world.manager.answer("c1")
    world.manager.command("c1", "count", name="g2")
    assert world.manager.answer("c1").code == "id-reused"


@pytest.mark.parametrize(
    "who", ["stranger", "another client", "nobody", "garbage", "torn", "version", "kind"]
)
def test_what_the_manager_did_not_sign_is_not_answered_but_counted(world: World, who: str) -> None:
    count = Counter()
    client = world.joined(commands=[does("count", count)])
    command = Command("evil", "h1", "count", {}, world.manager.time_s() + 60)
    kind, body = seal(command, "manager", Signer.generate())
    if who == "another client":
        kind, body = seal(command, "h1", client._signer)
    elif who == "nobody":
        body = msgspec.msgpack.encode((SCHEMA, "manager", msgspec.msgpack.encode(command), b""))
    elif who == "garbage":
        body = bytes(range(256))
    elif who == "torn":
        body = seal(command, "manager", world.manager.signer)[1][:-9]
    elif who == "version":
        body = msgspec.msgpack.encode((SCHEMA + 1, "manager", msgspec.msgpack.encode(command), b"x" * 64))
    elif who == "kind":
        kind = 999
    world.manager.raw(kind, body)
    world.manager.send(Query("after"))
    heard = []
    while not (heard and isinstance(heard[-1], Report) and heard[-1].query == "after"):
        heard.append(world.manager.next(object))  # type: ignore[type-var]
    assert not any(isinstance(message, Result) for message in heard)
    assert count.runs == []
    world.manager.send(Query("hello:h1"))
    refused = world.manager.next(Hello).facts["refused_messages"]
    assert refused == {"kind 999" if who == "kind" else "bad message": 1}


def test_a_signed_message_does_not_pass_as_another_kind(world: World) -> None:
    count = Counter()
    world.joined(commands=[does("count", count)])
    _, body = seal(Query("q"), "manager", world.manager.signer)
    world.manager.raw(int(Kind.COMMAND), body)
    world.manager.send(Query("hello:h1"))
    assert world.manager.next(Hello).facts["refused_messages"] == {"bad message": 1}


def test_replayed_beats_do_not_bring_an_expired_command_back(world: World) -> None:
    count = Counter()
    world.joined(commands=[does("count", count)])
    old = Beat(world.manager.time_s() - 3600, "m1", "e1")
    expired = Command("c1", "h1", "count", {}, old.time_s + 60)
    world.manager.send(old)
    world.manager.send(expired)
    assert world.manager.answer("c1").code == "expired"
    assert count.runs == []


def test_commands_that_come_before_the_first_beat_wait_for_it(world: World) -> None:
    count = Counter()
    client = world.client(commands=[does("count", count)])
    client.start()
    world.manager.next(Hello)
    world.manager.command("c1", "count")
    world.manager.send(Command("old", "h1", "count", {}, world.manager.time_s() - 1))
    world.manager.send(Query("q"))
    world.manager.next(Report, lambda r: r.query == "q")
    assert count.runs == []
    world.manager.beat()
    assert world.manager.answer("c1").status == "done"
    assert world.manager.answer("old").code == "expired"


def test_a_repeat_of_a_running_command_says_running(world: World) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(context: object) -> str:
        begun.set()
        gate.wait(LIMIT_S)
        return "ready"

    world.joined(commands=[does("slow", slow)])
    command = world.manager.command("c1", "slow")
    assert begun.wait(LIMIT_S)
    world.manager.send(command)
    assert world.manager.answer("c1").status == "running"
    gate.set()
    assert world.manager.answer("c1").value == "ready"


def test_commands_on_one_object_keep_their_order_and_others_do_not_wait(world: World) -> None:
    gate, order = threading.Event(), []

    def act(context: object, name: str, step: int) -> None:
        if (name, step) == ("g1", 1):
            gate.wait(LIMIT_S)
        order.append((name, step))

    world.joined(commands=[does("act", act, {"name": str, "step": int})])
    for name, step in (("g1", 1), ("g1", 2), ("g1", 3), ("g2", 1)):
        world.manager.command(f"{name}.{step}", "act", name=name, step=step)
    world.manager.answer("g2.1")
    assert order == [("g2", 1)]
    gate.set()
    world.manager.answer("g1.3")
    assert order == [("g2", 1), ("g1", 1), ("g1", 2), ("g1", 3)]


def test_a_hanging_command_fails_at_its_limit_and_blocks_its_own_object_only(world: World) -> None:
    gate = threading.Event()

    def hang(context: object, name: str) -> None:
        if name == "g1":
            gate.wait(LIMIT_S)

    plugins = [does("hang", hang, {"name": str}, timeout_s=0.1), does("count", Counter(), {"name": str})]
    client = world.joined(commands=plugins)
    world.manager.command("c1", "hang", name="g1")
    assert world.manager.answer("c1").code == "plugin-timeout"
    world.manager.command("c2", "count", name="g1")
    refused = world.manager.answer("c2")
    assert (refused.status, refused.code) == ("refused", "busy")
    world.manager.command("c3", "count", name="g2")
    assert world.manager.answer("c3").status == "done"
    gate.set()
    assert client._workers is not None
    end = time.monotonic() + LIMIT_S
    while client._workers._busy and time.monotonic() < end:
        time.sleep(0.01)
    world.manager.command("c2", "count", name="g1")
    assert world.manager.answer("c2").status == "done"


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (lambda _: 1 // 0, "plugin-raised"),
        (lambda _: {"x": object()}, "plugin-type"),
        (lambda _: 2**70, "plugin-type"),
    ],
)
def test_a_plugin_that_misbehaves_fails_alone(world: World, run: Any, code: str) -> None:
    world.joined(commands=[does("bad", run), does("count", Counter())])
    world.manager.command("c1", "bad")
    result = world.manager.answer("c1")
    assert (result.status, result.code) == ("failed", code)
    assert "bad" in result.message
    world.manager.command("c2", "count")
    assert world.manager.answer("c2").status == "done"


def test_a_value_too_long_for_the_bus_is_left_out_and_said(world: World) -> None:
    world.joined(commands=[does("talks", lambda _: "x" * 200_000)])
    world.manager.command("c1", "talks")
    result = world.manager.answer("c1")
    assert (result.status, result.value) == ("done", None)
    assert "too long" in result.message


@pytest.mark.parametrize("repeatable", [True, False])
def test_after_a_crash_only_a_repeatable_command_is_run_again(world: World, repeatable: bool) -> None:
    command = Command("c1", "h1", "count", {}, world.manager.time_s() + 60)
    record = Record(world.folder / "h1" / "commands.sqlite")
    record.begin(command, world.manager.time_s())
    record.close()
    count = Counter()
    world.joined(commands=[does("count", count, repeatable=repeatable)])
    world.manager.send(command)
    result = world.manager.answer("c1")
    if repeatable:
        assert (result.status, len(count.runs)) == ("done", 1)
    else:
        assert (result.status, result.code, len(count.runs)) == ("failed", "interrupted", 0)
    world.manager.send(command)
    assert world.manager.answer("c1") == msgspec.structs.replace(result, repeated=True)


def test_an_interrupted_command_that_expired_is_not_run_again(world: World) -> None:
    command = Command("c1", "h1", "count", {}, world.manager.time_s() - 60)
    record = Record(world.folder / "h1" / "commands.sqlite")
    record.begin(command, world.manager.time_s() - 90)
    record.close()
    count = Counter()
    world.joined(commands=[does("count", count, repeatable=True)])
    world.manager.send(command)
    assert world.manager.answer("c1").code == "interrupted"
    assert count.runs == []


def test_with_a_full_disk_nothing_is_done(world: World) -> None:
    count = Counter()
    client = world.joined(commands=[does("count", count)])
    assert client._record is not None
    pages = client._record._db.execute("PRAGMA page_count").fetchone()[0]
    client._record._db.execute(f"PRAGMA max_page_count = {pages}")
    codes = []
    for n in range(200):  # what is left of the last page takes a few
        world.manager.command(f"c{n}", "count")
        codes.append(world.manager.answer(f"c{n}").code)
        if codes[-1]:
            break
    assert codes[-1] == "record-full"
    assert len(count.runs) == len(codes) - 1
    client._record._db.execute("PRAGMA max_page_count = 100000")
    world.manager.command("later", "count")
    assert world.manager.answer("later").status == "done"


def test_results_wait_for_the_next_connection(world: World) -> None:
    gate = threading.Event()
    world.joined(commands=[does("slow", lambda _: gate.wait(LIMIT_S))])
    world.manager.command("c1", "slow")
    world.daemon.up = False
    world.daemon.end(world.daemon.sessions["#h1#local"])
    gate.set()
    time.sleep(0.1)
    world.daemon.up = True
    assert world.manager.next(Hello).name == "h1"
    assert world.manager.answer("c1").status == "done"


def test_a_stopping_client_leaves_a_running_command_in_the_record(world: World) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(context: object) -> None:
        begun.set()
        gate.wait(LIMIT_S)

    client = world.joined(commands=[does("slow", slow)])
    command = world.manager.command("c1", "slow")
    assert begun.wait(LIMIT_S)
    client.stop()
    gate.set()
    record = Record(world.folder / "h1" / "commands.sqlite")
    assert record.look(command).state is State.STARTED
    record.close()
