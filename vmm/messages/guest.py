"""What a guest is made from: the full description that a `create_guest` command carries to a host."""

from __future__ import annotations

import msgspec


class GuestSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One guest, with everything assigned. The host adds nothing but its own paths.

    `template` is an image file relative to the host's image folder; `kernel` and `initrd` (same folder)
    boot it directly, empty means the disk boots itself. `identity` goes to the guest as `vmm.KEY=VALUE`
    (kernel command line or seed): name, address, bus, share, token. `features` become batch features.
    """

    name: str
    uuid: str
    mac: str
    share: str
    profile: str
    template: str
    vcpus: int
    memory_mib: int
    network: str
    address: str = ""
    gateway: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    features: list[str] = []
    identity: dict[str, str] = {}
    max_memory_mib: int = 0
    max_vcpus: int = 0


def spec_from_args(args: dict[str, object]) -> GuestSpec:
    """Raises msgspec.ValidationError naming the field when the arguments are not a guest."""
    return msgspec.convert(args, GuestSpec)


def spec_to_args(spec: GuestSpec) -> dict[str, object]:
    """The inverse of `spec_from_args`: builtins only, ready for a command's `args`."""
    built = msgspec.to_builtins(spec)
    assert isinstance(built, dict)
    return built


def life_of(token: str) -> int:
    """Which life of a guest a token was given for: `2.9f...` its second restart; one without number: 0."""
    number, dot, _ = token.partition(".")
    return int(number) if dot and number.isdecimal() else 0
