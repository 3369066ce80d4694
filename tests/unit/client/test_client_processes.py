"""`vmm client` as a process, against the real daemon: kill -9, restart, signals, hostile bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_processes import Site

from vmm.messages.codec import seal
from vmm.messages.keys import Signer
from vmm.messages.structs import Command, Hello, Query, Report, Result

pytestmark = pytest.mark.processes
STOP_S = 10.0  # it takes well under 2 s; the machine may be busy


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def plugged(site: Site) -> dict[str, str]:
    """Environment in which the test's plugin is an installed package."""
    packages = site.folder / "packages"
    info = packages / "site_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("plugin_site.py"), packages)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: site-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vmm]\nsite = plugin_site\n")
    return {"PYTHONPATH": str(packages)}


def test_it_introduces_itself_reports_and_stops_in_time(site: Site) -> None:
    client = site.client()
    hello = site.next(Hello)
    assert (hello.name, hello.role) == ("h1", "dom0")
    report = site.next(Report)
    assert report.values["up"] > 0
    assert report.values["about_host"]["hypervisor"]
    client.wait_for("the Manager m1 is there")
    began = time.monotonic()
    assert client.end() == 0
    assert time.monotonic() - began < STOP_S
    assert "client h1 stopped" in client.text()


def test_sigint_and_a_running_command_do_not_hold_it_up(site: Site, plugged: dict[str, str]) -> None:
    client = site.client(**plugged)
    site.next(Hello)
    command = site.command("c1", "hang")
    client.wait_for("running hang")
    began = time.monotonic()
    assert client.end(signal.SIGINT) == 0
    assert time.monotonic() - began < STOP_S
    assert "hang is left running" in client.text()
    site.client(**plugged)
    site.next(Hello)
    site.send(command)
    assert site.answer("c1").code == "interrupted"


def test_a_repeated_command_is_not_run_again_after_kill_9(site: Site, plugged: dict[str, str]) -> None:
    path = str(site.folder / "count")
    client = site.client(**plugged)
    site.next(Hello)
    command = site.command("c1", "append", path=path)
    assert site.answer("c1").value == 1
    assert client.end(signal.SIGKILL) == -9
    site.client(**plugged)
    site.next(Hello)
    site.send(command)
    again = site.answer("c1")
    assert (again.value, again.repeated) == (1, True)
    assert Path(path).read_text() == "ran\n"


@pytest.mark.parametrize(("name", "status"), [("append_and_die", "failed"), ("append_and_die_again", "done")])
def test_a_crash_in_the_middle_of_a_command(
    site: Site, plugged: dict[str, str], name: str, status: str
) -> None:
    path = str(site.folder / "count")
    client = site.client(**plugged)
    site.next(Hello)
    command = site.command("c1", name, path=path)
    assert client.process.wait(60) == -9
    site.client(**plugged)
    site.next(Hello)
    site.send(command)
    result = site.answer("c1")
    assert result.status == status
    assert len(Path(path).read_text().splitlines()) == (2 if status == "done" else 1)
    assert result.code == ("" if status == "done" else "interrupted")


def test_a_daemon_that_was_started_again_is_found_without_a_restart(site: Site) -> None:
    client = site.client()
    first = site.next(Hello)
    site.next(Report)
    site.daemon.end(signal.SIGKILL)
    client.wait_for("no connection to the daemon")
    site.daemon = site.start_daemon()
    site.reconnect()
    again = site.next(Hello)
    assert again.session == first.session
    assert again.facts["connections"] == 2
    assert site.next(Report).values["up"] > 0
    site.command("c1", "console_tail", name="nobody")
    assert site.answer("c1").status in ("done", "failed")


def test_a_connection_that_died_without_a_word_is_noticed_by_the_missing_beats(site: Site) -> None:
    client = site.client()
    site.next(Hello)
    client.wait_for("the Manager m1 is there")
    os.kill(site.daemon.process.pid, signal.SIGSTOP)  # the connection stays, nothing moves on it
    client.wait_for("no beat of the Manager")
    os.kill(site.daemon.process.pid, signal.SIGCONT)
    assert site.next(Hello, lambda hello: hello.facts["connections"] == 2).name == "h1"


def test_a_daemon_that_is_not_there_yet(site: Site) -> None:
    site.bus.close()
    site.daemon.end()
    client = site.client()
    client.wait_for("no connection to the daemon")
    site.daemon = site.start_daemon()
    site.reconnect()
    assert site.next(Hello).name == "h1"
    site.bus.close()
    site.daemon.end()
    client.wait_for("no connection to the daemon", 2)
    began = time.monotonic()
    assert client.end() == 0
    assert time.monotonic() - began < STOP_S


