"""The rule language: INI files in, firings out. Pure: no I/O, no clock, no threads.

`load_properties` and `load_triggers` read the files; `Engine` evaluates the rules over a
`vmm.cluster.tables.World` and explains itself.
"""

from vmm.rules.engine import Engine
from vmm.rules.errors import ExpressionError, RuleError
from vmm.rules.explain import ExplainNode, Explanation
from vmm.rules.gates import Gate
from vmm.rules.properties import (
    CollectorInfo,
    CollectorLike,
    PropertySpec,
    check_properties,
    load_properties,
)
from vmm.rules.results import Call, Firing, Transition
from vmm.rules.rule import Diff, Rule, RuleBook
from vmm.rules.schema import ColumnSpec, Operation, Parameter, Schema, default_schema
from vmm.rules.triggers import check_triggers, load_triggers

__all__ = [
    "Call",
    "CollectorInfo",
    "CollectorLike",
    "ColumnSpec",
    "Diff",
    "Engine",
    "ExplainNode",
    "Explanation",
    "ExpressionError",
    "Firing",
    "Gate",
    "Operation",
    "Parameter",
    "PropertySpec",
    "Rule",
    "RuleBook",
    "RuleError",
    "Schema",
    "Transition",
    "check_properties",
    "check_triggers",
    "default_schema",
    "load_properties",
    "load_triggers",
]
