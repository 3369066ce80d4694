"""Names of a journal's files, and the few file operations that must be durable."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vmm.journal.errors import JournalError, JournalFailed, JournalFull

_SEGMENT_NAME = re.compile(r"(\d{20})\.vmmj")
_SNAPSHOT_NAME = re.compile(r"snapshot-(\d{20})\.vmms")
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""Disk full, quota reached, file size limit reached: the three ways to have no room."""


class Named(NamedTuple):
    """A file that is named by a journal position."""

    position: int
    path: Path


def segment_path(directory: Path, first_position: int) -> Path:
    return directory / f"{first_position:020d}.vmmj"


def snapshot_path(directory: Path, position: int) -> Path:
    return directory / f"snapshot-{position:020d}.vmms"


def _named(directory: Path, pattern: re.Pattern[str]) -> list[Named]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot("read", directory, error) from error
    found = ((pattern.fullmatch(name), name) for name in names)
    return sorted(Named(int(match[1]), directory / name) for match, name in found if match)


def segments(directory: Path) -> list[Named]:
    """The segment files, oldest first, named by their first position."""
    return _named(directory, _SEGMENT_NAME)


def snapshots(directory: Path) -> list[Named]:
    """The snapshot files, oldest first, named by the position whose state they hold."""
    return _named(directory, _SNAPSHOT_NAME)


def sync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` survive a power loss."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def free_bytes(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def refused(place: Path, needed_bytes: int, error: OSError) -> JournalFull | JournalFailed:
    """The journal's own error for an OSError met while writing `needed_bytes` to `place`."""
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return JournalFull(place, needed_bytes, free_bytes(place.parent), reason)
    return JournalFailed(place, f"writing {needed_bytes} bytes failed: {reason}")


def cannot(what: str, place: Path, error: OSError) -> JournalError:
    """The journal's own error for an OSError that has nothing to do with room."""
    reason = error.strerror or str(error)
    return JournalError(
        f"{place}: cannot {what} the journal: {reason}.",
        next_step="check path, owner and permissions, and the kernel log for errors of the disk.",
    )


def write_all(fd: int, data: bytes, offset: int) -> None:
    """pwrite until all is written (one call, unless the disk fills up or a signal comes in between)."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)


def write_atomically(path: Path, parts: Sequence[bytes], *, sync: bool = True) -> None:
    """Write a whole file or nothing: a temporary name, fsync, rename, fsync of the directory."""
    temporary = path.with_name(path.name + ".tmp")
    needed = sum(map(len, parts))
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            offset = 0
            for part in parts:
                write_all(fd, part, offset)
                offset += len(part)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        if sync:
            sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise refused(path, needed, error) from error
