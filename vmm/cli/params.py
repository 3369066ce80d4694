"""Types of options that click does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vmm.durations import parse_duration_s

if TYPE_CHECKING:
    _Float = click.ParamType[float]
else:
    _Float = click.ParamType  # not generic in older versions


class Duration(_Float):
    """Seconds, written 90, 90s, 15m, 2h or 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration_s(str(value))
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)
