"""Overlays on real images, with real qemu-img."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm.hypervisors.interface import GuestFailed
from vmm.hypervisors.overlay import Overlays

assert shutil.which("qemu-img"), "qemu-img is not found: `make unit` installs it"


def failure(call: object, *args: object) -> GuestFailed:
    with pytest.raises(GuestFailed) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("template", "backing_format", "backing"),
    [
        ("groupA.qcow2", "qcow2", "../groupA.qcow2"),
        ("groupB.img", "raw", "../groupB.img"),
        ("el9/worker.img", "raw", "../el9/worker.img"),
    ],
)
def test_an_overlay_names_its_template(
    images: Path, tmp_path: Path, template: str, backing_format: str, backing: str
) -> None:
    (images / "el9").mkdir()
    shutil.copy(images / "groupB.img", images / "el9/worker.img")
    path = Overlays(images).create("a-1", template)
    assert path == images / "overlays/a-1.qcow2"
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", path]))
    assert (info["backing-filename"], info["backing-filename-format"]) == (backing, backing_format)
    # The folder may be mounted elsewhere on another host: the chain must hold there too.
    moved = tmp_path / "elsewhere"
    images.rename(moved)
    check = ["qemu-img", "info", "--backing-chain", moved / "overlays/a-1.qcow2"]
    assert subprocess.run(check, capture_output=True).returncode == 0


def test_an_old_overlay_gives_way_and_removal_can_be_repeated(images: Path) -> None:
    overlays = Overlays(images)
    overlays.path("a-1").parent.mkdir()
    overlays.path("a-1").write_bytes(b"torn")
    overlays.create("a-1", "groupB.img")
    assert overlays.names() == ["a-1"]
    assert overlays.remove("a-1")
    assert not overlays.remove("a-1")
    assert overlays.names() == []


@pytest.mark.parametrize(
    "template", ["../secret.img", "/etc/passwd", "el9/../../secret.img", "link.img", ".", "a\nb"]
)
def test_no_path_leaves_the_folder(images: Path, tmp_path: Path, template: str) -> None:
    (tmp_path / "secret.img").write_bytes(bytes(1 << 20))
    (images / "link.img").symlink_to(tmp_path / "secret.img")
    assert failure(Overlays(images).create, "a-1", template).code == "bad-guest"
    assert not (images / "overlays").exists()


def test_links_within_the_folder_are_fine(images: Path) -> None:
    (images / "current.img").symlink_to("groupB.img")
    assert Overlays(images).create("a-1", "current.img").exists()


def test_missing_and_unreadable_templates(images: Path) -> None:
    missing = failure(Overlays(images).create, "a-1", "groupC.qcow2")
    assert missing.code == "no-template"
    assert str(images / "groupC.qcow2") in missing.next_step
    (images / "folder").mkdir()
    assert failure(Overlays(images).create, "a-1", "folder").code == "no-template"


def test_without_qemu_img(images: Path) -> None:
    error = failure(Overlays(images, qemu_img="/nonexistent/qemu-img").create, "a-1", "groupB.img")
    assert error.code == "image-failed"
    assert "qemu-utils" in error.next_step


def test_a_tool_that_hangs(images: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    error = failure(Overlays(images, qemu_img=str(slow), timeout_s=0.1).create, "a-1", "groupB.img")
    assert error.code == "image-failed"
    assert "did not end" in error.message


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """An images folder on a file system with no room left."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        (folder / "groupB.img").write_bytes(bytes(4096))
        (folder / "overlays").mkdir()
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("left_bytes", [0, 8192, 100_000])
def test_a_full_disk_is_told_and_leaves_nothing(full_disk: Path, left_bytes: int) -> None:
    ballast = full_disk / "ballast"
    with ballast.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            out.truncate(max(0, ballast.stat().st_size - left_bytes))
    overlays = Overlays(full_disk)
    assert failure(overlays.create, "a-1", "groupB.img").code == "disk-full"
    assert list((full_disk / "overlays").iterdir()) == []
    ballast.unlink()
    assert overlays.create("a-1", "groupB.img").exists()
