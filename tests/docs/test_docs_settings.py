"""The references of vmm.ini, profiles.ini and shares.ini name the keys that their readers know."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from docs_blocks import ROOT

from vmm.cluster.profiles import _PROFILE_KEYS, _SHARE_KEYS
from vmm.config import _CHOICES, _SECTIONS
from vmm.durations import parse_duration_s, parse_size_mib

REFERENCE = ROOT / "docs" / "reference"


def part(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the first table."""
    found = []
    for line in text.splitlines():
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
        elif found:
            break
    return found[2:]


def value(default: object, key: str, text: str) -> object:
    """The cell as the reader of the settings would take it."""
    if isinstance(default, bool):
        return {"yes": True, "no": False}[text]
    if key.endswith("_s"):
        return parse_duration_s(text)
    if key.endswith("_mib"):
        return parse_size_mib(text)
    return type(default)(text)


@pytest.mark.parametrize("section", _SECTIONS)
def test_settings(section: str) -> None:
    table = rows(part((REFERENCE / "settings.md").read_text(encoding="utf-8"), f"`[{section}]`"))
    told = {row[0].strip("`"): row for row in table}
    known = {field.name: field for field in fields(_SECTIONS[section])}
    assert set(told) == set(known)
    for key, field in known.items():
        default = told[key][1].strip("`")
        assert value(field.default, key, default) == field.default, key
        for choice in _CHOICES.get((section, key), ()):
            assert f"`{choice}`" in told[key][3], (key, choice)


@pytest.mark.parametrize(("heading", "keys"), [("A profile", _PROFILE_KEYS), ("A share", _SHARE_KEYS)])
def test_profiles_and_shares(heading: str, keys: dict[str, object]) -> None:
    table = rows(part((REFERENCE / "profiles-and-shares.md").read_text(encoding="utf-8"), heading))
    told = [key for row in table for key in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(keys)
