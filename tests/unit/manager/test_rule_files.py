"""Rule files that vanish or cannot be read: at a start, at a hang-up, at `vmm rules reload`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from manager_site import Site, wait_for

from vmm.cli.main import vmm
from vmm.errors import ConfigError, Refused
from vmm.manager.recovery import NoSuchPosition, recover


def spoil(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "not text":
        path.write_bytes(path.read_bytes() + b"\xe9\n")
    else:
        path.write_text("[x\n")


BAD = [
    ("triggers.ini", "gone"),
    ("shares.ini", "gone"),
    ("triggers.ini", "not text"),
    ("triggers.ini", "wrong"),
]


@pytest.mark.parametrize(("name", "how"), BAD)
def test_a_bad_file_at_a_reload_leaves_the_old_rules(site: Site, caplog, name: str, how: str) -> None:
    manager = site.manager()
    spoil(site.folder / name, how)
    with caplog.at_level(logging.ERROR, "vmm.manager"):
        manager.reload("SIGHUP")
    assert "the old ones stay" in caplog.text
    assert name in caplog.text
    asked = CliRunner().invoke(vmm, ["rules", "reload", "--yes", "-c", str(site.folder)])
    assert asked.exit_code != 0
    assert not manager.ended.is_set()
    assert not site.told("reload by")
    manager.stop()
    assert set(recover(site.folder / "journal").rules.book.rules) >= {"grow", "shrink"}


def test_a_reload_that_changes_nothing_neither_asks_nor_sends(site: Site) -> None:
    manager = site.manager()
    wait_for(lambda: site.told("the files at the start"), "the files in the journal")
    triggers = site.folder / "triggers.ini"
    triggers.write_text("# a remark\n" + triggers.read_text())
    asked = CliRunner().invoke(vmm, ["rules", "reload", "-c", str(site.folder)])
    assert (asked.exit_code, asked.stderr) == (0, "")
    assert asked.stdout.startswith("no change: ")
    assert "Apply?" not in asked.stdout
    manager.stop()
    assert not site.told("reload by")


def test_a_manager_does_not_start_without_a_file_that_is_in_force(site: Site) -> None:
    manager = site.manager()
    wait_for(lambda: site.told("the files at the start"), "the files in the journal")
    manager.stop()
    (site.folder / "shares.ini").unlink()
    with pytest.raises(ConfigError, match=r"shares.ini: no such file.*an empty file says that you mean it"):
        site.manager()
    (site.folder / "shares.ini").write_text("")
    (site.folder / "triggers.ini").write_text("")
    site.manager()
    wait_for(lambda: site.told("the files at the start: - client_query"), "the rules to be gone")


def test_a_manager_that_observes_refuses_and_says_so_everywhere(site: Site) -> None:
    site.manager(observe=True)
    etc = ["-c", str(site.folder)]
    result = CliRunner().invoke(vmm, ["host", "drain", "host1", *etc])
    assert isinstance(result.exception, Refused)
    assert "only observes" in str(result.exception)
    assert CliRunner().invoke(vmm, ["pause", "--reason", "see [/ticket] 17", *etc]).exit_code == 0
    shown = CliRunner().invoke(vmm, ["status", *etc])
    assert "OBSERVING" in shown.output
    assert "PAUSED all rules: see [/ticket] 17" in shown.output
    assert "only observes" in CliRunner().invoke(vmm, ["rules", "explain", "client_query", *etc]).output


@pytest.mark.parametrize("position", [-1, 0, 99_999])
def test_a_moment_outside_the_journal_is_an_error(site: Site, position: int) -> None:
    site.manager().stop()
    with pytest.raises(NoSuchPosition, match=str(position)):
        recover(site.folder / "journal", position)
