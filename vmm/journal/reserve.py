"""A little space set aside, so that a full disk still takes the record that says the disk is full."""

from __future__ import annotations

import os
from pathlib import Path


class Reserve:
    """A file of `size` bytes. `release()` frees it; `restore()` makes it again when there is room."""

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / "reserve"
        self._size = size
        self.restore()

    @property
    def held(self) -> bool:
        return self._size == 0 or self._path.exists()

    def restore(self) -> bool:
        if self.held:
            return True
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o640)
            try:
                os.posix_fallocate(fd, 0, self._size)
            finally:
                os.close(fd)
        except OSError:
            self._path.unlink(missing_ok=True)  # no room: the journal works without a reserve
            return False
        return True

    def release(self) -> bool:
        """Returns whether there was something to free."""
        if not self._size:
            return False
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
