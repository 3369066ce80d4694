"""The Manager's threads on a real embedded daemon: joins, reports, commands, restarts, hostile messages."""

from __future__ import annotations

import threading

import msgspec
import pytest
from manager_site import wait_for

from vmm.api.replay import verify
from vmm.ini import FindingsError
from vmm.manager.errors import SecondManager
from vmm.manager.recovery import entries, recover
from vmm.messages import codec, keys
from vmm.messages.bus import MANAGERS
from vmm.messages.structs import Beat, Command, Envelope, Hello, Intent, Kind, Query
from vmm.spread.daemon import EmbeddedDaemon

HOST = {"memory_mib": 8192, "reserved_mib": 512, "cpus": 8, "hypervisor": "memory"}


def test_membership_and_reports_keep_the_list_of_clients_true(site) -> None:
    manager = site.manager()
    host = site.client()
    host.hello()
    host.report(host_facts=HOST, host_guests=[], ram_free=5)
    wait_for(lambda: [h.memory_mib for h in manager.picture.hosts] == [8192], "the host")
    assert [(c.name, c.state) for c in manager.picture.clients] == [("host1", "up")]
    host.close()  # to the Manager the same as kill -9: the daemon tells
    wait_for(lambda: manager.picture.clients[0].state == "gone", "the loss")


def test_a_job_makes_the_manager_command_a_guest_once(site) -> None:
    manager = site.manager()
    host, batch = site.client(), site.client("batch", "batch")
    host.hello()
    host.report(host_facts=HOST, host_guests=[])
    batch.hello()
    job = {"id": "1", "queue": "groupA", "state": "pending", "cpus": 1, "node": ""}
    batch.report(batch_jobs=[job], batch_nodes=[])
    command = host.next_of(Kind.COMMAND)
    assert isinstance(command, Command)
    assert command.name == "create_guest"
    assert command.args["guest"]["template"] == "groupA.qcow2"
    assert command.args["guest"]["identity"]["token"]
    assert command.trail[0].source == "rule grow"
    again = host.next_of(Kind.COMMAND)
    assert again.id == command.id, "an unanswered command is repeated under its id"
    host.answer(command)
    wait_for(lambda: [g.state for g in manager.picture.guests] == ["booting"], "the guest to boot")
    journal = site.folder / "journal"
    kept = [e.event for e in entries(journal) if type(e.event).__name__ == "Commanded"]
    assert kept
    assert all("token" not in c.command.args["guest"]["identity"] for c in kept), "no secret in the journal"


def test_a_guest_enrols_once_with_its_token(site) -> None:
    manager = site.manager()
    signer = keys.Signer.generate()
    guest = site.client("groupa-1", "domU", signer=signer)
    secret = keys.load_enrol_secret(site.folder / "keys")
    guest.hello(token="0" * 32)
    guest.report(uptime=1.0)
    guest.hello(token=keys.guest_token(secret, "groupa-1"))
    wait_for(lambda: site.told("groupa-1: joined as domU"), "the guest")
    thief = site.client("groupa-1x", "domU", signer=keys.Signer.generate())
    thief.name = "groupa-1"
    thief.hello(token=keys.guest_token(secret, "groupa-1"))
    guest.report(uptime=2.0)
    wait_for(lambda: manager.intake.refused == 3, "the report before the token and the thief to be refused")
    joined = [n for n in site.notes if n.subject == "groupa-1" and "joined" in n.text]
    assert len(joined) == 1


def test_the_next_life_of_a_guest_outranks_its_former(site) -> None:
    manager = site.manager()
    secret = keys.load_enrol_secret(site.folder / "keys")
    old, new = (
        site.client(name, "domU", signer=keys.Signer.generate()) for name in ("groupa-1", "groupa-1n")
    )
    new.name = "groupa-1"
    old.hello(token=keys.guest_token(secret, "groupa-1"))
    wait_for(lambda: site.told("groupa-1: joined as domU"), "the guest")
    new.hello(token=f"1.{'0' * 32}")
    new.hello(token="1." + keys.guest_token(secret, "groupa-1"))
    wait_for(lambda: manager.intake.refused == 2, "tokens that are not of that life")
    new.hello(token=keys.guest_token(secret, "groupa-1", 1))
    old.report(uptime=1.0)
    old.hello(token=keys.guest_token(secret, "groupa-1"))
    wait_for(lambda: manager.intake.refused == 4, "the former life")
    kept = [e.event for e in entries(site.folder / "journal") if type(e.event).__name__ == "Greeted"]
    assert [event.hello.token for event in kept] == ["", "1."], "its life is in the journal, its token is not"


def test_a_hosts_key_does_not_speak_for_the_batch_system(site) -> None:
    manager = site.manager()
    host = site.client()
    host.hello()
    wait_for(lambda: site.told("host1: joined as dom0"), "the host")
    host.role = "batch"
    host.hello()
    wait_for(lambda: site.told("one calls itself batch"), "the refusal")
    wait_for(lambda: [c.role for c in manager.picture.clients] == ["dom0"], "the client that was there")
    host.signer, former = keys.Signer.generate(), host.signer
    host.hello()
    wait_for(lambda: manager.intake.refused == 1, "a key that is not in the file")
    (site.folder / "keys/clients/host1.pub").write_text(host.signer.public_key.hex())
    host.hello()
    wait_for(lambda: [c.role for c in manager.picture.clients] == ["batch"], "a new key pair takes the role")
    host.signer = former
    host.hello()
    wait_for(lambda: manager.intake.refused == 2, "the key that was replaced")
    host.say(Hello("host1", "batch", 7, b"x" * 32))
    wait_for(lambda: manager.intake.refused == 3, "another key shown than signed with")


