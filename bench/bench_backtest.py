"""How fast `vmm rules backtest` is: the real command on a made-up cluster's journal, beside event by event.

    python bench/bench_backtest.py [--days N] [--clients N] [--folder DIRECTORY] [--keep]

1,750 clients report ten numbers each, every 60 seconds, spread over the minute; the Manager's beats come each
second, and each second is one write, as a Manager makes them. 250 of the clients are hosts that also tell
what they offer and which guests they have. Loads wander slowly, with bursts; guests come and go now and then;
a few clients fall silent for some minutes. The recorded rules are eight of the usual sorts. Tried are: the
same file, which must show no difference, a changed one, and the shipped one. Without options a quarter of a
day is made, `--days 7` is the whole week (about 1.5 GiB in DIRECTORY meanwhile).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vmm.api.backtest import backtest
from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.events import Event, Greeted, Reported, Started, Ticked, encode_event, tag_of
from vmm.journal import Journal
from vmm.messages.structs import Beat, Hello, Report
from vmm.rules import CollectorInfo

console = Console()
START_S = 1.79e9
ETC = Path(__file__).parents[1] / "etc"
NAMES = [
    "load",
    "cpu_used",
    "mem_used",
    "disk_used",
    "swap_used",
    "net_rx",
    "net_tx",
    "iowait",
    "uptime",
    "temp",
]
HOSTS = 250
ROLES = ("dom0", "domU", "batch")
COLLECTORS = {name: CollectorInfo(name, float, "", ROLES) for name in NAMES}
COLLECTORS["host_facts"] = CollectorInfo("host_facts", dict, "", ("dom0",))
COLLECTORS["guests"] = CollectorInfo("guests", list, "", ("dom0",), ("name", "state"))
PROPERTIES = "".join(f"[{name}]\ncommand = {name}\nticks = 60\n" for name in NAMES) + (
    "[host_facts]\ncommand = host_facts\nroles = dom0\nticks = 60\n"
    "[host_guests]\ncommand = guests\nroles = dom0\nticks = 60\n"
)
RULES = """
[hot]
expr = { any(c.temp > 95 for c in manager.clients.values()) }
cmd = { sender.notify("hot") }

[many_busy]
expr = { count(c.load > 0.9 for c in manager.clients.values()) > 300 }
cmd = { sender.notify("many are busy") }
for = 5m

[full]
expr = { mean(c.mem_used for c in manager.clients.values()) > 0.8 }
cmd = { sender.notify("memory is short") }

[busy_hosts]
expr = { sum(h.load for h in manager.hosts.values()) > 150 }
until = { sum(h.load for h in manager.hosts.values()) < 120 }
cmd = { sender.notify("hosts are busy") }

[overloaded]
each = client
expr = { client.load > 0.95 }
for = 5m
cooldown = 1h
cmd = { sender.notify(client.name) }

[swaps]
each = client
expr = { client.swap_used > 0.8 }
until = { client.swap_used < 0.3 }
limit = 3/1h
cmd = { sender.notify(client.name) }

[no_word]
each = client
expr = { age(client.load) > 150 }
ticks = 60
cmd = { sender.notify(client.name) }

