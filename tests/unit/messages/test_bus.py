"""The bus over the embedded daemon: names, views, losses."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.errors import VmmError
from vmm.messages.bus import (
    MAX_BODY_BYTES,
    BusLost,
    Data,
    NameTaken,
    SpreadBus,
    View,
    all_shards,
    bus_name,
    shard_of,
)
from vmm.spread.daemon import EmbeddedDaemon

LIMIT_S = 20.0


@pytest.fixture
def daemon() -> Iterator[EmbeddedDaemon]:
    daemon = EmbeddedDaemon()
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def buses(daemon: EmbeddedDaemon) -> Iterator[list[SpreadBus]]:
    """A Manager's and two clients' connections."""
    buses = [SpreadBus(daemon.address, name, membership=name == "m") for name in ("m", "a", "b")]
    yield buses
    for bus in buses:
        bus.close()


def next_of(bus: SpreadBus, kind: type[Data] | type[View]) -> Data | View:
    while (got := bus.receive(LIMIT_S)) is not None:
        if isinstance(got, kind):
            return got
    raise AssertionError("nothing came")


def test_messages_arrive_with_sender_kind_and_body(buses: list[SpreadBus]) -> None:
    manager, a, b = buses
    a.join("g")
    a.multicast(["g"], 7, b"to the group")
    assert next_of(a, Data) == Data(a.address, 7, b"to the group")
    b.multicast([a.address, manager.address], 8, b"to two")
    assert next_of(a, Data) == next_of(manager, Data) == Data(b.address, 8, b"to two")
    assert b.receive(0.0) is None


def test_views_say_who_came_and_went_and_how(buses: list[SpreadBus]) -> None:
    manager, a, b = buses

    def view() -> tuple[set[str], str, tuple[str, ...]]:
        got = next_of(manager, View)
        assert isinstance(got, View)
        assert got.group == "g"
        return set(got.members), got.cause, got.who

    for bus, members in ((manager, [manager]), (a, [manager, a]), (b, [manager, a, b])):
        bus.join("g")
        assert view() == ({member.address for member in members}, "join", (bus.address,))
    a.leave("g")
    assert view() == ({manager.address, b.address}, "leave", (a.address,))
    b.close()
    assert view() == ({manager.address}, "disconnect", (b.address,))


def test_a_name_that_is_taken(daemon: EmbeddedDaemon, buses: list[SpreadBus]) -> None:
    with pytest.raises(NameTaken, match="already has a client 'a'"):
        SpreadBus(daemon.address, "a", membership=False)


def test_a_daemon_that_is_not_there() -> None:
    with pytest.raises(BusLost, match="vmm daemon"):
        SpreadBus("1@127.0.0.1", "a", membership=False, timeout_s=2.0)
    with pytest.raises(BusLost):
        SpreadBus("nonsense", "a", membership=False, timeout_s=2.0)


def test_a_daemon_that_ends_is_a_lost_bus_for_both_directions(daemon: EmbeddedDaemon) -> None:
    bus = SpreadBus(daemon.address, "x", membership=False)
    daemon.stop()
    with pytest.raises(BusLost):
        bus.receive(LIMIT_S)
    with pytest.raises(BusLost):
        bus.multicast(["g"], 1, b"")
    with pytest.raises(BusLost):
        bus.join("g")
    bus.close()
    bus.close()


def test_closing_from_another_thread_ends_a_receive(daemon: EmbeddedDaemon) -> None:
    bus = SpreadBus(daemon.address, "x", membership=False)
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            bus.receive(LIMIT_S)
        except BusLost as exc:
            ended.append(exc)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    bus.close()
    thread.join(LIMIT_S)
    assert len(ended) == 1


def test_misuse_is_an_error_and_the_connection_stays(buses: list[SpreadBus]) -> None:
    _, a, _ = buses
    with pytest.raises(VmmError, match="over the limit") as caught:
        a.multicast(["g"], 1, b"x" * (MAX_BODY_BYTES + 1))
    assert not isinstance(caught.value, BusLost)
    with pytest.raises(VmmError, match="the bus refuses") as caught:
        a.multicast([f"g{n}" for n in range(44)], 1, b"x")
    assert not isinstance(caught.value, BusLost)
    with pytest.raises(VmmError, match="the bus refuses"):
        a.join("no blanks")
    a.multicast([a.address], 1, b"x" * MAX_BODY_BYTES)
    got = next_of(a, Data)
    assert isinstance(got, Data)
    assert len(got.body) == MAX_BODY_BYTES


@given(st.text(min_size=1, max_size=80))
def test_private_names_fit_spread(name: str) -> None:
    short = bus_name(name)
    assert 0 < len(short.encode()) <= 10
    assert all(c.isalnum() or c in "-_." for c in short)


def test_private_names_differ_and_short_ones_stay() -> None:
    names = [f"node{n:05d}.cluster.example" for n in range(10_000)]
    assert len({bus_name(name) for name in names}) == len(names)
    assert bus_name("h1") == "h1"
    assert bus_name("exactly-10") == "exactly-10"


def test_shards_are_spread_evenly_and_are_all_listed() -> None:
    counts: dict[str, int] = {}
    for n in range(10_000):
        shard = shard_of(f"host-{n}", 40)
        counts[shard] = counts.get(shard, 0) + 1
    assert sorted(counts) == all_shards(40)
    assert max(counts.values()) < 330
