"""Retention: whole old segments go when they are too old or too many, and a snapshot covers them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vmm.journal.files import segments, snapshots
from vmm.journal.segment import SegmentFile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removed:
    """What one round of retention took away. `kept_uncovered`: segments due, but covered by no snapshot."""

    paths: Sequence[Path] = ()
    bytes: int = 0
    positions: range = range(0)
    kept_uncovered: int = 0

    def __str__(self) -> str:
        if not self.paths:
            return f"removed nothing ({self.kept_uncovered} segments wait for a snapshot)"
        first, last = self.positions[0], self.positions[-1]
        return f"removed {len(self.paths)} segments, positions {first} to {last}, {self.bytes} bytes"


def retain(directory: Path, *, limit_bytes: float, oldest_s: float) -> Removed:
    """Remove closed segments from the oldest on: while all together are above `limit_bytes`, or while the
    newest record of one is before `oldest_s`. The newest segment stays, and all that the *oldest kept*
    snapshot does not cover: should the newest be damaged, an older one and the records after it must do.
    """
    found = segments(directory)
    covering = snapshots(directory)
    covered = covering[0].position if covering else 0
    sizes = [named.path.stat().st_size for named in found]
    total = sum(sizes)
    paths: list[Path] = []
    freed = waiting = 0
    first = last = 0
    for (named, following), size in zip(pairwise(found), sizes, strict=False):
        if not (total - freed > limit_bytes or (oldest_s > -math.inf and _newest_s(named.path) < oldest_s)):
            break
        if following.position - 1 > covered:
            waiting += 1
            break
        named.path.unlink()
        paths.append(named.path)
        freed += size
        first, last = first or named.position, following.position - 1
    removed = Removed(paths, freed, range(first, last + 1) if paths else range(0), waiting)
    if paths:
        log.info("%s: retention %s", directory, removed)
    elif waiting:
        log.warning("%s: retention is due, but no snapshot covers the oldest segment", directory)
    return removed


def _newest_s(path: Path) -> float:
    with SegmentFile(path) as segment:
        if segment.index is not None:
            return segment.index.max_time_s
        return path.stat().st_mtime  # damaged, hence never closed; it must not hold up the rest for ever
