"""Snapshots: the state after a position, as opaque bytes, so that a start need not read the whole journal."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import zstandard

from vmm.journal.files import Named, snapshot_path, snapshots, write_atomically
from vmm.journal.format import FORMAT_VERSION, Malformed

log = logging.getLogger(__name__)
SNAPSHOT_MAGIC = b"VMMSNAP\n"
_HEADER = struct.Struct("<8sHHIQd44sQQI")
SNAPSHOT_HEADER_BYTES = _HEADER.size + 4


class Snapshot(NamedTuple):
    position: int
    payload: bytes
    time_s: float
    journal_id: str


def write(directory: Path, journal_id: str, position: int, time_s: float, payload: bytes) -> Path:
    """Write one snapshot: durable and whole, or `JournalFull` and nothing."""
    path = snapshot_path(directory, position)
    packed = zstandard.ZstdCompressor(level=1).compress(payload)
    head = _HEADER.pack(
        SNAPSHOT_MAGIC, FORMAT_VERSION, 0, 0, position, time_s, journal_id.encode(),
        len(packed), len(payload), crc32(packed),
    )  # fmt: skip
    write_atomically(path, [head, struct.pack("<I", crc32(head)), packed])
    return path


def load(named: Named) -> Snapshot:
    """Read and check one snapshot. Raises `Malformed`."""
    data = named.path.read_bytes()
    if len(data) < SNAPSHOT_HEADER_BYTES:
        raise Malformed("the header is incomplete")
    head = data[: _HEADER.size]
    magic, version, _, _, position, time_s, name, stored, raw, crc = _HEADER.unpack(head)
    if magic != SNAPSHOT_MAGIC or struct.unpack_from("<I", data, _HEADER.size)[0] != crc32(head):
        raise Malformed("the header is not one (magic or checksum)")
    if version != FORMAT_VERSION:
        raise Malformed(f"format version {version}; this program reads version {FORMAT_VERSION}")
    packed = data[SNAPSHOT_HEADER_BYTES:]
    if len(packed) != stored or crc32(packed) != crc or position != named.position:
        raise Malformed("the payload is not what was written (length, checksum or position)")
    payload = zstandard.ZstdDecompressor().decompress(packed, max_output_size=raw)
    return Snapshot(position, payload, time_s, name.rstrip(b"\0").decode())


def latest_snapshot(directory: Path | str) -> tuple[int, bytes] | None:
    """(position, payload) of the newest undamaged snapshot; None if there is none."""
    found = latest(Path(directory))
    return (found.position, found.payload) if found is not None else None


def kept_snapshots(directory: Path | str) -> Iterator[bytes]:
    """The payloads of all undamaged snapshots, newest first."""
    return (found.payload for found in _undamaged(Path(directory)))


def latest(directory: Path) -> Snapshot | None:
    return next(_undamaged(directory), None)


def _undamaged(directory: Path) -> Iterator[Snapshot]:
    for named in reversed(snapshots(directory)):
        try:
            yield load(named)
        except FileNotFoundError:
            continue  # pruned by the writer just now
        except (Malformed, OSError, zstandard.ZstdError, UnicodeDecodeError) as fault:
            log.error("%s: snapshot damaged (%s); trying the one before", named.path, fault)


def prune(directory: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` snapshots; returns what was removed."""
    old = [named.path for named in snapshots(directory)[:-keep]]
    for path in old:
        path.unlink(missing_ok=True)
    return old
