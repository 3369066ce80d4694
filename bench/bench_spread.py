"""The embedded Spread daemon beside a bare TCP relay that forwards the same bytes, in the same run.

    python bench/bench_spread.py [SECONDS]     SECONDS for each measurement (default 0.7), about 50 s in all

Daemon, relay, sender and receivers are processes of their own, the receivers of one case share one. All
clients are our mailboxes; towards the relay they skip the handshake. The relay sends what the sender writes
to every receiver and what receivers write to the sender, without looking at it. The sender keeps at most 400
messages ahead of the slowest receiver, which confirms every 100: below Spread's limit of 1000 that wait.

Round trips are measured twice: as the machine is, and beside two processes that only compute, where what
counts is how long daemon and client wait for a processor (docs/reference/spread.md). "priority" is the daemon
at nice -10, which needs root.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from rich.console import Console
from rich.table import Table

from vmm import spread
from vmm.spread.daemon import run_daemon
from vmm.spread.handshake import ClientHandshake
from vmm.spread.mailbox import Mailbox

WINDOW = 400
CONFIRM_EVERY = 100
ROUNDS = 3
LAST = 1  # message type of the last message of a run
FAN_OUTS = (1, 10, 100)
SIZES = (100, 1000)
SENDER, GROUP = "#sender#localhost", "bench"

processes = multiprocessing.get_context("fork")


def relay(ready: Connection) -> None:
    """Forward bytes: the first connection is the sender, or all there is (then it hears itself)."""
    server = socket.create_server(("127.0.0.1", 0), backlog=200)
    ready.send(server.getsockname()[1])
    peers: list[socket.socket] = []
    poller = select.epoll()
    poller.register(server, select.EPOLLIN)
    found = {server.fileno(): server}
    while True:
        for fd, _ in poller.poll():
            source = found[fd]
            if source is server:
                stream, _ = server.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers.append(stream)
                found[stream.fileno()] = stream
                poller.register(stream, select.EPOLLIN)
                stream.sendall(b"+")  # from now on it gets all
                continue
            data = source.recv(65536)
            if not data:
                poller.unregister(source)
                source.close()
                peers.remove(source)
                continue
            sender = peers[0]
            for target in (peers[1:] or [sender]) if source is sender else [sender]:
                target.sendall(data)


def daemon(ready: Connection, nice: int = 0) -> None:
    run_daemon("127.0.0.1:0", on_ready=lambda address: ready.send(int(address.partition("@")[0])), nice=nice)


def daemon_first(ready: Connection) -> None:
    daemon(ready, nice=-10)


def compute(_: Connection) -> None:
    while True:
        pass


HUBS: dict[str, Callable[..., None]] = {"daemon": daemon, "priority": daemon_first, "relay": relay}


def open_mailbox(kind: str, port: int, name: str) -> Mailbox:
    if kind != "relay":
        return spread.connect(f"{port}@127.0.0.1", name, membership=False, timeout=10)
    handshake = ClientHandshake(b"", membership=False, priority=0)
    handshake.feed(b"\x05NULL " + bytes((1, 5, 0, 1, len(name) + 11)) + f"#{name}#localhost".encode())
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.recv(1)
    return Mailbox(stream, handshake)


def receivers(kind: str, port: int, count: int, pipe: Connection) -> None:
    """Receive with `count` mailboxes until each got the last message; confirm on the way."""
    boxes = [open_mailbox(kind, port, f"r{n}") for n in range(count)]
    poller = select.epoll()
    by_fd = {}
    for box in boxes:
        if kind != "relay":
            box.join(GROUP)
            box.multicast(spread.AGREED_MESS, box.private_group, b"joined")
            box.receive(10)
        by_fd[box.fileno()] = [box, 0]
        poller.register(box.fileno(), select.EPOLLIN)
    pipe.send("ready")
    open_boxes = count
    while open_boxes:
        for fd, _ in poller.poll():
            entry: list[Any] = by_fd[fd]
            messages = entry[0].receive_many(5000)
            before = entry[1] // CONFIRM_EVERY
            entry[1] += len(messages)
            last = messages[-1].msg_type == LAST
            if last or entry[1] // CONFIRM_EVERY > before:
                entry[0].multicast(spread.FIFO_MESS, SENDER, b"%d %d" % (fd, entry[1]), LAST if last else 0)
            open_boxes -= last
    pipe.recv()


def sender(kind: str, port: int, count: int, size: int, seconds: float, pipe: Connection) -> None:
    """Send for `seconds`, at most WINDOW ahead of the slowest receiver; report messages a second."""
    with open_mailbox(kind, port, "sender") as box:
        pipe.send("ready")
        pipe.recv()
        body = b"x" * size
        confirmed: dict[bytes, int] = {}
        sent, ahead_of, finished = 0, 0, 0

        def take(timeout: float | None) -> None:
            nonlocal ahead_of, finished
            for message in box.receive_many(5000, timeout):
                who, number = message.message.split()  # type: ignore[union-attr]
                confirmed[who] = int(number)
                finished += message.msg_type == LAST  # type: ignore[union-attr]
            if len(confirmed) == count:
                ahead_of = min(confirmed.values())

        begin = time.perf_counter()
        end = begin + seconds
        while time.perf_counter() < end:
            for _ in range(CONFIRM_EVERY // 2):
                box.multicast(spread.AGREED_MESS, GROUP, body)
            sent += CONFIRM_EVERY // 2
            take(0)
            while sent - ahead_of > WINDOW - CONFIRM_EVERY:
                take(None)
        box.multicast(spread.AGREED_MESS, GROUP, body, LAST)
        while finished < count:
            take(None)
        pipe.send((sent + 1) / (time.perf_counter() - begin))
        pipe.recv()


def round_trips(kind: str, port: int, seconds: float, pipe: Connection) -> None:
    """Time messages of 100 bytes to ourselves; report the times in microseconds."""
    with open_mailbox(kind, port, "sender") as box:
        body = b"x" * 100
        times = []
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            box.multicast(spread.AGREED_MESS, SENDER, body)
            box.receive()
            times.append((time.perf_counter() - begin) * 1e6)
        pipe.send(times)


class Part:
    """A process and the pipe to it."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self.pipe, theirs = processes.Pipe()
        self.process = processes.Process(target=work, args=(*arguments, theirs), daemon=True)
        self.process.start()

    def hear(self) -> Any:
        if not self.pipe.poll(30):
            raise SystemExit(f"{self.process.name} does not answer")
        return self.pipe.recv()

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()


