"""Conditions that only loops can work out (texts, tables), kept by a program, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.rules.programs import Program
from vmm.rules.row_parts import Pair, Part
from vmm.rules.spans import Span


class KeptTruth(Part):
    """A program's truths, brought up to date row by row when they are asked for."""

    def __init__(self) -> None:
        self._truths: list[Any] = []
        self._value: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._valid: NDArray[np.bool_] = self._value
        self._complete = True
        self._stale: list[int] | None = None
        self._span: Span | None = None
        self.version = 0
        """Differs whenever the values do."""

    def follow(self, program: Program) -> None:
        self._truths = program.values
        program.listeners.append(self._changed)

    def _changed(self, row: int, _old: Any, _new: Any) -> None:
        if self._stale is not None:
            self._stale.append(row)
            if len(self._stale) > len(self._truths):
                self._stale = None

    def run(self, _outer: list[Any]) -> Pair:
        if self._stale is None or self._stale or len(self._truths) != len(self._value):
            self._refresh()
        return self._value, None if self._complete else self._valid

    def _refresh(self) -> None:
        truths, stale = self._truths, self._stale
        if stale is None or len(truths) != len(self._value):
            self._value = np.array([truth is True for truth in truths], dtype=np.bool_)
            self._valid = np.array([truth is not None for truth in truths], dtype=np.bool_)
        else:
            for row in stale:
                self._value[row] = truths[row] is True
                self._valid[row] = truths[row] is not None
        self._stale = []
        self.version += 1
        self._complete = bool(self._valid.all())
        self._span = None
        if self._complete and len(truths):  # rows without a subject are false, which at most widens it
            self._span = bool(self._value.all()), bool(self._value.any())

    def span(self, outer: list[Any]) -> Span | None:
        self.run(outer)
        return self._span
