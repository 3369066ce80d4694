"""The bench of the decision tests as a fixture."""

from __future__ import annotations

import pytest
from decide_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
