"""Durations and sizes as people write them: `90`, `90s`, `15m`, `2h`, `7d`; `512`, `512MiB`, `2GiB`."""

from __future__ import annotations

import math
import re
import time

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MiB|GiB|TiB|M|G|T)?", re.IGNORECASE | re.ASCII)
_TOO_EARLY_S = 10 * 365.25 * 86400
MAX_S = 100 * 365.25 * 86400
MAX_MIB = 2**40
_MIB = {"m": 1.0, "g": 1024.0, "t": 1024.0 * 1024.0}


def parse_duration_s(text: str) -> float:
    """Seconds. Raises ValueError with the forms that are understood."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration (write 90, 90s, 15m, 2h or 7d)")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if seconds > MAX_S:
        raise ValueError(f"{text[:40]!r} is longer than a hundred years")
    return seconds


def parse_size_mib(text: str) -> int:
    """MiB. Raises ValueError with the forms that are understood."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size (write 512, 512MiB or 2GiB)")
    mib = float(match[1]) * _MIB[(match[2] or "m")[0].lower()]
    if mib > MAX_MIB:
        raise ValueError(f"{text[:40]!r} is more than an exbibyte")
    return round(mib)


def show_duration(seconds: float) -> str:
    """The shortest exact-enough form: 0.2s, 45s, 2m30s, 3h5m, 2d4h, -45s; `inf` and `nan` stay."""
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds < 0:
        return f"-{show_duration(-seconds)}"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def show_moment(time_s: float) -> str:
    """A time of the stream as a local date and time; one that counts from 0, as in rule tests, as 1m30s."""
    if not math.isfinite(time_s) or time_s < _TOO_EARLY_S:
        return show_duration(time_s)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
