"""Does KVM really run guests here? Found out by booting, first a boot sector, then a kernel.

The device, KVM_CREATE_VM and libvirt's capabilities can all say yes on machines whose KVM emulates guests
instruction by instruction and never brings a kernel up. So a boot sector (kvm_probe.S) enters long mode,
takes an exception, changes page tables and does some work, under KVM and, for comparison, under QEMU's own
emulation. Passing it is no proof: that is a real kernel's way to its init.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SECTOR = bytes.fromhex(
    "fafc31c08ed88ec08ed0bc007cbf00106631c0b9001066f3ab66c70600100320000066c7"
    "06002003300000bf003066b88300000066890566050000200083c70881ff004072ee660f"
    "0116b07d0f20e06683c8200f22e066b8001000000f22d866b9800000c00f32660d000100"
    "000f300f20c0660d010000800f22c066ea837c00000800b8100000008ed88ec08ed0bc00"
    "7c0000b04ce8ee0000004531ffbf3050000066c7078e7d66c74702080066c74704008e0f"
    "011c25b67d0000cc4183ff010f85b4000000b054e8bb00000041bee8030000c704250038"
    "0000830040000f013c25000000204489342500000020c7042500380000830060000f013c"
    "2500000020c7042500000020000000004439342500004000756441ffce75b8b050e86600"
    "000041be14000000b9800000c00f320f3031c00fa2bf00008000b9000010004489f0f3ab"
    "31d2be00008000b90000100003166bda05311e4883c604ffc975f14169c60000100039c2"
    "751041ffce75b9b057e812000000b010eb09b021e807000000b020e6f4f4ebfb66baf803"
    "eec341ffc748cf0f1f4400000000000000000000ffff0000009aaf00ffff00000092cf00"
    "1700987d0000ff0300500000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000055aa"
)
STAGES = {
    "": "it does not reach long mode",
    "L": "it reaches long mode, and an exception does not come back",
    "LT": "exceptions work, changed page tables do not",
    "LTP": "page tables work, simple work with memory does not end",
    "LTPW": "it passes",
}
PASSED = 0x21
EMULATION_LIMIT_S = 30.0
QEMU = "qemu-system-x86_64"
_INIT = re.compile(rb"Run /\S+ as init|Unable to mount root fs|No working init found|Cannot open root device")
_BROKEN = re.compile(rb"KVM internal error[^\n]*|failed to [^\n]*|Could not access KVM[^\n]*")


@dataclass(frozen=True, slots=True)
class Boot:
    """One try: what was booted under which accelerator, how it went, and how long that took."""

    what: str
    accel: str
    ok: bool
    detail: str
    took_s: float

    def __str__(self) -> str:
        return f"{self.what} under {self.accel}: {self.detail} ({self.took_s:.1f} s)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`usable`: use domain_type = kvm. `proven`: a kernel was booted, or a failure seen."""

    usable: bool
    proven: bool
    reason: str
    boots: tuple[Boot, ...] = ()


