"""`etc/policies.ini`: the objective, its weights, and the limits that plans keep to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vmm.durations import parse_duration_s
from vmm.ini import Finding, FindingsError, Section, parse_ini, suggest
from vmm.policies.antiflap import Settings
from vmm.policies.balance import Search
from vmm.policies.objective import GANETI, METRICS, OBJECTIVES, Objective, weighted
from vmm.policies.plan import Limits


@dataclass(frozen=True, slots=True)
class Policies:
    """What the file says; the defaults stand for an empty one."""

    objective: Objective = GANETI
    search: Search = field(default_factory=Search)
    limits: Limits = field(default_factory=Limits)
    antiflap: Settings = field(default_factory=Settings)


_T = TypeVar("_T", int, float)
_KEYS: Mapping[str, tuple[str, ...]] = {
    "objective": ("name",),
    "weights": tuple(METRICS),
    "soft": ("affinity", "spread", "power"),
    "search": ("min_gain", "max_moves", "seed"),
    "limits": ("per_host", "total", "bandwidth_mib_s", "dirty_factor", "overhead"),
    "antiflap": ("half_life", "rounds", "rest", "price_per_gib", "give_up_after", "give_up", "every"),
}


def parse_policies(text: str, file: str = "policies.ini", extra: Sequence[Objective] = ()) -> Policies:
    """Policies from the file's text; `extra` are the objectives that plugins bring.

    Raises FindingsError with every wrong line.
    """
    sections, findings = parse_ini(text, file)
    reader = _Reader(file, {s.name: s for s in sections}, findings)
    for section in sections:
        reader.check_names(section)
    weights = {m: reader.number("weights", m, 0.0 if m == "guests" else 1.0) for m in METRICS}
    soft = {key: reader.number("soft", key, 0.0) for key in _KEYS["soft"]}
    objective = _objective(reader, weights, soft, extra)
    gain = reader.at_least("search", "min_gain", float)
    moves = reader.at_least("search", "max_moves", int)
    seed = reader.at_least("search", "seed", int)
    limits = Limits(
        per_host=int(reader.number("limits", "per_host", 2, least=1)),
        total=int(reader.number("limits", "total", 8, least=1)),
        bandwidth_mib_s=reader.number("limits", "bandwidth_mib_s", 110.0, least=0.001),
        dirty_factor=reader.number("limits", "dirty_factor", 1.3, least=1.0),
        overhead_s=reader.seconds("limits", "overhead", 2.0),
    )
    settings = Settings(
        half_life_s=reader.seconds("antiflap", "half_life", 120.0),
        rounds=int(reader.number("antiflap", "rounds", 3, least=1)),
        rest_s=reader.seconds("antiflap", "rest", 900.0),
        price_per_gib=reader.number("antiflap", "price_per_gib", 0.0),
        give_up_after=int(reader.number("antiflap", "give_up_after", 3, least=1)),
        give_up_s=reader.seconds("antiflap", "give_up", 3600.0),
        every_s=max(reader.seconds("antiflap", "every", 60.0), 0.001),
    )
    if reader.findings:
        raise FindingsError(reader.findings)
    return Policies(
        objective,
        Search(max_moves=moves, min_gain=gain, seed=seed or 0),
        limits,
        settings,
    )


def _objective(
    reader: _Reader, weights: Mapping[str, float], soft: Mapping[str, float], extra: Sequence[Objective]
) -> Objective:
    known = {**OBJECTIVES, **{o.name: o for o in extra}}
    section = reader.sections.get("objective")
    name = section.get("name", "ganeti") if section else "ganeti"
    if name == "weighted":
        if not any(weights.values()):
            reader.complain(
                "weights", "", "every weight is 0, so that nothing would ever be planned", "Set one."
            )
        return weighted(
            weights, affinity_price=soft["affinity"], spread_price=soft["spread"], power_price=soft["power"]
        )
    if name not in known:
        reader.complain(
            "objective", "name", f"unknown objective {name!r}.", suggest(name, [*known, "weighted"])
        )
        return GANETI
    chosen = known[name]
    if not any(soft.values()):
        return chosen
    return replace(
        chosen, affinity_price=soft["affinity"], spread_price=soft["spread"], power_price=soft["power"]
    )


class _Reader:
    """Typed values of the sections; every wrong one becomes a finding with its line."""

    def __init__(self, file: str, sections: Mapping[str, Section], findings: list[Finding]) -> None:
        self.file, self.sections, self.findings = file, sections, findings

    def check_names(self, section: Section) -> None:
        known = _KEYS.get(section.name)
        if known is None:
            self.findings.append(
                Finding(
                    self.file,
                    section.line,
                    f"unknown section [{section.name}].",
                    suggest(section.name, _KEYS),
                )
            )
            return
        for key, item in section.items.items():
            if key not in known:
                self.findings.append(
                    Finding(
                        self.file, item.line, f"[{section.name}] has no key {key!r}.", suggest(key, known)
                    )
                )

    def complain(self, section: str, key: str, message: str, suggestion: str = "") -> None:
        found = self.sections.get(section)
        line = found.items[key].line if found and key in found.items else found.line if found else 1
        self.findings.append(Finding(self.file, line, message, suggestion))

    def number(self, section: str, key: str, default: float, least: float = 0.0) -> float:
        value = self.optional(section, key, float)
        if value is None:
            return default
        if not least <= value < float("inf"):
            self.complain(section, key, f"[{section}] {key} is {value:g}, expected at least {least:g}.")
            return default
        return value

    def optional(self, section: str, key: str, convert: Callable[[str], _T]) -> _T | None:
        """The value, or None where the key is missing, empty or wrong."""
        text = self._text(section, key)
        if not text:
            return None
        try:
            return convert(text)
        except ValueError:
            self.complain(section, key, f"[{section}] {key} is {text!r}, expected a number.")
            return None

    def at_least(self, section: str, key: str, convert: Callable[[str], _T]) -> _T | None:
        """The value if it is there and not negative."""
        value = self.optional(section, key, convert)
        if value is not None and not value >= 0:
            self.complain(section, key, f"[{section}] {key} is {value}, expected at least 0.")
            return None
        return value

    def seconds(self, section: str, key: str, default: float) -> float:
        text = self._text(section, key)
        if not text:
            return default
        try:
            return parse_duration_s(text)
        except ValueError as exc:
            self.complain(section, key, f"[{section}] {key}: {exc}.")
            return default

    def _text(self, section: str, key: str) -> str:
        found = self.sections.get(section)
        return found.get(key).strip() if found else ""
