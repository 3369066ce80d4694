"""Random recorded streams: everything that clients and people may do to a Manager, in any order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from random_cluster import RandomCluster

from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.core import Core
from vmm.decide.events import (
    Answered,
    BusChanged,
    Commanded,
    Entry,
    Event,
    Greeted,
    Reported,
    Started,
    Ticked,
    Viewed,
    Wished,
    encode_event,
    tag_of,
)
from vmm.decide.outputs import Send
from vmm.journal import Journal
from vmm.messages.bus import shard_of
from vmm.messages.structs import Beat, Command, Hello, Intent, Report, Result
from vmm.rules import CollectorInfo

COLLECTORS = {
    name: CollectorInfo(name, type_, "", ("dom0", "domU", "batch"), columns)
    for name, type_, columns in [
        ("a", float, ()),
        ("b", float, ()),
        ("i", int, ()),
        ("f", bool, ()),
        ("s", str, ()),
        ("t", list, ("name", "n")),
        ("host_facts", dict, ("memory_mib", "reserved_mib", "cpus")),
        ("guests", list, ("name", "memory_mib", "vcpus", "state")),
        ("batch_jobs", list, ("id", "queue", "state", "cpus")),
        ("batch_nodes", list, ("name", "state", "jobs")),
    ]
}
PROPERTIES = "".join(
    f"[{name}]\ncommand = {name.replace('host_guests', 'guests')}\nticks = 10\n{extra}\n"
    for name, extra in [
        ("a", "max_age = 25"),
        ("b", "max_age = 1000"),
        ("i", ""),
        ("f", ""),
        ("s", ""),
        ("t", ""),
        ("host_facts", "roles = dom0\nmax_age = 35"),
        ("host_guests", "roles = dom0"),
        ("batch_jobs", "roles = batch\nmax_age = 45"),
        ("batch_nodes", "roles = batch"),
    ]
)
PROFILES = """
[p]
template = p.qcow2
vcpus = 1
memory = 1GiB
min_memory = 512MiB
max_memory = 2GiB
max_vcpus = 2
addresses = 10.0.0.100 - 10.0.0.149 / 24
gateway = 10.0.0.1
"""
SHARES = "[sh]\nprofile = p\nguaranteed = 1\n[other]\nprofile = p\nguaranteed = 1\nmax_guests = 2\n"
SETTINGS = {
    "resend_s": 5.0, "client_silent_s": 15.0, "boot_deadline_s": 25.0, "command_deadline_s": 12.0,
    "drain_deadline_s": 30.0, "migration_deadline_s": 20.0, "promise_s": 15.0, "give_up_after": 3.0,
}  # fmt: skip
RULES = [
    "expr = { any(c.a > 0.97 for c in CLIENTS) }",
    "expr = { all(c.a > 0.02 for c in CLIENTS) }\non_unknown = false",
    "expr = { count(c.a > 0.8 for c in CLIENTS) >= 3 }\ncooldown = 20",
    "expr = { mean(c.a for c in CLIENTS) > 0.5 }\nuntil = { mean(c.a for c in CLIENTS) < 0.45 }",
    "expr = { sum(c.b for c in CLIENTS if c.f) > 2 and not any(c.i > 90 for c in CLIENTS) }",
    "expr = { max(c.a for c in CLIENTS) > 0.95 }",
    "expr = { min(c.i for c in CLIENTS) < 3 }\nlimit = 2/60s",
    "expr = { mean(c.i for c in CLIENTS if c.role == 'dom0') > 50 }\ndry_run = yes",
    "each = client\nexpr = { client.a > 0.8 }\nfor = 15",
    "each = client\nexpr = { client.a > 0.9 and client.role == 'dom0' }\npriority = 3",
    "each = client\nexpr = { client.i > 80 }\nuntil = { client.i < 40 }\nlimit = 3/120s",
    "each = client\nexpr = { age(client.a) > 22 }\nticks = 10",
    "each = client\nexpr = { age(client.b) > 12 or client.b > 0.95 }\nticks = 7\non_update_check = no",
    "each = client\nexpr = { client.a > 0.7 }\nticks = 13\non_update_check = no",
    "each = client\nexpr = { client.b > 0.6 }\nn_of = 3 of 5",
    "each = client\nexpr = { client.b > 0.6 }\nn_of = 2 of 3\nticks = 10",
    "each = client\nexpr = { client.s == 'x' }\non_unknown = fire\nfor = 5",
    "each = client\nexpr = { client.a > 1.5 * mean(c.a for c in CLIENTS) }\ncooldown = 30",
    "each = client\nexpr = { any(r.n > 3 for r in client.t) }",
    "each = host\nexpr = { host.a > 0.85 and host.state == 'up' }\nfor = 8\nmode = parallel",
    "each = host\nexpr = { host.a + host.b > 1.4 }\nuntil = { host.a < 0.3 }\nfor = 4",
    "expr = { count(h.a > 0.7 for h in HOSTS) > 1 }\nticks = 20",
    "expr = { len(manager.clients) > 2 and abs(mean(c.b for c in CLIENTS) - 0.5) < 0.02 }",
    "expr = { max(c.b for c in CLIENTS) - min(c.b for c in CLIENTS) > 0.98 }\nfor = 3",
    "each = share\nexpr = { share.guests_wanted > 0 and share.room > 0 }\nticks = 10",
    "each = guest\nexpr = { guest.idle }\nfor = 20",
    "expr = { count(c.f for c in CLIENTS) > 4 }\nenabled = no",
    "each = client\nexpr = { not client.f and client.b < 0.1 }\nmax_running = 2\non_unknown = false",
    "each = client\nexpr = { client.a > 0.6 }\nmode = queued\nfor = 2",
    "each = client\nexpr = { client.b > 0.5 }\nmode = restart\ncooldown = 3",
    "each = host\nexpr = { host.state == 'dead' or host.memory_free_mib < 3000 }\nfor = 6",
    "expr = { count(h.state != 'up' for h in HOSTS) > 0 }\nfor = 12\nmode = queued",
    "each = share\nexpr = { share.guests_ready < 1 and share.can_grow }\nticks = 5",
    "each = share\nexpr = { share.jobs_waiting > 0 and share.room < 20 }\nfor = 5\nmode = queued",
    "each = guest\nexpr = { guest.state == 'ready' and guest.jobs == 0 }\nfor = 10\nlimit = 2/60s",
    "each = guest\nexpr = { guest.a > 0.7 }\nfor = 5",
    "expr = { sum(g.memory_mib for g in GUESTS if g.state == 'ready') > 1500 }\nfor = 5\ncooldown = 20",
]
COMMANDS = {
    "": ["notify('x')", "send_get_property()", "run('h0', 'poke')"],
    "client": ["notify(f'{client.a}')", "run(client, 'poke')", "run('c1', 'poke')", "notify(client.name)"],
    "host": ["run(host.name, 'poke')", "drain_host(host)", "notify('x')"],
    "share": ["create_guest(share)", "create_guest(share)", "make_room(share)"],
    "guest": ["retire_guest(guest)", "migrate_guest(guest, 'h3')", "resize_guest(guest, memory_mib=2048)"],
}


def triggers(dice: random.Random, count: int) -> str:
    """A file of some of the rules."""
    out = []
    for n, rule in enumerate(dice.sample(RULES, count)):
        each = rule.partition("each = ")[2].partition("\n")[0] if rule.startswith("each") else ""
        cmd = dice.choice(COMMANDS[each])
        out.append(f"[r{n}]\n{_spelt_out(rule)}\ncmd = {{ sender.{cmd} }}\n")
    return "\n".join(out)


def _spelt_out(rule: str) -> str:
    return (
        rule.replace("CLIENTS", "manager.clients.values()")
        .replace("HOSTS", "manager.hosts.values()")
        .replace("GUESTS", "manager.guests.values()")
    )


def files(rules: str) -> dict[str, str]:
    return {
        CATALOGUE: encode_catalogue(COLLECTORS),
        "properties.ini": PROPERTIES,
        "triggers.ini": rules,
        "profiles.ini": PROFILES,
        "shares.ini": SHARES,
    }


class Stream:
    """Makes one journal. `calm` clusters have fewer surprises, so that there is much to take in at once;
    that share of clients which is `broken` cannot read some property for a long time.

    A Manager's core reads along: what it sends is answered, as `cluster` does it.
    """

    def __init__(self, seed: int, clients: int, calm: float, broken: float = 0.0) -> None:
        self.dice = random.Random(seed)
        self.fate = random.Random(seed)
        self.broken = broken
        self.errors: dict[str, dict[str, str]] = {}
        self.calm = calm
        self.now_s = 1000.0
        self.names = ["batch"] + [f"h{n}" if n % 3 == 0 else f"c{n}" for n in range(clients)]
        self.session = dict.fromkeys(self.names, 1)
        self.seq = dict.fromkeys(self.names, 0)
        self.silent: set[str] = set()
        self.level: dict[tuple[str, str], float] = {}
        self.mood: dict[str, tuple[bool, str, int]] = {}
        self.rows: list[tuple[float, str, bytes]] = []
        self.core = Core()
        self.cluster = RandomCluster(self.dice, (1 - calm) * 3)
        self.turn = {name: self.dice.randrange(10) for name in self.names}
        self.drift = self.dice.choice([0.002, 0.02, 0.12])

    def put(self, event: Event) -> None:
        self.rows.append((self.now_s, tag_of(event), encode_event(event)))
        for output in self.core.feed(Entry(len(self.rows), self.now_s, event)):
            if isinstance(output, Send):
                self.cluster.take(output.command, self.now_s)

    def role(self, name: str) -> str:
        return "batch" if name == "batch" else "dom0" if name[0] == "h" else "domU"

    def hello(self, name: str) -> None:
        token = self.cluster.tokens.get(name, "")
        self.put(Greeted(f"#{name}#d", Hello(name, self.role(name), self.session[name], b"k", token)))

    def number(self, name: str, column: str) -> Any:
        dice = self.dice
        if dice.random() > self.calm:
            return dice.choice([None, float("nan"), float("inf"), 0.0, -0.0, 1, "odd", 1e300, -5, 1e-30])
        level = self.level.get((name, column), 0.5)
        level = min(1.0, max(0.0, level + dice.gauss(0, self.drift)))
        self.level[name, column] = level
        return level if dice.random() < 0.9 else round(level, 1)

    def values(self, name: str) -> dict[str, Any]:
        dice, calm = self.dice, self.calm
        values: dict[str, Any] = {"a": self.number(name, "a"), "b": self.number(name, "b")}
        values["i"] = dice.randrange(100) if dice.random() < calm else dice.choice([2**60, -7, 300, 2.0])
        if dice.random() < 5 * self.drift:
            self.mood[name] = dice.random() < 0.5, dice.choice("xyyy"), dice.choice([1, 1, 2, 5])
        values["f"], values["s"], n = self.mood.get(name, (False, "y", 1))
        values["t"] = [{"name": "q", "n": n}]
        if self.role(name) == "dom0":
            memory: Any = 9000 if dice.random() < calm else dice.choice([4000, 4000, "much"])
            values["host_facts"] = {"memory_mib": memory, "reserved_mib": 512, "cpus": 4}
            values["host_guests"] = self.guests(name)
        if self.role(name) == "batch":
            values["batch_jobs"] = [
                {"id": str(k), "queue": "sh", "state": dice.choice(["pending", "running"]), "cpus": 1}
                for k in range(dice.choice([0, 0, 0, 2]))
            ]
            values["batch_nodes"] = self.cluster.node_rows()
        for column in list(values):
            if dice.random() > calm:
                del values[column]
        return values

    def guests(self, name: str) -> list[dict[str, Any]]:
        rows = [{"name": f"g{name}", "memory_mib": 512, "vcpus": 1, "state": "running"}]
        rows += self.cluster.rows(name)
        if self.dice.random() < self.calm:
            return rows
        strange = [{"name": "sh-1", "memory_mib": 1024, "vcpus": 1, "state": "running"}]
        return self.dice.choice([strange, [], [{"name": "sh-1"}]])

    def report(self, name: str) -> None:
        self.seq[name] += 0 if self.dice.random() > self.calm else 1
        errors = {"b": "hangs"} if self.dice.random() > self.calm else {}
        values = self.values(name)
        if self.broken:
            errors |= self.broken_of(name)
            for column in errors:
                if self.fate.random() < 0.98:
                    values.pop(column, None)
        self.put(Reported(name, Report(self.session[name], self.seq[name], values, errors)))

    def broken_of(self, name: str) -> dict[str, str]:
        """Errors that stay, and now and then become others."""
        fate = self.fate
        if name not in self.errors or fate.random() < 0.02:
            columns = [c for c in ("a", "b", "s", "t", "none") if fate.random() < 0.4]
            self.errors[name] = {c: fate.choice(["hangs", "gone"]) for c in columns}
        return self.errors[name] if sum(name.encode()) % 10 < 10 * self.broken else {}

    def beat(self, step_s: float = 1.0) -> None:
        self.now_s += step_s
        self.put(Ticked(Beat(self.now_s, "m", "e")))

    def act(self) -> None:
        """The cluster does what it was told; its new guests introduce themselves."""
        cluster = self.cluster
        cluster.live()
        for command, result in cluster.answers(self.now_s):
            self.put(Commanded(command))
            if command.to in self.names and command.to not in self.silent:
                self.put(Answered(command.to, result))
        for name in list(cluster.tokens):
            if name in self.seq and cluster.tokens[name] == self.token.get(name):
                continue
            if self.dice.random() < 0.5:
                self.token[name] = cluster.tokens[name]
                if name not in self.seq:
                    self.names.append(name)
                    self.turn[name] = self.dice.randrange(10)
                self.session[name] = self.session.get(name, 0) + 1
                self.seq[name] = 0
                self.hello(name)
        while cluster.left:
            self.leave(cluster.left.pop())

    def leave(self, name: str) -> None:
        self.put(Viewed(shard_of(name, 8), [], "disconnect", [f"#{name}#d"]))

    def surprise(self, rules: list[str]) -> None:
        dice = self.dice
        name = dice.choice(self.names)
        match dice.randrange(16):
            case 0:
                self.session[name] += 1
                self.seq[name] = 0
                self.hello(name)
            case 1 | 2:
                self.silent ^= {name}
            case 3:
                self.leave(name)
            case 4:
                self.hello(name)
            case 5 if len(rules) > 1:
                self.wish("reload", files=files(dice.choice(rules)))
            case 6:
                observe = float(dice.random() < 0.3)
                self.put(Started("e", files(rules[0]), {**SETTINGS, "observe": observe}, "1"))
            case 7:
                self.put(BusChanged(dice.random() < 0.5, "t"))
            case 8:
                self.beat(dice.choice([4.0, 8.0, 40.0]))
            case 9:
                rule = dice.choice(["", "", "r0", "r1", "r7"])
                self.wish(dice.choice(["pause", "resume"]), **({"rule": rule} if rule else {}))
            case 10:
                status = dice.choice(["done", "failed"])
                self.put(Answered(name, Result(f"e-{dice.randrange(1, 9)}", status, None, "x", "said")))
            case 11:
                self.put(Commanded(Command(f"e-{dice.randrange(1, 9)}", name, "create_guest", {}, 1.0)))
            case _:
                self.wish_for_hosts_or_guests()

    def wish(self, what: str, **args: Any) -> None:
        self.put(Wished(Intent(f"w{len(self.rows)}", what, args, "x")))

    def wish_for_hosts_or_guests(self) -> None:
        dice, state = self.dice, self.core.state
        host = dice.choice([name for name in self.names if name[0] == "h"])
        guest = dice.choice(sorted(state.guests) or ["sh-1"])
        match dice.randrange(12):
            case 0:  # its power fails, and somebody says so
                here = [g for g in self.cluster.guests.get(host, {}) if g in self.seq]
                self.silent |= {host, *here}
                for name in (host, *here):
                    self.leave(name)
                self.wish("fence_host", host=host)
            case 1:  # it comes back, with what was there or without
                self.silent.discard(host)
                if dice.random() < 0.5:
                    self.cluster.guests.pop(host, None)
                self.session[host] += 1
                self.seq[host] = 0
                self.hello(host)
            case 2:
                self.wish("unfence_host", host=host)
            case 3:
                self.wish(dice.choice(["drain_host", "hold_host"]), host=host)
            case 4:
                self.wish("end_maintenance", host=host)
            case 5:
                self.wish("migrate_guest", guest=guest, host=host)
            case 6:
                self.wish("resize_guest", guest=guest, memory_mib=dice.choice([512, 1536, 2048]))
            case 7:
                self.wish("restart_guest", guest=guest)
            case 8:
                self.wish(dice.choice(["retire_guest", "destroy_guest"]), guest=guest)
            case 9:
                self.wish("make_room", share="other")
            case 10:
                self.wish("retry_share", share="sh")
            case 11:
                self.wish("create_guest", share=dice.choice(["sh", "other"]))

    def make(self, seconds: int, rules: list[str], surprises: float) -> None:
        """Reports every 10 s from each client, beats every second, and surprises."""
        self.token: dict[str, str] = {}
        self.put(Started("e", files(rules[0]), SETTINGS, "1"))
        for name in self.names:
            self.hello(name)
        for second in range(seconds):
            self.beat()
            self.act()
            for name in list(self.names):
                if second % 10 == self.turn[name] and name not in self.silent:
                    self.report(name)
            while self.dice.random() < surprises:
                self.surprise(rules)

    def write(self, folder: Path) -> Path:
        place = folder / "journal"
        with Journal.open(place, sync="none", segment_mib=0.02) as journal:
            at = 0
            while at < len(self.rows):
                size = self.dice.choice([1, 3, 30, 400])
                journal.append_many(self.rows[at : at + size])
                journal.flush()
                at += size
        return place
