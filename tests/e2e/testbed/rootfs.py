"""The guest's file systems as directories: the initial RAM disk, and the root with Slurm, Python and vmm."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

from .cmdline import identity_script
from .packages import unpack
from .shell import CommandFailed, run

GUEST = Path(__file__).with_name("guest")

# Loaded by the RAM disk's init in this order (the root disk holds no modules).
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_blk",
    "virtio_balloon",
    "virtio_console",
    "virtio-rng",
    "button",
    "evdev",
)

# What the vmm client of a guest imports besides the standard library, by top-level name in site-packages.
SITE_PACKAGES = ("click", "msgspec", "nacl", "pluggy", "_cffi_backend*.so", "cffi")
LIBRARY = "opt/vmm/lib"

_DIRECTORIES = (
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "root",
    "sbin",
    "bin",
    "etc/slurm",
    "etc/munge",
    "etc/vmm",
    "var/log/munge",
    "var/lib/munge",
    "var/lib/vmm",
    "var/spool/slurmd",
    "opt",
)


def make_ram_disk(
    kernel_package: Path, userland: list[Path], work: Path, kernel: Path, ram_disk: Path
) -> None:
    """Write the kernel and a RAM disk of busybox, virtio modules and the first init; `work` is scratch."""
    unpacked, tree, extra = work / "kernel", work / "initrd", work / "busybox"
    for directory in (unpacked, tree / "bin", extra):
        directory.mkdir(parents=True)
    unpack(
        kernel_package, unpacked, only=["./boot/vmlinuz-*", *(f"*/{name}.ko" for name in MODULES)], without=()
    )
    shutil.copy(next((unpacked / "boot").glob("vmlinuz-*")), kernel)
    package = next(path for path in userland if path.name.startswith("busybox-static_"))
    unpack(package, extra)
    shutil.copy(extra / "bin/busybox", tree / "bin/busybox")
    for name in ("sbin", "proc", "sys", "dev", "newroot", "modules", "tmp"):
        (tree / name).mkdir()
    for name in MODULES:
        found = list(unpacked.rglob(f"{name}.ko"))
        if not found:
            raise CommandFailed(f"{kernel_package.name} has no module {name}")
        shutil.copy(found[0], tree / "modules")
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in MODULES))
    _install(GUEST / "initrd-init", tree / "init")
    archive = work / "initrd.cpio"
    # busybox brings its own cpio: Debian's is one package more on the machine.
    listing = (
        f"cd {tree} && find . | LC_ALL=C sort | ./bin/busybox cpio -o -H newc -R 0:0 >{archive} 2>/dev/null"
    )
    run(["sh", "-c", listing])
    ram_disk.write_bytes(gzip.compress(archive.read_bytes(), 6, mtime=0))


def make_base(userland: list[Path], tree: Path) -> None:
    """Write the part of the root that all templates share and that does not change with vmm's source."""
    tree.mkdir(parents=True)
    for package in userland:
        unpack(package, tree)
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(tree / "var/run", ignore_errors=True)
    (tree / "var/run").unlink(missing_ok=True)
    (tree / "var/run").symlink_to("/run")
    for applet in run([tree / "bin/busybox", "--list"]).split():
        if not any(
            (tree / place / applet).is_symlink() or (tree / place / applet).exists()
            for place in ("bin", "usr/bin")
        ):
            (tree / "bin" / applet).symlink_to("busybox")
    # Debian makes these names with update-alternatives, in scripts that do not run here.
    for name in ("slurmd", "slurmstepd"):
        link = tree / "usr/sbin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"{name}-wlm")
    (tree / "usr/bin/python3").unlink(missing_ok=True)
    (tree / "usr/bin/python3").symlink_to("python3.11")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\ndaemon:x:1:\n")
    (tree / "etc/nsswitch.conf").write_text("hosts: files\n")
    (tree / "etc/hosts").write_text("")
    _copy_site_packages(tree / LIBRARY)
    run(["ldconfig", "-r", tree])
    _compile(tree, tree / "usr/lib/python3.11", tree / LIBRARY)
    _check(tree)


def add_vmm(tree: Path, repository: Path, munge_key: Path) -> None:
    """Put vmm's own source, the guest's scripts and the batch system's key into a copy of the base."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(repository / "vmm", tree / LIBRARY / "vmm", ignore=ignored)
    _compile(tree, tree / LIBRARY / "vmm")
    for name in ("vmm-init", "power-button", "start-slurmd", "start-vmm-client"):
        _install(GUEST / name, tree / "sbin" / name)
    (tree / "etc/vmm/identity.sh").write_text(identity_script())
    shutil.copy(munge_key, tree / "etc/munge/munge.key")
    (tree / "etc/munge/munge.key").chmod(0o400)


def add_group(tree: Path, group: str) -> None:
    """Turn the root into one group's template: its batch feature, its mark and its software."""
    (tree / "etc/vm-feature").write_text(f"{group}\n")
    (tree / "etc/vm-image").write_text(f"template-{group}\n")
    for old in (tree / "opt").glob("sw-*"):
        shutil.rmtree(old)
    program = tree / f"opt/sw-{group}/run"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "software of {group} on $(hostname) from $(cat /etc/vm-image)"\n')
    program.chmod(0o755)


def make_broken(userland: list[Path], tree: Path) -> None:
    """A root whose init prints one line and hangs: the kernel boots, the guest never reports."""
    unpack(next(path for path in userland if path.name.startswith("busybox-static_")), tree)
    for name in ("proc", "sys", "dev", "sbin"):
        (tree / name).mkdir(exist_ok=True)
    _install(GUEST / "broken-init", tree / "sbin/vmm-init")


def _install(source: Path, target: Path) -> None:
    shutil.copy(source, target)
    target.chmod(0o755)


def _copy_site_packages(target: Path) -> None:
    if sys.version_info[:2] != (3, 11):
        raise CommandFailed(
            f"the guest has Python 3.11, .venv has {sys.version.split()[0]}: make it with python3.11"
        )
    import msgspec  # any of them shows where they live

    place = Path(msgspec.__file__).parents[1]
    target.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    for pattern in SITE_PACKAGES:
        found = list(place.glob(pattern))
        if not found:
            raise CommandFailed(f"no {pattern} in {place}: run make setup")
        for source in found:
            if source.is_dir():
                shutil.copytree(source, target / source.name, ignore=ignored)
            else:
                shutil.copy(source, target)


def _compile(tree: Path, *places: Path) -> None:
    """Byte-compile now: under emulation it would cost seconds at each boot."""
    options = ["-q", "-s", str(tree), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    run([sys.executable, "-m", "compileall", *options, *places], timeout_s=120)


def _check(tree: Path) -> None:
    """Fail here, not at a guest's boot, when a program of the guest lacks a library."""
    for program in ("usr/sbin/slurmd", "usr/sbin/slurmstepd", "usr/sbin/munged", "usr/bin/python3"):
        listed = run(["chroot", tree, "/lib64/ld-linux-x86-64.so.2", "--list", f"/{program}"], check=False)
        if "=>" not in listed or "not found" in listed:
            raise CommandFailed(f"the guest's /{program} lacks libraries:\n{listed}")
    modules = "click, msgspec, nacl.signing, pluggy, sqlite3, ssl, xmlrpc.client"
    importing = ["chroot", str(tree), "/usr/bin/python3", "-S", "-B", "-c", f"import {modules}"]
    run(importing, env={"PYTHONPATH": f"/{LIBRARY}"})
