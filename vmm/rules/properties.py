"""Reads properties.ini: what clients report, how often, and what the values are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vmm.ini import Finding, FindingsError, Section, parse_ini, suggest
from vmm.rules.keys import identifier, one_of, plain_text, positive_duration, read_keys
from vmm.rules.schema import KINDS, default_schema

RETURN_TYPES = ("int", "float", "str", "bool", "table", "dict")
ROLES = ("dom0", "domU", "batch")
DEFAULT_TICKS_S = 60.0
_AGE_TICKS = 3
_TYPE_NAMES = {int: "int", float: "float", str: "str", bool: "bool", list: "table", dict: "dict"}
_FITS = {("int", "float"), ("float", "int"), ("bool", "int")}


class CollectorLike(Protocol):
    """What the check needs of a collector plugin."""

    @property
    def name(self) -> str: ...
    @property
    def returns(self) -> type: ...
    @property
    def unit(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class CollectorInfo:
    """A collector by what it returns, for tests and tools that have no plugins."""

    name: str
    returns: type
    unit: str = ""
    roles: tuple[str, ...] = ROLES
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """One section of properties.ini. `command` is the collector, `parameters` its argument."""

    name: str
    command: str
    parameters: str
    return_type: str
    ticks_s: float
    roles: tuple[str, ...]
    unit: str
    max_age_s: float
    description: str
    columns: tuple[str, ...] = ()
    line: int = 0


def _roles(text: str) -> tuple[str, ...]:
    read = one_of(ROLES)
    roles = tuple(read(part) for part in text.replace(",", " ").split())
    if not roles:
        raise ValueError("no role is named")
    return roles


def _return_type(text: str) -> str:
    return one_of(RETURN_TYPES)("table" if text == "list" else text)


_READERS: dict[str, Callable[[str], Any]] = {
    "command": plain_text,
    "parameters": str,
    "return_type": _return_type,
    "ticks": positive_duration,
    "roles": _roles,
    "unit": plain_text,
    "max_age": positive_duration,
    "description": plain_text,
}

KEYS: dict[str, str] = {
    "command": "The collector that reads it (required).",
    "parameters": "What the collector is given, often empty.",
    "return_type": "int, float, str, bool, table or dict; by default what the collector returns.",
    "ticks": "How often a client reports it; default 60 s.",
    "roles": "Which clients report it (dom0, domU, batch); by default all that the collector can serve.",
    "unit": "What values mean, for people; by default the collector's.",
    "max_age": "A value older than this is unknown; default three times `ticks`.",
    "description": "For people.",
}


def type_name(returns: type) -> str:
    """What a collector's return type is called in properties.ini."""
    return _TYPE_NAMES.get(returns, "dict")


def check_properties(
    text: str, file: str, collectors: Mapping[str, CollectorLike]
) -> tuple[dict[str, PropertySpec], list[Finding]]:
    """The properties that are right, and all findings. Never raises on bad text."""
    sections, findings = parse_ini(text, file)
    specs: dict[str, PropertySpec] = {}
    builtin = {name for kind in KINDS for name in default_schema().kinds[kind]}
    for section in sections:
        before = len(findings)
        values = read_keys(section, _READERS, findings)
        _check_name(section, builtin, findings)
        collector = _collector(section, values, collectors, findings)
        if collector is not None:
            spec = _spec(section, values, collector, findings)
            if len(findings) == before:
                specs[section.name] = spec
    return specs, findings


def load_properties(text: str, file: str, collectors: Mapping[str, CollectorLike]) -> dict[str, PropertySpec]:
    """All properties of the file. Raises FindingsError with everything that is wrong."""
    specs, findings = check_properties(text, file, collectors)
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        raise FindingsError(errors)
    return specs


def _check_name(section: Section, builtin: set[str], findings: list[Finding]) -> None:
    if not identifier(section.name):
        message = f"[{section.name}] cannot be a property's name."
        findings.append(Finding(section.file, section.line, message, "Use letters, digits and _."))
    elif section.name in builtin:
        message = f"[{section.name}] is a built-in column."
        findings.append(Finding(section.file, section.line, message, "Choose another name."))


def _collector(
    section: Section,
    values: dict[str, Any],
    collectors: Mapping[str, CollectorLike],
    findings: list[Finding],
) -> CollectorLike | None:
    if "command" not in section.items:
        message = f"[{section.name}] has no command."
        findings.append(Finding(section.file, section.line, message, "Name the collector: command = ram."))
        return None
    name = values.get("command", "")
    collector = collectors.get(name)
    if collector is None:
        line = section.items["command"].line
        message = f"[{section.name}] command: there is no collector {name!r}."
        findings.append(Finding(section.file, line, message, suggest(name, collectors)))
    return collector


def _spec(
    section: Section, values: dict[str, Any], collector: CollectorLike, findings: list[Finding]
) -> PropertySpec:
    given = type_name(collector.returns)
    wanted = values.get("return_type", given)
    if wanted != given and (given, wanted) not in _FITS:
        line = section.items["return_type"].line
        message = f"[{section.name}] return_type: collector {collector.name!r} returns {given}, not {wanted}."
        findings.append(Finding(section.file, line, message, f"Write return_type = {given}."))
    roles = values.get("roles", tuple(collector.roles))
    for role in roles:
        if role not in collector.roles:
            line = section.items["roles"].line
            message = f"[{section.name}] roles: collector {collector.name!r} does not work on {role}."
            findings.append(
                Finding(section.file, line, message, f"It works on {', '.join(collector.roles)}.")
            )
    ticks_s = values.get("ticks", DEFAULT_TICKS_S)
    max_age_s = values.get("max_age", _AGE_TICKS * ticks_s)
    if max_age_s < ticks_s:
        line = section.items["max_age"].line
        message = f"[{section.name}] max_age is shorter than ticks: the value would be unknown in between."
        findings.append(Finding(section.file, line, message, "Make it at least twice ticks."))
    return PropertySpec(
        section.name,
        values.get("command", ""),
        values.get("parameters", ""),
        wanted,
        ticks_s,
        roles,
        values.get("unit", collector.unit),
        max_age_s,
        values.get("description", ""),
        tuple(collector.columns),
        section.line,
    )
