"""Domain XML from a guest's description, and back. Pure: no libvirt, no file.

What differs between QEMU, KVM and Xen stands in `FLAVOURS`. A guest that vmm made carries an element in
vmm's own namespace in its metadata; only such guests are ever touched.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from vmm.errors import ConfigError
from vmm.hypervisors.interface import GuestFailed
from vmm.hypervisors.names import MAX_CMDLINE
from vmm.messages.guest import GuestSpec, bounds_of

NAMESPACE = "urn:vmm:guest:1"
PREFIX = "vmm"
TAG = f"{{{NAMESPACE}}}guest"
ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one kind of hypervisor wants its domains."""

    domain_type: str
    machines: tuple[str, ...]
    """Machines it knows by prefix; the first is taken when the setting names one of another flavour."""
    disk: str
    disk_bus: str
    disk_cache: str
    """Through the host's page cache: the guests of one host then share the pages of their template."""
    nic_model: str
    console: str
    """The kernel's name of the console."""
    cpu: str = ""
    tcg_cache_mib: int = 0
    """Translation cache of software emulation: QEMU's default makes every guest 100 MiB bigger."""
    virtio: bool = True
    console_log: str = "{name}.serial.log"


FLAVOURS: dict[str, Flavour] = {
    "qemu": Flavour(
        "qemu", ("pc", "q35"), "vda", "virtio", "writeback", "virtio", "ttyS0", cpu="qemu64", tcg_cache_mib=32
    ),
    "kvm": Flavour(
        "kvm", ("pc", "q35"), "vda", "virtio", "writeback", "virtio", "ttyS0", cpu="host-passthrough"
    ),
    # xenconsoled writes the log itself: libvirt's Xen driver cannot be told where.
    "xen": Flavour(
        "xen", ("xenpv", "xen"), "xvda", "xen", "", "", "hvc0", virtio=False, console_log="guest-{name}.log"
    ),
}


@dataclass(frozen=True, slots=True)
class DomainFiles:
    """The absolute paths that the host adds to a guest's description. `kernel` None: the disk boots."""

    disk: Path
    console_log: Path | None
    kernel: Path | None = None
    initrd: Path | None = None
    shared: bool = False
    """The disk lies on storage that other hosts read too: then nothing may stay in this host's page cache."""


def flavour_of(domain_type: str) -> Flavour:
    try:
        return FLAVOURS[domain_type]
    except KeyError:
        raise ConfigError(
            f"domain_type = {domain_type!r} is not one of {', '.join(FLAVOURS)}.",
            next_step="set it in [hypervisor] of vmm.ini; `vmm doctor` says whether kvm works here",
        ) from None


def command_line(spec: GuestSpec, flavour: Flavour) -> str:
    """What the profile says, a console if it names none, then `vmm.KEY=VALUE` for each of the identity."""
    words = spec.cmdline.split()
    if not any(word.startswith("console=") for word in words):
        words.insert(0, f"console={flavour.console}")
    words += [f"vmm.{key}={value}" for key, value in sorted(spec.identity.items())]
    line = " ".join(words)
    if len(line.encode()) > MAX_CMDLINE:
        raise GuestFailed(
            "bad-guest",
            f"guest {spec.name}: its kernel command line has {len(line.encode())} bytes, "
            f"the kernel takes {MAX_CMDLINE}.",
            next_step="shorten the profile's cmdline",
        )
    return line


