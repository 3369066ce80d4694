"""Records that have their position but are not written yet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vmm.journal.format import MAX_KIND, MAX_PAYLOAD, Block, Entry, encode, encode_all

_LOOSE_RECORDS = 8192


class Pending:
    """Gives positions from `next_position` on. Encoded blocks stand before the loose (single) records."""

    def __init__(self, next_position: int) -> None:
        self.next_position = next_position
        self._loose: list[Entry] = []
        self._loose_bytes = 0
        self._blocks: list[Block] = []
        self._block_bytes = 0

    @property
    def bytes(self) -> int:
        return self._block_bytes + self._loose_bytes

    def add(self, entry: Entry) -> int:
        """One record; raises `BadRecord` and takes nothing if it could not be stored later."""
        time_s, kind, payload = entry
        if not (
            type(time_s) is float and math.isfinite(time_s) and type(payload) is bytes
            and type(kind) is str and kind.isascii() and len(kind) <= MAX_KIND
        ) or len(payload) > MAX_PAYLOAD:  # fmt: skip
            encode(1, [entry])  # unusual: raises unless it can be stored
            entry = (time_s, kind, bytes(payload))  # a bytearray may change before the flush
        if len(self._loose) >= _LOOSE_RECORDS:
            self.blocks()
        self._loose.append(entry)
        self._loose_bytes += len(payload)
        self.next_position += 1
        return self.next_position - 1

    def extend(self, entries: Sequence[Entry]) -> range:
        """A batch, as a block of its own; all or, with `BadRecord`, nothing."""
        self.blocks()
        first = self.next_position
        for block in encode_all(first, entries):
            self._push(block)
            self.next_position = block.header.next_position
        return range(first, self.next_position)

    def blocks(self) -> list[Block]:
        """All that is pending, encoded."""
        if self._loose:
            for block in encode_all(self.next_position - len(self._loose), self._loose):
                self._push(block)
            self._loose, self._loose_bytes = [], 0
        return self._blocks

    def _push(self, block: Block) -> None:
        self._blocks.append(block)
        self._block_bytes += len(block.data)

    def written(self) -> None:
        """All of `blocks()` is stored."""
        self._blocks, self._block_bytes = [], 0

    def take_back(self, next_position: int) -> None:
        """Nothing of it is stored, nor will be: its positions are given again from `next_position` on."""
        self._blocks, self._block_bytes = [], 0
        self._loose, self._loose_bytes = [], 0
        self.next_position = next_position
