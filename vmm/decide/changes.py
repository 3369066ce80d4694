"""What new rule files change, for people: rule by rule, and for the other files section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmm.decide.catalogue import CATALOGUE, decode_catalogue
from vmm.decide.rulebook import FILES, Rules
from vmm.ini import parse_ini
from vmm.rules.rule import diff, edits

NOTHING = (
    "no change: rules, shares, profiles and properties mean what they meant (all rules keep their timers)"
)


def describe(old: Rules, new: Rules) -> list[str]:
    """Lines, old -> new: `~ shares.ini [groupA] guaranteed: 3 -> 1`. Rules say what keeps its timers."""
    rules = diff(old.book, new.book)
    others = list(_others(old.files, new.files))
    if rules.nothing and not others:
        return [NOTHING]
    return [*str(rules).splitlines(), *others]


def _others(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in FILES:
        if name != "triggers.ini":
            yield from _file(name, _sections(old, name), _sections(new, name))
    before, after = (decode_catalogue(files.get(CATALOGUE, "")) for files in (old, new))
    for sign, names in (("+", after.keys() - before.keys()), ("-", before.keys() - after.keys())):
        yield from (f"{sign} collector {name}" for name in sorted(names))
    same = before.keys() & after.keys()
    yield from (f"~ collector {name}" for name in sorted(same) if before[name] != after[name])


def _file(name: str, old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> Iterator[str]:
    yield from (f"+ {name} [{section}]" for section in new if section not in old)
    yield from (f"- {name} [{section}]" for section in old if section not in new)
    for section in new:
        yield from (
            f"~ {name} [{section}] {edit}" for edit in edits(old.get(section, new[section]), new[section])
        )


def _sections(files: Mapping[str, str], name: str) -> dict[str, dict[str, str]]:
    sections, _ = parse_ini(files.get(name, ""), name)
    return {s.name: {key: item.value for key, item in s.items.items()} for s in sections}
