"""The rule language: INI files to properties and triggers, evaluated and explained. Pure: no I/O, no clock."""

from vmm.rules.engine import Engine
from vmm.rules.explain import Explanation
from vmm.rules.properties import (
    CollectorInfo,
    CollectorLike,
    PropertySpec,
    check_properties,
    load_properties,
)
from vmm.rules.results import Call, Firing, Transition
from vmm.rules.rule import Diff, Rule, RuleBook
from vmm.rules.schema import Schema, default_schema
from vmm.rules.triggers import check_triggers, load_triggers

__all__ = [
    "Call",
    "CollectorInfo",
    "CollectorLike",
    "Diff",
    "Engine",
    "Explanation",
    "Firing",
    "PropertySpec",
    "Rule",
    "RuleBook",
    "Schema",
    "Transition",
    "check_properties",
    "check_triggers",
    "default_schema",
    "load_properties",
    "load_triggers",
]
