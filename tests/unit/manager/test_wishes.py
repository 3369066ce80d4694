"""A wish to a real Manager: granted, refused, or heard by nobody; and what the command says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from manager_site import Site, wait_for

from vmm.api.wish import NobodyThere, ask
from vmm.cli.main import vmm
from vmm.config import load_settings


def run(site: Site, *words: str) -> Result:
    return CliRunner().invoke(vmm, [*words, "-c", str(site.folder)], standalone_mode=False)


def test_what_is_granted_is_said_with_what_it_did(site: Site) -> None:
    site.manager()
    result = run(site, "pause", "--reason", "work on the switch")
    assert result.exit_code == 0, result.output
    first, told = result.output.splitlines()
    assert first.startswith("granted: pause (wish ")
    assert told.startswith("  manager all rules: paused by ")
    assert told.endswith(": work on the switch")


def test_what_is_refused_is_said_with_the_reason(site: Site) -> None:
    site.manager()
    result = run(site, "guest", "retire", "ghost")
    assert "there is no guest 'ghost'" in str(result.exception)
    assert getattr(result.exception, "code", "") == "refused"


def test_a_wish_that_nobody_takes_is_lost_and_said(site: Site) -> None:
    manager = site.manager()
    manager.stop()
    settings = load_settings(site.folder)
    with pytest.raises(NobodyThere, match=r"it is lost.* Next: is `vmm manager` running"):
        ask(settings, site.folder / "journal", "pause", {}, "x", limit_s=0.3)


def test_without_a_journal_here_the_wish_is_only_sent(site: Site) -> None:
    site.manager()
    far = site.folder / "far"
    far.mkdir()
    shutil.copytree(site.folder / "keys", far / "keys")
    shutil.copy(site.folder / "vmm.ini", far / "vmm.ini")
    result = CliRunner().invoke(vmm, ["pause", "-c", str(far)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("asked: pause (wish ")
    wait_for(lambda: site.told("paused by"), "the pause")


def test_a_resize_that_says_no_size_is_not_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(vmm, ["guest", "resize", "g1", "-c", str(tmp_path)])
    assert result.exit_code == 2
    assert "say what it is to have" in result.output


def test_a_resize_is_asked_for_with_what_was_named(site: Site) -> None:
    site.manager()
    result = run(site, "guest", "resize", "ghost", "--vcpus", "2", "--cpu-cap", "0.5", "--even-if-busy")
    assert "there is no guest 'ghost'" in str(result.exception)
