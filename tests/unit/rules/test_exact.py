"""The exactly rounded sum on arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.rules.exact import array_sum

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, max_size=50))
def test_it_is_what_fsum_gives(values: list[float]) -> None:
    try:
        expected = math.fsum(values)
    except OverflowError:
        with pytest.raises(OverflowError):
            array_sum(np.array(values))
        return
    assert array_sum(np.array(values, dtype=np.float64)) == expected


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1] * 10_000,
        [1e16, 1.0, -1e16] * 1000,
        [1e300, 1e-300, -1e300],
        [5e-324] * 3,
        [2.0**-k for k in range(1074)],
        [1.0, 2.0**-53, 2.0**-106],
    ],
    ids=["none", "tenths", "cancel", "far apart", "tiny", "every exponent", "halfway"],
)
def test_hard_sums(values: list[float]) -> None:
    assert array_sum(np.array(values, dtype=np.float64)) == math.fsum(values)
