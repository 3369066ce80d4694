"""The boot probe: its bytes are its source, emulation passes it, and what fails is told apart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmm.hypervisors import kvm_probe
from vmm.hypervisors.kvm_probe import SECTOR, boot_kernel, boot_sector, probe_kvm

SOURCE = Path(kvm_probe.__file__).with_name("kvm_probe.S")
SLOW = pytest.mark.slow


def fake(tmp_path: Path, script: str) -> str:
    """A stand-in for QEMU that finds its serial file in the arguments."""
    path = tmp_path / "qemu"
    find = 'for a; do case $a in file:*) s=${a#file:};; esac; [ "$prev" = -accel ] && accel=$a; prev=$a; done'
    path.write_text(f"#!/bin/sh\n{find}\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_boot_sector() -> None:
    assert len(SECTOR) == 512
    assert SECTOR.endswith(b"\x55\xaa")


def test_the_bytes_are_the_source(tmp_path: Path) -> None:
    subprocess.run(["as", "--64", "-o", tmp_path / "p.o", SOURCE], check=True)
    link = ["ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary"]
    subprocess.run([*link, "-o", tmp_path / "p.bin", tmp_path / "p.o"], check=True)
    assert (tmp_path / "p.bin").read_bytes() == SECTOR


def test_emulation_passes() -> None:
    boot = boot_sector("tcg", limit_s=60.0)
    assert boot.ok, boot


def test_no_device(tmp_path: Path) -> None:
    verdict = probe_kvm(device=tmp_path / "kvm")
    assert (verdict.usable, verdict.proven, verdict.boots) == (False, True, ())


def test_no_qemu(tmp_path: Path) -> None:
    verdict = probe_kvm(device=Path("/dev/null"), qemu="/nonexistent/qemu")
    assert (verdict.usable, verdict.proven) == (False, False)
    assert "/nonexistent/qemu cannot be run" in verdict.boots[0].detail


PASSES = 'printf LTPW >"$s"; exit 33'


@pytest.mark.parametrize(
    ("kvm", "usable", "words"),
    [
        (PASSES, True, "no kernel was at hand"),
        pytest.param(
            'printf LT >"$s"; exec sleep 60', False, "changed page tables do not within", marks=SLOW
        ),
        pytest.param("exec sleep 60", False, "does not reach long mode", marks=SLOW),
        ('printf "LTP!" >"$s"; exit 65', False, "fails after 'LTP!'"),
        ('printf L >"$s"; echo "KVM internal error. Suberror: 1" >&2; exec sleep 60', False, "Suberror: 1"),
        ('echo "qemu: failed to initialize kvm: Permission denied" >&2; exit 1', False, "Permission denied"),
        pytest.param(f"sleep 2.6; {PASSES}", False, "slower than", marks=SLOW),
    ],
)
def test_verdicts(tmp_path: Path, kvm: str, usable: bool, words: str) -> None:
    qemu = fake(tmp_path, f"if [ $accel = tcg ]; then {PASSES}; fi; {kvm}")
    limit = 1.0 if "sleep 60" in kvm and "Suberror" not in kvm else 10.0  # what answers may take its time
    verdict = probe_kvm(device=Path("/dev/null"), qemu=qemu, sector_limit_s=limit)
    assert (verdict.usable, words in verdict.reason) == (usable, True), verdict


@pytest.mark.parametrize(
    ("console", "ok", "words"),
    [
        ("Linux version 6.1\nRun /init as init process\n", True, "comes up to its init"),
        ("Linux version 6.1\nKernel panic: VFS: Unable to mount root fs\n", True, "comes up"),
        pytest.param("Linux version 6.1\n", False, "does not reach its init", marks=SLOW),
        pytest.param("Probing EDD... ok\n", False, "no line of it", marks=SLOW),
    ],
)
def test_kernels(tmp_path: Path, console: str, ok: bool, words: str) -> None:
    qemu = fake(tmp_path, f'printf "{console}" >"$s"; exec sleep 60')
    boot = boot_kernel("kvm", Path("vmlinuz"), qemu=qemu, limit_s=10.0 if ok else 1.0)
    assert (boot.ok, words in boot.detail) == (ok, True), boot


def test_a_kernel_that_hangs_overrules_the_boot_sector(tmp_path: Path) -> None:
    qemu = fake(tmp_path, f'case "$*" in *-kernel*) exec sleep 60;; esac; {PASSES}')
    verdict = probe_kvm(
        Path("/images/vmlinuz-6.1"), device=Path("/dev/null"), qemu=qemu, sector_limit_s=5, kernel_limit_s=0.3
    )
    assert (verdict.usable, verdict.proven) == (False, True)
    assert "vmlinuz-6.1" in verdict.reason
