"""Live migration between two libvirt hosts, peer to peer: the source's libvirtd drives it, we only ask.

It goes on when this program dies. So whoever asks again first waits for one that is under way, and looks on
the target when the guest is not here any more. libvirt's own module is handed in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from vmm.config import HypervisorSettings
from vmm.hypervisors.domain_xml import flavour_of
from vmm.hypervisors.interface import GuestFailed, HypervisorDown
from vmm.hypervisors.libvirt_link import Link, text_of

_POLL_S = 0.2


class Migration:
    """Moves domains as the settings say; holds no connection."""

    def __init__(self, library: Any, settings: HypervisorSettings, closed: threading.Event) -> None:
        self._library, self._settings, self._closed = library, settings, closed

    def uri(self, target: str) -> str:
        """libvirt's URI of a host, as its peers reach it."""
        return self._settings.migration.replace("{host}", target)

    def ended(self, domain: Any) -> bool:
        """Wait for a migration that an earlier call began; True when the domain runs here after it."""
        library = self._library
        try:
            while domain.isActive():
                if domain.jobInfo()[0] == library.VIR_DOMAIN_JOB_NONE:
                    return True
                if self._closed.wait(_POLL_S):
                    raise HypervisorDown(
                        f"{self._settings.uri}: closed while waiting.", next_step="try again"
                    )
        except library.libvirtError as exc:
            if exc.get_error_code() in (library.VIR_ERR_NO_SUPPORT, library.VIR_ERR_OPERATION_INVALID):
                return bool(domain.isActive())
            if exc.get_error_code() != library.VIR_ERR_NO_DOMAIN:
                raise
        return False

    def move(self, domain: Any, name: str, target: str, lost: Callable[[Any], bool]) -> None:
        """Until it runs there. `lost` tells errors of the connection here, which are passed on."""
        library = self._library
        flags = (
            library.VIR_MIGRATE_LIVE
            | library.VIR_MIGRATE_PEER2PEER
            | library.VIR_MIGRATE_PERSIST_DEST
            | library.VIR_MIGRATE_UNDEFINE_SOURCE
        )
        if flavour_of(self._settings.domain_type).virtio:
            flags |= library.VIR_MIGRATE_AUTO_CONVERGE  # a guest that writes fast would never be through
        if self._settings.shared_storage:
            flags |= library.VIR_MIGRATE_UNSAFE  # libvirt knows shared storage by its file system only
        try:
            domain.migrateToURI3(self.uri(target), {}, flags)
        except library.libvirtError as exc:
            if exc.get_error_code() in (library.VIR_ERR_NO_SUPPORT, library.VIR_ERR_ARGUMENT_UNSUPPORTED):
                raise GuestFailed(
                    "not-supported",
                    f"guest {name} cannot be moved to {target}: {text_of(exc)}",
                    next_step="retire the guest and make another there",
                ) from exc
            if lost(exc) and not self.is_here(domain):
                raise
            unsafe = exc.get_error_code() == library.VIR_ERR_MIGRATE_UNSAFE
            raise GuestFailed(
                "migration-failed",
                f"guest {name} runs on here, it could not be moved to {self.uri(target)}: {text_of(exc)}",
                next_step="say `shared_storage = yes` in [hypervisor] if the images folder is shared"
                if unsafe
                else "see `migration` in [hypervisor] of vmm.ini, and libvirtd's log on both hosts",
            ) from exc

    def is_here(self, domain: Any) -> bool:
        """Whether the connection answers and the domain runs here."""
        try:
            return bool(domain.isActive())
        except self._library.libvirtError:
            return False

    def is_on(self, name: str, target: str, uuid: str) -> bool:
        """Whether the guest runs on another host; GuestFailed `target-unreachable` when nobody says."""
        library = self._library
        link = Link(library, self.uri(target))

        def look(conn: Any) -> bool:
            try:
                domain = conn.lookupByUUIDString(uuid) if uuid else conn.lookupByName(name)
                return bool(domain.isActive())
            except library.libvirtError as exc:
                if exc.get_error_code() == library.VIR_ERR_NO_DOMAIN:
                    return False
                raise

        try:
            return link.run(f"looking for {name} on {target}", look)
        except HypervisorDown as exc:
            raise GuestFailed(
                "target-unreachable",
                f"guest {name} is not here, and {target} does not say whether it is there: {exc.message}",
                next_step=exc.next_step,
            ) from exc
        finally:
            link.close()
