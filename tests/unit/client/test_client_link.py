"""Introducing, reporting, reconnecting: a whole client on an in-process bus."""

from __future__ import annotations

import threading
import time

import pytest
from client_world import LIMIT_S, World, reads

from vmm.client.errors import StateInUse, ThreadDied
from vmm.messages.bus import NameTaken, shard_of
from vmm.messages.structs import Hello, Query, Report


def test_hello_comes_first_and_then_everything_in_one_report(world: World) -> None:
    client = world.client(collectors={"ram": reads(4096), "name": reads("h1")})
    client.start()
    hello = world.manager.next(Hello)
    assert (hello.name, hello.role) == ("h1", "dom0")
    assert hello.facts["properties"] == ["name", "ram"]
    report = world.manager.next(Report)
    assert report.values == {"ram": 4096, "name": "h1"}
    assert (report.session, report.seq) == (hello.session, 0)
    assert world.daemon.groups[shard_of("h1", 8)] == ["#h1#local"]


def test_reports_follow_at_the_ticks_numbered_without_gaps(world: World) -> None:
    world.joined(collectors={"fast": reads(1), "slow": reads(2)}, ticks_s=0.1)
    first = world.manager.next(Report)
    second = world.manager.next(Report)
    assert set(first.values) == {"fast", "slow"}
    assert second.seq == first.seq + 1


def test_a_query_is_answered_with_what_it_names(world: World) -> None:
    world.joined(collectors={"ram": reads(4096), "load": reads(0.5)})
    world.manager.send(Query("q1", ["load", "lod"]))
    report = world.manager.next(Report, lambda r: r.query == "q1")
    assert report.values == {"load": 0.5}
    assert list(report.errors) == ["lod"]
    assert "unknown-property" in report.errors["lod"]
    world.manager.send(Query("q2"))
    assert set(world.manager.next(Report, lambda r: r.query == "q2").values) == {"ram", "load"}


def test_a_query_is_answered_even_when_there_is_nothing_to_say(world: World) -> None:
    world.joined()
    world.manager.send(Query("q1"))
    assert world.manager.next(Report, lambda r: r.query == "q1").values == {}


def test_a_lost_daemon_is_followed_by_hello_and_a_full_report_without_restart(world: World) -> None:
    client = world.joined(collectors={"ram": reads(1)})
    session = client.receiver.connections
    world.daemon.up = False
    world.daemon.end(world.daemon.sessions["#h1#local"])
    time.sleep(0.05)
    world.daemon.up = True
    hello = world.manager.next(Hello)
    assert world.manager.next(Report).values == {"ram": 1}
    assert hello.facts["connections"] == session + 1


@pytest.mark.parametrize("silence", ["no beat at all", "beats stop"])
def test_silence_of_the_manager_makes_a_new_connection(world: World, silence: str) -> None:
    client = world.client(collectors={"ram": reads(1)})
    client.start()
    world.manager.next(Hello)
    if silence == "beats stop":
        world.manager.beat()
        world.manager.next(Hello)
    world.clock.ahead_s += 10.5
    assert world.manager.next(Hello).facts["connections"] == 2
    assert world.manager.next(Report).values == {"ram": 1}


def test_without_a_manager_the_reconnects_grow_rare(world: World) -> None:
    client = world.client()
    client.start()
    world.manager.next(Hello)
    world.clock.ahead_s += 10.5
    assert world.manager.next(Hello).facts["connections"] == 2
    world.clock.ahead_s += 10.5
    for query in ("q1", "q2"):  # two turns of its loop
        world.manager.send(Query(query))
        world.manager.next(Report, lambda r, query=query: r.query == query)  # type: ignore[misc]
    assert client.receiver.connections == 2
    world.clock.ahead_s += 10.0
    assert world.manager.next(Hello).facts["connections"] == 3


@pytest.mark.parametrize("news", ["epoch", "asked", "returned"])
def test_a_manager_that_does_not_know_us_is_told_again(world: World, news: str) -> None:
    world.joined(collectors={"ram": reads(1)}, link_timeout_s=1000.0)
    if news == "epoch":
        world.manager.beat(epoch="e2")
    elif news == "asked":
        world.manager.send(Query("hello:h1"), shard_of("h1", 8))
    else:
        world.clock.ahead_s += 1000.5
        world.manager.beat()
    assert world.manager.next(Hello).name == "h1"
    assert world.manager.next(Report).values == {"ram": 1}