def domain_xml(
    spec: GuestSpec, flavour: Flavour, files: DomainFiles, machine: str = "", cpu: str = ""
) -> str:
    """The domain for `spec`; `machine` and `cpu` are the settings', empty means the flavour's own."""
    domain = ET.Element("domain", type=flavour.domain_type)
    _text(domain, "name", spec.name)
    _text(domain, "uuid", spec.uuid)
    metadata = ET.SubElement(domain, "metadata")
    ET.SubElement(metadata, TAG, share=spec.share, profile=spec.profile, template=spec.template)
    _text(domain, "memory", max(spec.memory_mib, spec.max_memory_mib), unit="MiB")
    _text(domain, "currentMemory", spec.memory_mib, unit="MiB")
    most_vcpus = max(spec.vcpus, spec.max_vcpus)
    vcpu = _text(domain, "vcpu", most_vcpus, placement="static")
    if most_vcpus > spec.vcpus:
        vcpu.set("current", str(spec.vcpus))
    _vcpus(domain, spec, most_vcpus)
    _os(domain, spec, flavour, files, machine)
    if flavour.virtio:
        features = ET.SubElement(domain, "features")
        ET.SubElement(features, "acpi")
        ET.SubElement(features, "apic")
        if flavour.tcg_cache_mib:
            _text(ET.SubElement(features, "tcg"), "tb-cache", flavour.tcg_cache_mib, unit="MiB")
        _cpu(domain, cpu or flavour.cpu)
    # Batch systems authenticate by time: a guest's clock must be right from its first second.
    ET.SubElement(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    _devices(domain, spec, flavour, files)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def _vcpus(domain: ET.Element, spec: GuestSpec, most: int) -> None:
    """vCPUs that are there at the start can be taken away only if it is said now; by default none can."""
    least = bounds_of(spec).min_vcpus
    if least >= spec.vcpus:
        return
    vcpus = ET.SubElement(domain, "vcpus")
    for number in range(most):
        enabled, plugged = number < spec.vcpus, number >= least
        words = {True: "yes", False: "no"}
        ET.SubElement(vcpus, "vcpu", id=str(number), enabled=words[enabled], hotpluggable=words[plugged])


def _os(domain: ET.Element, spec: GuestSpec, flavour: Flavour, files: DomainFiles, machine: str) -> None:
    if not machine.startswith(flavour.machines):
        machine = flavour.machines[0]
        if not flavour.virtio and files.kernel is None:
            machine = "xenfv"  # a paravirtual guest needs a kernel, a disk that boots itself firmware
    kinds = {"xenpv": "linux", "xenpvh": "xenpvh"}
    os_element = ET.SubElement(domain, "os")
    _text(os_element, "type", kinds.get(machine, "hvm"), arch="x86_64", machine=machine)
    if files.kernel is None:
        ET.SubElement(os_element, "boot", dev="hd")
        return
    _text(os_element, "kernel", files.kernel)
    if files.initrd is not None:
        _text(os_element, "initrd", files.initrd)
    _text(os_element, "cmdline", command_line(spec, flavour))


def _cpu(domain: ET.Element, cpu: str) -> None:
    if cpu in ("host-passthrough", "host-model", "maximum"):
        ET.SubElement(domain, "cpu", mode=cpu)
    elif cpu:
        model = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
        _text(model, "model", cpu, fallback="allow")


def _devices(domain: ET.Element, spec: GuestSpec, flavour: Flavour, files: DomainFiles) -> None:
    devices = ET.SubElement(domain, "devices")
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    driver = ET.SubElement(disk, "driver", name="qemu", type="qcow2")
    if flavour.disk_cache:
        driver.set("cache", "none" if files.shared else flavour.disk_cache)
    ET.SubElement(disk, "source", file=str(files.disk))
    ET.SubElement(disk, "target", dev=flavour.disk, bus=flavour.disk_bus)
    if spec.network:
        _network(devices, spec, flavour)
    if not flavour.virtio:
        ET.SubElement(ET.SubElement(devices, "console", type="pty"), "target", type="xen", port="0")
        return
    ET.SubElement(devices, "controller", type="usb", model="none")
    serial = ET.SubElement(devices, "serial", type="pty")
    if files.console_log is not None:
        ET.SubElement(serial, "log", file=str(files.console_log), append="on")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="virtio")


def _network(devices: ET.Element, spec: GuestSpec, flavour: Flavour) -> None:
    """`NAME` or `bridge:NAME`: a bridge of the host; `network:NAME`: one of libvirt's; `user`: neither."""
    kind, _, name = spec.network.rpartition(":")
    if not kind and name == "user":
        nic = ET.SubElement(devices, "interface", type="user")
    elif kind in ("", "bridge", "network") and name:
        nic = ET.SubElement(devices, "interface", type=kind or "bridge")
        ET.SubElement(nic, "source", {kind or "bridge": name})
    else:
        raise GuestFailed(
            "bad-guest",
            f"guest {spec.name}: network = {spec.network!r} cannot be.",
            next_step="write a bridge's name, network:NAME or user",
        )
    ET.SubElement(nic, "mac", address=spec.mac)
    if flavour.nic_model:
        ET.SubElement(nic, "model", type=flavour.nic_model)


def _text(parent: ET.Element, tag: str, text: object, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = str(text)
    return element
