"""The exactly rounded sum of an array of floats, a few passes instead of one step a number."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

_MAX_PASSES = 60


def array_sum(values: NDArray[Any]) -> float:
    """What math.fsum gives for the same finite numbers. Raises OverflowError where that does.

    Raises ValueError for infinity and NaN.

    Each pass splits off the leading bits of all numbers: so few that their sum is exact in whatever order
    it is made. The sums of the passes are then added by math.fsum. (Rump, Ogita, Oishi: Accurate
    floating-point summation.)
    """
    count = len(values)
    parts: list[float] = []
    rest = values
    for _ in range(_MAX_PASSES):
        largest = max(float(rest.max(initial=0.0)), -float(rest.min(initial=0.0)))
        if largest == 0.0:
            return math.fsum(parts)
        if largest - largest != 0.0:
            raise ValueError("not all numbers are finite")
        exponent = math.frexp(largest)[1] + (count + 2).bit_length()
        if exponent > 1022:
            break
        sigma = math.ldexp(1.0, exponent)
        head = (rest + sigma) - sigma
        parts.append(float(head.sum()))
        rest = rest - head
    return math.fsum(values.tolist())
