"""What the client's guarantees cost: the record of commands and the signatures, as ratios of one run.

python bench/bench_client.py [DIRECTORY]     about 10 s; the directory decides which disk is measured
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vmm.client.record import Record
from vmm.messages.codec import decode_body, encode_body, open_sealed, seal
from vmm.messages.keys import Signer
from vmm.messages.structs import Command, Kind, Report, Result

ROUND_S = 0.5
ROUNDS = 3


def rate(work: Callable[[int], object]) -> float:
    """Calls a second, the best of some rounds (other programs only ever slow it down)."""
    best, count = 0.0, 0
    for _ in range(ROUNDS):
        began, first = time.perf_counter(), count
        while time.perf_counter() - began < ROUND_S:
            work(count)
            count += 1
        best = max(best, (count - first) / (time.perf_counter() - began))
    return best


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        console = Console()
        table = Table("what", "per second", "ratio", title="client")
        record_rows(Path(folder), table)
        table.add_section()
        message_rows(table)
        console.print(table)


def record_rows(folder: Path, table: Table) -> None:
    """A command through the record, beside two synced writes to a plain file: the least that can be had."""
    record = Record(folder / "commands.sqlite")
    plain = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    entry = encode_body(command(0))

    def recorded(n: int) -> None:
        record.begin(command(n), 0.0)
        record.finish(Result(f"c{n}", "done"))

    def synced(_: int) -> None:
        for _ in range(2):
            os.write(plain, entry)
            os.fdatasync(plain)

    base = rate(synced)
    table.add_row("two appends to a file, each synced", f"{base:,.0f}", "1.00")
    got = rate(recorded)
    table.add_row("a command recorded: begin and finish", f"{got:,.0f}", f"{got / base:.2f}")
    known = command(0)
    got = rate(lambda _: record.look(known))
    table.add_row("a repeated command looked up", f"{got:,.0f}", f"{got / base:.2f}")
    record.close()
    os.close(plain)


def message_rows(table: Table) -> None:
    """A report of ten properties, signed and verified, beside the bare encoding."""
    signer = Signer.generate()
    report = Report(1, 1, {f"property_{n}": n * 1.5 for n in range(10)})
    body = encode_body(report)
    kind, data = seal(report, "h1", signer)

    def trusted(*_: object) -> bytes:
        return signer.public_key

    base = rate(lambda _: encode_body(report))
    table.add_row("a report encoded", f"{base:,.0f}", "1.00")
    got = rate(lambda _: seal(report, "h1", signer))
    table.add_row("a report encoded and signed", f"{got:,.0f}", f"{got / base:.3f}")
    base = rate(lambda _: decode_body(Kind.REPORT, body))
    table.add_row("a report decoded", f"{base:,.0f}", "1.00")
    got = rate(lambda _: open_sealed(kind, data, trusted))
    table.add_row("a report verified and decoded", f"{got:,.0f}", f"{got / base:.3f}")


def command(n: int) -> Command:
    return Command(f"c{n}", "h1", "start_guest", {"name": f"guest-{n}"}, 1e9)


if __name__ == "__main__":
    main()
