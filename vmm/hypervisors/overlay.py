"""Copy-on-write disks: a qcow2 overlay for each guest, on a template that is never written to.

Overlays live in `overlays/` below the images folder, so that no guest's name can collide with a template's.
The backing file is written as a relative path: it stays right wherever the folder is mounted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

from vmm.hypervisors.interface import GuestFailed
from vmm.hypervisors.names import check_name, inside

OVERLAYS = "overlays"
TIMEOUT_S = 45.0
_FULL = ("no space left on device", "disk quota exceeded")
_LOCKED = ("failed to get", "is another process using the image")


class Overlays:
    """The overlays of one images folder. Needs `qemu-img` (Debian: qemu-utils)."""

    def __init__(self, images: Path, qemu_img: str = "qemu-img", timeout_s: float = TIMEOUT_S) -> None:
        self.images = images
        self._qemu_img = qemu_img
        self._timeout_s = timeout_s

    def path(self, name: str) -> Path:
        """Where the overlay of guest `name` is, or would be."""
        return self.images / OVERLAYS / f"{check_name(name)}.qcow2"

    def boot_file(self, relative: str, name: str, what: str = "template") -> Path:
        """The absolute path of a template, kernel or initrd; GuestFailed `no-template` when it is missing."""
        path = inside(self.images, relative, name)
        if not path.is_file():
            raise GuestFailed(
                "no-template",
                f"guest {name}: there is no {what} {relative!r} in {self.images}.",
                next_step=f"copy it to {path}, or correct the profile's {what}",
            )
        return path

    def create(self, name: str, template: str) -> Path:
        """Make the overlay (anew, when an unused one was left over). Codes: see `Hypervisor.create`."""
        backing = self.boot_file(template, name)
        backing_format = self._format(backing, name)
        path = self.path(name)
        self.remove(name)
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            part.unlink(missing_ok=True)
            relative = os.path.relpath(backing, path.parent.resolve())
            args = ["create", "-q", "-f", "qcow2", "-F", backing_format, "-b", relative, str(part)]
            done = self._run(args)
            if done.returncode:
                raise self._failure(name, "making the overlay", done.stderr)
            # A torn overlay must never look like a whole one: it gets its name when it is on the disk.
            _sync(part)
            part.replace(path)
        except OSError as exc:
            raise self._failure(name, "making the overlay", exc.strerror or str(exc)) from exc
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return path

    def remove(self, name: str) -> bool:
        """Remove the overlay; False when there was none. One that QEMU holds open anywhere is not removed."""
        path = self.path(name)
        if not path.exists():
            return False
        probe = self._run(["info", str(path)])
        if probe.returncode and _any(probe.stderr, _LOCKED):
            raise GuestFailed(
                "image-in-use",
                f"guest {name}: its overlay {path} is in use by a running guest.",
                next_step="stop the guest where it runs (another host, when the folder is shared) first",
            )
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise self._failure(name, "removing the overlay", exc.strerror or str(exc)) from exc
        return True

    def names(self) -> list[str]:
        """Guests that have an overlay here."""
        folder = self.images / OVERLAYS
        return sorted(p.stem for p in folder.glob("*.qcow2") if not p.name.startswith("."))

    def _format(self, image: Path, name: str) -> str:
        # -U: a template may be open for reading in many guests.
        done = self._run(["info", "-U", "--output=json", str(image)])
        if done.returncode:
            raise self._failure(name, f"reading the template {image}", done.stderr)
        try:
            found = json.loads(done.stdout)["format"]
        except (ValueError, KeyError, TypeError) as exc:
            raise self._failure(name, f"reading the template {image}", done.stdout[:200]) from exc
        return str(found)

    def _run(self, args: list[str]) -> subprocess.CompletedProcess[str]:
        command = [self._qemu_img, *args]
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout_s,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise GuestFailed(
                "image-failed",
                f"{self._qemu_img} is not installed.",
                next_step="apt-get install qemu-utils",
            ) from None
        except subprocess.TimeoutExpired:
            raise GuestFailed(
                "image-failed",
                f"{' '.join(command)} did not end within {self._timeout_s:g} s.",
                next_step=f"see whether the storage of {self.images} hangs",
            ) from None

    def _failure(self, name: str, doing: str, text: str) -> GuestFailed:
        text = " ".join(text.split()) or "no message"
        if _any(text, _FULL):
            return GuestFailed(
                "disk-full",
                f"guest {name}: {doing}: no space left in {self.images}.",
                next_step="free space there (`vmm doctor` lists overlays that belong to no guest)",
            )
        if _any(text, _LOCKED):
            return GuestFailed("image-in-use", f"guest {name}: {doing}: {text}", next_step="see who holds it")
        return GuestFailed(
            "image-failed",
            f"guest {name}: {doing}: {text}",
            next_step=f"check the images and the rights in {self.images}",
        )


def _any(text: str, marks: tuple[str, ...]) -> bool:
    low = text.lower()
    return any(mark in low for mark in marks)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
