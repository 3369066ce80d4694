"""A long journal of real runs (kills, reconnects, reloads) replays to the same decisions, on any clock."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm.messages import codec, keys
from vmm.messages.bus import MANAGERS, Data, SpreadBus, bus_name, shard_of
from vmm.messages.structs import Hello, Kind, Report, Result, Value
from vmm.spread.daemon import EmbeddedDaemon

ETC = Path(__file__).parents[2] / "etc"
EVENTS = 100_000
HOSTS = [f"host{n}" for n in range(6)]
VMM = [sys.executable, "-m", "vmm.cli.main"]

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(600)]


class Played:
    """A host or the batch client, played by the test: reports, and answers commands as done."""

    def __init__(self, folder: Path, daemon: str, name: str) -> None:
        self.name, self.seq = name, 0
        self.signer = keys.Signer.load(folder / "keys" / "clients" / f"{name}.key")
        self.bus = SpreadBus(daemon, bus_name(name), membership=False)
        self.bus.join(shard_of(name, 8))
        self.epoch = ""

    def say(self, message: Hello | Report | Result) -> None:
        kind, body = codec.seal(message, self.name, self.signer)
        self.bus.multicast([MANAGERS], kind, body)

    def hello(self) -> None:
        role = "batch" if self.name == "batch" else "dom0"
        self.say(Hello(self.name, role, 7, self.signer.public_key))

    def report(self, values: dict[str, Value]) -> None:
        self.say(Report(7, self.seq, values))
        self.seq += 1

    def read(self) -> None:
        """Greet each new Manager; answer its commands."""
        while (message := self.bus.receive(0.0)) is not None:
            if not isinstance(message, Data) or message.kind not in (Kind.BEAT, Kind.COMMAND):
                continue
            content = codec.decode_body(message.kind, codec.open_envelope(message.kind, message.body).body)
            if message.kind == Kind.COMMAND:
                self.say(Result(content.id, "done"))
            elif content.epoch != self.epoch:
                self.epoch = content.epoch
                self.hello()


class Run:
    """The daemon, one Manager process after another, and the players."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = EmbeddedDaemon("127.0.0.1:0", "localhost").start()
        for name in ("properties.ini", "triggers.ini", "profiles.ini", "shares.ini"):
            (folder / name).write_text((ETC / name).read_text())
        (folder / "vmm.ini").write_text(
            f"[bus]\ndaemon = {self.daemon.address}\nreconnect_max_s = 0.3\n"
            "[manager]\njournal = journal\ntick_s = 0.1\nbeat_s = 0.2\njournal_sync = none\n"
        )
        keys.init_keys(folder / "keys", [*HOSTS, "batch"])
        self.log = (folder / "manager.log").open("w")
        self.manager = self.start_manager()
        self.players = self.play()

    def start_manager(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*VMM, "manager", "-c", str(self.folder)],
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def kill_manager(self) -> None:
        self.manager.kill()
        self.manager.wait()
        self.manager = self.start_manager()

    def play(self) -> list[Played]:
        return [Played(self.folder, self.daemon.address, name) for name in [*HOSTS, "batch"]]

    def lose_daemon(self) -> None:
        port, _, host = self.daemon.address.partition("@")
        self.daemon.stop()
        self.daemon = EmbeddedDaemon(f"{host}:{port}", "localhost").start()
        self.players = self.play()

    def reload(self, idle: str) -> None:
        text = (ETC / "triggers.ini").read_text().replace("for = 5m", f"for = {idle}")
        (self.folder / "triggers.ini").write_text(text)
        self.manager.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self.manager.kill()
        self.manager.wait()
        for player in self.players:
            player.bus.close()
        self.daemon.stop()
        self.log.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.close()


def _values(name: str, dice: random.Random) -> dict[str, Value]:
    if name == "batch":
        jobs = [
            {
                "id": str(n),
                "queue": dice.choice(["groupA", "groupB", "groupC"]),
                "state": "pending",
                "cpus": 1,
            }
            for n in range(dice.randrange(4))
        ]
        return {"batch_jobs": jobs, "batch_nodes": []}
    if dice.random() < 0.2:
        host = {"memory_mib": 16384, "reserved_mib": 512, "cpus": 8, "hypervisor": "played"}
        return {"host_facts": host, "host_guests": []}
    return {"load": dice.random() * 8, "cpu_used": dice.random() * 100, "ram_free": dice.randrange(9000)}


def _positions(folder: Path) -> int:
    from vmm.journal import Journal, NoJournal

    try:
        return Journal.stats(folder / "journal").events
    except NoJournal:
        return 0


def test_a_hundred_thousand_live_events_replay_to_the_same_bytes(run: Run) -> None:
    dice = random.Random(11)
    end_s = time.monotonic() + 500
    disturb = [run.kill_manager, run.lose_daemon, lambda: run.reload("7s"), run.kill_manager]
    disturb += [lambda: run.reload("9m"), run.lose_daemon, run.kill_manager]
    sent = taken = seen = 0
    while seen < EVENTS:
        assert time.monotonic() < end_s, f"only {seen} events in the journal"
        assert run.manager.poll() is None, (run.folder / "manager.log").read_text()[-3000:]
        for player in run.players:
            player.read()
            for _ in range(20):
                player.report(_values(player.name, dice))
                sent += 1
        # The journal shows what the Manager has taken: Spread throws out whoever falls 1000 messages behind.
        # What was lost in a kill is never taken, so the wait gives some up at each look without progress.
        while sent - taken > 600:
            before, seen = seen, _positions(run.folder)
            taken += seen - before or 50
            time.sleep(0.02)
        if disturb and seen > EVENTS * (8 - len(disturb)) / 8:
            disturb.pop(0)()
    run.manager.send_signal(signal.SIGTERM)
    assert run.manager.wait(30) == 0

    clocks = [
        "",
        "import time; time.time = lambda: 86400.0 * 400; time.time_ns = lambda: 0; ",
    ]
    said = set()
    for clock in clocks:
        script = f"{clock}from vmm.cli.main import main; main()"
        argv = [sys.executable, "-c", script, "journal", "replay", "--verify", str(run.folder / "journal")]
        done = subprocess.run(
            argv, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "99"}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the same decisions" in done.stdout
        said.add(done.stdout)
    assert len(said) == 1
    events, beats = (int(word) for word in said.pop().split() if word.isdigit())
    assert events >= EVENTS
    assert beats > 100