def probe_kvm(
    kernel: Path | None = None,
    initrd: Path | None = None,
    *,
    device: Path = Path("/dev/kvm"),
    qemu: str = QEMU,
    sector_limit_s: float = 8.0,
    kernel_limit_s: float = 30.0,
) -> Verdict:
    """Boot the probe, then `kernel` if there is one, and judge. Takes a second where KVM works."""
    if not device.exists():
        return Verdict(False, True, f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return Verdict(False, True, f"{device} cannot be opened by this user")
    plain = boot_sector("tcg", qemu, EMULATION_LIMIT_S)
    if not plain.ok:
        return Verdict(False, False, "QEMU does not even run the probe without KVM", (plain,))
    fast = boot_sector("kvm", qemu, sector_limit_s)
    boots = (plain, fast)
    if not fast.ok:
        return Verdict(False, True, f"{device} is there, but {fast.detail}", boots)
    if fast.took_s > max(3 * plain.took_s, plain.took_s + 2):
        return Verdict(False, True, f"{device} is there, but slower than QEMU's own emulation", boots)
    if kernel is None:
        return Verdict(True, False, "the boot sector passes; no kernel was at hand to be sure", boots)
    real = boot_kernel("kvm", kernel, initrd, qemu, kernel_limit_s)
    reason = f"the boot sector and {kernel.name} come up" if real.ok else f"{kernel.name}: {real.detail}"
    return Verdict(real.ok, True, reason, (*boots, real))


def boot_sector(accel: str, qemu: str = QEMU, limit_s: float = 8.0) -> Boot:
    """Boot SECTOR and see how far it comes."""
    with tempfile.TemporaryDirectory(prefix="vmm-probe-") as folder:
        image = Path(folder) / "sector.img"
        image.write_bytes(SECTOR)
        args = ["-drive", f"file={image},format=raw,if=ide", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        ran = _run([qemu, "-accel", accel, "-m", "64", *args], Path(folder), limit_s, None)
    if ran.error:
        return Boot("the boot sector", accel, False, ran.error, ran.took_s)
    letters = "".join(re.findall("[LTPW!]", ran.console.decode("latin-1")))
    ok = ran.status == PASSED and letters == "LTPW"
    detail = STAGES.get(letters, f"it fails after {letters!r}")
    if not ok:
        detail += f" within {limit_s:g} s" if ran.took_s >= limit_s else ""
        detail += f" ({ran.complaint})" if ran.complaint else ""
    return Boot("the boot sector", accel, ok, detail, ran.took_s)


def boot_kernel(
    accel: str, kernel: Path, initrd: Path | None = None, qemu: str = QEMU, limit_s: float = 30.0
) -> Boot:
    """Boot a Linux kernel until it looks for its init; without a disk it then gives up, which is enough."""
    args = ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    if initrd is not None:
        args += ["-initrd", str(initrd)]
    with tempfile.TemporaryDirectory(prefix="vmm-probe-") as folder:
        ran = _run([qemu, "-accel", accel, "-m", "256", *args], Path(folder), limit_s, _INIT)
    what = f"kernel {kernel.name}"
    if ran.error:
        return Boot(what, accel, False, ran.error, ran.took_s)
    ok = bool(_INIT.search(ran.console))
    if ok:
        detail = "it comes up to its init"
    elif b"Linux version" in ran.console:
        detail = f"it starts, and does not reach its init within {limit_s:g} s"
    else:
        detail = f"no line of it on the console within {limit_s:g} s"
    if not ok and ran.complaint:
        detail += f" ({ran.complaint})"
    return Boot(what, accel, ok, detail, ran.took_s)


@dataclass(frozen=True, slots=True)
class _Ran:
    status: int | None
    """QEMU's exit status; None when it was ended by us."""
    console: bytes
    complaint: str
    took_s: float
    error: str = ""


def _run(command: list[str], folder: Path, limit_s: float, until: re.Pattern[bytes] | None) -> _Ran:
    """Run QEMU until it ends, complains, shows `until` on the console, or the time is over."""
    serial, errors = folder / "serial", folder / "stderr"
    fixed = ["-M", "pc", "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{serial}"]
    pause = threading.Event()
    began = time.monotonic()
    with errors.open("wb") as log:
        try:
            process = subprocess.Popen(
                [*command, *fixed], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        except OSError as exc:
            return _Ran(None, b"", "", 0.0, f"{command[0]} cannot be run: {exc.strerror}")
        try:
            while process.poll() is None and time.monotonic() - began < limit_s:
                if _BROKEN.search(errors.read_bytes()):
                    break
                if until is not None and until.search(_read(serial)):
                    break
                pause.wait(0.05)
            status = process.poll()
        finally:
            process.kill()
            process.wait()
    took_s = time.monotonic() - began
    broken = _BROKEN.search(errors.read_bytes())
    complaint = broken[0].decode("latin-1").strip() if broken else ""
    return _Ran(status, _read(serial), complaint, took_s)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
