"""Guests through libvirt (QEMU, KVM, Xen, and its test driver). The only module that imports libvirt."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vmm.config import HypervisorSettings
from vmm.errors import ConfigError
from vmm.hypervisors.console import Consoles
from vmm.hypervisors.domain_facts import ACTIVE, Described, describe, guest_facts
from vmm.hypervisors.domain_xml import DomainFiles, domain_xml, flavour_of
from vmm.hypervisors.interface import GuestFacts, GuestFailed, HostFacts, HypervisorDown
from vmm.hypervisors.libvirt_link import Link, text_of
from vmm.hypervisors.libvirt_migration import Migration
from vmm.hypervisors.libvirt_resize import Resizer
from vmm.hypervisors.names import check_name, check_spec
from vmm.hypervisors.overlay import Overlays
from vmm.hypervisors.sizes import changes, wanted_size
from vmm.messages.guest import GuestSize, GuestSpec, size_of

_ASK_AGAIN_S = 5.0
"""A guest that still boots does not hear the power button, so it is pressed again."""
_POLL_S = 0.1
_NO_MEMORY = ("cannot allocate memory", "cannot set up guest memory", "out of memory")


def load_library() -> Any:
    """The `libvirt` module, kept from printing every error on stderr. ConfigError when it is missing."""
    try:
        import libvirt
    except ImportError as exc:
        raise ConfigError(
            f"driver = libvirt needs the Python package libvirt-python ({exc}).",
            next_step="apt-get install libvirt-dev pkg-config gcc, then pip install 'vmm[libvirt]'",
        ) from exc
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


class LibvirtHypervisor:
    """A `Hypervisor` over one libvirt connection. `images` and `consoles` are the host's absolute folders."""

    def __init__(
        self,
        settings: HypervisorSettings,
        images: Path,
        consoles: Path,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = load_library()
        self._settings = settings
        self._name = name
        self._clock = clock
        self._flavour = flavour_of(settings.domain_type)
        self._overlays = Overlays(images)
        self._consoles = Consoles(consoles, self._flavour.console_log)
        self._closed = threading.Event()
        self._link = Link(self._library, settings.uri)
        self._migration = Migration(self._library, settings, self._closed)
        self._resizer = Resizer(self._library, self._closed, clock)
        self._admission = threading.Lock()
        self._resizing = threading.Lock()

    def facts(self) -> HostFacts:
        return self._link.run("asking the host", self._facts)

    def guests(self) -> list[GuestFacts]:
        return self._link.run("listing the guests", self._guests)

    def create(self, spec: GuestSpec) -> None:
        check_spec(spec)
        with self._admission:  # two creates at once must not both take the last memory
            self._link.run(f"creating {spec.name}", lambda conn: self._create(conn, spec))

    def start(self, name: str) -> None:
        self._link.run(f"starting {name}", lambda conn: self._start(conn, self._managed(conn, name)))

    def shutdown(self, name: str, grace_s: float) -> None:
        self._link.run(f"shutting {name} down", lambda conn: self._shutdown(conn, name, grace_s))

    def destroy(self, name: str, grace_s: float = 0.0, keep_shared_disk: bool = False) -> None:
        keep = keep_shared_disk and self._settings.shared_storage
        self._link.run(f"destroying {name}", lambda conn: self._destroy(conn, name, grace_s, keep))

    def migrate(self, name: str, target: str, uuid: str = "") -> None:
        self._link.run(f"moving {name} to {target}", lambda conn: self._migrate(conn, name, target, uuid))

    def resize(
        self,
        name: str,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        cpu_weight: float | None = None,
        cpu_cap: float | None = None,
    ) -> GuestSize:
        asked = changes(memory_mib, vcpus, cpu_weight, cpu_cap)
        with self._resizing:  # the same one, delivered twice: the second looks at what the first has done
            return self._link.run(f"resizing {name}", lambda conn: self._resize(conn, name, asked))

    def console_tail(self, name: str, lines: int = 20) -> str:
        return self._consoles.tail(name, lines)

    def close(self) -> None:
        self._closed.set()
        self._link.close()

    # facts

    def _facts(self, conn: Any) -> HostFacts:
        info = conn.getInfo()
        kind = conn.getType().lower()
        try:
            # getInfo() sums up NUMA nodes, which may lag behind on kernels that find their memory late.
            memory_mib = conn.getMemoryStats(-1, 0)["total"] // 1024
        except (self._library.libvirtError, KeyError):
            memory_mib = info[1]
        image_free_mib = 0
        with contextlib.suppress(OSError):
            image_free_mib = shutil.disk_usage(self._overlays.images).free >> 20
        return HostFacts(
            name=self._name or conn.getHostname(),
            hypervisor=self._settings.domain_type if kind in ("qemu", "xen") else kind,
            memory_mib=self._settings.memory_mib or memory_mib,
            reserved_mib=self._settings.reserve_mib,
            cpus=self._settings.cpus or info[2],
            cpu_model=info[0],
            image_free_mib=image_free_mib,
        )

    def _guests(self, conn: Any) -> list[GuestFacts]:
        library = self._library
        groups = (
            library.VIR_DOMAIN_STATS_STATE
            | library.VIR_DOMAIN_STATS_CPU_TOTAL
            | library.VIR_DOMAIN_STATS_BALLOON
            | library.VIR_DOMAIN_STATS_VCPU
            | library.VIR_DOMAIN_STATS_INTERFACE
            | library.VIR_DOMAIN_STATS_BLOCK
        )
        try:
            # NOWAIT: a guest that is busy (starting, migrating) gives less instead of holding all up.
            found = conn.getAllDomainStats(groups, library.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
        except library.libvirtError as exc:
            if exc.get_error_code() != library.VIR_ERR_NO_SUPPORT:
                raise
            found = [(domain, {}) for domain in conn.listAllDomains(0)]
        guests = []
        for domain, stats in found:
            if self._flavour.domain_type == "xen" and domain.ID() == 0:
                continue  # Dom0 is the host itself
            try:
                described = describe(domain.XMLDesc(0))
                guests.append(guest_facts(described, stats, _info(domain)))
            except library.libvirtError as exc:
                if exc.get_error_code() != library.VIR_ERR_NO_DOMAIN:  # gone since the list was made
                    raise
        return sorted(guests, key=lambda guest: guest.name)

    # operations: each bears being run again from its start

    def _create(self, conn: Any, spec: GuestSpec) -> None:
        domain = self._find(conn, spec.name)
        if domain is None:
            self._require_free_uuid(conn, spec)
        elif domain.UUIDString() != spec.uuid.lower():
            raise _taken(spec, f"a guest of that name has the uuid {domain.UUIDString()}")
        elif not self._describe(domain).managed:
            raise _not_managed(spec.name)
        elif domain.isActive():
            return
        kernel = self._overlays.boot_file(spec.kernel, spec.name, "kernel") if spec.kernel else None
        initrd = self._overlays.boot_file(spec.initrd, spec.name, "initrd") if spec.initrd else None
        self._require_memory(conn, spec.name, spec.memory_mib)
        if domain is not None and self._overlays.path(spec.name).exists():
            self._start(conn, domain)  # an earlier create was cut off before the start
            return
        disk = self._overlays.create(spec.name, spec.template)
        try:
            log = self._consoles.fresh(spec.name) if self._flavour.virtio else None
            files = DomainFiles(disk, log, kernel, initrd, self._settings.shared_storage)
            xml = domain_xml(spec, self._flavour, files, self._settings.machine, self._settings.cpu)
            domain = conn.defineXML(xml)
            self._start(conn, domain)
            self._resizer.made(domain, size_of(spec), lambda exc: self._link.lost(conn, exc))
        except self._library.libvirtError as exc:
            if self._link.lost(conn, exc):
                raise  # whether the guest runs is not known: its disk must stay
            self._clean_up(conn, spec.name)
            raise GuestFailed(
                "start-failed",
                f"guest {spec.name}: libvirt does not take the domain: {text_of(exc)}",
                next_step="see the profile, and [hypervisor] in vmm.ini",
            ) from exc
        except GuestFailed:
            self._clean_up(conn, spec.name)
            raise

    def _start(self, conn: Any, domain: Any) -> None:
        try:
            domain.create()
        except self._library.libvirtError as exc:
            if self._link.lost(conn, exc):
                raise
            if domain.isActive():
                return
            text = text_of(exc)
            memory = any(mark in text.lower() for mark in _NO_MEMORY)
            raise GuestFailed(
                "no-memory" if memory else "start-failed",
                f"guest {domain.name()} does not start: {text}",
                next_step="free memory on this host" if memory else "see libvirtd's log of this guest",
            ) from exc

    def _shutdown(self, conn: Any, name: str, grace_s: float) -> None:
        domain = self._managed(conn, name)
        if not self._power_off(domain, grace_s):
            raise GuestFailed(
                "still-running",
                f"guest {name} did not power off within {grace_s:g} s.",
                next_step="give it longer, see console_tail, or destroy it",
            )

    def _destroy(self, conn: Any, name: str, grace_s: float, keep_disk: bool) -> None:
        domain = self._find(conn, check_name(name))
        if domain is not None:
            if not self._describe(domain).managed:
                raise _not_managed(name)
            if grace_s > 0:
                self._power_off(domain, grace_s)
        self._remove(conn, name, keep_disk)
        self._consoles.prune([d.name() for d in conn.listAllDomains(0)])

    def _migrate(self, conn: Any, name: str, target: str, uuid: str) -> None:
        domain = self._find(conn, check_name(name))
        if domain is not None and self._migration.ended(domain):
            if not self._describe(domain).managed:
                raise _not_managed(name)
            self._migration.move(domain, name, target, lambda exc: self._link.lost(conn, exc))
        elif not self._migration.is_on(name, target, uuid):
            raise GuestFailed(
                "no-such-guest",
                f"guest {name} runs neither here nor on {target}.",
                next_step="see the list of guests",
            )

    def _resize(self, conn: Any, name: str, asked: dict[str, float]) -> GuestSize:
        domain = self._managed(conn, name)
        described = self._describe(domain)
        if not domain.isActive():
            raise GuestFailed(
                "not-running", f"guest {name} is off and has no size to change.", next_step="start it first"
            )
        now = self._resizer.size(domain)
        wanted = wanted_size(name, now, asked, described.max_memory_mib, described.max_vcpus)
        if wanted.memory_mib > now.memory_mib:
            self._require_memory(conn, name, wanted.memory_mib)
        self._resizer.change(domain, wanted, asked, lambda exc: self._link.lost(conn, exc))
        return self._resizer.size(domain)

    # parts

    def _clean_up(self, conn: Any, name: str) -> None:
        """After a failure: what cannot be removed now must not hide why; `destroy` removes it later."""
        with contextlib.suppress(self._library.libvirtError, GuestFailed):
            self._remove(conn, name)

    def _remove(self, conn: Any, name: str, keep_disk: bool = False) -> None:
        """Domain and overlay, as far as they are there."""
        domain = self._find(conn, name)
        if domain is not None:
            library = self._library
            with self._tolerate(library.VIR_ERR_NO_DOMAIN, library.VIR_ERR_OPERATION_INVALID):
                domain.destroy()
            with self._tolerate(library.VIR_ERR_NO_DOMAIN, library.VIR_ERR_OPERATION_INVALID):
                self._undefine(domain)
        if not keep_disk:
            self._overlays.remove(name)

    def _undefine(self, domain: Any) -> None:
        library = self._library
        flags = (
            library.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | library.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | library.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | library.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        try:
            domain.undefineFlags(flags)
        except library.libvirtError as exc:
            if exc.get_error_code() not in (library.VIR_ERR_INVALID_ARG, library.VIR_ERR_NO_SUPPORT):
                raise
            domain.undefine()

    def _power_off(self, domain: Any, grace_s: float) -> bool:
        """Ask for it and wait; False when the guest still runs at the end of the grace."""
        library = self._library
        until = self._clock() + grace_s
        ask_at = self._clock()
        while True:
            try:
                if not domain.isActive():
                    return True
                if self._clock() >= ask_at:
                    ask_at += _ASK_AGAIN_S
                    with self._tolerate(library.VIR_ERR_OPERATION_INVALID):
                        domain.shutdown()
            except library.libvirtError as exc:
                if exc.get_error_code() == library.VIR_ERR_NO_DOMAIN:
                    return True
                raise
            left = until - self._clock()
            if left <= 0:
                return not domain.isActive()
            if self._closed.wait(min(_POLL_S, left)):
                raise HypervisorDown(f"{self._settings.uri}: closed while waiting.", next_step="try again")

    def _require_memory(self, conn: Any, name: str, memory_mib: int) -> None:
        facts = self._facts(conn)
        others = [guest for guest in self._guests(conn) if guest.state in ACTIVE and guest.name != name]
        used = sum(guest.memory_mib for guest in others)
        free = facts.memory_mib - facts.reserved_mib - used
        if memory_mib > free:
            raise GuestFailed(
                "no-memory",
                f"guest {name} needs {memory_mib} MiB, host {facts.name} has {max(free, 0)} MiB "
                f"free of {facts.memory_mib} ({facts.reserved_mib} reserved, {used} in guests).",
                next_step="destroy a guest first, or choose another host",
            )

    def _require_free_uuid(self, conn: Any, spec: GuestSpec) -> None:
        try:
            other = conn.lookupByUUIDString(spec.uuid)
        except self._library.libvirtError as exc:
            if exc.get_error_code() == self._library.VIR_ERR_NO_DOMAIN:
                return
            raise
        raise _taken(spec, f"its uuid is that of guest {other.name()!r}")

    def _find(self, conn: Any, name: str) -> Any:
        """The domain of that name, or None."""
        try:
            return conn.lookupByName(name)
        except self._library.libvirtError as exc:
            if exc.get_error_code() == self._library.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _managed(self, conn: Any, name: str) -> Any:
        domain = self._find(conn, check_name(name))
        if domain is None:
            raise GuestFailed(
                "no-such-guest", f"there is no guest {name!r} here.", next_step="see the list of guests"
            )
        if not self._describe(domain).managed:
            raise _not_managed(name)
        return domain

    def _describe(self, domain: Any) -> Described:
        return describe(domain.XMLDesc(0))

    @contextlib.contextmanager
    def _tolerate(self, *codes: int) -> Iterator[None]:
        try:
            yield
        except self._library.libvirtError as exc:
            if exc.get_error_code() not in codes:
                raise


def _info(domain: Any) -> dict[str, int]:
    state, _max_kib, memory_kib, vcpus, cpu_ns = domain.info()
    return {"state.state": state, "balloon.current": memory_kib, "vcpu.current": vcpus, "cpu.time": cpu_ns}


def _taken(spec: GuestSpec, why: str) -> GuestFailed:
    return GuestFailed("name-taken", f"guest {spec.name}: {why}.", next_step="choose a fresh name and uuid")


def _not_managed(name: str) -> GuestFailed:
    return GuestFailed(
        "not-managed",
        f"guest {name} was not made by vmm and is left alone.",
        next_step="use the hypervisor's own tools, or choose another name",
    )
