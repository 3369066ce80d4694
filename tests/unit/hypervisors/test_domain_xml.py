"""Domain XML: what libvirt's own schema says of it, what is in it, and that it reads back."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypervisor_world import NODE, MakeSpec
from hypothesis import given
from hypothesis import strategies as st

from vmm.errors import ConfigError
from vmm.hypervisors.domain_facts import describe, guest_facts
from vmm.hypervisors.domain_xml import FLAVOURS, DomainFiles, command_line, domain_xml, flavour_of
from vmm.hypervisors.interface import GuestFailed
from vmm.messages.guest import GuestSpec

DISK = Path("/images/overlays/groupa-1.qcow2")
DISK_BOOT = DomainFiles(DISK, Path("/logs/groupa-1.serial.log"))
DIRECT = DomainFiles(DISK, Path("/logs/a.log"), Path("/images/vmlinuz"), Path("/images/initrd.gz"))


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=list(FLAVOURS))
@pytest.mark.parametrize("files", [DISK_BOOT, DIRECT], ids=["disk", "kernel"])
@pytest.mark.parametrize("network", ["br0", "network:default", "user", ""])
@pytest.mark.parametrize("most", [0, 2])
def test_libvirt_accepts_it(
    make_spec: MakeSpec, flavour: object, files: DomainFiles, network: str, most: int
) -> None:
    import libvirt

    spec = make_spec(network=network, max_memory_mib=512 * most, max_vcpus=2 * most, kernel="k")
    xml = domain_xml(spec, flavour, files)  # type: ignore[arg-type]
    conn = libvirt.open(f"test://{NODE}")
    domain = conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    described = describe(domain.XMLDesc(0))
    assert (described.name, described.uuid, described.managed) == (spec.name, spec.uuid, True)
    assert (described.share, described.profile) == ("groupA", "small")
    assert (described.memory_mib, described.vcpus) == (256, 1)
    assert described.max_memory_mib == (1024 if most else 256)
    assert described.disks == (str(DISK),)
    assert len(described.interfaces) == bool(network)
    conn.close()


def test_what_emulation_needs(make_spec: MakeSpec) -> None:
    root = ET.fromstring(domain_xml(make_spec(), FLAVOURS["qemu"], DISK_BOOT))
    assert root.get("type") == "qemu"
    assert root.findtext("features/tcg/tb-cache") == "32"
    assert root.findtext("cpu/model") == "qemu64"
    assert root.find("devices/rng[@model='virtio']") is not None
    assert root.find("devices/controller[@type='usb'][@model='none']") is not None
    assert root.find("devices/memballoon") is not None
    assert root.find("devices/serial/log[@file='/logs/groupa-1.serial.log']") is not None
    assert root.find("clock[@offset='utc']") is not None


def test_what_kvm_and_xen_do_differently(make_spec: MakeSpec) -> None:
    kvm = ET.fromstring(domain_xml(make_spec(), FLAVOURS["kvm"], DISK_BOOT))
    assert kvm.get("type") == "kvm"
    assert kvm.find("features/tcg") is None
    assert kvm.find("cpu[@mode='host-passthrough']") is not None
    xen = ET.fromstring(domain_xml(make_spec(kernel="k"), FLAVOURS["xen"], DIRECT, machine="pc"))
    assert (xen.get("type"), xen.findtext("os/type")) == ("xen", "linux")
    assert xen.find("os/type[@machine='xenpv']") is not None
    assert xen.find("devices/disk/target[@dev='xvda'][@bus='xen']") is not None
    assert xen.find("devices/serial") is None
    assert "console=hvc0" in str(xen.findtext("os/cmdline"))
    firmware = ET.fromstring(domain_xml(make_spec(), FLAVOURS["xen"], DISK_BOOT))
    assert firmware.find("os/type[@machine='xenfv']") is not None


def test_settings_win(make_spec: MakeSpec) -> None:
    root = ET.fromstring(
        domain_xml(make_spec(), FLAVOURS["qemu"], DISK_BOOT, machine="q35", cpu="host-model")
    )
    assert root.find("os/type[@machine='q35']") is not None
    assert root.find("cpu[@mode='host-model']") is not None


def test_identity_on_the_command_line(make_spec: MakeSpec) -> None:
    spec = make_spec(cmdline=" quiet   panic=-1 ", identity={"name": "a", "bus": "4803@10.0.0.1"})
    assert command_line(spec, FLAVOURS["qemu"]) == (
        "console=ttyS0 quiet panic=-1 vmm.bus=4803@10.0.0.1 vmm.name=a"
    )
    own = make_spec(cmdline="console=ttyS1")
    assert command_line(own, FLAVOURS["qemu"]) == "console=ttyS1"


def test_a_command_line_that_the_kernel_would_cut(make_spec: MakeSpec) -> None:
    with pytest.raises(GuestFailed, match="2047"):
        command_line(make_spec(cmdline="x" * 2040), FLAVOURS["qemu"])


@pytest.mark.parametrize("network", ["bridge:", "tap:x", ":", "user:x"])
def test_networks_that_cannot_be(make_spec: MakeSpec, network: str) -> None:
    with pytest.raises(GuestFailed, match="network"):
        domain_xml(make_spec(network=network), FLAVOURS["qemu"], DISK_BOOT)


def test_unknown_flavour() -> None:
    with pytest.raises(ConfigError, match="vmware"):
        flavour_of("vmware")


_text = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
)


@given(share=_text, profile=_text, memory=st.integers(1, 1 << 24), vcpus=st.integers(1, 512))
def test_any_words_read_back(share: str, profile: str, memory: int, vcpus: int) -> None:
    uuid = "6695eb01-f6a4-4304-b9aa-97f2502e193f"
    spec = GuestSpec("a", uuid, "52:54:00:00:00:01", share, profile, "t", vcpus, memory, "br<0>&\"'")
    described = describe(domain_xml(spec, FLAVOURS["qemu"], DISK_BOOT))
    assert (described.share, described.profile) == (share, profile)
    assert (described.memory_mib, described.vcpus) == (memory, vcpus)
    assert described.interfaces == ("br<0>&\"'",)


STATS = {  # of a 128 MiB guest with two vCPUs under QEMU
    "state.state": 1,
    "cpu.time": 4870000000,
    "balloon.current": 98304,
    "vcpu.current": 2,
    "net.count": 2,
    "net.0.rx.bytes": 1000,
    "net.0.tx.bytes": 10,
    "net.1.rx.bytes": 500,
    "net.1.tx.bytes": 5,
    "block.count": 1,
    "block.0.rd.bytes": 8000,
    "block.0.wr.bytes": 700,
}
XML = """<domain type='kvm'><name>db</name><uuid>u</uuid><memory unit='KiB'>131072</memory>
<currentMemory unit='KiB'>131072</currentMemory><vcpu current='1'>4</vcpu><devices>
<disk type='block'><source dev='/dev/vg/db'/><target dev='vda'/></disk>
<disk type='file' device='cdrom'><target dev='sda'/></disk>
<interface type='bridge'><source bridge='br0'/><target dev='vnet3'/></interface>
<interface type='user'><mac address='52:54:00:aa:bb:cc'/></interface></devices></domain>"""


def test_statistics_win_over_the_description() -> None:
    facts = guest_facts(describe(XML), STATS)
    assert (facts.name, facts.state, facts.managed) == ("db", "running", False)
    assert (facts.memory_mib, facts.max_memory_mib, facts.vcpus) == (96, 128, 2)
    assert facts.cpu_time_s == 4.87
    assert (facts.net_rx_bytes, facts.net_tx_bytes) == (1500, 15)
    assert (facts.disk_read_bytes, facts.disk_write_bytes) == (8000, 700)
    assert facts.disks == ["/dev/vg/db", "sda"]
    assert facts.interfaces == ["vnet3 on br0", "52:54:00:aa:bb:cc"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (0, "running"),
        (1, "running"),
        (2, "running"),
        (3, "paused"),
        (4, "shutting-down"),
        (5, "off"),
        (6, "crashed"),
        (7, "paused"),
        (99, "off"),
    ],
)
def test_states(state: int, word: str) -> None:
    assert guest_facts(describe(XML), {"state.state": state}).state == word
    assert guest_facts(describe(XML), {}, {"state.state": state}).state == word


@pytest.mark.parametrize(("shared", "cache"), [(False, "writeback"), (True, "none")])
def test_disks_that_other_hosts_read_are_not_cached_here(
    make_spec: MakeSpec, shared: bool, cache: str
) -> None:
    files = DomainFiles(DISK, None, shared=shared)
    root = ET.fromstring(domain_xml(make_spec(), FLAVOURS["qemu"], files))
    assert root.find(f"devices/disk/driver[@cache='{cache}']") is not None
