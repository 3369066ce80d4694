"""One property of all subjects of a kind: values, the times of the readings, and NumPy views on demand.

Values stand in a plain list, `None` for unknown, because rules read them one at a time far more often than
all at once. `view()` gives arrays for the vectorised rules and brings them up to date row by row.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.errors import VmmError

Hook = Callable[[int], None]

TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "table": list, "dict": dict}
_DTYPES: dict[str, type] = {"int": np.float64, "float": np.float64, "bool": np.bool_}
_INT_LIMIT = 1 << 63
_editions = itertools.count(1)


class ValueRefused(VmmError):
    """A value does not fit its column; the reading before it stays."""

    code = "cluster.value"


class Column:
    """Values of one property, indexed by the table's row numbers.

    `times` holds the last reading's time even when its value has become unknown; NaN: there was none.
    `unknown` counts the live rows without a value. `hooks` are called with the row when its value changed,
    `touch_hooks` also when the same value was reported again. `edition` numbers the contents of `view()`:
    no two contents, of this column or another, have the same number.
    """

    __slots__ = (
        "_array",
        "_high",
        "_low",
        "_times_array",
        "_valid",
        "edition",
        "hooks",
        "is_float",
        "largest",
        "max_age_s",
        "name",
        "oldest_s",
        "python_type",
        "stale",
        "times",
        "touch_hooks",
        "type",
        "unit",
        "unknown",
        "values",
    )

    def __init__(self, name: str, type_: str, unit: str = "", max_age_s: float = inf) -> None:
        if type_ not in TYPES:
            raise VmmError(
                f"column {name!r}: unknown type {type_!r}.", next_step=f"use one of {', '.join(TYPES)}"
            )
        self.name = name
        self.type = type_
        self.unit = unit
        self.max_age_s = max_age_s
        self.oldest_s = -inf if max_age_s == inf else inf
        """No known reading is older (-inf in a column of which none expires); it may be too low."""
        self.python_type: Any = TYPES[type_]
        self.is_float = type_ == "float"
        self.values: list[Any] = []
        self.times = array("d")
        self.unknown = 0
        self.largest = 0.0
        self.edition = 0
        self.hooks: tuple[Hook, ...] = ()
        self.touch_hooks: tuple[Hook, ...] = ()
        self._array: NDArray[Any] | None = None
        self._times_array: NDArray[np.float64] | None = None
        self._valid: NDArray[np.bool_] | None = None
        self._low: float | None = None
        self._high = 0.0
        self.stale: list[int] | None = None

    def grow(self, rows: int) -> None:
        """Make room for `rows` rows; new ones are unknown (the table counts them)."""
        more = rows - len(self.values)
        if more > 0:
            self._times_array = None  # it would forbid the times to grow
            self.values += [None] * more
            self.times.extend([nan] * more)
            self._array = self.stale = None

    def accept(self, value: Any) -> Any:
        """The value in the column's type, None for NaN and infinity. Raises ValueRefused.

        An integral float passes for an int.
        """
        kind = type(value)
        if self.type == "float" and kind is int:
            return float(value) if -_INT_LIMIT <= value < _INT_LIMIT else self._refuse(value)
        if self.type == "float" and kind is float:
            return value if value - value == 0.0 else None
        if self.type == "int" and kind is float and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if self.type == "table" and kind is tuple:
            return list(value)
        if kind is not self.python_type or (kind is int and not -_INT_LIMIT <= value < _INT_LIMIT):
            return self._refuse(value)
        return value

    def _refuse(self, value: Any) -> Any:
        raise ValueRefused(
            f"{self.name}: {value!r} is {type(value).__name__}, the column holds {self.type}.",
            next_step=f"mend the plugin that reports {self.name}, or its return_type in properties.ini",
        )

    def store(self, row: int, value: Any) -> None:
        """Put a value that differs from the one before, and tell the hooks."""
        values = self.values
        if values[row] is None:
            self.unknown -= 1
        if value is None:
            self.unknown += 1
        values[row] = value
        if self.stale is not None:
            self.outdate(row)
        for hook in self.hooks:
            hook(row)

    def vacate(self, row: int) -> None:
        """Empty a row whose subject has gone: nobody is told, and the row no longer counts as unknown."""
        self.values[row] = None
        if self.stale is not None:
            self.outdate(row)

    def outdate(self, row: int) -> None:
        """The view is no longer right for this row; one that nobody asks for any more is dropped."""
        if self.stale is not None:
            self.stale.append(row)
            if len(self.stale) > len(self.values):
                self.stale = self._array = None

    def outdate_all(self, rows: list[int]) -> None:
        """`outdate` for many rows."""
        if self.stale is not None:
            self.stale += rows
            if len(self.stale) > len(self.values):
                self.stale = self._array = None

    def expired(self, now_s: float) -> list[int]:
        """Rows whose reading is older than `max_age_s` allows; brings `oldest_s` up to date."""
        times = self.times_view()
        due = times + self.max_age_s
        late = due < now_s
        young = times[due >= now_s]
        self.oldest_s = float(young.min()) if len(young) else inf
        values = self.values
        return [row for row in np.flatnonzero(late).tolist() if values[row] is not None]

    def times_view(self) -> NDArray[np.float64]:
        """The times of all rows as they are at any moment; do not keep it, nor write to it."""
        if self._times_array is None:
            self._times_array = np.frombuffer(self.times)
        return self._times_array

    def view(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(values, valid) over all rows, holes too; unknown values are 0. Only int, float and bool columns.

        Integers come as float64, exact while `largest` is below 2**53. The arrays are kept: do not write
        to them.
        """
        if self.stale is None or self.stale or self._array is None or self._valid is None:
            return self._refreshed()
        return self._array, self._valid

    def _refreshed(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The arrays brought up to date, and a new edition."""
        array, valid, values, stale = self._array, self._valid, self.values, self.stale
        self.edition = next(_editions)
        if array is None or valid is None or stale is None or len(stale) * 8 > len(values):
            valid = self._valid = np.array([v is not None for v in values], dtype=np.bool_)
            array = self._array = np.array([0 if v is None else v for v in values], dtype=_DTYPES[self.type])
            self.largest = float(np.abs(array).max(initial=0)) if self.type == "int" else 0.0
            self._low = None
            self.stale = []
            return array, valid
        low, high = self._low, self._high
        for row in stale:
            value = values[row]
            if low is not None:
                if valid[row] and not low < array[row] < high:
                    low = None  # perhaps the only value at this end has gone
                elif value is not None and not low <= value <= high:
                    low, high = min(low, value), max(high, value)
            valid[row] = value is not None
            array[row] = 0 if value is None else value
            if self.type == "int" and value is not None and abs(value) > self.largest:
                self.largest = float(abs(value))
        self._low, self._high = low, high
        stale.clear()
        return array, valid

    def span(self) -> tuple[float, float] | None:
        """(lowest, highest) of the known values; None: there are none. Columns as for `view()`."""
        array, valid = self.view()
        if self._low is None:
            known = array if len(self.values) == np.count_nonzero(valid) else array[valid]
            if not len(known):
                return None
            self._low, self._high = float(known.min()), float(known.max())
        return self._low, self._high
