"""any, all, count, sum, mean, min, max over all rows of a table as one call on arrays.

Three ways, the quickest first: by spans (a look at the ends decides for all rows), within bounds (enough
for most comparisons), and by every row's value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vmm.cluster.tables import Table
from vmm.rules import nodes as n
from vmm.rules import spans, vector
from vmm.rules.bounds import Between, between, extreme
from vmm.rules.exact import array_sum
from vmm.rules.row_parts import Array, Fallback, Pair, Rows, Valid, both, sides
from vmm.rules.spans import EXACT
from vmm.rules.totals import RowTotal
from vmm.rules.vector import Keep, Vectoriser

FALLBACK = object()
_UNDECIDED = object()
_PAUSE = 15
"""After spans did not decide, they are not tried for so many evaluations."""


class VectorAggregate:
    """`outer` are the nodes whose values the calls need."""

    def __init__(self, node: n.Aggregate, table: Table, variable: str, keep: Keep | None = None) -> None:
        """Raises Fallback when there is no array form."""
        make = Vectoriser(table, variable, keep)
        condition = node.loops[0].condition
        self._rows = make.rows
        self._fn = node.fn
        self._integer = node.element.type != "float"
        self._kept = None if condition is None else make.condition(condition)
        self._decides = node.fn in ("any", "all", "count")
        self._element = make.condition(node.element) if self._decides else make.part(node.element)
        self._total: RowTotal | None = None
        if node.fn in ("sum", "mean"):
            self._total = RowTotal(self._element, self._kept, self._rows)
        self._risky = make.risky or not self._decides
        self._pause = 0
        make.connect()
        self.outer = make.outer

    def __call__(self, outer: list[Any]) -> Any:
        """The aggregate; FALLBACK when the loops must do it."""
        if len(self._rows.table.rows) < vector.SMALL:
            return FALLBACK
        try:
            if not self._decides:
                self._pause = _PAUSE  # the bounds were not enough
            elif self._pause:
                self._pause -= 1
            elif (found := self._by_spans(outer)) is not _UNDECIDED:
                return found
            else:
                self._pause = _PAUSE
            if self._risky:
                with np.errstate(all="ignore"):
                    return self._by_rows(outer)
            return self._by_rows(outer)
        except Fallback:
            return FALLBACK

    def bounds(self, outer: list[Any]) -> Between | None:
        """Where a sum, mean, min or max lies, quickly. None: not found, or it is unknown."""
        table = self._rows.table
        if len(table.rows) < vector.SMALL or not table.rows:
            return None
        try:
            if self._total is not None:
                return self._total.bounds(self._fn == "mean", outer)
            if self._pause:
                self._pause -= 1
                return None
            inside = None if self._kept is None else self._kept.span(outer)
            if self._kept is not None and (inside is None or not inside[0]):
                return None
            span = self._element.span(outer)
            return None if span is None else Between(float(span[0]), float(span[1]))
        except Fallback:
            return None

    def _by_spans(self, outer: list[Any]) -> Any:
        """any, all, count where the same is true of all rows."""
        rows = len(self._rows.table.rows)
        element = self._element.span(outer)
        if self._kept is None:
            truth = element
        elif self._fn == "all":
            truth = spans.junction([spans.opposite(self._kept.span(outer)), element], False)
        else:
            truth = spans.junction([self._kept.span(outer), element], True)
        if truth is None or truth[0] != truth[1] or not rows:
            return _UNDECIDED
        every = bool(truth[0])
        return rows * every if self._fn == "count" else every

    def _by_rows(self, outer: list[Any]) -> Any:
        kept = None if self._kept is None else self._kept.run(outer)
        element = self._element.run(outer)
        if self._decides:
            return _decide(self._fn, kept, element, self._rows)
        return _number(self._fn, kept, element, self._rows, self._integer)


def _decide(fn: str, kept: Pair | None, element: Pair, rows: Rows) -> Any:
    """any, all, count."""
    live, size = rows.live(), len(rows.table.row_names)
    value, valid = element
    if valid is None and (kept is None or kept[1] is None):
        # All is known: count those for which it is true, or (all) not true.
        marked = np.logical_not(value) if fn == "all" else value
        if kept is not None:
            marked = marked & kept[0]
        if live is not None:
            marked = marked & live
        found = _count(marked, size)
        if fn == "count":
            return found
        return not found if fn == "all" else found > 0
    yes, no = sides(value, valid)
    if kept is not None:
        inside, outside = sides(*kept)
        yes, no = (yes | outside, no & inside) if fn == "all" else (yes & inside, no | outside)
    if live is not None:
        yes, no = yes & live, no & live
    sure, never = _count(yes, size), _count(no, size)
    perhaps = len(rows.table.rows) - sure - never
    if fn == "count":
        return between(sure, sure + perhaps)
    if fn == "any":
        return True if sure else None if perhaps else False
    return False if never else None if perhaps else True


def _count(mask: Any, size: int) -> int:
    return int(np.count_nonzero(mask)) if np.ndim(mask) else size * bool(mask)


def _number(fn: str, kept: Pair | None, element: Pair, rows: Rows, integer: bool) -> Any:
    """sum, mean, min, max."""
    size = len(rows.table.row_names)
    live = rows.live()
    inside, sure = (None, None) if kept is None else (_wide(kept[0], size), kept[1])
    chosen = both(both(live, inside), sure)
    doubtful = None if sure is None else both(~sure, live)
    if doubtful is not None and not doubtful.any():
        doubtful = None
    value, valid = element
    numbers: Array = np.broadcast_to(value, (size,))
    if fn in ("sum", "mean"):
        if doubtful is not None or (valid is not None and _any(~valid, chosen)):
            return None
        return _sum(fn, numbers if chosen is None else np.compress(chosen, numbers), integer)
    unknown = False
    if not integer:
        finite = np.isfinite(numbers)
        valid = valid if finite.all() else both(valid, finite)
    if valid is not None:
        unknown = _any(~valid, chosen) or (doubtful is not None and _any(~valid, doubtful))
        chosen = both(chosen, valid)
    certain = _best(fn, numbers if chosen is None else np.compress(chosen, numbers), integer)
    possible = []
    if doubtful is not None:
        perhaps = doubtful if valid is None else doubtful & valid
        possible = _best(fn, np.compress(perhaps, numbers), integer)
    return extreme(fn, certain, possible, unknown, True)


def _wide(mask: Any, size: int) -> Valid:
    """The mask for each row; None for all of them."""
    if np.ndim(mask):
        return mask  # type: ignore[no-any-return]
    return None if mask else np.zeros(size, dtype=np.bool_)


def _any(mask: Any, among: Valid) -> bool:
    return bool((mask if among is None else mask & among).any())


def _best(fn: str, numbers: Array, integer: bool) -> list[Any]:
    """The best one, if there are any; it stands for the others."""
    if not len(numbers):
        return []
    best = float(numbers.min() if fn == "min" else numbers.max())
    return [int(best) if integer else best]


def _sum(fn: str, numbers: Array, integer: bool) -> Any:
    if integer and len(numbers) and float(np.abs(numbers).max()) * len(numbers) >= EXACT:
        raise Fallback("large integers")
    try:
        total: int | float = int(numbers.sum()) if integer else array_sum(numbers)
    except ValueError:
        return None  # a member is infinite: unknown
    except OverflowError:
        raise Fallback("beyond what floats can add up") from None
    if fn == "sum":
        return total
    return total / len(numbers) if len(numbers) else None
