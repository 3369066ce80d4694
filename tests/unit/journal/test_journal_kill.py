"""kill -9 of a real writer: every record it was told is stored is there afterwards."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys

from vmm.journal import Journal, read, stats

WRITER = """
import random, sys
from vmm.journal import Journal

journal = Journal.open(sys.argv[1], sync="none", segment_mib=0.1)
while True:
    first = journal.last_position + 1
    size = 1 + first % 37
    positions = range(first, first + size)
    batch = [(float(p), "odd" if p % 2 else "even", random.Random(p).randbytes(40)) for p in positions]
    if first % 2:
        acknowledged = journal.commit(batch)[-1]
    else:
        journal.append_many(batch[:-1])
        journal.append(*batch[-1])
        acknowledged = journal.flush()
    print(acknowledged, flush=True)
"""


def test_every_acknowledged_record_survives(tmp_path):
    directory = tmp_path / "j"
    acknowledged = 0
    for round_number in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, directory], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        goal = acknowledged + 2000 + 777 * round_number
        while acknowledged < goal:
            ready, _, _ = select.select([writer.stdout], [], [], 20)
            assert ready, "the writer says nothing"
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().splitlines(keepends=True)
        writer.wait()
        writer.stdout.close()
        acknowledged = max([acknowledged, *(int(line) for line in said if line.endswith(b"\n"))])

        before = [record.position for record in read(directory, acknowledged - 100)]
        with Journal.open(directory, sync="none", segment_mib=0.1) as journal:
            assert journal.last_position >= acknowledged
            assert not journal.recovery.damage
            assert before == list(range(acknowledged - 100, journal.last_position + 1))
            acknowledged = journal.last_position
    for expected, record in enumerate(read(directory), 1):
        assert record.position == expected
        assert record.kind == ("even" if expected % 2 == 0 else "odd")
        assert record.payload == random.Random(expected).randbytes(40)
    assert expected == acknowledged
    found = stats(directory)
    assert all(segment.closed for segment in found.segments[:-1])
    assert os.listdir(directory).count("lock") == 1
