"""Kernel, RAM disk and templates of the guests: built once, kept until one of their sources changes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import rootfs
from .packages import fetch_kernel, fetch_userland
from .shell import run

GROUPS = ("groupA", "groupB")
BROKEN = "broken.qcow2"
OVERLAYS = "overlays"  # an empty folder: the hosts mount the shared overlays there
_ROOT_SIZE = "1G"
_KEPT_BUILDS = 2
_OWN_SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("image.py", "rootfs.py", "packages.py", "cmdline.py")
)


@dataclass(frozen=True)
class ImageSet:
    """A finished build. The hosts of the testbed see `directory` as /srv/images."""

    directory: Path
    munge_key: Path
    groups: tuple[str, ...] = GROUPS

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def ram_disk(self) -> Path:
        return self.directory / "initrd.gz"

    def template(self, group: str) -> Path:
        return self.directory / f"{group}.qcow2"

    @property
    def broken(self) -> Path:
        """A template that boots the kernel and then hangs."""
        return self.directory / BROKEN


def build_images(cache: Path, repository: Path) -> ImageSet:
    """The images for the current sources, built when there are none yet. Sessions wait for each other."""
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        key = cache / "munge.key"
        if not key.is_file():
            key.write_bytes(secrets.token_bytes(128))
            key.chmod(0o400)
        userland = fetch_userland(cache)
        kernel_package = fetch_kernel(cache)
        base = _base_tree(cache, userland)
        sources = [*_sources(repository / "vmm"), *_sources(rootfs.GUEST), *_OWN_SOURCES]
        stamp = _digest([key, kernel_package, *sources], base.name)
        target = cache / f"images-{stamp}"
        if not target.is_dir():
            with _scratch(cache) as work:
                _build(work, repository, key, kernel_package, userland, base)
                (work / "out").rename(target)
        os.utime(target)
        _forget_old(cache, "images-*", _KEPT_BUILDS)
        return ImageSet(target, key)


def _base_tree(cache: Path, userland: list[Path]) -> Path:
    """The unpacked and compiled root without vmm; it costs most of a build and seldom changes."""
    installed = [Path(entry) for entry in _distribution_records()]
    base = cache / f"base-{_digest([*_OWN_SOURCES, *installed], *(path.name for path in userland))}"
    if not base.is_dir():
        with _scratch(cache) as work:
            rootfs.make_base(userland, work / "base")
            (work / "base").rename(base)
        _forget_old(cache, "base-*", 1)
    return base


def _build(
    work: Path, repository: Path, key: Path, kernel_package: Path, userland: list[Path], base: Path
) -> None:
    out = work / "out"
    (out / OVERLAYS).mkdir(parents=True)
    rootfs.make_ram_disk(kernel_package, userland, work, out / "vmlinuz", out / "initrd.gz")
    tree = work / "root"
    run(["cp", "-a", "--reflink=auto", base, tree])
    rootfs.add_vmm(tree, repository, key)
    for group in GROUPS:
        rootfs.add_group(tree, group)
        _make_disk(tree, work, out / f"{group}.qcow2", _ROOT_SIZE)
    broken = work / "broken"
    broken.mkdir()
    rootfs.make_broken(userland, broken)
    _make_disk(broken, work, out / BROKEN, "64M")


def _make_disk(tree: Path, work: Path, target: Path, size: str) -> None:
    """Write a tree as a qcow2 disk with one ext4 file system, without mounting anything."""
    raw = work / "disk.raw"
    raw.unlink(missing_ok=True)
    run(["truncate", "-s", size, raw])
    # No journal: a guest's disk is an overlay that is thrown away with it.
    features = ["-O", "^metadata_csum,^has_journal", "-E", "root_owner=0:0,lazy_itable_init=1", "-m", "0"]
    run(["mke2fs", "-q", "-F", "-t", "ext4", *features, "-L", "vmroot", "-d", tree, raw])
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target])
    target.chmod(0o444)


def _sources(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _distribution_records() -> Iterator[str]:
    """The RECORD files of the Python packages that go into the guest: they change with every version."""
    import msgspec

    place = Path(msgspec.__file__).parents[1]
    for name in ("click", "msgspec", "pynacl", "pluggy", "cffi"):
        yield from (str(path) for path in sorted(place.glob(f"{name}-*.dist-info/RECORD")))


def _digest(files: Iterable[Path], *words: str) -> str:
    state = hashlib.sha256()
    for word in words:
        state.update(word.encode() + b"\0")
    for path in files:
        state.update(path.name.encode() + b"\0")
        # A package is known by its name; reading 27 MB to learn the same costs time.
        state.update(b"" if path.suffix == ".deb" else hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:16]


def _forget_old(cache: Path, pattern: str, keep: int) -> None:
    found = sorted(cache.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in found[keep:]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    work = cache / f"work-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
