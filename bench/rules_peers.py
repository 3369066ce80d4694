"""Other expression engines, made to do what three of the measured expressions do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

Functions = dict[str, Callable[[], Any] | None]
"""By expression; None where the engine has no such form."""


def _simpleeval(manager: Any, _rows: list[Any], texts: dict[str, str]) -> Functions:
    simpleeval = importlib.import_module("simpleeval")
    simpleeval.MAX_COMPREHENSION_LENGTH = 10**9
    evaluator = simpleeval.EvalWithCompoundTypes(
        names={"manager": manager}, functions={"len": len, "any": any, "sum": sum}
    )

    def make(text: str) -> Callable[[], Any]:
        parsed = evaluator.parse(text)
        return lambda: evaluator.eval(text, previously_parsed=parsed)

    return {k: make(text) for k, text in texts.items()}


def _rule_engine(_manager: Any, rows: list[Any], _texts: dict[str, str]) -> Functions:
    rule_engine = importlib.import_module("rule_engine")
    context = rule_engine.Context(resolver=rule_engine.resolve_item, default_value=None)
    things = {"clients": [{k: v for k, v in row.items() if "@" not in k} for row in rows]}
    texts = {
        "any": "not [c for c in clients if c.ram_free < 100].is_empty",
        "count": "[c for c in clients if c.cpu_load > 0.9].length > 100000",
        "mean": "$sum([c.cpu_load for c in clients])/clients.length > 0.9",
    }
    rules = {k: rule_engine.Rule(text, context=context) for k, text in texts.items()}
    return {k: (lambda rule=rule: rule.matches(things)) for k, rule in rules.items()}


_CEL = {
    "any": "clients.exists(c, c.ram_free < 100.0)",
    "count": "clients.filter(c, c.cpu_load > 0.9).size() > 100000",
}


def _cel_python(_manager: Any, rows: list[Any], _texts: dict[str, str]) -> Functions:
    celpy = importlib.import_module("celpy")
    environment = celpy.Environment()
    activation = {"clients": celpy.json_to_cel(rows)}
    programs = {k: environment.program(environment.compile(text)) for k, text in _CEL.items()}
    made: Functions = {k: (lambda p=p: p.evaluate(activation)) for k, p in programs.items()}
    return {**made, "mean": None}


def _cel_rust(_manager: Any, rows: list[Any], _texts: dict[str, str]) -> Functions:
    cel = importlib.import_module("cel")
    context = cel.Context({"clients": rows})
    programs = {k: cel.compile(text) for k, text in _CEL.items()}
    made: Functions = {k: (lambda p=p: p.execute(context)) for k, p in programs.items()}
    return {**made, "mean": None}


PEERS = (
    ("simpleeval", _simpleeval),
    ("rule-engine", _rule_engine),
    ("cel-python (values converted before)", _cel_python),
    ("common-expression-language (context kept)", _cel_rust),
)
