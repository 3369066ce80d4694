"""What an INI block of the documentation is, and whether it can be loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from docs_blocks import ROOT, Block, blocks

from vmm.cluster.profiles import check_entitlements
from vmm.config import _SECTIONS, load_settings
from vmm.ini import Finding, FindingsError, parse_ini
from vmm.plugins.manager import load_plugins
from vmm.policies.config import parse_policies
from vmm.rules import RuleBook, check_properties, check_triggers, default_schema
from vmm.rules.properties import PropertySpec
from vmm.rules.trial import read_trials, run_trial

SHIPPED = ROOT / "etc"
KINDS = ("triggers", "properties", "profiles", "shares", "vmm", "policies", "tests")


def kind_of(block: Block) -> str:
    """By a word behind the fence, else by the keys; empty when it is none of ours."""
    said = [word for word in block.words if word in KINDS]
    if said:
        return said[0]
    sections, _ = parse_ini(block.text, str(block))
    keys = {key for section in sections for key in section.items}
    names = {section.name for section in sections}
    for kind, mark in (("triggers", "expr"), ("tests", "given"), ("properties", "command")):
        if mark in keys:
            return kind
    if {"template", "vcpus"} <= keys:
        return "profiles"
    if "profile" in keys:
        return "shares"
    if names and names <= set(_SECTIONS):
        return "vmm"
    return "policies" if names and names <= {"objective", "weights", "soft", "search", "limits"} else ""


def findings_of(block: Block, extra_properties: str = "") -> list[str]:
    """What the checkers say about the block, warnings too; for rule tests also what fails."""
    return [str(finding) for finding in _CHECKS[kind_of(block)](block, extra_properties)]


def _properties(text: str, file: str) -> tuple[dict[str, PropertySpec], list[Finding]]:
    collectors = load_plugins(_plugins_in(file)).collectors
    return check_properties(text, file, collectors)


def _plugins_in(file: str) -> list[object]:
    """The plugins that the document itself defines in its Python blocks."""
    path = ROOT / file.partition(":")[0]
    found: list[object] = []
    for block in blocks(path) if path.suffix == ".md" else ():
        if block.language == "python" and "def vmm_collectors" in block.text:
            module = ModuleType(f"plugin_of_line_{block.line}")
            exec(compile(block.text, str(block), "exec"), module.__dict__)
            found.append(module)
    return found


def _check_properties(block: Block, _extra: str) -> list[Finding]:
    return _properties(block.text, str(block))[1]


def _book(text: str, file: str, extra: str) -> tuple[RuleBook | None, list[Finding]]:
    shipped = (SHIPPED / "properties.ini").read_text(encoding="utf-8")
    specs, _ = _properties(shipped, "shipped")
    more, _ = _properties(extra, "of the same document")
    schema = default_schema().with_properties({**specs, **more})
    return check_triggers(text, file, schema)


def _check_triggers(block: Block, extra: str) -> list[Finding]:
    return _book(block.text, str(block), extra)[1]


def _check_profiles(block: Block, _extra: str) -> list[Finding]:
    return check_entitlements(block.text, "", str(block), "-")[1]


def _check_shares(block: Block, _extra: str) -> list[Finding]:
    profiles = (SHIPPED / "profiles.ini").read_text(encoding="utf-8")
    return check_entitlements(profiles, block.text, "profiles.ini", str(block))[1]


def _check_vmm(block: Block, _extra: str) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vmm.ini").write_text(block.text, encoding="utf-8")
        try:
            load_settings(Path(folder))
        except FindingsError as exc:
            return exc.findings
    return []


def _check_policies(block: Block, _extra: str) -> list[Finding]:
    try:
        parse_policies(block.text, str(block))
    except FindingsError as exc:
        return exc.findings
    return []


def _check_tests(block: Block, extra: str) -> list[object]:
    """Rule tests run against the rules of the same document, else the shipped ones."""
    mine = [b for b in blocks(ROOT / block.file) if b.language == "ini" and kind_of(b) == "triggers"]
    text = "\n".join(b.text for b in mine if "wrong" not in b.words)
    text = text or (SHIPPED / "triggers.ini").read_text(encoding="utf-8")
    book, findings = _book(text, block.file, extra)
    assert book is not None, "\n".join(map(str, findings))
    trials, found = read_trials(block.text, str(block), book)
    return [*found, *(failure for trial in trials for failure in run_trial(trial, book))]


_CHECKS: dict[str, Callable[[Block, str], list[Finding] | list[object]]] = {
    "triggers": _check_triggers,
    "properties": _check_properties,
    "profiles": _check_profiles,
    "shares": _check_shares,
    "vmm": _check_vmm,
    "policies": _check_policies,
    "tests": _check_tests,
}
