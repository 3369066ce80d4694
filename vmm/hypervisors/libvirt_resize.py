"""Another size for a running domain: the balloon, vCPU hotplug, the scheduler's weight and cap; then a look.

libvirt calls a change done when it has asked for it, and the guest may be deaf: what counts is what is read
back. What did not come about is taken back. libvirt's own module is handed in.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vmm.hypervisors.interface import GuestFailed, HypervisorDown
from vmm.hypervisors.libvirt_link import text_of
from vmm.hypervisors.sizes import NO_BALLOON, NO_UNPLUG, not_followed
from vmm.messages.guest import GuestSize

_log = logging.getLogger(__name__)
STILL_S = 5.0
"""A balloon that has not moved for so long will not move."""
LIMIT_S = 45.0
"""And however it moves: whoever asked waits little longer."""
_POLL_S = 0.1
_PERIOD_US = 100_000
_UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
_NO_LIMIT = -1


class Resizer:
    """Changes domains of one host; holds no connection."""

    def __init__(self, library: Any, closed: threading.Event, clock: Callable[[], float]) -> None:
        self._library, self._closed, self._clock = library, closed, clock
        # The scheduler's number for weight 1: cgroups of version 2 count from 100, others from 1024.
        self._one = 100 if _UNIFIED.exists() else 1024

    def size(self, domain: Any) -> GuestSize:
        """What the domain has now. Weight and cap are those of everybody where nobody can set them."""
        weight, cap = 1.0, 0.0
        with contextlib.suppress(self._library.libvirtError):
            found = domain.schedulerParametersFlags(self._library.VIR_DOMAIN_AFFECT_LIVE)
            weight = round(found.get("cpu_shares", self._one) / self._one, 3)
            quota, period = found.get("global_quota", _NO_LIMIT), found.get("global_period", _PERIOD_US)
            cap = round(quota / period, 3) if quota > 0 and period > 0 else 0.0
        return GuestSize(round(self._memory_kib(domain) / 1024), domain.info()[3], weight, cap)

    def made(self, domain: Any, size: GuestSize, lost: Callable[[Any], bool]) -> None:
        """Of a guest that had weight and cap elsewhere. Where they cannot be set it runs without."""
        if (size.cpu_weight, size.cpu_cap) == (1.0, 0.0):
            return
        try:
            self.schedule(domain, size, lost)
        except GuestFailed as exc:
            _log.warning("%s", exc)

    def change(
        self,
        domain: Any,
        wanted: GuestSize,
        asked: Mapping[str, float],
        lost: Callable[[Any], bool],
    ) -> None:
        """Bring it to the size `wanted`. Raises GuestFailed when it did not follow; then it is as before.

        `lost` tells errors of the connection, which are passed on.
        """
        name = domain.name()
        was = self.size(domain)
        try:
            if "cpu_weight" in asked or "cpu_cap" in asked:
                self.schedule(domain, wanted, lost)
            if "memory_mib" in asked:
                self._set_memory(domain, name, wanted.memory_mib)
            if "vcpus" in asked:
                self._set_vcpus(domain, name, wanted.vcpus)
        except GuestFailed:
            self._put_back(domain, was, asked, lost)
            raise

    def _put_back(
        self, domain: Any, was: GuestSize, asked: Mapping[str, float], lost: Callable[[Any], bool]
    ) -> None:
        """Without waiting: a guest that is deaf in one direction may be so in the other."""
        library = self._library
        with contextlib.suppress(library.libvirtError):
            if "memory_mib" in asked:
                self._both(domain.setMemoryFlags, was.memory_mib * 1024)
        with contextlib.suppress(library.libvirtError):
            if "vcpus" in asked and domain.info()[3] != was.vcpus:
                self._both(domain.setVcpusFlags, was.vcpus)
        with contextlib.suppress(GuestFailed):
            if "cpu_weight" in asked or "cpu_cap" in asked:
                self.schedule(domain, was, lost)

    def _both(self, call: Callable[[Any, int], Any], value: Any) -> None:
        """As it runs, and kept for its next start: some calls and drivers take only one of them at a time."""
        for where in (self._library.VIR_DOMAIN_AFFECT_LIVE, self._library.VIR_DOMAIN_AFFECT_CONFIG):
            call(value, where)

    # memory

    def _memory_kib(self, domain: Any) -> int:
        """The balloon's own word: libvirt's statistics of all domains lag a second behind it."""
        with contextlib.suppress(self._library.libvirtError):
            actual = domain.memoryStats().get("actual")
            if actual:
                return int(actual)
        return int(domain.info()[2])

    def _set_memory(self, domain: Any, name: str, wanted_mib: int) -> None:
        self._both(domain.setMemoryFlags, wanted_mib * 1024)
        began_s = moved_s = self._clock()
        last_kib = -1
        while True:
            has_kib = self._memory_kib(domain)
            if round(has_kib / 1024) == wanted_mib:
                return
            now_s = self._clock()
            if has_kib != last_kib:
                last_kib, moved_s = has_kib, now_s
            if now_s - moved_s >= STILL_S or now_s - began_s >= LIMIT_S:
                waited = f"after {now_s - began_s:.0f} s"
                raise not_followed(name, "MiB", wanted_mib, round(has_kib / 1024), waited, NO_BALLOON)
            if self._closed.wait(_POLL_S):
                raise HypervisorDown(f"resizing {name}: closed while waiting.", next_step="try again")

    # vCPUs

    def _set_vcpus(self, domain: Any, name: str, wanted: int) -> None:
        library = self._library
        if domain.info()[3] == wanted:
            return
        why = ""
        try:
            self._both(domain.setVcpusFlags, wanted)
        except library.libvirtError as exc:
            # A vCPU that the guest does not give back in 5 s is an error; whether it did is looked at below.
            why = text_of(exc)
            if exc.get_error_code() not in (
                library.VIR_ERR_OPERATION_TIMEOUT,
                library.VIR_ERR_OPERATION_FAILED,
                library.VIR_ERR_CONFIG_UNSUPPORTED,
                library.VIR_ERR_INTERNAL_ERROR,
            ):
                raise
        has = domain.info()[3]
        if has != wanted:
            raise not_followed(name, "vCPUs", wanted, has, why, NO_UNPLUG)

    # weight and cap

    def schedule(self, domain: Any, wanted: GuestSize, lost: Callable[[Any], bool]) -> None:
        """Weight and cap of a running domain, kept for its next start. Raises GuestFailed."""
        library, name = self._library, domain.name()
        quota = round(wanted.cpu_cap * _PERIOD_US) if wanted.cpu_cap else _NO_LIMIT
        values = {
            "cpu_shares": max(2, round(wanted.cpu_weight * self._one)),
            "global_period": _PERIOD_US,
            "global_quota": quota,
        }
        try:
            self._both(domain.setSchedulerParametersFlags, values)
        except library.libvirtError as exc:
            if lost(exc):
                raise
            raise GuestFailed(
                "not-supported",
                f"guest {name}: libvirt cannot set its processors' weight and cap: {text_of(exc)}",
                next_step='let libvirtd use control groups (`cgroup_controllers = ["cpu"]` in qemu.conf, the '
                "controller mounted), or change only memory and vCPUs",
            ) from exc
        size = self.size(domain)
        if (size.cpu_weight, size.cpu_cap) != (round(wanted.cpu_weight, 3), round(wanted.cpu_cap, 3)):
            has = f"{size.cpu_weight:g} and {size.cpu_cap:g}"
            text = f"{wanted.cpu_weight:g} and {wanted.cpu_cap:g}"
            raise not_followed(name, "weight and cap", text, has, "", "see libvirtd's log on this host")
