"""properties.ini: the paper's example, defaults, and mistakes."""

from __future__ import annotations

import pytest

from vmm.ini import FindingsError
from vmm.rules import CollectorInfo, check_properties, default_schema, load_properties

COLLECTORS = {
    "ram": CollectorInfo("ram", int, "kB"),
    "load": CollectorInfo("load", float),
    "guests": CollectorInfo("guests", list, "", ("dom0",), ("name", "state")),
}
PAPER = "[ram_free]\ncommand = ram\nparameters = MemFree\nreturn_type = int\nticks = 60\n"


def test_the_papers_property_loads_as_it_stands() -> None:
    spec = load_properties(PAPER, "p.ini", COLLECTORS)["ram_free"]
    assert (spec.command, spec.parameters, spec.return_type, spec.ticks_s) == ("ram", "MemFree", "int", 60.0)
    assert (spec.unit, spec.max_age_s, spec.roles) == ("kB", 180.0, ("dom0", "domU", "batch"))


def test_everything_can_be_said() -> None:
    text = """[vms]
command = guests
return_type = list
ticks = 1m
max_age = 5m
roles = dom0
unit = rows
description = what runs
   here
"""
    spec = load_properties(text, "p.ini", COLLECTORS)["vms"]
    assert (spec.return_type, spec.ticks_s, spec.max_age_s) == ("table", 60.0, 300.0)
    assert (spec.columns, spec.description) == (("name", "state"), "what runs here")
    schema = default_schema().with_properties([spec])
    assert "vms" in schema.kinds["host"]
    assert "vms" in schema.kinds["client"]
    assert "vms" not in schema.kinds["guest"]


MISTAKES = {
    "[x]\ncommand = rom\n": "p.ini:2: error: [x] command: there is no collector 'rom'. Did you mean 'ram'?",
    "[x]\nticks = 5\n": "p.ini:1: error: [x] has no command.",
    "[x]\ncommand = ram\ntick = 5\n": "p.ini:3: error: [x] has no key 'tick'. Did you mean 'ticks'?",
    "[x]\ncommand = ram\nreturn_type = str\n": "collector 'ram' returns int, not str.",
    "[x]\ncommand = ram\nreturn_type = number\n": "'number' is not one of int, float",
    "[x]\ncommand = guests\nroles = domU\n": "collector 'guests' does not work on domU.",
    "[x]\ncommand = ram\nroles = dom1\n": "'dom1' is not one of dom0, domU, batch",
    "[x]\ncommand = ram\nticks = 60\nmax_age = 30\n": "p.ini:4: error: [x] max_age is shorter than ticks",
    "[state]\ncommand = ram\n": "p.ini:1: error: [state] is a built-in column.",
    "[free ram]\ncommand = ram\n": "[free ram] cannot be a property's name.",
    "[class]\ncommand = ram\n": "[class] cannot be a property's name.",
    "[_x]\ncommand = ram\n": "[_x] cannot be a property's name.",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named(text: str) -> None:
    specs, findings = check_properties(text + "[fine]\ncommand = load\n", "p.ini", COLLECTORS)
    assert MISTAKES[text] in "\n".join(map(str, findings))
    assert list(specs) == ["fine"], "the others are read all the same"
    with pytest.raises(FindingsError):
        load_properties(text, "p.ini", COLLECTORS)
