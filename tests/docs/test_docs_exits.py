"""The exit statuses that the reference of the command line promises, with the error's code and next step."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_blocks import ROOT

from vmm.cli.main import main
from vmm.demo.parts import PROGRAM
from vmm.messages.keys import init_keys


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the shipped configuration, keys for one client, and a port on which nobody listens."""
    (tmp_path / "etc").mkdir()
    for file in (ROOT / "etc").glob("*.ini"):
        shutil.copy(file, tmp_path / "etc")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "etc/vmm.ini").write_text(f"[bus]\ndaemon = {port}@127.0.0.1\n")
    init_keys(tmp_path / "etc/keys", ["known"])
    monkeypatch.chdir(tmp_path)
    handlers = logging.root.handlers[:]
    yield tmp_path
    logging.root.handlers[:] = handlers


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out + captured.err


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("rules check", 0, "nothing to complain about"),
        ("rules check -q", 0, ""),
        ("rules fmt --check etc/shares.ini", 0, ""),
        ("--version", 0, "vmm, version"),
        ("keys init --client known", 0, "all keys are there already"),
        ("status", 1, "[journal.none]"),
        ("why groupA", 1, "[journal.none]"),
        ("pause --reason test", 1, "[bus-lost]"),
        ("status -c nowhere", 2, "no such folder of configuration"),
        ("manager -c nowhere", 2, "-c etc/"),
        ("client --role dom0 --name stranger", 2, "vmm keys init --client stranger"),
        ("client --role dom0 --name a/b", 2, "cannot be a client's name"),
        ("daemon --listen here", 2, "write HOST:PORT"),
        ("manager --log-level loud", 2, "'debug', 'info'"),
        ("staus", 2, "No such command"),
        ("rules", 2, "Usage"),
    ],
)
def test_statuses(site: Path, capsys: pytest.CaptureFixture[str], line: str, status: int, said: str) -> None:
    got, text = run(capsys, line)
    assert (got, said in text) == (status, True), text


def test_findings_are_status_3(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    triggers = site / "etc/triggers.ini"
    triggers.write_text(triggers.read_text().replace("guests_wanted > 0", "guest_wanted > 0"))
    for line in ("rules check", "manager"):
        status, text = run(capsys, line)
        assert status == 3
        assert "triggers.ini:14: error: [grow] expr: a share has no column 'guest_wanted'" in text
    (site / "etc/vmm.ini").write_text("[bus]\nport = 4803\n")
    status, text = run(capsys, "why groupA")
    assert (status, "vmm.ini:2" in text) == (3, True)


def test_a_folder_in_use_is_one_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "demo --plain --keep etc")
    assert (status, text.count("\n")) == (1, 2)
    assert "[demo-folder]" in text


def test_a_clone_in_the_current_folder_is_not_the_package(tmp_path: Path) -> None:
    (tmp_path / "vmm").mkdir()
    done = subprocess.run([*PROGRAM, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_in_use_is_one_line(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, text = run(capsys, f"daemon --listen 127.0.0.1:{other.getsockname()[1]}")
    assert (status, text.count("\n")) == (2, 1)
    assert "stop what runs there or choose another" in text
