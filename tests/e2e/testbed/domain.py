"""A guest without vmm: overlay and domain XML, for tests of the testbed itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from .cmdline import guest_words
from .host import Host
from .network import PREFIX_LENGTH, address

KERNEL_ARGUMENTS = "console=ttyS0 panic=-1 quiet"


def make_overlay(host: Host, name: str, template: str) -> str:
    """Create a copy-on-write overlay of /srv/images/TEMPLATE on shared storage; returns its path inside."""
    path = f"/srv/vm/{name}.qcow2"
    host.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", f"/srv/images/{template}", "-F", "qcow2", path]
    )
    return path


def domain_xml(name: str, number: int, disk: str, *, memory_mib: int = 128) -> str:
    """A small emulated guest with the given disk, address 100 + `number` and a serial log."""
    words = guest_words(
        {
            "VMM_NAME": name,
            "VMM_IP": f"{address(100 + number)}/{PREFIX_LENGTH}",
            "VMM_GATEWAY": address(1),
            "VMM_CONTROLLER": f"ctl@{address(1)}",
        }
    )
    domain = ET.Element("domain", type="qemu")

    def add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
        element = ET.SubElement(parent, tag, attributes)
        element.text = text
        return element

    add(domain, "name", name)
    add(domain, "memory", str(memory_mib), unit="MiB")
    add(domain, "vcpu", "1")
    system = add(domain, "os")
    add(system, "type", "hvm", arch="x86_64", machine="pc")
    add(system, "kernel", "/srv/images/vmlinuz")
    add(system, "initrd", "/srv/images/initrd.gz")
    add(system, "cmdline", f"{KERNEL_ARGUMENTS} {words}")
    features = add(domain, "features")
    add(features, "acpi")
    # The default translation cache makes each emulator hundreds of MiB large.
    add(add(features, "tcg"), "tb-cache", "32", unit="MiB")
    add(domain, "clock", offset="utc")
    add(domain, "on_poweroff", "destroy")
    add(domain, "on_crash", "destroy")
    devices = add(domain, "devices")
    add(devices, "emulator", "/usr/bin/qemu-system-x86_64")
    add(devices, "controller", type="usb", model="none")
    drive = add(devices, "disk", type="file", device="disk")
    add(drive, "driver", name="qemu", type="qcow2")
    add(drive, "source", file=disk)
    add(drive, "target", dev="vda", bus="virtio")
    card = add(devices, "interface", type="bridge")
    add(card, "mac", address=f"52:54:00:91:00:{number:02x}")
    add(card, "source", bridge=Host.bridge)
    add(card, "model", type="virtio")
    add(add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    line = add(devices, "serial", type="pty")
    add(line, "log", file=f"/var/log/libvirt/qemu/{name}.serial.log", append="on")
    add(devices, "memballoon", model="virtio")
    return ET.tostring(domain, encoding="unicode")
