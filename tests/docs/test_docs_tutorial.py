"""The tutorial, and other pages that can be, typed line by line into a real shell, in an empty home."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_blocks import ROOT, Block, all_blocks, blocks
from docs_console import Shell, steps

pytestmark = pytest.mark.processes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shell(tmp_path: Path, port: int) -> Iterator[Shell]:
    replace = {"vmm daemon": f"vmm daemon --listen 127.0.0.1:{port}"}
    shell = Shell(tmp_path, ROOT, replace)
    yield shell
    shell.close()


def write(block: Block, folder: Path, port: int) -> None:
    """What the reader saves or appends; the one change is the port, so that nobody else's daemon is met."""
    path = folder / block.target.removeprefix(">>")
    if block.target.startswith(">>"):
        path.write_text(f"{path.read_text()}\n{block.text}")
        return
    bus = f"[bus]\ndaemon = {port}@127.0.0.1\n\n" if path.name == "vmm.ini" else ""
    path.write_text(bus + block.text)


def documents_to_type() -> list[str]:
    """Those with a block ```` ```console run ````."""
    return sorted({b.file for b in all_blocks() if b.language == "console" and "run" in b.words})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("file", documents_to_type())
def test_every_step_works(file: str, shell: Shell, tmp_path: Path, port: int) -> None:
    for block in blocks(ROOT / file):
        if block.target:
            write(block, tmp_path / "site", port)
        elif block.language == "console" and "run" in block.words:
            for step in steps(block):
                shell.type(step)


def test_the_tutorial_is_typed() -> None:
    assert "docs/tutorial.md" in documents_to_type()