def test_hostile_bytes_and_commands_are_neither_run_nor_answered(site: Site, plugged: dict[str, str]) -> None:
    path = str(site.folder / "count")
    client = site.client(**plugged)
    site.next(Hello)
    stranger = Signer.generate()
    late = Command("evil", "h1", "append", {"path": path}, time.time() + 60)
    for kind, body in [
        seal(late, "manager", stranger),
        seal(late, "h1", stranger),
        (4, b""),
        (4, os.urandom(300)),
        (4, b"\xdd\xff\xff\xff\xff"),
        (6, seal(Query("q"), "manager", site.signer)[1]),
        (77, b"x" * 100_000),
        (2, seal(Report(1, 1, {}), "h1", stranger)[1]),
    ]:
        site.bus.multicast((site.address,), kind, body)
    site.command("good", "append", path=path)
    answers = []
    for message in site.heard():
        if isinstance(message, Result):
            answers.append(message)
            if message.id == "good":
                break
    assert [(a.id, a.value) for a in answers] == [("good", 1)]
    assert client.process.poll() is None
    site.send(Query("hello:h1"))
    refused = site.next(Hello).facts["refused_messages"]
    assert sum(refused.values()) == 8


def test_bad_plugins_are_reported_by_name_and_harm_nothing_else(site: Site, plugged: dict[str, str]) -> None:
    (site.etc / "properties.ini").write_text(
        "[up]\ncommand = uptime\n[a]\ncommand = hangs\n[b]\ncommand = lies\n"
    )
    site.client(**plugged)
    values, errors = {}, {}
    for message in site.heard():
        if isinstance(message, Report):
            values.update(message.values)
            errors.update(message.errors)
            if len(values) + len(errors) == 3:
                break
    assert list(values) == ["up"]
    assert "plugin-timeout" in errors["a"]
    assert "hangs" in errors["a"]
    assert "plugin-type" in errors["b"]
    assert "lies" in errors["b"]


def test_a_second_client_of_one_name_ends_with_status_4(site: Site) -> None:
    client = site.client()
    site.next(Hello)
    second = site.client("h1", "dom0", "--state", str(site.folder / "elsewhere"))
    assert second.process.wait(60) == 4
    assert "already has a client" in second.text()
    third = site.client()
    assert third.process.wait(60) == 4
    assert "another client of this name" in third.text()
    assert client.process.poll() is None


def test_a_guest_learns_who_it_is_from_the_kernel_command_line(site: Site) -> None:
    cmdline = site.folder / "cmdline"
    words = f"vmm.name=g1 vmm.bus={site.daemon_address} vmm.token=t0 vmm.share=groupA"
    cmdline.write_text(f"ro quiet {words} vmm.manager_key={site.signer.public_key.hex()}\n")
    start = ("client", "--role", "domU", "-c", str(site.folder / "none"), "--cmdline", str(cmdline))
    guest = site._started(site.folder / "g1.log", *start, "--state", str(site.folder / "state"))
    hello = site.next(Hello)
    assert (hello.name, hello.role, hello.token, hello.facts["share"]) == ("g1", "domU", "t0", "groupA")
    assert set(site.next(Report).values) == {"cpu_used", "load", "ram_free", "uptime"}
    assert guest.end() == 0
    site._started(site.folder / "g1.log", *start, "--state", str(site.folder / "state"))
    assert site.next(Hello).public_key == hello.public_key


@pytest.mark.parametrize(
    ("damage", "status", "said"),
    [
        ("no key", 2, "vmm keys init --client h1"),
        ("no manager key", 2, "manager.pub"),
        ("bad properties", 3, "properties.ini:2"),
        ("no properties", 2, "properties.ini"),
        ("bad settings", 3, "vmm.ini:2"),
        ("no folder", 2, "no such folder"),
        ("bad record", 1, "damaged"),
    ],
)
def test_wrong_settings_end_it_with_a_clear_line(site: Site, damage: str, status: int, said: str) -> None:
    if damage == "no key":
        (site.etc / "keys/clients/h1.key").unlink()
    elif damage == "no manager key":
        (site.etc / "keys/manager.pub").unlink()
    elif damage == "bad properties":
        (site.etc / "properties.ini").write_text("[up]\ncommand = uptiem\n")
    elif damage == "no properties":
        (site.etc / "properties.ini").unlink()
    elif damage == "bad settings":
        (site.etc / "vmm.ini").write_text("[bus]\ndeamon = x\n")
    elif damage == "no folder":
        shutil.rmtree(site.etc)
    elif damage == "bad record":
        record = site.folder / "var/client/h1/commands.sqlite"
        record.parent.mkdir(parents=True)
        record.write_bytes(b"not a database" * 1000)
    client = site.client()
    assert client.process.wait(60) == status
    assert said in client.text()
    assert "Traceback" not in client.text()
