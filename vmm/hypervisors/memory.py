"""A hypervisor in memory: the same operations and errors as a real one, without any machine.

For demos, tests and trying rules out. Its guests are records; whatever stands for the inside of a guest is
started by `on_boot` when the guest has booted and stopped when the guest stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vmm.config import HypervisorSettings
from vmm.hypervisors.interface import GuestFacts, GuestFailed, HostFacts, HypervisorDown
from vmm.hypervisors.memory_store import Record, load_records, save_records
from vmm.hypervisors.names import check_name, check_spec
from vmm.hypervisors.sizes import NO_BALLOON, changes, not_followed, wanted_size
from vmm.messages.guest import GuestSize, GuestSpec, bounds_of, resized, size_of

Stopper = Callable[[], None]
OnBoot = Callable[[GuestSpec], Stopper]
Schedule = Callable[[float, Callable[[], None]], Stopper]
"""Runs a function after so many seconds, on a thread of its own; calling the result takes it back."""

_log = logging.getLogger(__name__)
DEFAULT_MEMORY_MIB = 16384
DEFAULT_CPUS = 8


@dataclass(frozen=True, slots=True)
class Faults:
    """Failures to play. `templates` None: every template is there. `never_boot` names templates that hang,
    `deaf` those whose guests do not follow when they are to be resized."""

    templates: frozenset[str] | None = None
    never_boot: frozenset[str] = frozenset()
    deaf: frozenset[str] = frozenset()
    disk_full: bool = False
    down: bool = False


@dataclass(slots=True)
class _Guest:
    record: Record
    since_s: float
    boots: int = 0
    booted: bool = False
    boot_timer: Stopper | None = None
    stopper: Stopper | None = None


def timer(delay_s: float, work: Callable[[], None]) -> Stopper:
    """The schedule of real life."""
    thread = threading.Timer(delay_s, work)
    thread.daemon = True
    thread.name = "memory-guest-boot"
    thread.start()
    return thread.cancel


class MemoryHypervisor:
    """A `Hypervisor` of records. Limits: `memory_mib`, `reserve_mib` and `cpus` of the settings (0: 16 GiB,
    8 CPUs that may be shared); a guest boots in `boot_s`.

    With `state_file` the guests outlive the object: a new one boots those again that ran. `close()` stops
    what `on_boot` started and leaves the guests in the file.
    """

    def __init__(
        self,
        settings: HypervisorSettings,
        name: str = "memory",
        *,
        on_boot: OnBoot | None = None,
        faults: Faults | None = None,
        state_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        schedule: Schedule = timer,
    ) -> None:
        self.faults = faults or Faults()
        self._settings = settings
        self._name = name
        self._on_boot = on_boot
        self._state_file = state_file
        self._clock = clock
        self._schedule = schedule
        self._lock = threading.Condition()  # notified when a guest has booted or stopped
        self._closed = threading.Event()
        self._guests: dict[str, _Guest] = {}
        self._restored = False

    def facts(self) -> HostFacts:
        with self._lock:
            self._require_up()
            return self._facts()

    def guests(self) -> list[GuestFacts]:
        with self._lock:
            self._require_up()
            return [self._show(guest) for _, guest in sorted(self._guests.items())]

    def create(self, spec: GuestSpec) -> None:
        check_spec(spec)
        with self._lock:
            self._require_up()
            guest = self._guests.get(spec.name)
            if guest is not None:
                if guest.record.spec.uuid != spec.uuid:
                    raise self._taken(spec, f"a guest of that name has the uuid {guest.record.spec.uuid}")
                if guest.record.state == "off":
                    self._boot(guest)
                return
            if any(other.record.spec.uuid == spec.uuid for other in self._guests.values()):
                raise self._taken(spec, "its uuid is that of another guest")
            self._require_template(spec)
            self._require_room(spec)
            if self.faults.disk_full:
                raise GuestFailed(
                    "disk-full",
                    f"guest {spec.name}: making the overlay: no space left on {self._name}.",
                    next_step="free space there",
                )
            guest = _Guest(Record(spec, "off"), self._clock())
            self._guests[spec.name] = guest
            self._boot(guest)

    def start(self, name: str) -> None:
        with self._lock:
            guest = self._get(name)
            if guest.record.state != "running":
                self._require_room(guest.record.spec)
                self._boot(guest)

    def shutdown(self, name: str, grace_s: float) -> None:
        with self._lock:
            guest = self._get(name)
            # A guest hears its power button only once it is up.
            if not self._lock.wait_for(lambda: self._hears(guest), grace_s):
                raise GuestFailed(
                    "still-running",
                    f"guest {name} did not power off within {grace_s:g} s.",
                    next_step="give it longer, see console_tail, or destroy it",
                )
        self._stop(guest, "off")

    def destroy(self, name: str, grace_s: float = 0.0, keep_shared_disk: bool = False) -> None:
        del grace_s, keep_shared_disk  # a record stops at once and has no disk
        check_name(name)
        with self._lock:
            self._require_up()
            guest = self._guests.pop(name, None)
            self._save()
        if guest is not None:
            self._stop(guest, "off")

    def migrate(self, name: str, target: str, uuid: str = "") -> None:
        """Not supported: the hosts' in-memory hypervisors are separate programs that share nothing."""
        del uuid
        with self._lock:
            self._get(name)
        raise GuestFailed(
            "not-supported",
            f"guest {name} cannot be moved to {target}: the in-memory hypervisor keeps its guests.",
            next_step="use driver = libvirt, or retire the guest and make another there",
        )

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
        with self._lock:
            guest = self._get(name)
            spec = guest.record.spec
            if guest.record.state != "running":
                raise GuestFailed(
                    "not-running",
                    f"guest {name} is off and has no size to change.",
                    next_step="start it first",
                )
            bounds, now = bounds_of(spec), size_of(spec)
            wanted = wanted_size(name, now, asked, bounds.max_memory_mib, bounds.max_vcpus)
            new = resized(spec, wanted)
            if wanted.memory_mib > now.memory_mib or wanted.vcpus > now.vcpus:
                self._require_room(new)
            if wanted != now and spec.template in self.faults.deaf:
                raise not_followed(name, "as size", wanted, now, "", NO_BALLOON)
            guest.record = replace(guest.record, spec=new)
            self._save()
            return wanted

    def console_tail(self, name: str, lines: int = 20) -> str:
        with self._lock:
            guest = self._guests.get(check_name(name))
            text = [] if guest is None else guest.record.console
            return "\n".join(text[-lines:]) if lines > 0 else ""

    def crash(self, name: str) -> None:
        """The guest dies without a word, as when its process was killed."""
        self._stop(self._get(name), "crashed")

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            self._lock.notify_all()
            guests = list(self._guests.values())
        for guest in guests:
            self._halt(guest)

    # inside

    def _hears(self, guest: _Guest) -> bool:
        return guest.booted or guest.record.state != "running" or self._closed.is_set()

    def _get(self, name: str) -> _Guest:
        check_name(name)
        self._require_up()
        guest = self._guests.get(name)
        if guest is None:
            raise GuestFailed(
                "no-such-guest", f"there is no guest {name!r} here.", next_step="see the list of guests"
            )
        return guest

    def _require_up(self) -> None:
        if self.faults.down or self._closed.is_set():
            raise HypervisorDown(f"{self._name}: the in-memory hypervisor is down.", next_step="bring it up")
        if not self._restored and self._state_file is not None:
            for record in load_records(self._state_file):
                guest = self._guests[record.spec.name] = _Guest(record, self._clock())
                if record.state == "running":
                    self._boot(guest)
        self._restored = True

    def _facts(self) -> HostFacts:
        return HostFacts(
            name=self._name,
            hypervisor="memory",
            memory_mib=self._settings.memory_mib or DEFAULT_MEMORY_MIB,
            reserved_mib=self._settings.reserve_mib,
            cpus=self._settings.cpus or DEFAULT_CPUS,
            cpu_model="memory",
        )

    def _require_template(self, spec: GuestSpec) -> None:
        known = self.faults.templates
        if known is not None and spec.template not in known:
            raise GuestFailed(
                "no-template",
                f"guest {spec.name}: there is no template {spec.template!r} on {self._name}.",
                next_step="correct the profile's template",
            )

    def _require_room(self, spec: GuestSpec) -> None:
        facts = self._facts()
        running = [
            g.record.spec
            for g in self._guests.values()
            if g.record.state == "running" and g.record.spec.name != spec.name
        ]
        free = facts.memory_mib - facts.reserved_mib - sum(other.memory_mib for other in running)
        if spec.memory_mib > free:
            raise GuestFailed(
                "no-memory",
                f"guest {spec.name} needs {spec.memory_mib} MiB, {self._name} has {max(free, 0)} MiB free.",
                next_step="destroy a guest first, or choose another host",
            )
        # As on a real host CPUs can be shared, unless the settings say how many there are.
        cpus = self._settings.cpus - sum(other.vcpus for other in running)
        if self._settings.cpus and spec.vcpus > cpus:
            raise GuestFailed(
                "no-cpus",
                f"guest {spec.name} needs {spec.vcpus} CPUs, {self._name} has {max(cpus, 0)} free.",
                next_step="destroy a guest first, or choose another host",
            )

    def _boot(self, guest: _Guest) -> None:
        guest.since_s, guest.booted = self._clock(), False
        guest.boots += 1
        boot = guest.boots
        spec = guest.record.spec
        lines = [f"[    0.000000] booting {spec.template} as {spec.name}"]
        hangs = spec.template in self.faults.never_boot
        if hangs:
            lines.append("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)")
        guest.record = replace(guest.record, state="running", console=[*guest.record.console, *lines][-100:])
        self._save()
        if not hangs:
            guest.boot_timer = self._schedule(self._settings.boot_s, lambda: self._booted(guest, boot))

    def _booted(self, guest: _Guest, boot: int) -> None:
        spec = guest.record.spec
        with self._lock:
            if guest.boots != boot or guest.record.state != "running" or self._closed.is_set():
                return
            guest.boot_timer, guest.booted = None, True
            self._lock.notify_all()
            guest.record.console.append(f"[{self._clock() - guest.since_s:12.6f}] {spec.name} login:")
            self._save()
        if self._on_boot is None:
            return
        try:
            stopper = self._on_boot(spec)
        except Exception:
            _log.exception("guest %s: what should run inside it did not start", spec.name)
            guest.record.console.append("init: the guest's programs did not start")
            return
        with self._lock:
            if guest.boots == boot and guest.record.state == "running" and not self._closed.is_set():
                guest.stopper = stopper
                return
        self._call(guest, stopper)  # it was stopped while it started

    def _stop(self, guest: _Guest, state: str) -> None:
        with self._lock:
            guest.record = replace(guest.record, state=state)
            self._lock.notify_all()
            self._save()
        self._halt(guest)

    def _halt(self, guest: _Guest) -> None:
        with self._lock:
            cancel, guest.boot_timer = guest.boot_timer, None
            stopper, guest.stopper = guest.stopper, None
            guest.booted = False
        if cancel is not None:
            cancel()
        if stopper is not None:
            self._call(guest, stopper)

    def _call(self, guest: _Guest, stopper: Stopper) -> None:
        try:
            stopper()
        except Exception:
            _log.exception("guest %s: what ran inside it did not stop", guest.record.spec.name)

    def _save(self) -> None:
        if self._state_file is not None:
            save_records(self._state_file, [guest.record for guest in self._guests.values()])

    def _show(self, guest: _Guest) -> GuestFacts:
        spec, state = guest.record.spec, guest.record.state
        running = state == "running"
        return GuestFacts(
            name=spec.name,
            uuid=spec.uuid,
            state=state,
            memory_mib=spec.memory_mib,
            max_memory_mib=max(spec.memory_mib, spec.max_memory_mib),
            vcpus=spec.vcpus,
            cpu_time_s=(self._clock() - guest.since_s) * spec.vcpus if running else 0.0,
            disks=[f"memory:{spec.template}"],
            interfaces=[spec.network] if spec.network else [],
            managed=True,
        )

    def _taken(self, spec: GuestSpec, why: str) -> GuestFailed:
        return GuestFailed(
            "name-taken", f"guest {spec.name}: {why}.", next_step="choose a fresh name and uuid"
        )
