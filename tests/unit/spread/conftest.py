from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm.spread.daemon import EmbeddedDaemon

sys.path.append(str(Path(__file__).parent))  # for spread_tapes


@pytest.fixture
def daemon() -> Iterator[EmbeddedDaemon]:
    with EmbeddedDaemon() as running:
        yield running