def test_who_is_not_asked_to_introduce_itself_stays_quiet(world: World) -> None:
    world.joined(collectors={"ram": reads(1)})
    world.manager.drain()
    world.manager.send(Query("hello:h2"), shard_of("h1", 8))
    world.manager.beat()
    world.manager.send(Query("last"))
    kinds = []
    while not (kinds and isinstance(kinds[-1], Report) and kinds[-1].query == "last"):
        kinds.append(world.manager.next(object))  # type: ignore[type-var]
    assert not any(isinstance(m, Hello) for m in kinds)


def test_a_second_client_of_the_same_name_ends_with_a_clear_error(world: World) -> None:
    world.joined()
    world.daemon.connect("h2")
    second = world.client(name="h2")
    second.receiver._grace_s = 0.2
    second.start()
    assert second.stopping.wait(LIMIT_S)
    with pytest.raises(NameTaken, match="already"):
        second.stop()


def test_our_own_lingering_session_is_waited_for(world: World) -> None:
    world.joined()
    bus = world.daemon.sessions["#h1#local"]
    bus.inbox.put(None)  # the connection is gone on our side; the daemon has not noticed yet
    bus.close = lambda: None  # type: ignore[method-assign]
    time.sleep(0.1)
    world.daemon.end(bus)
    assert world.manager.next(Hello).name == "h1"


def test_two_clients_cannot_share_a_state_folder(world: World) -> None:
    world.joined()
    other = world.client()
    with pytest.raises(StateInUse, match="another client"):
        other.start()
    other.stop()


def test_a_thread_that_dies_ends_the_client_with_its_name_in_the_error(world: World) -> None:
    client = world.joined()
    client.reporter._schedule = None  # type: ignore[assignment]
    client.reporter.wake()
    assert client.stopping.wait(LIMIT_S)
    with pytest.raises(ThreadDied, match="Reporter"):
        client.stop()


def test_threads_are_named_and_all_end(world: World) -> None:
    client = world.joined(collectors={"ram": reads(1)})
    mine = [
        t
        for t in threading.enumerate()
        if t.name.startswith(("Reporter", "Reader-", "Worker-", "Sen", "Rec"))
    ]
    assert len(mine) == 1 + 1 + 4 + 1 + 1
    client.stop()
    assert not any(thread.is_alive() for thread in mine)
    assert "#h1#local" not in world.daemon.sessions, "it left the bus"


def test_a_slow_or_broken_property_harms_no_other(world: World) -> None:
    gate = threading.Event()
    collectors = {
        "hangs": reads(lambda *_: int(gate.wait(LIMIT_S)), name="hangs", timeout_s=0.2),
        "raises": reads(lambda *_: 1 // 0, name="raises"),
        "lies": reads(lambda *_: "text", name="lies", returns=int),
        "cannot_travel": reads(lambda *_: {"x": object()}, name="cannot", returns=dict),
        "fine": reads(7),
    }
    client = world.client(collectors=collectors)
    client.start()
    report = world.manager.next(Report)
    assert report.values == {"fine": 7}
    words = {"hangs": "hangs", "raises": "ZeroDivisionError", "lies": "lies", "cannot_travel": "cannot"}
    for name, word in words.items():
        assert word in report.errors[name]
    world.manager.send(Query("again"))
    again = world.manager.next(Report, lambda r: r.query == "again")
    assert again.errors["hangs"] == report.errors["hangs"], "one reason, not a new one each time"
    gate.set()


def test_slow_properties_follow_in_a_second_report(world: World) -> None:
    gate = threading.Event()
    client = world.client(
        collectors={"slow": reads(lambda *_: int(gate.wait(LIMIT_S))), "quick": reads(1)}, patience_s=0.05
    )
    client.start()
    assert world.manager.next(Report).values == {"quick": 1}
    gate.set()
    assert world.manager.next(Report).values == {"slow": 1}
