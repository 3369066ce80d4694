"""What the journal costs, beside sqlite3 fed with the same events in the same run.

    python bench/bench_journal.py [DIRECTORY]     about 30 s; the directory decides which disk is measured

Events are property reports of a cluster as vmm makes them (MessagePack). Both stores get the same batches,
one commit per batch. sqlite3 runs in WAL mode, which is its fastest durable way to append.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from vmm.journal import Entry, Journal, latest_snapshot, read, read_batches, stats

PACE = 10_000
console = Console()
Commit = Callable[[list[Entry]], object]


def reports(count: int) -> list[Entry]:
    """`count` events of 100 to 300 bytes: 1,750 clients report ten properties, some several at a time."""
    dice = random.Random(4803)
    names = ["ram", "load", "cpu", "disk", "uptime", "net_rx", "net_tx", "swap", "domains", "temperature"]
    made: list[Entry] = []
    for i in range(count):
        now_s = 1.75e9 + i / PACE
        client = f"#node{i * 7 % 1750:04d}#dom0"
        body = {
            "v": 1, "type": "report", "client": client, "seq": i // 1750, "sent_s": now_s - dice.random(),
            "values": {name: round(dice.gauss(50, 20), 3) for name in dice.sample(names, dice.randint(1, 6))},
            "signature": dice.randbytes(32),
        }  # fmt: skip
        made.append(
            (
                now_s,
                dice.choice(["report", "report", "report", "answer", "view"]),
                msgspec.msgpack.encode(body),
            )
        )
    return made


def batches(events: list[Entry], size: int) -> Iterator[list[Entry]]:
    return (events[at : at + size] for at in range(0, len(events), size))


class Sqlite:
    """The baseline: one table, one transaction per batch."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.connection.execute(
            "CREATE TABLE j (position INTEGER PRIMARY KEY, time_s REAL, kind TEXT, payload BLOB)"
        )

    def commit(self, batch: list[Entry]) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany("INSERT INTO j (time_s, kind, payload) VALUES (?, ?, ?)", batch)
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()


