"""A physical host: a pod with a bridge for guests and its own libvirtd."""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .image import OVERLAYS
from .network import NETWORK, PREFIX_LENGTH, address
from .pod import Pod, PodProcess
from .shell import run, tail, wait_for

# libvirtd looks its default user up before it reads qemu.conf; Debian's libvirt-daemon does not create it.
_EXTRA_USERS = {"libvirt-qemu": 64055}
_EXTRA_GROUPS = {"libvirt-qemu": 64055, "kvm": 64056}

_LIBVIRT_DIRECTORIES = {
    "libvirt-etc": "/etc/libvirt",
    "libvirt-lib": "/var/lib/libvirt",
    "libvirt-log": "/var/log/libvirt",
    "libvirt-cache": "/var/cache/libvirt",
}


def _with_names(path: Path, extra: Mapping[str, int], line: str) -> str:
    """The text of passwd or group with the missing names added."""
    text = path.read_text()
    known = {row.partition(":")[0] for row in text.splitlines()}
    added = [line.format(name=name, number=number) for name, number in extra.items() if name not in known]
    return text + "".join(added)


def _settings(values: Mapping[str, object]) -> str:
    """libvirt's own configuration syntax: numbers bare, text quoted, lists empty."""
    rows = []
    for key, value in values.items():
        shown = f'"{value}"' if isinstance(value, str) else "[ ]" if value == [] else value
        rows.append(f"{key} = {shown}\n")
    return "".join(rows)


