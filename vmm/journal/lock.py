"""One writer per journal: an flock on `lock`, which also tells who holds it. It ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from vmm.journal.errors import JournalLocked


class WriterLock:
    """Held from construction to `release()`; the kernel releases it for a killed process."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(self._fd, 32, 0).strip()
            os.close(self._fd)
            raise JournalLocked(directory, int(text) if text.isdigit() else None) from None
        with contextlib.suppress(
            OSError
        ):  # a full disk must not keep the journal shut: the lock itself holds
            os.pwrite(self._fd, b"%-20d\n" % os.getpid(), 0)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
