"""vmm.ini: typed, checked, every finding with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm.config import Settings, load_settings
from vmm.errors import ConfigError
from vmm.ini import FindingsError


def load(folder: Path, text: str) -> Settings:
    (folder / "vmm.ini").write_text(text)
    return load_settings(folder)


def test_without_a_file_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings == Settings(tmp_path.resolve())
    assert settings.bus.daemon == "4803@127.0.0.1"


def test_values_have_the_types_of_their_keys(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[bus]\nshards = 40\n[manager]\nbeat_s = 500\nboot_deadline_s = 2m\ngive_up_after = 3\n"
        "[hypervisor]\nreserve_mib = 1GiB\nshared_storage = yes\n[batch]\nspeed = 2.5\ndriver = memory\n",
    )
    assert (settings.bus.shards, settings.manager.beat_s, settings.manager.boot_deadline_s) == (
        40,
        500.0,
        120.0,
    )
    assert (settings.hypervisor.reserve_mib, settings.batch.speed) == (1024, 2.5)
    assert settings.hypervisor.shared_storage is True


def test_paths_are_relative_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load_settings(tmp_path)
    assert settings.path("../var") == tmp_path.parent.resolve() / "var"
    assert settings.path("/abs") == Path("/abs")
    assert settings.path("~/x") == Path("/home/somebody/x")
    assert settings.keys_folder == tmp_path.resolve() / "keys"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("[bus]\ndeamon = 1@a\n", r":2: .*no key 'deamon'.*'daemon'"),
        ("[clinet]\n", r":1: .*unknown section \[clinet\].*'client'"),
        ("[bus]\nshards = many\n", r":2: .*shards: 'many' is not a whole number"),
        ("[bus]\nshards = 0\n", r":2: .*shards: '0' is not between 1 and 40"),
        ("[bus]\nshards = 41\n", r":2: .*not between"),
        ("[client]\nworkers = -1\n", r":2: .*not between"),
        ("[manager]\nbeat_s = 0\n", r":2: .*not between"),
        ("[manager]\nbeat_s = soon\n", r":2: .*'soon' is not a duration"),
        ("[hypervisor]\nreserve_mib = much\n", r":2: .*'much' is not a size"),
        ("[hypervisor]\nshared_storage = true\n", r":2: .*'true' is neither yes nor no"),
        ("[batch]\nspeed = nan\n", r":2: .*'nan' is not a number"),
        ("[batch]\ndriver = pbs\n", r":2: .*'pbs' is not one of slurm, memory, none"),
        ("[bus]\ndaemon = a\ndaemon = b\n", r":3: .*twice"),
        ("[bus]\n[bus]\n", r":2: .*second time"),
        ("daemon = a\n", r":1: .*before the first"),
        ("[bus\n", r":1: .*section header"),
        ("[bus]\njunk\n", r":2: .*neither"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, finding: str) -> None:
    with pytest.raises(FindingsError, match=f"vmm\\.ini{finding}"):
        load(tmp_path, text)


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(FindingsError) as caught:
        load(tmp_path, "[bus]\nshards = x\n[nope]\n[client]\nworkers = 0\n")
    assert [finding.line for finding in caught.value.findings] == [2, 3, 5]


def test_a_folder_or_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_settings(tmp_path / "none")
    (tmp_path / "vmm.ini").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(tmp_path)
