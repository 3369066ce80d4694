"""The documents of the rule language: generated parts are up to date, every example works.

To make the generated parts anew: python tests/unit/rules/test_documents.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmm.plugins.manager import load_plugins
from vmm.rules import RuleBook, check_properties, check_triggers, default_schema
from vmm.rules.reference import fill, tables
from vmm.rules.trial import read_trials, run_trial

ROOT = Path(__file__).parents[3]
GENERATED = ("docs/reference/triggers.md", "docs/reference/properties.md")
DOCUMENTS = [*GENERATED, *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/how-to/rules-*.md"))]
COLLECTORS = load_plugins().collectors
PROPERTIES = """
[load]
command = load
[ram_free]
command = ram
[domains]
command = guests
[facts]
command = host_facts
"""


@pytest.mark.parametrize("name", GENERATED)
def test_generated_parts_are_what_the_code_says(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert fill(text, tables(COLLECTORS)) == text, f"run python {Path(__file__).relative_to(ROOT)}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_example_works(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    properties = PROPERTIES
    rules: RuleBook | None = None
    blocks = re.findall(r"^```ini (\w+)( wrong)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks or "explain" in name or "find-out" in name
    for kind, wrong, body in blocks:
        if kind == "properties":
            specs, findings = check_properties(body, name, COLLECTORS)
            assert not findings, findings
            properties = body
        specs, _ = check_properties(properties, name, COLLECTORS)
        if kind == "triggers":
            rules, findings = check_triggers(body, name, default_schema().with_properties(specs))
            assert bool(findings) == bool(wrong), findings
        if kind == "tests":
            assert rules is not None
            trials, findings = read_trials(body, name, rules)
            assert not findings, findings
            assert trials
            for trial in trials:
                assert not [str(f) for f in run_trial(trial, rules)]


if __name__ == "__main__":
    for each in GENERATED:
        path = ROOT / each
        path.write_text(fill(path.read_text(encoding="utf-8"), tables(COLLECTORS)), encoding="utf-8")