[disk]
each = host
expr = { host.disk_used > 0.9 and host.state == "up" }
for = 10m
cmd = { sender.notify(host.name) }
"""
CHANGED = RULES.replace("client.load > 0.95", "client.load > 0.93").replace("> 0.8 for", "> 0.75 for")


def files() -> dict[str, str]:
    return {
        CATALOGUE: encode_catalogue(COLLECTORS),
        "properties.ini": PROPERTIES,
        "triggers.ini": RULES,
        "profiles.ini": (ETC / "profiles.ini").read_text(),
        "shares.ini": (ETC / "shares.ini").read_text(),
    }


class Cluster:
    """Reports as bytes: a template for each client, with its numbers written into it."""

    def __init__(self, clients: int, seed: int = 4803) -> None:
        self.dice = np.random.default_rng(seed)
        self.names = [f"#node{n:04d}#vmm" for n in range(clients)]
        self.roles = ["dom0" if n < HOSTS else "domU" for n in range(clients)]
        self.turn = self.dice.integers(0, 60, clients)
        self.level = self.dice.uniform(0.2, 0.6, (clients, len(NAMES)))
        self.base = self.level.copy()
        self.burst_s = np.zeros(clients)
        self.silent_s = np.zeros(clients)
        self.guests = [["running"] * 6 for _ in range(min(HOSTS, clients))]
        self.made: list[tuple[bytes, bytes, bytes]] = [self.template(n) for n in range(clients)]

    def template(self, client: int) -> tuple[bytes, bytes, bytes]:
        """The report's bytes before its number, between that and the values, and behind the values."""
        values: dict[str, object] = dict.fromkeys(NAMES, 0.5)
        if client < len(self.guests):
            values["host_facts"] = {
                "memory_mib": 262144, "reserved_mib": 4096, "cpus": 64, "hypervisor": "kvm",
                "image_free_mib": 900000,
            }  # fmt: skip
            values["host_guests"] = [
                {"name": f"vm{client}-{k}", "memory_mib": 32768, "vcpus": 8, "state": state}
                for k, state in enumerate(self.guests[client])
            ]
        session = 2**62 + client
        whole = encode_event(Reported(self.names[client], Report(session, 2**31, values)))  # type: ignore[arg-type]
        at = whole.index(struct.pack(">BI", 0xCE, 2**31))
        first = whole.index(struct.pack(">Bd", 0xCB, 0.5))
        last = whole.rindex(struct.pack(">Bd", 0xCB, 0.5)) + 9
        return whole[:at], whole[at + 5 : first], whole[last:]

    def minute(self, now_s: float) -> list[list[bytes]]:
        """The payloads of one minute, by second."""
        dice, clients = self.dice, len(self.names)
        step = dice.normal(0.0, 0.01, self.level.shape)
        self.level += 0.02 * (self.base - self.level) + step
        np.clip(self.level, 0.0, 1.0, out=self.level)
        self.burst_s = np.where(
            dice.random(clients) < 0.0005, now_s + dice.uniform(60, 900, clients), self.burst_s
        )
        shown = self.level.copy()
        shown[:, 9] *= 80.0
        bursting = self.burst_s > now_s
        shown[bursting, 0] = dice.uniform(0.9, 1.0, int(bursting.sum()))
        swapping = dice.random(clients) < 0.0002
        shown[swapping, 4] = 0.9
        self.silent_s = np.where(dice.random(clients) < 0.00002, now_s + 400.0, self.silent_s)
        for host in np.flatnonzero(dice.random(len(self.guests)) < 0.002).tolist():
            guest = int(dice.integers(6))
            self.guests[host][guest] = "running" if self.guests[host][guest] == "off" else "off"
            self.made[host] = self.template(host)
        seq = int((now_s - START_S) // 60) + 1
        number = struct.pack(">BI", 0xCE, 2**31 + seq)
        keys = [b"\xcb"] + [b"%c%b\xcb" % (0xA0 | len(name), name.encode()) for name in NAMES[1:]]
        columns = [shown[:, k].astype(">f8").tobytes() for k in range(len(NAMES))]
        seconds: list[list[bytes]] = [[] for _ in range(60)]
        quiet = (self.silent_s > now_s).tolist()
        for client, (turn, made) in enumerate(zip(self.turn.tolist(), self.made, strict=True)):
            if quiet[client]:
                continue
            at = 8 * client
            body = [part for k, c in zip(keys, columns, strict=True) for part in (k, c[at : at + 8])]
            seconds[turn].append(b"".join([made[0], number, made[1], *body, made[2]]))
        return seconds


def write(folder: Path, clients: int, days: float) -> tuple[int, float]:
    """A journal; (its events, the seconds that writing took)."""
    began_s = time.perf_counter()
    cluster = Cluster(clients)
    events = 0
    with Journal.open(folder, sync="none") as journal:
        began: list[Event] = [Started("e", files(), {"client_silent_s": 300.0}, "1"), *hellos(cluster)]
        first = [(START_S, tag_of(event), encode_event(event)) for event in began]
        journal.commit(first)
        events += len(first)
        for second, reports in enumerate(stream(cluster, days)):
            now_s = START_S + 1 + second
            rows = [(now_s, "beat", encode_event(Ticked(Beat(now_s, "m", "e", events))))]
            rows += [(now_s, "report", payload) for payload in reports]
            journal.commit(rows)
            events += len(rows)
    return events, time.perf_counter() - began_s


def hellos(cluster: Cluster) -> Iterator[Greeted]:
    for n, (name, role) in enumerate(zip(cluster.names, cluster.roles, strict=True)):
        yield Greeted(name, Hello(name, role, 2**62 + n, b"k" * 32))


def stream(cluster: Cluster, days: float) -> Iterator[list[bytes]]:
    for minute in range(round(days * 1440)):
        yield from cluster.minute(START_S + 60 * minute)


def command(folder: Path, rules: Path) -> tuple[float, float, float, list[dict[str, object]]]:
    """(s that the real command takes, start and end of the program included; CPU s; peak MiB; its table)."""
    argv = [sys.executable, "-m", "vmm.cli.main", "rules", "backtest", str(rules), "--journal", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    done = subprocess.run([*argv, "-o", "json"], check=True, capture_output=True, text=True)
    took_s = time.perf_counter() - began_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took_s, cpu_s, after.ru_maxrss / 1024, json.loads(done.stdout)["rules"]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--days", type=float, default=0.25)
    options.add_argument("--clients", type=int, default=1750)
    options.add_argument("--slice", type=float, default=0.01, help="days for event by event")
    options.add_argument("--folder", type=Path, default=None, help="where to make the journal")
    options.add_argument("--keep", action="store_true", help="leave the journal there")
    given = options.parse_args()
    place = Path(tempfile.mkdtemp(dir=given.folder, prefix="vmm-backtest-"))
    try:
        run(place, given.days, given.clients, given.slice)
    finally:
        if given.keep:
            console.print(f"left in {place}")
        else:
            shutil.rmtree(place)


def run(place: Path, days: float, clients: int, slice_days: float) -> None:
    events, _ = write(place / "slice", clients, slice_days)
    began_s = time.perf_counter()
    one = backtest(place / "slice", CHANGED, "changed.ini", bulk=False)
    single = events / (time.perf_counter() - began_s)
    assert one == backtest(place / "slice", CHANGED, "changed.ini"), "in bulk something else was found"
    events, took_s = write(place / "journal", clients, days)
    size_mib = sum(file.stat().st_size for file in (place / "journal").iterdir()) / 2**20
    console.print(f"{events} events written in {took_s:.1f} s, {size_mib:.0f} MiB")
    week = 7 * 86400 * (clients / 60 + 1)
    table = Table(
        "", "events/s", "ratio", "takes", "CPU", "peak", "a week", title=f"{clients} clients, {days:g} days"
    )
    table.add_row("event by event", f"{single:,.0f}", "1", "", "", "", f"{week / single:.0f} s")
    said = {}
    shipped = (ETC / "triggers.ini").read_text()
    for name, text in (("the same rules", RULES), ("changed rules", CHANGED), ("shipped rules", shipped)):
        rules = place / "triggers.ini"
        rules.write_text(text)
        spent_s, cpu_s, peak_mib, said[name] = command(place / "journal", rules)
        rate = events / spent_s
        table.add_row(
            name, f"{rate:,.0f}", f"{rate / single:.1f}", f"{spent_s:.1f} s", f"{cpu_s:.1f} s",
            f"{peak_mib:.0f} MiB", f"{week / rate:.0f} s",
        )  # fmt: skip
    assert all(row["more"] == row["fewer"] == 0 for row in said["the same rules"]), "the same rules differ"
    console.print(table)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"start and end of the program included; load of the machine {load}")
    for row in said["changed rules"]:
        console.print(", ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
