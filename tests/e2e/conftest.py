"""Fixtures of the end-to-end tests: the images, one testbed for the session, a vmm installation per test."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the package `testbed` stands beside this file

from testbed import SEARCH_PATH, Choices, Gate, ImageSet, Site, Testbed, build_images, tail

pytest.register_assert_rewrite("story")

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "slurmctld", "munged", "ip", "mke2fs")
_ORDER = (
    "test_testbed",
    "test_main_job",
    "test_faults",
    "test_migration",
    "test_power_failure",
    "test_resize",
)
_FAILED = pytest.StashKey[bool]()
_GATE_PORTS = itertools.count(7001)
_LOG_TAIL = 6000

MakeSite = Callable[..., Site]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything quick first: the end-to-end tests run last, each file after those it builds on."""

    def place(item: pytest.Item) -> int:
        return _ORDER.index(item.path.stem) if item.path.stem in _ORDER else 0

    items.sort(key=lambda item: 1 + place(item) if item.get_closest_marker("e2e") else 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the tails of all logs of the testbed when a test failed in it."""
    report = yield
    if not report.failed:
        return report
    item.stash[_FAILED] = True
    bed = getattr(item, "funcargs", {}).get("bed")
    if isinstance(bed, Testbed) and call.when == "call":
        since_s = call.start
        for path in bed.logs():
            if path.exists() and path.stat().st_mtime >= since_s:
                report.sections.append((f"end of {path.relative_to(bed.directory)}", tail(path, _LOG_TAIL)))
        report.sections.append(("what was left", "\n".join(bed.describe())))
    return report


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where packages and images are kept between runs: VMM_TEST_CACHE, else .build/e2e."""
    chosen = os.environ.get("VMM_TEST_CACHE")
    return Path(chosen) if chosen else REPOSITORY / ".build/e2e"


@pytest.fixture(scope="session")
def images(cache: Path) -> ImageSet:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests make network namespaces: run them as root (make test uses sudo)")
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        pytest.fail(f"not installed: {', '.join(missing)}; `make e2e` installs them from Debian's packages")
    return build_images(cache, REPOSITORY)


@pytest.fixture(scope="session")
def session_bed(images: ImageSet, cache: Path) -> Iterator[Testbed]:
    """The testbed with host `a`, up for the whole session. Tests take `bed`, which starts clean."""
    with Testbed(images, cache).running() as bed:
        yield bed


@pytest.fixture
def bed(session_bed: Testbed, request: pytest.FixtureRequest) -> Iterator[Testbed]:
    """The session's testbed; after the test no job, node, guest or disk of it may be left.

    What a failed test leaves is removed, so that the next one starts clean.
    """
    yield session_bed
    if request.node.stash.get(_FAILED, False):
        session_bed.clear()
        return
    left = session_bed.residue()
    if left:
        session_bed.clear()
    assert left == []


@pytest.fixture
def make_site(bed: Testbed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """`make_site(**choices)`: a vmm installation on the testbed, not started. It is ended after the test."""
    made: list[Site] = []

    def make(**choices: object) -> Site:
        name = request.node.name.removeprefix("test_")
        variant = zlib.crc32(name.encode()) & 0xFFFF  # parametrized tests have logs of their own
        label = f"{name.partition('[')[0][:35]}-{variant:04x}-{len(made) + 1}"
        site = Site(bed, tmp_path / f"site{len(made) + 1}", REPOSITORY, label, Choices(**choices))  # type: ignore[arg-type]
        made.append(site)
        return site

    yield make
    for site in made:
        site.close()


@pytest.fixture
def gate(bed: Testbed) -> Iterator[Gate]:
    """A gate that jobs can wait at; see testbed/gate.py."""
    found = Gate(bed.ctl, next(_GATE_PORTS))
    yield found
    found.close()
