"""Typed reading of INI values: each reader returns the value or raises ValueError with what is allowed."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable
from typing import Any

from vmm.durations import parse_duration_s
from vmm.ini import BadValue, Finding, Section, suggest
from vmm.rules.rule import Limit, NOf

_YES = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_PERIODS = {"second": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}


def yes_no(text: str) -> bool:
    value = _YES.get(text.lower())
    if value is None:
        raise BadValue(f"{text!r} is neither yes nor no", "Write yes or no.")
    return value


def positive_duration(text: str) -> float:
    value = parse_duration_s(text)
    if value <= 0:
        raise BadValue(f"{text!r} is not longer than nothing", "Write a time like 5m, or leave it out.")
    return value


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadValue(f"{text!r} is not a whole number", "Write digits, like 3.") from None


def positive_number(text: str) -> int:
    value = whole_number(text)
    if value < 1:
        raise BadValue(f"{text!r} is less than 1", "Write 1 or more, or leave it out.")
    return value


def n_of(text: str) -> NOf:
    match = re.fullmatch(r"(\d+)\s+of\s+(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 1000:
        raise ValueError(f"{text!r} is not like `3 of 5` (at most 1000)")
    return NOf(int(match[1]), int(match[2]))


def limit(text: str) -> Limit:
    match = re.fullmatch(r"(\d+)\s*(?:/|\bper\b)\s*(\S.*)", text.strip())
    if match is None or int(match[1]) < 1:
        raise ValueError(f"{text!r} is not like `3/hour` or `3/15m`")
    period = match[2].strip()
    seconds = _PERIODS.get(period)
    if seconds is None and not period[0].isdigit():
        raise BadValue(f"{period!r} is not a period", suggest(period, _PERIODS))
    return Limit(int(match[1]), seconds or positive_duration(period))


def one_of(allowed: Iterable[str]) -> Callable[[str], str]:
    choices = tuple(allowed)

    def read(text: str) -> str:
        if text not in choices:
            near = suggest(text, choices)
            if near.startswith("Known"):
                raise BadValue(f"{text!r} is not one of {', '.join(choices)}", "Write one of them.")
            raise BadValue(f"{text!r} is not one of {', '.join(choices)}", near)
        return text

    return read


def plain_text(text: str) -> str:
    return " ".join(text.split())


def identifier(name: str) -> bool:
    """Whether a property can be named so in an expression."""
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def read_keys(
    section: Section, readers: dict[str, Callable[[str], Any]], findings: list[Finding]
) -> dict[str, Any]:
    """The section's values by its readers; what is unknown or wrong goes to `findings`."""
    values: dict[str, Any] = {}
    for key, item in section.items.items():
        reader = readers.get(key)
        if reader is None:
            message = f"[{section.name}] has no key {key!r}."
            findings.append(Finding(section.file, item.line, message, suggest(key, readers)))
            continue
        try:
            values[key] = reader(item.value)
        except ValueError as exc:
            hint = exc.suggestion if isinstance(exc, BadValue) else ""
            findings.append(Finding(section.file, item.line, f"[{section.name}] {key}: {exc}.", hint))
    return values