def test_refused_messages_are_counted_and_disturb_nothing(site) -> None:
    manager = site.manager()
    host = site.client()
    host.hello()
    stranger = keys.Signer.generate()
    bad = [
        b"",
        b"\x00" * 40,
        msgspec.msgpack.encode(Envelope(99, "host1", b"", b"")),
        codec.seal(Query("x"), "host1", host.signer)[1],
        codec.seal(Beat(1e12, "manager", "x"), keys.MANAGER, stranger)[1],
    ]
    for kind in (Kind.HELLO, Kind.REPORT, Kind.COMMAND, Kind.BEAT, 4711):
        for body in bad:
            host.bus.multicast([MANAGERS], int(kind), body)
    host.report(host_facts=HOST, host_guests=[])
    wait_for(lambda: [h.memory_mib for h in manager.picture.hosts] == [8192], "the good report after the bad")
    assert manager.intake.refused == 25
    assert manager.picture.now_s < 1e12, "a forged beat moves no clock"


def test_a_wish_pauses_and_a_strangers_wish_does_not(site) -> None:
    manager = site.manager()
    host = site.client()
    stranger = keys.Signer.generate()
    for signer, who in (
        (stranger, "mallory"),
        (keys.Signer.load(site.folder / "keys" / "manager.key"), "ann"),
    ):
        kind, body = codec.seal(Intent("1", "pause", {}, who, "work on the switch"), keys.MANAGER, signer)
        host.bus.multicast([MANAGERS], kind, body)
    wait_for(lambda: manager.picture.paused, "the pause")
    assert manager.picture.paused == {"*": "work on the switch"}
    assert site.told("paused by ann")
    assert not site.told("mallory")


def test_a_wish_that_is_played_again_is_refused(site) -> None:
    site.manager()
    anybody = site.client()
    ours = keys.Signer.load(site.folder / "keys" / "manager.key")
    kind, pause = codec.seal(Intent("1", "pause", {}, "ann", "x"), keys.MANAGER, ours)
    _, resume = codec.seal(Intent("2", "resume", {}, "ann", "x"), keys.MANAGER, ours)
    for body in (pause, resume, pause):
        anybody.bus.multicast([MANAGERS], kind, body)
    wait_for(lambda: site.told("was refused: this very wish was taken before"), "the refusal")
    assert len([n for n in site.notes if "paused by ann" in n.text]) == 1


def test_a_second_manager_refuses(site) -> None:
    site.manager()
    second = site.manager(start=False)
    with pytest.raises(SecondManager, match="journal"):
        second.start()
    site.write_settings("name = other\n")
    third = site.manager(start=False, journal=site.folder / "journal2")
    third.start()
    with pytest.raises(SecondManager, match="leads already"):
        third.wait(threading.Event())


def test_a_new_manager_goes_on_from_the_journal(site) -> None:
    first = site.manager()
    host = site.client()
    host.hello()
    host.report(host_facts=HOST, host_guests=[])
    wait_for(lambda: first.picture.hosts, "the host")
    first.stop()
    second = site.manager()
    assert [h.name for h in second.picture.hosts] == ["host1"]
    beat = host.next_of(Kind.BEAT)
    while not beat.epoch.endswith(".2"):
        beat = host.next_of(Kind.BEAT)
    second.stop()
    verdict = verify(site.folder / "journal")
    assert verdict.same
    assert verdict.checked > 0
    assert recover(site.folder / "journal").state.starts == 2


def test_the_manager_survives_the_loss_of_the_daemon(site) -> None:
    manager = site.manager()
    host = site.client()
    host.hello()
    wait_for(lambda: manager.picture.clients, "the client")
    listen = site.daemon.address.partition("@")
    site.daemon.stop()
    site.daemon = EmbeddedDaemon(f"{listen[2]}:{listen[0]}", "localhost").start()
    wait_for(lambda: len([n for n in site.notes if n.text == "connected"]) == 2, "the reconnect")
    again = site.client()
    again.hello()
    again.report(host_facts=HOST, host_guests=[])
    wait_for(lambda: [h.memory_mib for h in manager.picture.hosts] == [8192], "the report after the loss")
    assert site.told("connection lost")


def test_wrong_rules_stop_the_start_with_their_place(site) -> None:
    (site.folder / "triggers.ini").write_text(
        "[a]\nexpr = { len(manager.clints) > 0 }\ncmd = { sender.notify('x') }\n"
    )
    with pytest.raises(FindingsError, match=r"triggers.ini:2.*clients"):
        site.manager(start=False).start()


def test_a_reload_with_an_error_keeps_the_old_rules(site) -> None:
    manager = site.manager()
    good = (site.folder / "triggers.ini").read_text()
    (site.folder / "triggers.ini").write_text(good + "\n[more]\nexpr = { 1 }\n")
    manager.reload("test")
    (site.folder / "triggers.ini").write_text(
        good
        + "\n[hot]\nexpr = { any(c.load > 9 for c in manager.clients.values()) }\n"
        + "cmd = { sender.notify('hot') }\n"
    )
    manager.reload("test")
    wait_for(lambda: site.told("+ hot"), "the good reload")
    assert not site.told("more")