def cpu_per_event_us(commit: Commit, events: list[Entry], size: int) -> tuple[float, float]:
    """(CPU microseconds per event, events/s), as fast as it goes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches(events, size):
        commit(batch)
    used, took = time.process_time() - cpu, time.perf_counter() - wall
    return 1e6 * used / len(events), len(events) / took


def paced_share(commit: Commit, events: list[Entry], size: int) -> float:
    """Share of one core at PACE events/s in batches of `size` (system time included, the waiting not)."""
    timer = threading.Event()
    begin = time.perf_counter()
    used = 0.0
    for i, batch in enumerate(batches(events, size)):
        timer.wait(max(begin + i * size / PACE - time.perf_counter(), 0))
        before = time.process_time()
        commit(batch)
        used += time.process_time() - before
    return used / (len(events) / PACE)


def latencies_ms(commit: Commit, events: list[Entry], size: int, limit_s: float) -> list[float]:
    times: list[float] = []
    begin = time.perf_counter()
    for batch in batches(events, size):
        before = time.perf_counter()
        commit(batch)
        times.append(1e3 * (time.perf_counter() - before))
        if time.perf_counter() - begin > limit_s:
            break
    return sorted(times)


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i == 0 else "right")
    return made


def bench_append(root: Path, events: list[Entry]) -> None:
    rows = table(
        "Append, no fsync: CPU per event",
        "batch",
        "journal us",
        "sqlite us",
        "sqlite/journal",
        "journal ev/s",
    )
    for size in (50, 100, 500):
        with Journal.open(root / f"a{size}", sync="none", segment_mib=8) as journal:
            ours, rate = cpu_per_event_us(journal.commit, events, size)
        base = Sqlite(root / f"a{size}.db", "OFF")
        theirs, _ = cpu_per_event_us(base.commit, events, size)
        base.close()
        rows.add_row(str(size), f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}x", f"{rate:,.0f}")
    console.print(rows)


def bench_paced(root: Path, events: list[Entry]) -> float:
    rows = table(
        f"Share of one core at {PACE:,} events/s (compression and rotation included)",
        "batch", "sync", "journal", "sqlite", "sqlite/journal",
    )  # fmt: skip
    worst = 0.0
    for size, sync, synchronous in ((50, "none", "OFF"), (50, "batch", "FULL"), (500, "batch", "FULL")):
        with Journal.open(root / f"p{size}{sync}", sync=sync, segment_mib=1) as journal:  # type: ignore[arg-type]
            ours = paced_share(journal.commit, events[: 2 * PACE], size)
        base = Sqlite(root / f"p{size}{sync}.db", synchronous)
        theirs = paced_share(base.commit, events[: 2 * PACE], size)
        base.close()
        worst = max(worst, ours)
        rows.add_row(str(size), sync, f"{ours:.1%}", f"{theirs:.1%}", f"{theirs / ours:.1f}x")
    console.print(rows)
    return worst


def bench_sync(root: Path, events: list[Entry]) -> None:
    rows = table(
        "One commit of 100 events, by sync policy (wall time)",
        "store and policy", "median ms", "p99 ms", "max ms", "x none", "events/s",
    )  # fmt: skip
    plain = 0.0
    for sync in ("none", "batch"):
        with Journal.open(root / f"s{sync}", sync=sync, segment_mib=4) as journal:
            times = latencies_ms(journal.commit, events, 100, 2.5)
        plain = plain or times[len(times) // 2]
        add_latency(rows, f"journal {sync}", times, plain, 100)
    with Journal.open(root / "salways", sync="always") as journal:
        times = latencies_ms(lambda batch: journal.append(*batch[0]), events, 1, 1.5)
    add_latency(rows, "journal always, 1 event", times, plain, 1)
    for synchronous in ("OFF", "NORMAL", "FULL"):
        base = Sqlite(root / f"s{synchronous}.db", synchronous)
        times = latencies_ms(base.commit, events, 100, 1.5)
        base.close()
        add_latency(rows, f"sqlite {synchronous}", times, plain, 100)
    console.print(rows)


def add_latency(rows: Table, name: str, times: list[float], plain: float, size: int) -> None:
    middle, high = times[len(times) // 2], times[len(times) * 99 // 100]
    rate = 1e3 * size * len(times) / sum(times)
    rows.add_row(
        name, f"{middle:.3f}", f"{high:.3f}", f"{times[-1]:.1f}", f"{middle / plain:.1f}", f"{rate:,.0f}"
    )


def timed(work: Callable[[], int]) -> tuple[float, int]:
    before = time.perf_counter()
    found = work()
    return time.perf_counter() - before, found


def bench_read(root: Path, events: list[Entry]) -> None:
    place, path = root / "a100", root / "a100.db"
    connection = sqlite3.connect(path)
    query = "SELECT position, time_s, kind, payload FROM j "
    since_s = events[-1000][0]
    rows = table("Reading", "what", "events", "seconds", "events/s", "x sqlite")
    base, count = timed(lambda: sum(1 for _ in connection.execute(query + "ORDER BY position")))
    rows.add_row("sqlite, all", f"{count:,}", f"{base:.3f}", f"{count / base:,.0f}", "1.0")
    for name, work in (
        ("journal read, all", lambda: sum(1 for _ in read(place))),
        ("journal read_batches, all", lambda: sum(map(len, read_batches(place)))),
    ):
        took, count = timed(work)
        rows.add_row(name, f"{count:,}", f"{took:.3f}", f"{count / took:,.0f}", f"{base / took:.1f}")
    base, count = timed(lambda: sum(1 for _ in connection.execute(query + "WHERE time_s >= ?", (since_s,))))
    rows.add_row("sqlite, the last 1,000 by time", f"{count:,}", f"{base:.4f}", "", "1.0")
    took, count = timed(lambda: sum(1 for _ in read(place, since_s=since_s)))
    rows.add_row("journal, the last 1,000 by time", f"{count:,}", f"{took:.4f}", "", f"{base / took:.1f}")
    connection.close()
    took, count = timed(lambda: stats(place).events)
    rows.add_row("journal stats", f"{count:,}", f"{took:.4f}", "", "")
    console.print(rows)


def bench_size(root: Path, events: list[Entry]) -> None:
    raw = sum(len(payload) for _, _, payload in events) / len(events)
    with Journal.open(root / "plain", sync="none", compress=False) as journal:
        for batch in batches(events, 100):
            journal.commit(batch)
    packed = stats(root / "a100")
    closed = [segment for segment in packed.segments if segment.closed]
    rows = table("Size per event", "store", "bytes", "x payload")
    for name, size in (
        ("payload alone", raw),
        ("journal, being written or compress=False", stats(root / "plain").stored_bytes / len(events)),
        ("journal, closed segments", sum(s.stored_bytes for s in closed) / sum(s.events for s in closed)),
        ("sqlite", (root / "a100.db").stat().st_size / len(events)),
    ):
        rows.add_row(name, f"{size:.0f}", f"{size / raw:.2f}")
    console.print(rows)


def bench_open(root: Path, events: list[Entry]) -> None:
    place = root / "open"
    with Journal.open(place, sync="none", compress=False, segment_mib=64) as journal:
        journal.write_snapshot(0, random.Random(1).randbytes(10_000_000))
        written = 0
        while written < 60_000_000:
            for batch in batches(events[:20_000], 100):
                journal.commit(batch)
                written += sum(len(entry[2]) + 14 for entry in batch)
    rows = table("Start with a last segment of 60 MB and a snapshot of 10 MB", "step", "seconds")
    for compress in (False, True):
        took, _ = timed(partial(reopen, place, compress))
        rows.add_row(f"open: check the whole last segment (compress={compress})", f"{took:.2f}")
    took, _ = timed(lambda: len((latest_snapshot(place) or (0, b""))[1]))
    rows.add_row("latest_snapshot", f"{took:.2f}")
    console.print(rows)


def reopen(place: Path, compress: bool) -> int:
    with Journal.open(place, compress=compress) as journal:
        return journal.last_position


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    root = Path(tempfile.mkdtemp(prefix="bench-journal-", dir=place))
    begin = time.perf_counter()
    try:
        events = reports(100_000)
        bench_append(root, events)
        worst = bench_paced(root, events)
        bench_sync(root, events)
        bench_read(root, events)
        bench_size(root, events)
        bench_open(root, events)
    finally:
        shutil.rmtree(root)
    verdict = "below" if worst < 0.2 else "NOT below"
    console.print(f"{worst:.1%} of one core at {PACE:,} events/s: {verdict} the aim of 20 %")
    console.print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
