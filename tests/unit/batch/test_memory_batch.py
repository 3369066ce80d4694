"""The in-memory batch system over its socket: nodes that register, stay, vanish, and misbehave."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.batch.interface import BatchDown, NodeFailed, QueueStats
from vmm.batch.memory import MemoryBatch
from vmm.batch.memory_node import NodeAgent
from vmm.batch.memory_wire import MAX_LINE_BYTES, Lines, connect, parse_address
from vmm.batch.swf import Work
from vmm.errors import BadMessage, ConfigError


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def wait_for(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        threading.Event().wait(0.01)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["unix", "tcp"])
def batch(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[MemoryBatch]:
    works = [
        Work("1", "groupA", 0, 100),
        Work("2", "groupA", 10, 100, 1, "user7"),
        Work("3", "groupB", 20, 5),
    ]
    address = str(tmp_path / "b.sock") if request.param == "unix" else "127.0.0.1:0"
    made = MemoryBatch(works, address, speed=10.0, clock=clock)
    made.start()
    yield made
    made.close()


def agent(batch: MemoryBatch, name: str, *features: str, cpus: int = 1) -> NodeAgent:
    made = NodeAgent(batch.address, name, features, cpus)
    made.start()
    assert made.registered.wait(20.0)
    return made


def node_states(batch: MemoryBatch) -> dict[str, str]:
    return {node.name: node.state for node in batch.nodes()}


def test_a_day_at_ten_times_the_speed(batch: MemoryBatch, clock: Clock) -> None:
    clock.now_s += 1.0  # 10 s of the workload
    assert [(j.id, j.state, j.submitted_s - 1_000_000.0) for j in batch.jobs()] == [
        ("1", "pending", 0.0),
        ("2", "pending", 1.0),
    ]
    one = agent(batch, "vm1", "groupA")
    (node,) = batch.nodes()
    assert (node.state, node.jobs, node.queues, node.features) == ("busy", 1, ["groupA"], ["groupA"])
    first, second = batch.jobs()
    assert (first.state, first.node, first.started_s) == ("running", "vm1", 1_000_001.0)
    assert (second.state, second.user) == ("pending", "user7")
    clock.now_s += 10.0
    assert batch.stats() == [
        QueueStats("groupA", submitted=2, waiting=0, running=1, done=1, lost=0, mean_wait_s=(10 + 100) / 2),
        QueueStats("groupB", submitted=1, waiting=1, running=0, done=0, lost=0, mean_wait_s=0.0),
    ]
    clock.now_s += 10.0
    assert node_states(batch) == {"vm1": "idle"}
    batch.drain("vm1", "make room")
    assert [(n.state, n.reason) for n in batch.nodes()] == [("drained", "make room")]
    batch.delete("vm1")
    batch.delete("vm1")
    assert one.deleted.wait(20.0)  # and it does not come back
    assert batch.nodes() == []
    two = agent(batch, "vm2", "groupB")
    assert node_states(batch) == {"vm2": "busy"}
    clock.now_s += 1.0
    assert batch.finished()
    one.stop()
    two.stop()


def test_a_lost_connection_is_a_node_down(batch: MemoryBatch) -> None:
    one = agent(batch, "vm1", "groupA")
    batch.submit("groupA", 1e6)
    assert node_states(batch) == {"vm1": "busy"}
    one.stop()
    wait_for(lambda: node_states(batch) == {"vm1": "down"})
    assert [node.reason for node in batch.nodes()] == ["connection lost"]
    assert batch.stats()[0].lost == 1
    back = agent(batch, "vm1", "groupA")
    assert node_states(batch) == {"vm1": "busy"}
    with pytest.raises(NodeFailed):
        batch.delete("vm1")
    back.stop()


def test_two_nodes_of_one_name(batch: MemoryBatch) -> None:
    one = agent(batch, "vm1", "groupB")
    with connect(batch.address, 5.0) as link:
        link.sendall(b'{"op":"register","name":"vm1","features":["groupA"],"cpus":1}\n')
        answer = json.loads(link.makefile("rb").readline())
    assert answer["op"] == "error"
    assert "name-taken" in answer["message"]
    assert node_states(batch) == {"vm1": "idle"}
    one.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\xfe\n",
        b"[1]\n",
        b'{"op": 1}\n',
        b'{"op":"drain","name":"x"}\n',
        b'{"op":"register"}\n',
        b'{"op":"register","name":"../x"}\n',
        b'{"op":"register","name":"x","cpus":0}\n',
        b'{"op":"register","name":"x","cpus":true}\n',
        b'{"op":"register","name":"x","features":"groupA"}\n',
        b"[" * 5000 + b"\n",
        b"x" * (MAX_LINE_BYTES + 1),
    ],
)
def test_nonsense_ends_its_own_connection_only(batch: MemoryBatch, data: bytes) -> None:
    good = agent(batch, "good", "groupB")
    with connect(batch.address, 5.0) as link:
        link.sendall(data)
        answer = link.makefile("rb").read()
    assert json.loads(answer)["op"] == "error"
    assert node_states(batch) == {"good": "idle"}
    good.stop()


def test_the_agent_waits_for_the_batch_system(tmp_path: Path) -> None:
    address = str(tmp_path / "late.sock")
    early = NodeAgent(address, "vm1", ["groupA"])
    early.start()
    batch = MemoryBatch([], address)
    batch.start()
    assert early.registered.wait(20.0)
    batch.close()
    wait_for(lambda: not early.registered.is_set())
    again = MemoryBatch([], address)  # as after a restart of the batch client
    again.start()
    assert early.registered.wait(20.0)
    early.stop()
    again.close()
    with pytest.raises(BatchDown):
        again.nodes()


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    address = str(tmp_path / "b.sock")
    leftover = socket.socket(socket.AF_UNIX)
    leftover.bind(address)
    leftover.close()  # a file that nobody listens on
    first = MemoryBatch([], address)
    first.start()
    for taken in (address, first.address):
        with pytest.raises(ConfigError, match="cannot listen"):
            MemoryBatch([], taken).start()
    first.close()


@pytest.mark.processes
def test_as_a_program(tmp_path: Path) -> None:
    batch = MemoryBatch([], str(tmp_path / "b.sock"))
    batch.start()
    command = [sys.executable, "-m", "vmm.batch.memory_node", batch.address]
    one = subprocess.Popen([*command, "vm1", "--feature", "groupA", "--cpus", "2"])
    two = subprocess.Popen([*command, "vm2"])
    wait_for(lambda: node_states(batch) == {"vm1": "idle", "vm2": "idle"})
    assert {node.name: node.cpus for node in batch.nodes()} == {"vm1": 2, "vm2": 1}
    batch.delete("vm1")
    assert one.wait(20.0) == 0
    two.send_signal(signal.SIGKILL)
    wait_for(lambda: node_states(batch) == {"vm2": "down"})
    two.wait()
    batch.close()


@pytest.mark.parametrize("text", ["", "nowhere", "host:", ":1", "host:99999", "a b:1"])
def test_addresses_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_address(text)


def test_addresses() -> None:
    assert parse_address("/run/b.sock") == "/run/b.sock"
    assert parse_address("127.0.0.1:4810") == ("127.0.0.1", 4810)
    assert parse_address("[::1]:4810") == ("::1", 4810)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_in_any_pieces_are_messages_or_refused(data: bytes, cuts: list[int]) -> None:
    def run(pieces: list[bytes]) -> object:
        lines, seen = Lines(), []
        try:
            for piece in pieces:
                seen += lines.feed(piece)
        except BadMessage:
            return None
        return seen

    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert run(pieces) == run([data])
