"""A stretch of the journal by columns: what each record is, the stream time after it, what reports say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmm import journal
from vmm.api.bulk.reports import ReportDecoder, Reports
from vmm.decide.events import Entry, Ticked, decode_event

OTHER, BEAT, REPORT = 0, 1, 2
RECORDS = 32_768


class Chunk:
    """Records of consecutive positions. `clock_s` is the stream time after each."""

    def __init__(self, parts: list[journal.Columns], now_s: float) -> None:
        self.first_position = parts[0].first_position
        self.times_s = np.concatenate([part.times_s for part in parts])
        offsets = np.cumsum([0, *(len(part.body) for part in parts)]).tolist()
        self.body: bytes | memoryview = parts[0].body
        if len(parts) > 1:
            self.body = b"".join(part.body for part in parts)
        self.starts = np.concatenate([p.starts + o for p, o in zip(parts, offsets, strict=False)])
        self.ends = np.concatenate([p.ends + o for p, o in zip(parts, offsets, strict=False)])
        self.kinds = np.concatenate([_kinds(part) for part in parts])
        self.beats: NDArray[np.int64] = np.flatnonzero(self.kinds == BEAT)
        self.reports: NDArray[np.int64] = np.flatnonzero(self.kinds == REPORT)
        clock = self.times_s.copy()
        for index in self.beats.tolist():
            event = self.entry(index).event
            if isinstance(event, Ticked):
                clock[index] = max(clock[index], event.beat.time_s)
        self.clock_s = np.maximum(np.maximum.accumulate(clock), now_s)
        self.gaps_s = self.times_s - np.concatenate(([now_s], self.clock_s[:-1]))
        """How far the stream had stood still before each record."""
        self.said: Reports | None = None

    def __len__(self) -> int:
        return len(self.times_s)

    def payload(self, index: int) -> bytes:
        return bytes(self.body[self.starts[index] : self.ends[index]])

    def decode(self, decoder: ReportDecoder) -> None:
        """Work out what the reports say."""
        self.said = decoder.decode(self.body, self.starts[self.reports], self.ends[self.reports])

    def entry(self, index: int) -> Entry:
        """Raises BadJournal."""
        position = self.first_position + index
        return Entry(position, float(self.times_s[index]), decode_event(self.payload(index), position))


def _kinds(part: journal.Columns) -> NDArray[np.uint8]:
    codes = [REPORT if name == "report" else BEAT if name == "beat" else OTHER for name in part.names]
    return np.array(codes, np.uint8)[part.numbers]


def stretches(folder: Path, first: int | None = None) -> Iterator[list[journal.Columns]]:
    """The journal in stretches of about RECORDS records. Raises JournalError."""
    parts: list[journal.Columns] = []
    count = 0
    for part in journal.read_columns(folder, first):
        if parts and (count + len(part) > RECORDS or part.first_position != _behind(parts[-1])):
            yield parts
            parts, count = [], 0
        parts.append(part)
        count += len(part)
    if parts:
        yield parts


def _behind(part: journal.Columns) -> int:
    return part.first_position + len(part)
