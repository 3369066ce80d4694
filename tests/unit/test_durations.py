"""Durations and sizes as people write them."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.durations import parse_duration_s, parse_size_mib, show_duration, show_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), (" 15m ", 900), ("2h", 7200), ("7d", 604800),
        ("0.5s", 0.5), ("1.5 h", 5400), ("0", 0),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "mib"),
    [("512", 512), ("512MiB", 512), ("2GiB", 2048), ("2g", 2048), ("1 TiB", 2**20), ("0.5G", 512)],
)
def test_sizes(text: str, mib: int) -> None:
    assert parse_size_mib(text) == mib


@pytest.mark.parametrize(
    "text", ["", "-5", "5 minutes", "1e3", "inf", "nan", "5ms", "٣s", "9" * 400, "s", "1h30m"]
)
@pytest.mark.parametrize("parse", [parse_duration_s, parse_size_mib])
def test_what_is_neither_is_a_value_error(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match=r"is not a|longer|more"):
        parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.2, "0.2s"), (9.5, "9.5s"), (5.98, "6s"), (45, "45s"), (59.7, "1m"), (150, "2m30s"),
        (3600, "1h"), (11100, "3h5m"), (187200, "2d4h"), (-45, "-45s"), (math.inf, "inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_shown(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def test_moments() -> None:
    assert show_moment(90.0) == "1m30s"
    shown = show_moment(1_795_260_221.4)
    assert datetime.strptime(shown, "%Y-%m-%d %H:%M:%S").timestamp() == 1_795_260_221
    assert show_moment(math.inf) == "inf"


@given(st.floats(allow_nan=False))
def test_everything_can_be_shown(seconds: float) -> None:
    assert show_duration(seconds)


@given(st.integers(0, 10**6), st.sampled_from("smhd"))
def test_what_is_shown_is_within_its_last_unit(count: int, unit: str) -> None:
    try:
        seconds = parse_duration_s(f"{count}{unit}")
    except ValueError:
        return  # more than a hundred years
    shown = show_duration(seconds)
    parts = [part for part in shown.replace("d", "d ").replace("h", "h ").replace("m", "m ").split() if part]
    assert seconds - 3600 < sum(map(parse_duration_s, parts)) <= seconds
