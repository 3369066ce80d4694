"""Profiles (what guests are made from) and shares (who is entitled to what): `profiles.ini`, `shares.ini`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import msgspec

from vmm.durations import parse_size_mib
from vmm.ini import Finding, FindingsError, Section, parse_ini, suggest

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")


class Profile(msgspec.Struct, frozen=True):
    """What a guest is made from.

    `addresses` is the first and last IPv4 address given to guests, with the prefix length of their network;
    no addresses means that the guest's own set-up (DHCP) finds one. `migratable`: its guests may be moved to
    another host while they run, jobs and all. `max_...`, `min_...`: between which sizes they may be resized
    while they run; 0: not beyond the size they are made with.
    """

    name: str
    template: str
    vcpus: int
    memory_mib: int
    network: str = ""
    first_address: str = ""
    last_address: str = ""
    prefix: int = 24
    gateway: str = ""
    features: list[str] = []
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    max_memory_mib: int = 0
    max_vcpus: int = 0
    min_memory_mib: int = 0
    min_vcpus: int = 0
    migratable: bool = True


class Share(msgspec.Struct, frozen=True):
    """What a group of users is entitled to: `guaranteed` guests even when others want them, never more than
    `max_guests` (0 = no limit); its jobs wait in the batch queue `queue`."""

    name: str
    profile: str
    queue: str
    guaranteed: int = 0
    max_guests: int = 0
    priority: int = 0


class Entitlements(msgspec.Struct, frozen=True):
    profiles: dict[str, Profile]
    shares: dict[str, Share]


def check_entitlements(
    profiles_text: str, shares_text: str, profiles_file: str, shares_file: str
) -> tuple[Entitlements, list[Finding]]:
    """Everything that can be known without looking at a host. Never raises on bad text."""
    findings: list[Finding] = []
    profiles: dict[str, Profile] = {}
    shares: dict[str, Share] = {}
    for section in _sections(profiles_text, profiles_file, findings):
        profile = _profile(section, findings)
        if profile is not None:
            profiles[profile.name] = profile
    for section in _sections(shares_text, shares_file, findings):
        values = _values(section, _SHARE_KEYS, ("profile",), findings)
        if values is None:
            continue
        share = Share(name=section.name, **{"queue": section.name, **values})
        if share.profile not in profiles:
            at = section.items["profile"].line
            message = f"[{section.name}] profile {share.profile!r} is not in {profiles_file}."
            findings.append(Finding(section.file, at, message, suggest(share.profile, profiles)))
            continue
        shares[share.name] = share
    queues: dict[str, str] = {}
    for share in shares.values():
        if share.queue in queues:
            message = f"shares {queues[share.queue]!r} and {share.name!r} have one queue, {share.queue!r}."
            findings.append(Finding(shares_file, 1, message, "Give each share a queue of its own."))
        queues[share.queue] = share.name
    return Entitlements(profiles, shares), findings


def load_entitlements(
    profiles_text: str,
    shares_text: str,
    profiles_file: str = "profiles.ini",
    shares_file: str = "shares.ini",
) -> Entitlements:
    """Raises FindingsError with all findings."""
    entitlements, findings = check_entitlements(profiles_text, shares_text, profiles_file, shares_file)
    if findings:
        raise FindingsError(findings)
    return entitlements


def _sections(text: str, file: str, findings: list[Finding]) -> list[Section]:
    sections, found = parse_ini(text, file)
    findings += found
    good = []
    for section in sections:
        if _NAME.fullmatch(section.name):
            good.append(section)
        else:
            message = f"[{section.name}] is not a name (a letter, then up to 30 letters, digits, - or _)."
            findings.append(Finding(file, section.line, message))
    return good


def _profile(section: Section, findings: list[Finding]) -> Profile | None:
    values = _values(section, _PROFILE_KEYS, ("template", "vcpus", "memory"), findings)
    if values is None:
        return None
    for bound, over in (("max", False), ("min", True)):
        for key in ("memory", "vcpus"):
            limit = values.get(f"{bound}_{key}")
            if limit is not None and limit != values[key] and (limit > values[key]) == over:
                message = f"[{section.name}] {bound}_{key} is {'above' if over else 'below'} {key}."
                findings.append(Finding(section.file, section.items[f"{bound}_{key}"].line, message))
                return None
    for key in ("memory", "max_memory", "min_memory"):
        if key in values:
            values[f"{key}_mib"] = values.pop(key)
    if "addresses" in values:
        values["first_address"], values["last_address"], values["prefix"] = values.pop("addresses")
    return Profile(name=section.name, **values)


def _values(
    section: Section,
    readers: dict[str, Callable[[str], Any]],
    required: tuple[str, ...],
    findings: list[Finding],
) -> dict[str, Any] | None:
    before = len(findings)
    values = {}
    for key, item in section.items.items():
        if key not in readers:
            message = f"[{section.name}] has no key {key!r}."
            findings.append(Finding(section.file, item.line, message, suggest(key, readers)))
            continue
        try:
            values[key] = readers[key](item.value)
        except ValueError as exc:
            findings.append(Finding(section.file, item.line, f"[{section.name}] {key}: {exc}."))
    for key in required:
        if key not in section.items:
            message = f"[{section.name}] lacks the key {key!r}."
            findings.append(Finding(section.file, section.line, message, f"Add `{key} = ...`."))
    return values if len(findings) == before else None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _positive(text: str) -> int:
    value = _count(text)
    if value == 0:
        raise ValueError("0 is too few")
    return value


def _memory(text: str) -> int:
    value = parse_size_mib(text)
    if value < 16:
        raise ValueError(f"{value} MiB is too little to boot anything")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _yes_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


def _file_name(text: str) -> str:
    if not text or text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"{text!r} must be a path inside the host's image folder")
    return text


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _addresses(text: str) -> tuple[str, str, int]:
    """`10.0.0.100 - 10.0.0.199 / 24`: first, last, prefix length (24 when not said)."""
    match = re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*(?:/\s*(\d+))?\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not `first - last / prefix`, e.g. 10.0.0.100 - 10.0.0.199 / 24")
    first, last = ipaddress.IPv4Address(match[1]), ipaddress.IPv4Address(match[2])
    prefix = int(match[3] or 24)
    if last < first or not 8 <= prefix <= 30:
        raise ValueError(f"{text!r}: the last address is before the first, or the prefix is not 8..30")
    return str(first), str(last), prefix


def _address(text: str) -> str:
    return str(ipaddress.IPv4Address(text))


_PROFILE_KEYS: dict[str, Callable[[str], Any]] = {
    "template": _file_name,
    "vcpus": _positive,
    "memory": _memory,
    "network": str,
    "addresses": _addresses,
    "gateway": _address,
    "features": _words,
    "kernel": _file_name,
    "initrd": _file_name,
    "cmdline": str,
    "max_memory": _memory,
    "max_vcpus": _positive,
    "min_memory": _memory,
    "min_vcpus": _positive,
    "migratable": _yes_no,
}
_SHARE_KEYS: dict[str, Callable[[str], Any]] = {
    "profile": str,
    "queue": str,
    "guaranteed": _count,
    "max_guests": _count,
    "priority": _whole,
}
