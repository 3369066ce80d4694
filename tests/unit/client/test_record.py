"""The record on disk: an id is known for ever, whatever happens to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vmm.client.errors import RecordError, RecordFull, StateInUse
from vmm.client.record import Record, State
from vmm.messages.structs import Command, Result


def command(key: str = "c1", deadline_s: float = 100.0, **args: object) -> Command:
    return Command(key, "h1", "start_guest", dict(args), deadline_s)


def test_states_of_an_id(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite")
    one = command(name="g1")
    assert record.look(one).state is State.UNKNOWN
    record.begin(one, 50.0)
    assert record.look(one).state is State.STARTED
    record.finish(Result("c1", "done", value={"uuid": "u"}))
    entry = record.look(one)
    assert entry.state is State.FINISHED
    assert entry.result == Result("c1", "done", value={"uuid": "u"})
    assert record.look(command(name="g2")).state is State.OTHER
    record.close()


def test_it_survives_a_restart(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite")
    record.begin(command("done"), 50.0)
    record.finish(Result("done", "failed", code="no-template"))
    record.begin(command("torn"), 50.0)
    record.close()
    again = Record(tmp_path / "r.sqlite")
    assert again.look(command("done")).result == Result("done", "failed", code="no-template")
    assert again.look(command("torn")).state is State.STARTED
    again.close()


@pytest.mark.parametrize("step", ["begin", "finish"])
def test_what_was_said_survives_kill_9(tmp_path: Path, step: str) -> None:
    path = tmp_path / "r.sqlite"
    program = f"""
import os, signal
from pathlib import Path
from vmm.client.record import Record
from vmm.messages.structs import Command, Result
record = Record(Path({str(path)!r}))
record.begin(Command("c1", "h1", "start_guest", {{}}, 100.0), 50.0)
if {step!r} == "finish":
    record.finish(Result("c1", "done", value=7))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -9
    record = Record(path)
    entry = record.look(command())
    assert entry.state is (State.STARTED if step == "begin" else State.FINISHED)
    record.close()


def test_forgotten_commands_stay_refused(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite", keep_s=10.0)
    for n in range(256):  # it forgets at the start and then every 256 commands
        record.begin(command(f"old{n}", deadline_s=20.0), 15.0)
        record.finish(Result(f"old{n}", "done"))
    record.begin(command("new", deadline_s=500.0), 100.0)
    assert record.look(command("old7", deadline_s=20.0)).state is State.FORGOTTEN
    assert record.look(command("unheard", deadline_s=19.0)).state is State.FORGOTTEN
    assert record.look(command("later", deadline_s=21.0)).state is State.UNKNOWN
    record.close()
    again = Record(tmp_path / "r.sqlite")
    assert again.look(command("old7", deadline_s=20.0)).state is State.FORGOTTEN
    again.close()


def test_too_many_are_forgotten_only_when_expired_and_finished(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite", keep_count=100)
    record.begin(command("torn", deadline_s=1.0), 0.0)
    for n in range(255):
        record.begin(command(f"c{n}", deadline_s=float(n)), 0.0)
        record.finish(Result(f"c{n}", "done"))
    record.begin(command("new", deadline_s=500.0), 120.0)
    assert record.look(command("torn", deadline_s=1.0)).state is State.STARTED
    assert record.look(command("c100", deadline_s=100.0)).state is State.FORGOTTEN
    assert record.look(command("c130", deadline_s=130.0)).state is State.FINISHED, "not expired yet"
    record.close()


def test_a_full_disk_refuses_the_begin_and_keeps_the_result_for_later(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite")
    record.begin(command("running"), 0.0)
    pages = record._db.execute("PRAGMA page_count").fetchone()[0]
    record._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own full disk
    big = Result("running", "done", value="x" * 20_000)
    with pytest.raises(RecordFull) as full:
        record.finish(big)
    assert full.value.code == "record-full"
    with pytest.raises(RecordFull):
        record.begin(command("next"), 0.0)
    assert record.look(command("running")).result == big, "the answer is known as long as we live"
    assert record.look(command("next")).state is State.UNKNOWN
    record._db.execute("PRAGMA max_page_count = 100000")
    record.begin(command("next"), 0.0)
    record.close()
    again = Record(tmp_path / "r.sqlite")
    assert again.look(command("running")).result == big
    again.close()


def test_two_programs_cannot_share_a_record(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite")
    with pytest.raises(StateInUse, match="another client"):
        Record(tmp_path / "r.sqlite")
    record.close()
    Record(tmp_path / "r.sqlite").close()


def test_a_damaged_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(RecordError, match="move the file away"):
        Record(path)


def test_a_record_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.sqlite")
    record._db.execute("PRAGMA user_version = 9")
    record.close()
    with pytest.raises(RecordError, match="format 9"):
        Record(tmp_path / "r.sqlite")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError):
        Record(tmp_path / "file" / "r.sqlite")
