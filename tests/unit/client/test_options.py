"""Who a client is: options before the kernel command line before vmm.ini; its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm.client.errors import BadName
from vmm.client.identity import load_manager_key, load_signer
from vmm.client.options import build_options, parse_cmdline, read_cmdline
from vmm.client.properties import GUEST_DEFAULTS, Item, load_items
from vmm.errors import ConfigError
from vmm.ini import FindingsError
from vmm.messages import keys
from vmm.plugins.manager import load_plugins
from vmm.plugins.run import Outcome

PROPERTIES = """
[ram_free]
command = ram
parameters = MemFree
return_type = float
ticks = 5

[about_host]
command = host_facts
"""


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            "root=/dev/vda ro vmm.name=g1 vmm.bus=4803@10.0.0.1 quiet\n",
            {"name": "g1", "bus": "4803@10.0.0.1"},
        ),
        ("vmm.name=a vmm.name=b", {"name": "b"}),
        ("vmm.token=abc=def", {"token": "abc=def"}),
        ('vmm.share="group A"', {"share": "group A"}),
        ("vmm. vmm.flag vmm.=x notvmm.name=g1", {}),
        ("odd=it's vmm.name=g1", {"name": "g1"}),
        ("", {}),
    ],
)
def test_words_of_the_kernel_command_line(text: str, pairs: dict[str, str]) -> None:
    assert parse_cmdline(text) == pairs


def test_a_command_line_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    assert read_cmdline(tmp_path / "none") == {}
    (tmp_path / "cmdline").write_bytes(b"vmm.name=g1 x=\xff\n")
    assert read_cmdline(tmp_path / "cmdline") == {"name": "g1"}


def test_options_beat_the_command_line_which_beats_the_settings(tmp_path: Path) -> None:
    (tmp_path / "vmm.ini").write_text("[bus]\ndaemon = 1@ini\nshards = 4\n")
    identity = {
        "bus": "2@cmdline",
        "token": "t1",
        "shards": "12",
        "share": "groupA",
        "manager_key": "ab" * 32,
    }
    got = build_options(folder=tmp_path, role="domU", name="g1", identity=identity)
    assert (got.settings.bus.daemon, got.settings.bus.shards, got.token) == ("2@cmdline", 12, "t1")
    assert got.manager_key == bytes.fromhex("ab" * 32)
    assert got.facts == {"bus": "2@cmdline", "shards": "12", "share": "groupA"}
    got = build_options(folder=tmp_path, role="domU", name="g1", bus="3@opt", token="t2", identity=identity)
    assert (got.settings.bus.daemon, got.token) == ("3@opt", "t2")
    got = build_options(folder=tmp_path, role="domU", name="g1")
    assert (got.settings.bus.daemon, got.settings.bus.shards) == ("1@ini", 4)


def test_a_guest_needs_no_folder_but_others_do(tmp_path: Path) -> None:
    got = build_options(folder=tmp_path / "none", role="domU", name="g1")
    assert got.state == Path("/var/lib/vmm/g1")
    with pytest.raises(ConfigError, match="no such folder"):
        build_options(folder=tmp_path / "none", role="dom0", name="h1")


def test_each_client_has_a_state_folder_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    assert build_options(folder=folder, role="dom0", name="h1").state == tmp_path / "var/client/h1"
    given = build_options(folder=folder, role="dom0", name="h1", state=tmp_path / "s")
    assert given.state == tmp_path / "s/h1"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", ".hidden", "x" * 65, "ä", "a\n"])
def test_names_that_cannot_be_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadName, match="--name"):
        build_options(folder=tmp_path, role="dom0", name=name)


@pytest.mark.parametrize(
    "identity", [{"shards": "0"}, {"shards": "x"}, {"manager_key": "zz"}, {"manager_key": "ab"}]
)
def test_bad_words_are_named(tmp_path: Path, identity: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"vmm.{next(iter(identity))}"):
        build_options(folder=tmp_path, role="domU", name="g1", identity=identity)


def test_a_host_uses_the_key_that_was_made_for_it(tmp_path: Path) -> None:
    keys.init_keys(tmp_path / "keys", ["h1"])
    options = build_options(folder=tmp_path, role="dom0", name="h1")
    assert load_signer(options).public_key == keys.load_public(tmp_path / "keys/clients/h1.pub")
    assert load_manager_key(options) == keys.load_public(tmp_path / "keys/manager.pub")
    with pytest.raises(ConfigError, match="vmm keys init --client h2"):
        load_signer(build_options(folder=tmp_path, role="dom0", name="h2"))


def test_a_guest_makes_its_key_once(tmp_path: Path) -> None:
    options = build_options(folder=tmp_path, role="domU", name="g1", state=tmp_path / "state")
    first = load_signer(options)
    assert load_signer(options).public_key == first.public_key
    assert (tmp_path / "state/g1/client.key").stat().st_mode & 0o777 == 0o600


def test_a_guest_without_files_has_built_in_properties_that_can_be_read(tmp_path: Path) -> None:
    plugins = load_plugins()
    items = load_items(build_options(folder=tmp_path / "none", role="domU", name="g1"), plugins)
    assert list(items) == [name for name, *_ in GUEST_DEFAULTS]
    assert all("domU" in item.collector.roles for item in items.values())
    with pytest.raises(ConfigError, match=r"properties\.ini"):
        load_items(build_options(folder=tmp_path, role="dom0", name="h1"), plugins)


def test_the_file_says_what_each_role_reads(tmp_path: Path) -> None:
    (tmp_path / "properties.ini").write_text(PROPERTIES)
    plugins = load_plugins()
    on_host = load_items(build_options(folder=tmp_path, role="dom0", name="h1"), plugins)
    in_guest = load_items(build_options(folder=tmp_path, role="domU", name="g1"), plugins)
    assert (list(on_host), list(in_guest)) == (["ram_free", "about_host"], ["ram_free"])
    item = on_host["ram_free"]
    assert (item.collector.name, item.parameters, item.ticks_s) == ("ram", "MemFree", 5.0)
    assert item.convert(Outcome(value=7)) == Outcome(value=7.0)
    assert item.convert(Outcome(code="down")).code == "down"


def test_a_wrong_file_is_an_error_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "properties.ini").write_text(PROPERTIES + "[x]\ncommand = rma\n")
    options = build_options(folder=tmp_path, role="dom0", name="h1")
    with pytest.raises(FindingsError, match=r"properties\.ini:11: .*rma.*'ram'"):
        load_items(options, load_plugins())


def test_a_plugin_that_cannot_be_loaded_takes_only_its_own_properties_along(tmp_path: Path) -> None:
    (tmp_path / "properties.ini").write_text(PROPERTIES + "[x]\ncommand = site_thing\n")
    plugins = load_plugins([object()])
    assert plugins.problems
    items = load_items(build_options(folder=tmp_path, role="dom0", name="h1"), plugins)
    assert list(items) == ["ram_free", "about_host"]


def test_a_value_that_is_not_the_wanted_number_is_an_error() -> None:
    item = Item("x", load_plugins().collectors["load"], "", 1.0, "int")
    assert item.convert(Outcome(value=2.5)).value == 2
    assert item.convert(Outcome(value=float("nan"))).code == "plugin-type"
