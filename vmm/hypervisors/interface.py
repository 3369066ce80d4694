"""The narrow interface to a hypervisor on one host. Everything above speaks only this."""

from __future__ import annotations

from typing import Protocol

import msgspec

from vmm.errors import CommandFailed
from vmm.messages.guest import GuestSize, GuestSpec


class HypervisorDown(CommandFailed):
    """The hypervisor does not answer (libvirtd is not running, the socket is missing)."""

    code = "hypervisor-down"


class GuestFailed(CommandFailed):
    """An operation on a guest failed; `code` says why (see `Hypervisor`), and nothing was left half done."""

    def __init__(self, code: str, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.code = code


class HostFacts(msgspec.Struct, frozen=True):
    """What a host offers. `memory_mib` is all of it; `reserved_mib` is kept for the host itself."""

    name: str
    hypervisor: str
    memory_mib: int
    reserved_mib: int
    cpus: int
    cpu_model: str = ""
    image_free_mib: int = 0


class GuestFacts(msgspec.Struct, frozen=True):
    """What is known of one guest on this host. `state`: running, paused, shutting-down, off, crashed."""

    name: str
    uuid: str
    state: str
    memory_mib: int
    max_memory_mib: int
    vcpus: int
    cpu_time_s: float = 0.0
    disks: list[str] = []
    disk_read_bytes: int = 0
    disk_write_bytes: int = 0
    interfaces: list[str] = []
    net_rx_bytes: int = 0
    net_tx_bytes: int = 0
    managed: bool = False
    """True when vmm made it (the domain's metadata says so); others are shown and never touched."""


class Hypervisor(Protocol):
    """Every call may raise HypervisorDown; operations raise CommandFailed with a stable code.

    All operations can be run twice: `create` of a guest that is there with the same uuid is a success,
    `destroy` of one that is gone removes what is left of it (domain, overlay, seed) and succeeds.
    Codes that any operation may have: `bad-guest` (a name, path or value that cannot be), `no-such-guest`,
    `not-managed` (a guest that vmm did not make: shown, never touched).
    """

    def facts(self) -> HostFacts: ...

    def guests(self) -> list[GuestFacts]: ...

    def create(self, spec: GuestSpec) -> None:
        """Overlay of the template, domain, start. On failure nothing stays behind.

        Codes: `no-template`, `disk-full`, `name-taken` (another uuid), `no-memory`, `no-cpus`,
        `start-failed`, `image-failed`, `image-in-use`. When the hypervisor goes away in the middle
        (HypervisorDown) the guest's state is unknown: run the same `create` or a `destroy` again.
        """

    def start(self, name: str) -> None: ...

    def shutdown(self, name: str, grace_s: float) -> None:
        """Ask the guest to power off, wait up to `grace_s`; CommandFailed `still-running` if it stays."""

    def destroy(self, name: str, grace_s: float = 0.0, keep_shared_disk: bool = False) -> None:
        """Remove the guest with its overlay; with a grace, ask it to power off first.

        `keep_shared_disk`: an old copy of a guest that runs elsewhere now. On storage shared by the hosts the
        overlay is the other's, and stays.
        """

    def migrate(self, name: str, target: str, uuid: str = "") -> None:
        """Move a running guest to the host `target`, without stopping it. Success when it is there already.

        `uuid` tells this guest from another of its name. On failure it runs on here. Codes:
        `migration-failed`, `not-supported`, and `target-unreachable` when it is not here and whether it is
        there cannot be seen; `no-such-guest`: on neither.
        """

    def resize(
        self,
        name: str,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        cpu_weight: float | None = None,
        cpu_cap: float | None = None,
    ) -> GuestSize:
        """Change what a running guest has, and look whether it followed; None leaves a thing as it is.

        Returns the size read back. On failure it has what it had before, as far as the guest lets itself be
        put back; the message says what it has. Codes: `over-limit` (more than the guest was made for),
        `no-memory`, `no-cpus`, `not-running`, `not-followed` (the guest did not give or take it in time),
        `not-supported` (also: no control group for weight and cap).
        """

    def console_tail(self, name: str, lines: int = 20) -> str:
        """The last lines of the serial console, empty when there is none."""

    def close(self) -> None: ...
