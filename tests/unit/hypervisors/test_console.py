"""Serial console logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmm.hypervisors.console import Consoles
from vmm.hypervisors.interface import GuestFailed


@pytest.mark.parametrize(
    ("raw", "lines", "text"),
    [
        (b"", 5, ""),
        (b"one\r\ntwo\r\nthree\r\n", 2, "two\nthree"),
        (b"one\r\ntwo\r\nthree\r\n", 0, ""),
        (b"\x1b[2J\x1b[1;31mred\x1b[0m\r\n\x07login: ", 9, "red\nlogin: "),
        (b"caf\xc3\xa9 \xff\n", 1, "caf\u00e9 \ufffd"),
        (b"x" * 300_000 + b"\nend\n", 1, "end"),
    ],
)
def test_tail(tmp_path: Path, raw: bytes, lines: int, text: str) -> None:
    (tmp_path / "a.serial.log").write_bytes(raw)
    assert Consoles(tmp_path).tail("a", lines) == text


def test_a_tail_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.serial.log").write_bytes(b"x" * 1_000_000)
    assert len(Consoles(tmp_path).tail("a", 1)) == 128 * 1024


def test_a_new_guest_gets_a_new_log(tmp_path: Path) -> None:
    consoles = Consoles(tmp_path / "new" / "folder")
    path = consoles.fresh("a")
    path.write_text("old")
    assert consoles.fresh("a") == path
    assert not path.exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuestFailed, match="consoles"):
        Consoles(tmp_path / "file" / "x").fresh("a")


def test_the_newest_logs_of_the_dead_are_kept(tmp_path: Path) -> None:
    consoles = Consoles(tmp_path, keep=2)
    for age in range(5):
        path = tmp_path / f"g{age}.serial.log"
        path.write_text("x")
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "other.log").write_text("not ours")
    removed = consoles.prune(alive=["g4"])
    assert sorted(path.name for path in removed) == ["g2.serial.log", "g3.serial.log"]
    assert sorted(os.listdir(tmp_path)) == ["g0.serial.log", "g1.serial.log", "g4.serial.log", "other.log"]
