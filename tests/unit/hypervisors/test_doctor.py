"""`vmm doctor` on machines that are well and machines that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vmm.cli import doctor as doctor_module
from vmm.cli.doctor import doctor
from vmm.hypervisors.kvm_probe import Boot, Verdict
from vmm.messages.keys import init_keys
from vmm.spread.daemon import EmbeddedDaemon

NODE = Path(__file__).with_name("node.xml")
WORKLOAD = "; Queue: 1 groupA\n" + "1 0 -1 60 1" + " -1" * 9 + " 1 -1 -1 -1\n"


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(doctor, ["-c", str(folder), *arguments])


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A configuration with keys, and nothing real behind it."""
    folder = tmp_path / "etc"
    folder.mkdir()
    init_keys(folder / "keys", ["host1"])
    (folder / "w.swf").write_text(WORKLOAD)
    return folder


def write(
    folder: Path, daemon: str, hypervisor: str, batch: str = "driver = memory\nworkload = w.swf"
) -> None:
    (folder / "vmm.ini").write_text(
        f"[bus]\ndaemon = {daemon}\n[hypervisor]\n{hypervisor}\n[batch]\n{batch}\n"
    )


def test_all_is_well(etc: Path) -> None:
    with EmbeddedDaemon() as daemon:
        write(etc, daemon.address, "driver = memory")
        result = run(etc)
    assert result.exit_code == 0, result.output
    assert "verdict: everything needed works" in result.output
    assert "the messaging daemon answers" in result.output
    assert "a workload of 1 jobs" in result.output
    assert "fail" not in result.output


def test_what_is_wrong_is_named_with_the_next_step(etc: Path, tmp_path: Path) -> None:
    write(
        etc,
        "1@127.0.0.1",
        f"uri = qemu+unix:///system?socket={tmp_path}/none\nimages = {tmp_path}/images",
        f"bin = {tmp_path}",
    )
    (etc / "keys" / "manager.pub").unlink()
    result = run(etc, "--no-boot")
    assert result.exit_code == 1
    failed = [line.split()[1] for line in result.output.splitlines() if line.startswith("fail")]
    assert failed == ["keys", "daemon", "hypervisor", "images", "batch"]
    for hint in ("vmm keys init", "vmm daemon", "start libvirtd", "set `images`", "slurm-client"):
        assert hint in result.output
    assert "5 thing(s) to mend" in result.output


def test_only_what_the_role_needs(etc: Path, tmp_path: Path) -> None:
    write(etc, "1@127.0.0.1", "driver = memory", f"bin = {tmp_path}")
    assert "batch" not in run(etc, "--role", "manager").output
    assert "cannot be run" in run(etc, "--role", "batch").output


def test_images_templates_and_left_over_disks(etc: Path, images: Path) -> None:
    write(etc, "1@127.0.0.1", f"uri = test://{NODE}\nimages = {images}\nconsoles = {images}/logs")
    (images / "overlays").mkdir()
    (images / "overlays/groupa-7.qcow2").write_bytes(b"x")
    (etc / "profiles.ini").write_text(
        "[groupB]\ntemplate = groupB.img\nvcpus = 1\nmemory = 1GiB\nnetwork = br0\n"
        "[groupC]\ntemplate = groupC.qcow2\nvcpus = 1\nmemory = 1GiB\nnetwork = br0\n"
    )
    output = run(etc, "--role", "dom0", "--no-boot").output
    assert "0 of them vmm's" in output
    assert "disks of no guest here: groupa-7" in output
    assert "profile groupB: groupB.img" in output
    assert "there is no template 'groupC.qcow2'" in output


def test_keys_that_others_can_read(etc: Path) -> None:
    write(etc, "1@127.0.0.1", "driver = memory")
    (etc / "keys" / "manager.key").chmod(0o644)
    assert "can be read by others" in run(etc, "--role", "manager").output


def test_settings_that_are_wrong(etc: Path) -> None:
    (etc / "vmm.ini").write_text("[hypervisor]\ndomain_type = vmware\n")
    result = run(etc)
    assert result.exit_code == 1
    assert "vmm.ini:2" in result.output


SECTOR = Boot("the boot sector", "kvm", True, "it passes", 0.2)


@pytest.mark.parametrize(
    ("domain_type", "verdict", "level", "words"),
    [
        ("kvm", Verdict(True, True, "all comes up", (SECTOR,)), "ok", "KVM works"),
        ("kvm", Verdict(True, False, "no kernel", (SECTOR,)), "note", "--kernel"),
        ("kvm", Verdict(False, True, "it hangs", (SECTOR,)), "fail", "set domain_type = qemu"),
        ("qemu", Verdict(False, True, "it hangs"), "ok", "does not need it"),
        ("qemu", Verdict(True, True, "all comes up"), "note", "would be faster"),
    ],
)
def test_what_the_probe_means_for_the_setting(
    etc: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    domain_type: str,
    verdict: Verdict,
    level: str,
    words: str,
) -> None:
    asked: list[Path | None] = []

    def probe(kernel: Path | None) -> Verdict:
        asked.append(kernel)
        return verdict

    monkeypatch.setattr(doctor_module, "probe_kvm", probe)
    write(etc, "1@127.0.0.1", f"uri = test://{NODE}\nimages = {images}\ndomain_type = {domain_type}")
    lines = run(etc, "--role", "dom0").output.splitlines()
    (at,) = [i for i, line in enumerate(lines) if "kvm" in line and "KVM " in line]
    assert lines[at].startswith(level)
    assert words in "".join(lines[at : at + 2])
    assert asked == [images / "vmlinuz"]  # a template's kernel is taken
