"""Which names and paths of a guest's description are acceptable, so that none leaves the images folder."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath

from vmm.hypervisors.interface import GuestFailed
from vmm.messages.guest import MAX_WEIGHT, GuestSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE = re.compile(r"[!#-~]*")
"""Printable ASCII without blank and double quote: what survives on a kernel command line as one word."""

MAX_CMDLINE = 2047
"""Bytes of an x86 kernel command line without the final zero (COMMAND_LINE_SIZE)."""


def check_name(name: str) -> str:
    """The name itself, when it can be a domain, a host name and a file name at once."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise GuestFailed(
            "bad-guest",
            f"{name!r} cannot be a guest's name.",
            next_step="use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit",
        )
    return name


def check_spec(spec: GuestSpec) -> None:
    """Raises GuestFailed `bad-guest` naming the first field that cannot be."""
    check_name(spec.name)
    if not _UUID.fullmatch(spec.uuid):
        raise _bad(spec, "uuid", spec.uuid, "give 8-4-4-4-12 hexadecimal digits")
    if not _MAC.fullmatch(spec.mac) or int(spec.mac[:2], 16) & 1:
        raise _bad(spec, "mac", spec.mac, "give six hexadecimal pairs, the first one even")
    for field in ("vcpus", "memory_mib"):
        if getattr(spec, field) < 1:
            raise _bad(spec, field, getattr(spec, field), "give a number above zero")
    for field, least in (("max_memory_mib", spec.memory_mib), ("max_vcpus", spec.vcpus)):
        value = getattr(spec, field)
        if value and value < least:
            raise _bad(spec, field, value, f"give 0 or at least {least}")
    for field, most in (("min_memory_mib", spec.memory_mib), ("min_vcpus", spec.vcpus)):
        value = getattr(spec, field)
        if not 0 <= value <= most:
            raise _bad(spec, field, value, f"give 0 to {most}")
    if not (0 < spec.cpu_weight <= MAX_WEIGHT and 0 <= spec.cpu_cap < math.inf):
        raise _bad(spec, "cpu_weight, cpu_cap", (spec.cpu_weight, spec.cpu_cap), "give 1 and 0")
    if not spec.template:
        raise _bad(spec, "template", spec.template, "name an image file of the host's images folder")
    if spec.initrd and not spec.kernel:
        raise _bad(spec, "initrd", spec.initrd, "an initrd needs a kernel beside it")
    if "\n" in spec.cmdline or not spec.cmdline.isprintable():
        raise _bad(spec, "cmdline", spec.cmdline, "write it on one line")
    for key, value in spec.identity.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise _bad(spec, "identity", f"{key}={value}", "use printable ASCII without blanks and quotes")


def inside(folder: Path, relative: str, spec_name: str) -> Path:
    """The absolute path of `relative` in `folder`; refuses whatever leads out of it, links included."""
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or not relative.isprintable():
        raise _outside(folder, relative, spec_name)
    root = folder.resolve()
    path = (root / pure).resolve()
    if path == root or not path.is_relative_to(root):
        raise _outside(folder, relative, spec_name)
    return path


def _outside(folder: Path, relative: str, spec_name: str) -> GuestFailed:
    return GuestFailed(
        "bad-guest",
        f"guest {spec_name}: {relative!r} is not a file inside {folder}.",
        next_step="give a path relative to the images folder, without '..' and without links that leave it",
    )


def _bad(spec: GuestSpec, field: str, value: object, how: str) -> GuestFailed:
    return GuestFailed("bad-guest", f"guest {spec.name}: {field} = {value!r} cannot be.", next_step=how)
