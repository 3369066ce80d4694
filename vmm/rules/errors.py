"""Errors of the rule language."""

from __future__ import annotations

from vmm.errors import VmmError


class RuleError(VmmError):
    """A rule, or what is asked of one, is wrong."""

    code = "rules"


class ExpressionError(RuleError):
    """An expression is not of the language. `line` counts from the start of the expression (1)."""

    code = "rules.expression"

    def __init__(self, message: str, line: int = 1, suggestion: str = "") -> None:
        self.line = line
        self.suggestion = suggestion
        super().__init__(message, next_step=suggestion)
