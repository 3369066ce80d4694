"""Journals for tests: small segments, no fsync unless a test is about it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from vmm.journal import Entry, Journal, Record

Opener = Callable[..., Journal]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Lift the limit on file sizes that a test set: pytest's own output may be a file as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def open_journal(tmp_path: Path) -> Any:
    """Opens journals in tmp_path/"j" (or `directory=`), and closes what a test left open."""
    opened: list[Journal] = []

    def open_one(directory: Path | None = None, **options: Any) -> Journal:
        options = {"sync": "none", "reserve_kib": 0, **options}
        opened.append(Journal.open(directory or tmp_path / "j", **options))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


@pytest.fixture
def entries() -> Callable[..., list[Entry]]:
    """entries(n, start=0): n entries whose payload tells their number."""

    def make(count: int, start: int = 0) -> list[Entry]:
        return [
            (1e9 + i, "report" if i % 3 else "tick", b"payload %d" % i) for i in range(start, start + count)
        ]

    return make


@pytest.fixture
def numbered() -> Callable[[list[Entry]], list[Record]]:
    """The records that entries become in a journal that starts with them."""
    return lambda given: [Record(i, *entry) for i, entry in enumerate(given, 1)]


@pytest.fixture
def after_crash(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a journal's directory: what a new process would find if the writer died now."""
    count = 0

    def copy(directory: Path) -> Path:
        nonlocal count
        count += 1
        return Path(shutil.copytree(directory, tmp_path / f"crash{count}"))

    return copy
