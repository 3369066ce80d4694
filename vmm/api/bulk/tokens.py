"""Values that are no numbers: which encoded value each row holds, so that the same one again is no change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import World
from vmm.rules.flow import NO_TOKEN, NO_VALUE

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Tokens:
    """`encoded` is the decoder's list. Another object in the table is another value, whoever put it there."""

    def __init__(self, world: World, encoded: list[bytes]) -> None:
        self.world = world
        self.encoded = encoded
        self._present: dict[tuple[str, str], Ints] = {}
        self._held: dict[tuple[str, str], list[Any]] = {}
        """The objects that those tokens stand for."""
        self._decoded: dict[int, Any] = {}

    def present(self, kind: str, column: str) -> Ints:
        """The token of each row's value; NO_TOKEN where it is not known, NO_VALUE where there is no value."""
        values = self.world.table(kind).columns[column].values
        key = kind, column
        found, held = self._present.get(key), self._held.setdefault(key, [])
        if found is None or len(found) != len(values):
            fresh = np.full(len(values), NO_TOKEN)
            if found is not None:
                fresh[: len(found)] = found[: len(values)]
            found = self._present[key] = fresh
            held[:] = [*held[: len(values)], *[None] * (len(values) - len(held))]
        other = [a is not b for a, b in zip(values, held, strict=True)]
        if True in other:
            found[np.array(other, np.bool_)] = NO_TOKEN
            held[:] = values
        found[np.array([value is None for value in values], np.bool_)] = NO_VALUE
        return found

    def note(self, kind: str, column: str, row: int, token: int) -> None:
        """The row holds the value that the token encodes."""
        key = kind, column
        if row >= len(self._held.get(key, ())):
            self.present(kind, column)
        value = self._held[key][row] = self.world.table(kind).columns[column].values[row]
        self._present[key][row] = NO_VALUE if value is None else token  # it may be gone again

    def of(self, kind: str, column: str, row: int) -> int:
        """The token of the row's value; NO_TOKEN where it is not known, NO_VALUE where there is no value."""
        held, value = self._held.get((kind, column), ()), self.world.table(kind).columns[column].values[row]
        if value is None:
            return NO_VALUE
        known = row < len(held) and held[row] is value
        return int(self._present[kind, column][row]) if known else NO_TOKEN

    def put(
        self, kind: str, column: str, rows: Ints, tokens: Ints, first_alike: Callable[[int], int] | None
    ) -> tuple[Bools, list[Any]]:
        """(the rows whose value becomes another one, those values), when these rows get these tokens' values.

        NO_TOKEN: the value stays. `first_alike(place)` gives the token that began the run of equal values
        which ends with the one at this place: as in Table.set, its object stays.
        """
        key = kind, column
        stored = self.world.table(kind).columns[column].values
        if len(self._held.get(key, ())) != len(stored):
            self.present(kind, column)
        found, held = self._present[key], self._held[key]
        same = np.array([stored[row] is held[row] for row in rows.tolist()], np.bool_)
        other: Bools = (tokens != NO_TOKEN) & ((tokens != found[rows]) | ~same)
        found[rows[other]] = tokens[other]
        values = []
        for place in np.flatnonzero(other).tolist():
            row, token = int(rows[place]), int(tokens[place])
            if first_alike is not None:
                found[row] = token = first_alike(place)
            value = None if token == NO_VALUE else self.value(token)
            if value != stored[row]:
                values.append(value)
            else:  # encoded in another way: the old object stays, as in Table.set
                other[place] = False
                value = stored[row]
            held[row] = value
        return other, values

    def value(self, token: int) -> Any:
        """What the token encodes."""
        if token not in self._decoded:
            self._decoded[token] = msgspec.msgpack.decode(self.encoded[token])
        return self._decoded[token]
