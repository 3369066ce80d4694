"""Debian packages for the guest: fetched into a cache, unpacked into a tree, never installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from .shell import CommandFailed, environment, run

USERLAND = ("busybox-static", "slurmd", "munge", "libpam0g", "python3.11-minimal", "libpython3.11-stdlib")
KERNEL = "linux-image-cloud-amd64"

# Come along as dependencies of installation scripts, which never run here.
_UNNEEDED = frozenset(
    (
        "adduser",
        "debconf",
        "dpkg",
        "gcc-12-base",
        "libaudit-common",
        "libdb5.3",
        "libpam-modules",
        "libpam-modules-bin",
        "libsemanage-common",
        "libsemanage2",
        "libsepol2",
        "lsb-base",
        "media-types",
        "passwd",
        "readline-common",
        "sensible-utils",
        "sysvinit-utils",
        "tar",
        "ucf",
    )
)
_EXCLUDED_PATHS = ("./usr/share/*", "*/gconv/*", "./etc/init.d/*", "./lib/systemd/*", "./etc/default/*")

_DOWNLOAD_LIMIT_S = 600.0


def _apt(cache: Path, *words: str, cwd: Path | None = None) -> None:
    """apt-get that sees no installed package and keeps what it downloads in `cache`/debs."""
    (cache / "debs/partial").mkdir(parents=True, exist_ok=True)
    empty = cache / "empty-dpkg-status"
    empty.touch()
    options = [f"Dir::State::status={empty}", f"Dir::Cache::archives={cache}/debs"]
    options += ["APT::Sandbox::User=root", "Debug::NoLocking=1"]
    argv = ["apt-get", "-qq", "-y", *(part for option in options for part in ("-o", option)), *words]
    try:
        run(argv, cwd=cwd, timeout_s=_DOWNLOAD_LIMIT_S)
    except CommandFailed:
        # Old or absent package lists: refresh them once.
        run(["apt-get", "-qq", "update"], timeout_s=_DOWNLOAD_LIMIT_S)
        run(argv, cwd=cwd, timeout_s=_DOWNLOAD_LIMIT_S)


def fetch_userland(cache: Path) -> list[Path]:
    """The guest's packages with everything they depend on, as .deb files. Downloads only the first time."""
    done = cache / "userland.list"
    wanted = " ".join(USERLAND)
    if done.is_file():
        head, *names = done.read_text().splitlines()
        found = [cache / "debs" / name for name in names]
        if head == wanted and all(path.is_file() for path in found):
            return found
    shutil.rmtree(cache / "debs", ignore_errors=True)
    _apt(cache, "--download-only", "--no-install-recommends", "install", *USERLAND)
    found = sorted(path for path in (cache / "debs").glob("*.deb") if _name(path) not in _UNNEEDED)
    done.write_text("\n".join([wanted, *(path.name for path in found)]) + "\n")
    return found


def fetch_kernel(cache: Path) -> Path:
    """Debian's kernel for virtual machines, as a .deb file. Downloads only the first time."""
    place = cache / "kernel"
    place.mkdir(parents=True, exist_ok=True)
    found = sorted(place.glob("linux-image-*.deb"))
    if not found:
        if not _kernel_name():
            run(["apt-get", "-qq", "update"], timeout_s=_DOWNLOAD_LIMIT_S)
        _apt(cache, "download", _kernel_name(), cwd=place)
        found = sorted(place.glob("linux-image-*.deb"))
    return found[-1]


def _kernel_name() -> str:
    """The package of the newest kernel that KERNEL stands for; empty when apt knows none."""
    rows = run(["apt-cache", "depends", KERNEL], check=False).splitlines()
    return next((row.split()[-1] for row in rows if "Depends: linux-image" in row), "")


def _name(package: Path) -> str:
    return package.name.partition("_")[0]


def unpack(
    package: Path, tree: Path, *, only: Sequence[str] = (), without: Iterable[str] = _EXCLUDED_PATHS
) -> None:
    """Unpack a package into a directory: only members that match `only` (if given), and none in `without`."""
    filters = [f"--exclude={pattern}" for pattern in without]
    wanted = ["--wildcards", *only] if only else []
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, env=environment()
    ) as source:
        done = subprocess.run(
            ["tar", "-x", "-C", str(tree), *filters, *wanted],
            stdin=source.stdout,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    # With patterns tar's status is 2 when one matches nothing; the caller checks for what it needs.
    if done.returncode and not only:
        raise CommandFailed(f"cannot unpack {package.name}: {os.fsdecode(done.stderr)}")