class Host(Pod):
    """Inside: /srv/images (templates) and /srv/vm (shared storage of all hosts).

    Nothing is written to /srv/images but its folder `overlays`, which lies in the shared storage.

    Guests plug into `br0`; its addresses are the LAN's. `uri` works from outside and, with
    `qemu:///system`, from inside.
    """

    bridge = "br0"

    def __init__(
        self,
        name: str,
        index: int,
        netns: str,
        directory: Path,
        *,
        hosts: Mapping[str, str],
        images: Path,
        shared: Path,
        capability_cache: Path,
    ) -> None:
        super().__init__(f"dom0{name}", netns, directory, hosts)
        self.name = name
        self.address = address(10 + index)
        self.libvirtd: PodProcess | None = None
        self._images = images
        self._shared = shared
        self._capability_cache = capability_cache
        self._uuid = str(uuid.uuid4())

    @property
    def uri(self) -> str:
        """libvirt's URI of this host for a program outside of it."""
        return f"qemu+unix:///system?socket={self.directory}/run/libvirt/libvirt-sock"

    def binds(self) -> list[tuple[Path, str]]:
        return [
            *super().binds(),
            *((self.directory / name, target) for name, target in _LIBVIRT_DIRECTORIES.items()),
            (self._images, "/srv/images"),
            (self._shared, "/srv/vm"),
            (self._shared / OVERLAYS, f"/srv/images/{OVERLAYS}"),
        ]

    def connect_bridge(self) -> None:
        """Put eth0 into the host's own bridge, which then carries the host's address."""

        def ip(*words: str) -> None:
            run(["ip", "-n", self.netns, *words])

        ip("link", "add", self.bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0")
        ip("link", "set", "eth0", "master", self.bridge)
        ip("addr", "add", f"{self.address}/{PREFIX_LENGTH}", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        ip("route", "add", "default", "via", f"{NETWORK}.1")

    def power_on(self) -> None:
        """Boot the host and wait until its libvirtd answers."""
        if self.is_on:
            return
        self.make_etc()
        self._write_configuration()
        super().power_on()
        self.start_libvirtd()

    def start_libvirtd(self) -> None:
        """Start libvirtd and wait for its answer; guests that ran on without it are found again."""
        daemon = self.start("libvirtd", ["libvirtd", "--listen"])
        self.libvirtd = daemon
        # The socket is there before the drivers are: only an answer counts.
        wait_for(
            f"libvirtd of host {self.name}",
            lambda: not daemon.running or self.virsh("version", check=False),
            on_timeout=lambda: tail(daemon.log),
        )
        if not daemon.running:
            raise AssertionError(f"libvirtd of host {self.name} ended:\n{tail(daemon.log)}")
        self._keep_capabilities()

    def stop_libvirtd(self) -> None:
        """End libvirtd; its guests run on."""
        assert self.libvirtd is not None
        self.libvirtd.terminate(30.0)

    def forget_guests(self) -> None:
        """While it is off: remove what libvirt knows of its guests. Their logs stay."""
        for name in ("libvirt-etc", "libvirt-lib"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def virsh(self, *words: str, check: bool = True) -> str:
        return run(["virsh", "-q", "-c", self.uri, *words], check=check)

    def domains(self) -> list[str]:
        """The names of all guests known to libvirt, running or not."""
        return sorted(self.virsh("list", "--all", "--name").split())

    def serial_log(self, guest: str) -> str:
        """What the guest of that name printed on its serial line, also after its end."""
        return tail(self.directory / f"libvirt-log/qemu/{guest}.serial.log", 1_000_000)

    def serial_logs(self) -> list[Path]:
        """The serial logs of all guests there have been."""
        return sorted((self.directory / "libvirt-log/qemu").glob("*.serial.log"))

    def starts(self) -> Counter[str]:
        """How often a guest of each name was started here, by libvirt's own log."""
        found = Counter[str]()
        for path in (self.directory / "libvirt-log/qemu").glob("*.log"):
            if not path.name.endswith(".serial.log"):
                found[path.stem] = path.read_text(errors="replace").count(": starting up libvirt version")
        return found

    def _write_configuration(self) -> None:
        made = self.directory
        for name, target in _LIBVIRT_DIRECTORIES.items():
            (made / name).mkdir(exist_ok=True)
            # Mount points; the package makes only the first of them.
            Path(target).mkdir(parents=True, exist_ok=True)
            if target.startswith("/etc/"):
                (made / target.removeprefix("/")).mkdir(exist_ok=True)
        (made / "libvirt-log/qemu").mkdir(exist_ok=True)
        daemon = {
            "listen_tls": 0,
            "listen_tcp": 1,
            "listen_addr": self.address,
            "auth_tcp": "none",
            "auth_unix_rw": "none",
            "auth_unix_ro": "none",
            # Of its own: all hosts share the machine's, and a migration to the same UUID is refused.
            "host_uuid": self._uuid,
            "log_level": 3,
            "log_outputs": "3:file:/var/log/libvirt/libvirtd.log",
        }
        qemu = {
            "user": "root",
            "group": "root",
            "dynamic_ownership": 0,
            "remember_owner": 0,
            "security_driver": "none",
            "namespaces": [],
            "cgroup_controllers": [],
            "stdio_handler": "file",
            "max_core": 0,
            "migration_address": self.address,
            "migration_host": self.address,
        }
        (made / "libvirt-etc/libvirtd.conf").write_text(_settings(daemon))
        (made / "libvirt-etc/qemu.conf").write_text(_settings(qemu))
        user = "{name}:x:{number}:{number}::/var/lib/libvirt:/usr/sbin/nologin\n"
        (made / "etc/passwd").write_text(_with_names(Path("/etc/passwd"), _EXTRA_USERS, user))
        group = "{name}:x:{number}:\n"
        (made / "etc/group").write_text(_with_names(Path("/etc/group"), _EXTRA_GROUPS, group))
        # Probing QEMU takes seconds; libvirt checks by itself whether a kept answer is still right.
        if self._capability_cache.is_dir():
            shutil.copytree(self._capability_cache, made / "libvirt-cache", dirs_exist_ok=True)

    def _keep_capabilities(self) -> None:
        found = self.directory / "libvirt-cache/qemu/capabilities"
        if not found.is_dir() or self._capability_cache.exists():
            return
        fresh = self._capability_cache.with_name(f"{self._capability_cache.name}.{os.getpid()}")
        shutil.copytree(self.directory / "libvirt-cache", fresh)
        try:
            fresh.rename(self._capability_cache)
        except OSError:  # another session was faster
            shutil.rmtree(fresh)
