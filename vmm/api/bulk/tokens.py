"""Values that are no numbers: which encoded value each row holds, so that the same one again is no change."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vmm.cluster.tables import World
from vmm.rules.flow import NO_TOKEN, NO_VALUE

Ints = NDArray[np.int64]


class Tokens:
    """`encoded` is the decoder's list. What ordinary steps set must be told here."""

    def __init__(self, world: World, encoded: list[bytes]) -> None:
        self.world = world
        self.encoded = encoded
        self._present: dict[tuple[str, str], Ints] = {}
        self._decoded: dict[int, Any] = {}

    def present(self, kind: str, column: str) -> Ints:
        """The token of each row's value; NO_TOKEN where it is not known, NO_VALUE where there is no value."""
        rows = len(self.world.table(kind).row_names)
        found = self._present.get((kind, column))
        if found is None or len(found) != rows:
            fresh = np.full(rows, NO_TOKEN)
            if found is not None:
                fresh[: min(len(found), rows)] = found[:rows]
            found = self._present[kind, column] = fresh
        values = self.world.table(kind).columns[column].values
        none = np.array([value is None for value in values], np.bool_)
        found[~none & (found == NO_VALUE)] = NO_TOKEN
        found[none] = NO_VALUE
        return found

    def kept(self, kind: str, column: str) -> Ints:
        """As `present` gave it for the present window."""
        found = self._present.get((kind, column))
        return self.present(kind, column) if found is None else found

    def forget(self, kind: str, row: int) -> None:
        """An ordinary step has set values of this row."""
        for (table, _), found in self._present.items():
            if table == kind and row < len(found):
                found[row] = NO_TOKEN

    def forget_all(self) -> None:
        self._present.clear()

    def note(self, kind: str, column: str, row: int, token: int) -> None:
        """The row holds the value that the token encodes."""
        kept = self.kept(kind, column)
        if row >= len(kept):
            kept = self.present(kind, column)
        kept[row] = token

    def value(self, token: int) -> Any:
        """What the token encodes."""
        if token not in self._decoded:
            self._decoded[token] = msgspec.msgpack.decode(self.encoded[token])
        return self._decoded[token]
