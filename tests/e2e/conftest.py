"""Fixtures of the end-to-end tests: the images, and one testbed for the session."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the package `testbed` stands beside this file

from testbed import SEARCH_PATH, ImageSet, Testbed, build_images

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "slurmctld", "munged", "ip", "mke2fs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything quick first: the end-to-end tests run last, in their written order."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


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
    bed = Testbed(images, cache)
    try:
        bed.up()
        yield bed
    finally:
        bed.down()
    assert bed.leftovers() == []


@pytest.fixture
def bed(session_bed: Testbed) -> Iterator[Testbed]:
    """The session's testbed; after the test no job, node, guest or disk of it may be left."""
    yield session_bed
    assert session_bed.residue() == []
