"""Serial console logs: where they are, their last lines, and how many of dead guests are kept."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from vmm.hypervisors.interface import GuestFailed
from vmm.hypervisors.names import check_name

KEEP = 50
_TAIL_BYTES = 128 * 1024
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][0-9A-B]|[^\t\n\x20-\x7e\x80-\U0010ffff]")


class Consoles:
    """The console logs of one folder, one file a guest by `pattern`."""

    def __init__(self, folder: Path, pattern: str = "{name}.serial.log", keep: int = KEEP) -> None:
        self.folder = folder
        self._pattern = pattern
        self._keep = keep

    def path(self, name: str) -> Path:
        return self.folder / self._pattern.format(name=check_name(name))

    def fresh(self, name: str) -> Path:
        """Make room for a new guest's log: the folder exists and an older log of that name is gone."""
        path = self.path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise GuestFailed(
                "start-failed",
                f"guest {name}: its console log {path} cannot be made: {exc.strerror}.",
                next_step="let the client write to the folder `consoles` of vmm.ini, or name another",
            ) from exc
        return path

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines, without terminal control characters; empty when there is no log."""
        if lines < 1:
            return ""
        try:
            with self.path(name).open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _TAIL_BYTES))
                data = log.read()
        except FileNotFoundError:
            return ""
        except OSError as exc:
            raise GuestFailed(
                "no-console",
                f"guest {name}: its console log cannot be read: {exc.strerror}.",
                next_step=f"let the client read {self.path(name)}",
            ) from exc
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        text = _CONTROL.sub("", text)
        return "\n".join(text.strip("\n").split("\n")[-lines:])

    def prune(self, alive: Collection[str]) -> list[Path]:
        """Keep the newest logs of dead guests for diagnosis, remove the older ones. Returns the removed."""
        spared = {self.path(name).name for name in alive}
        dead: list[tuple[float, Path]] = []
        for path in self.folder.glob(self._pattern.format(name="*")):
            if path.name not in spared:
                with contextlib.suppress(OSError):
                    dead.append((path.stat().st_mtime, path))
        dead.sort(reverse=True)
        removed = [path for _, path in dead[self._keep :]]
        for path in removed:
            with contextlib.suppress(OSError):
                path.unlink()
        return removed
