"""What a guest is made from: the full description that a `create_guest` command carries to a host."""

from __future__ import annotations

import msgspec

MAX_WEIGHT = 100.0
"""The most that control groups take, in units of everybody's weight."""
LEAST_CAP = 0.01
"""CPUs: the least that the kernel's bandwidth control gives is 1 ms in 100."""


class GuestSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One guest, with everything assigned. The host adds nothing but its own paths.

    `template` is an image file relative to the host's image folder; `kernel` and `initrd` (same folder)
    boot it directly, empty means the disk boots itself. `identity` goes to the guest as `vmm.KEY=VALUE`
    (kernel command line or seed): name, address, bus, share, token. `features` become batch features.
    `max_...` and `min_...`: how far it may be resized while it runs; 0: not beyond the size it is made with.
    `cpu_weight` and `cpu_cap` as in `GuestSize`.
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
    min_memory_mib: int = 0
    min_vcpus: int = 0
    cpu_weight: float = 1.0
    cpu_cap: float = 0.0


class GuestSize(msgspec.Struct, frozen=True):
    """What a running guest has. `cpu_weight`: its part of the processors when there are too few for all, 1 as
    everybody; `cpu_cap`: processors' time that it gets at most, in CPUs, 0 for no cap."""

    memory_mib: int
    vcpus: int
    cpu_weight: float = 1.0
    cpu_cap: float = 0.0

    def __str__(self) -> str:
        words = f"{self.memory_mib} MiB, {self.vcpus} vCPUs"
        if self.cpu_weight != 1.0:
            words += f", weight {self.cpu_weight:g}"
        return words + (f", at most {self.cpu_cap:g} CPUs" if self.cpu_cap else "")


class Bounds(msgspec.Struct, frozen=True):
    """Between which sizes a guest may be while it runs; least and most are allowed."""

    min_memory_mib: int
    max_memory_mib: int
    min_vcpus: int
    max_vcpus: int


def size_of(spec: GuestSpec) -> GuestSize:
    return GuestSize(spec.memory_mib, spec.vcpus, spec.cpu_weight, spec.cpu_cap)


def bounds_of(spec: GuestSpec) -> Bounds:
    return Bounds(
        min(spec.min_memory_mib or spec.memory_mib, spec.memory_mib),
        max(spec.max_memory_mib, spec.memory_mib),
        min(spec.min_vcpus or spec.vcpus, spec.vcpus),
        max(spec.max_vcpus, spec.vcpus),
    )


def resized(spec: GuestSpec, size: GuestSize) -> GuestSpec:
    """The same guest with another size; its bounds stay, also those that followed from its first size."""
    bounds = bounds_of(spec)
    return msgspec.structs.replace(spec, **msgspec.structs.asdict(bounds), **msgspec.structs.asdict(size))


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
