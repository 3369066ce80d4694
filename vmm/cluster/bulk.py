"""Writing many readings of a column at once. Nobody is told: the caller knows that nothing follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vmm.cluster.columns import Column
from vmm.cluster.tables import Table


def put_numbers(
    table: Table,
    column: Column,
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    times_s: NDArray[np.float64],
) -> None:
    """Readings in the order in which they came; NaN is an unknown value. Of a numeric column."""
    known = values == values
    found: list[Any]
    if column.type == "float":
        found = values.tolist()
    elif column.type == "bool":
        found = (values != 0.0).tolist()
    else:
        found = np.where(known, values, 0.0).astype(np.int64).tolist()
    if not known.all():
        found = [value if there else None for value, there in zip(found, known.tolist(), strict=True)]
    put(table, column, rows, found, times_s)


def put(
    table: Table,
    column: Column,
    rows: NDArray[np.int64],
    values: list[Any],
    times_s: NDArray[np.float64],
) -> None:
    """The same for values of any type, None for unknown."""
    if not len(rows):
        return
    stored, unknown = column.values, column.unknown
    places = rows.tolist()
    if unknown or None in values:
        for row, value in zip(places, values, strict=True):
            unknown += (value is None) - (stored[row] is None)
            stored[row] = value
        column.unknown = unknown
    else:
        for row, value in zip(places, values, strict=True):
            stored[row] = value
    column.times_view()[rows] = times_s
    if column.max_age_s != np.inf:
        table.note_age(column, float(np.nanmin(times_s)) if np.isfinite(times_s).any() else np.inf)
    column.outdate_all(places)