def throughput(kind: str, count: int, size: int, seconds: float) -> float:
    hub = Part(HUBS[kind])
    port = hub.hear()
    source = Part(sender, kind, port, count, size, seconds)
    source.hear()
    sinks = Part(receivers, kind, port, count)
    sinks.hear()
    source.pipe.send("go")
    rate: float = source.hear()
    for part in (source, sinks, hub):
        part.stop()
    return rate


def latency(kind: str, seconds: float, busy: int = 0) -> tuple[float, float]:
    hub = Part(HUBS[kind])
    others = [Part(compute) for _ in range(busy)]
    client = Part(round_trips, kind, hub.hear(), seconds)
    times = sorted(client.hear())
    for part in (client, hub, *others):
        part.stop()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def throughput_rows(table: Table, seconds: float) -> None:
    for count in FAN_OUTS:
        for size in SIZES:
            rounds = [
                [throughput(kind, count, size, seconds) for kind in ("daemon", "relay")]
                for _ in range(ROUNDS)
            ]
            ours, bare = map(max, zip(*rounds, strict=True))  # other programs only ever slow it down
            table.add_row(
                f"1 -> {count}, {size} B, messages/s",
                f"{ours:,.0f}",
                "",
                f"{bare:,.0f}",
                f"{ours / bare:.2f}",
            )


def latency_rows(table: Table, seconds: float) -> None:
    for busy, where in ((0, ""), (2, " beside 2 busy")):
        kinds = ("daemon", "priority", "relay")
        rounds = [[latency(kind, seconds, busy) for kind in kinds] for _ in range(ROUNDS)]
        for place, name in ((0, "p50"), (1, "p99")):
            columns = zip(*rounds, strict=True)
            ours, first, bare = (statistics.median(pair[place] for pair in column) for column in columns)
            label = f"round trip{where}, {name}"
            table.add_row(label, f"{ours:.0f}", f"{first:.0f}", f"{bare:.0f}", f"{ours / bare:.2f}")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.7
    title = f"spread: best rates, median times in us of {ROUNDS} rounds"
    table = Table("case", "daemon", "priority", "relay", "daemon/relay", title=title)
    throughput_rows(table, seconds)
    table.add_section()
    latency_rows(table, seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
