"""`decide` is a function of the stream: any order of events, cut anywhere, gives the same bytes again."""

from __future__ import annotations

from typing import Any

import msgspec
from decide_bench import SETTINGS, shipped_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

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
    decode_event,
    encode_event,
)
from vmm.decide.outputs import Note, Send, encode_output
from vmm.messages.bus import shard_of
from vmm.messages.structs import Beat, Command, Hello, Intent, Report, Result
from vmm.plugins.manager import load_plugins

FILES = {CATALOGUE: encode_catalogue(load_plugins().collectors), **shipped_files()}
CHANGED = {
    **FILES,
    "triggers.ini": FILES["triggers.ini"] + "\n[hot]\neach = host\nexpr = { host.load > 5 }\n"
    "for = 3\ncooldown = 10\ncmd = { sender.notify(host.name) }\n",
}
BROKEN = {**FILES, "triggers.ini": "[x\n"}

CLIENTS = {"host0": "dom0", "host1": "dom0", "batch": "batch", "groupa-1": "domU", "groupa-3": "domU"}
names = st.sampled_from(sorted(CLIENTS))
guest_names = st.sampled_from(["groupa-1", "groupa-3", "groupb-2"])
states = st.sampled_from(["idle", "busy", "draining", "drained", "down"])
facts = st.fixed_dictionaries(
    {
        "memory_mib": st.sampled_from([1536, 4096, 9000]),
        "reserved_mib": st.just(512),
        "cpus": st.integers(1, 8),
    }
)
guest_rows = st.lists(
    st.fixed_dictionaries(
        {"name": guest_names, "memory_mib": st.just(1024), "vcpus": st.just(1), "state": st.just("running")}
    ),
    max_size=3,
)
jobs = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("123456"),
            "queue": st.sampled_from(["groupA", "groupB", "elsewhere"]),
            "state": st.sampled_from(["pending", "running"]),
            "cpus": st.integers(1, 2),
        }
    ),
    max_size=5,
)
nodes = st.lists(
    st.fixed_dictionaries({"name": guest_names, "state": states, "jobs": st.integers(0, 1)}), max_size=3
)
rubbish = st.one_of(
    st.none(), st.integers(-3, 3), st.text(max_size=3), st.lists(st.integers(-9, 9), max_size=2)
)
values = st.one_of(
    st.fixed_dictionaries({"host_facts": facts, "host_guests": guest_rows}),
    st.fixed_dictionaries({"batch_jobs": jobs, "batch_nodes": nodes}),
    st.fixed_dictionaries({"load": st.floats(0, 9), "ram_free": st.integers(0, 10_000)}),
    st.dictionaries(
        st.sampled_from(["host_facts", "batch_jobs", "batch_nodes", "load", "nonsense"]), rubbish
    ),
)


def _report(name: str, seq: int, content: dict[str, Any], errors: dict[str, str]) -> Event:
    return Reported(name, Report(1, seq, content, errors))


def _leaves(name: str) -> Event:
    address = f"#{name}#d"
    return Viewed(shard_of(name, 8), [], "disconnect", [address])


def _wish(name: str, args: dict[str, Any]) -> Event:
    return Wished(Intent("1", name, args, "ann", "test"))


WISHES = [
    _wish("pause", {}),
    _wish("pause", {"rule": "grow"}),
    _wish("resume", {}),
    _wish("retire_guest", {"guest": "groupa-1"}),
    _wish("destroy_guest", {"guest": "groupa-1"}),
    _wish("create_guest", {"share": "groupA"}),
    _wish("drain_host", {"host": "host0"}),
    _wish("migrate_guest", {"guest": "groupa-1", "host": "host1"}),
    _wish("migrate_guest", {"guest": "groupa-1", "host": "host0", "source": "host1"}),
    _wish("hold_host", {"host": "host0"}),
    _wish("retry_share", {"share": "groupA"}),
    _wish("nonsense", {"a": 1}),
    _wish("pause", {"wrong": 1}),
    _wish("reload", {"files": CHANGED}),
    _wish("reload", {"files": FILES}),
    _wish("reload", {"files": BROKEN}),
    _wish("reload", {"files": 7}),
]
result_codes = st.sampled_from(["", "no-template", "no-such-node", "node-busy", "batch-down"])
events = st.one_of(
    st.floats(0, 40).map(lambda dt: dt),  # time passes by so much: becomes a beat below
    st.builds(_report, names, st.integers(0, 60), values, st.just({}) | st.just({"load": "hangs"})),
    st.builds(lambda n, s: Greeted(f"#{n}#d", Hello(n, CLIENTS[n], s, b"k")), names, st.just(1) | st.just(2)),
    names.map(_leaves),
    st.builds(
        lambda k, s, c, n: Answered(n, Result(f"j-{k}", s, None, c, "said so")),
        st.integers(1, 30),
        st.sampled_from(["done", "failed", "refused", "running"]),
        result_codes,
        names,
    ),
    st.integers(1, 30).map(lambda k: Commanded(Command(f"j-{k}", "host0", "create_guest", {}, 1.0))),
    st.booleans().map(lambda up: BusChanged(up, "test")),
    st.sampled_from(
        [
            *WISHES,
            Started("j", FILES, SETTINGS, "test"),
        ]
    ),
)


def _entries(drawn: list[Any]) -> list[Entry]:
    """Through bytes and back, as a journal does it; floats become beats that move the time on."""
    opening: list[Any] = [Started("j", FILES, SETTINGS, "test"), BusChanged(True, "test")]
    opening += [Greeted(f"#{n}#d", Hello(n, role, 1, b"k")) for n, role in list(CLIENTS.items())[:3]]
    now_s, out = 1000.0, []
    for position, event in enumerate([*opening, *drawn], start=1):
        if isinstance(event, float):
            now_s += event
            event = Ticked(Beat(now_s, "m", "j.1"))
        elif isinstance(event, Wished) and position % 5:  # every fifth is an old message played again
            event = Wished(msgspec.structs.replace(event.intent, id=str(position)))
        out.append(Entry(position, now_s, decode_event(encode_event(event))))
    return out


MORE_RULES = {
    "hot": [
        "each = host\nexpr = { host.load > 5 }\nfor = 3\ncooldown = 10\ncmd = { sender.notify(host.name) }",
        "each = host\nexpr = { host.load > 4 }\nfor = 3\nuntil = { host.load < 1 }\n"
        "cmd = { sender.hold_host(host) }",
    ],
    "queue": [
        "each = share\nmode = queued\nexpr = { share.guests < 2 }\ncmd = { sender.create_guest(share) }",
        "each = share\nmode = restart\nticks = 5\nexpr = { share.jobs_waiting > 0 }\nlimit = 3/minute\n"
        "cmd = { sender.create_guest(share) }",
    ],
    "count": [
        "expr = { count(h.load > 2 for h in manager.hosts.values()) >= 1 }\nn_of = 2 of 3\nticks = 4\n"
        "cmd = { sender.send_get_property('load') }",
        "expr = { mean(h.load for h in manager.hosts.values()) > 2 }\non_unknown = fire\nmax_running = 1\n"
        "cmd = { sender.run('host0', 'console_tail', name='x') }",
    ],
    "late": [
        "each = client\nexpr = { age(client.load) > 5 }\nticks = 3\ncmd = { sender.notify(client.name) }",
        "enabled = no\nexpr = { len(manager.clients) > 1 }\ncmd = { sender.notify('many') }",
    ],
}
SHIPPED = [f"[{part}" for part in FILES["triggers.ini"].split("\n[")[1:]]


def _rule_files(kept: set[int], more: dict[str, int], guaranteed: int) -> dict[str, str]:
    """Rule files with some of the shipped rules, and of the others one variant or none (-1)."""
    sections = [text for number, text in enumerate(SHIPPED) if number in kept]
    sections += [f"[{name}]\n{MORE_RULES[name][variant]}\n" for name, variant in more.items() if variant >= 0]
    shares = FILES["shares.ini"].replace("guaranteed = 1", f"guaranteed = {guaranteed}")
    return {**FILES, "triggers.ini": "\n".join(sections), "shares.ini": shares}


rule_files = st.builds(
    _rule_files,
    st.sets(st.integers(0, len(SHIPPED) - 1)),
    st.fixed_dictionaries({name: st.integers(-1, 1) for name in MORE_RULES}),
    st.integers(0, 2),
)
no_files = st.sampled_from(
    [
        BROKEN,
        7,
        {"triggers.ini": 7},
        {**FILES, CATALOGUE: "{"},
        {**FILES, CATALOGUE: "[1]"},
        {**FILES, CATALOGUE: '{"load": ["nothing", "", [], []]}'},
    ]
)
wishes = st.one_of(
    st.sampled_from([e.intent for e in WISHES]),
    st.builds(
        lambda name, rule: Intent("1", name, {"rule": rule}, "ann", "test"),
        st.sampled_from(["pause", "resume"]),
        st.sampled_from(["", "grow", "shrink", *MORE_RULES, "*"]),
    ),
)


class Streams(RuleBasedStateMachine):
    """One stream through two cores at once; the second is put away and started from a snapshot at will.

    `entries` is the stream so far, `decided` the bytes of what each decided, `kept` snapshots by their place.
    """

    @initialize(files=rule_files)
    def begin(self, files: dict[str, str]) -> None:
        self.first, self.second = Core(), Core()
        self.now_s = 1000.0
        self.entries: list[Entry] = []
        self.decided: list[list[bytes]] = []
        self.kept: list[tuple[int, bytes]] = []
        self.sent: list[Command] = []
        self.feed(Started("j", files, SETTINGS, "test"))
        self.feed(BusChanged(True, "test"))
        for name in ("batch", "host0", "host1"):
            self.hello(name, 1)
        for name in ("host0", "host1"):
            room = {"memory_mib": 9000, "reserved_mib": 512, "cpus": 8}
            self.report(name, {"host_facts": room, "host_guests": []}, {}, False)
        self.waiting(["groupA"])

    def feed(self, event: Event) -> None:
        """Through bytes and back, as a journal does it. It must not raise, whatever the event."""
        entry = Entry(len(self.entries) + 1, self.now_s, decode_event(encode_event(event)))
        one, two = self.first.feed(entry), self.second.feed(entry)
        self.entries.append(entry)
        self.decided.append([encode_output(o) for o in one])
        assert self.decided[-1] == [encode_output(o) for o in two]
        self.sent += [o.command for o in one if isinstance(o, Send)]

    @rule(dt=st.sampled_from([0.0, 0.4, 1.0, 3.0, 10.0, 40.0]) | st.floats(0, 2000))
    def time_passes(self, dt: float) -> None:
        self.now_s += dt
        self.feed(Ticked(Beat(self.now_s, "m", "j.1")))

    @rule(name=names, content=values, errors=st.just({}) | st.just({"load": "hangs"}), old=st.booleans())
    def report(self, name: str, content: dict[str, Any], errors: dict[str, str], old: bool) -> None:
        client = self.first.state.clients.get(name)
        session, seq = (1, 0) if client is None else (client.session, client.seq + (0 if old else 1))
        self.feed(Reported(name, Report(session, seq, content, errors)))

    @rule(load=st.sampled_from([0.5, 3.0, 9.0]))
    def loaded(self, load: float) -> None:
        self.report("host0", {"load": load}, {}, False)

    @rule(queues=st.lists(st.sampled_from(["groupA", "groupB"]), max_size=3))
    def waiting(self, queues: list[str]) -> None:
        jobs = [{"id": str(n), "queue": q, "state": "pending", "cpus": 1} for n, q in enumerate(queues)]
        nodes = [{"name": g, "state": "idle", "jobs": 0} for g in self.first.state.guests]
        self.report("batch", {"batch_jobs": jobs, "batch_nodes": nodes}, {}, False)

    @rule()
    def all_goes_well(self) -> None:
        """The clients do what they were told last, and the guests introduce themselves."""
        for command in self.sent[-3:]:
            self.feed(Answered(command.to, Result(command.id, "done", None, "", "")))
        for name in list(self.first.state.guests):
            self.feed(Greeted(f"#{name}#d", Hello(name, "domU", 1, b"k")))

    @rule(name=names, session=st.integers(1, 2))
    def hello(self, name: str, session: int) -> None:
        self.feed(Greeted(f"#{name}#d", Hello(name, CLIENTS[name], session, b"k")))

    @rule(name=names)
    def leave(self, name: str) -> None:
        self.feed(_leaves(name))

    @rule(
        which=st.integers(0, 9),
        status=st.sampled_from(["done", "failed", "refused", "running"]),
        code=result_codes,
    )
    def answer(self, which: int, status: str, code: str) -> None:
        if self.sent:
            command = self.sent[-1 - which % len(self.sent)]
            self.feed(Answered(command.to, Result(command.id, status, None, code, "said so")))

    @rule(which=st.integers(0, 9))
    def command_comes_back(self, which: int) -> None:
        if self.sent:
            self.feed(Commanded(self.sent[-1 - which % len(self.sent)]))

    @rule(event=events.filter(lambda event: not isinstance(event, float)))
    def anything(self, event: Event) -> None:
        self.feed(event)

    @rule(up=st.booleans())
    def bus(self, up: bool) -> None:
        self.feed(BusChanged(up, "test"))

    @rule(intent=wishes, again=st.booleans())
    def wish(self, intent: Intent, again: bool) -> None:
        number = "1" if again else str(len(self.entries))
        self.feed(Wished(msgspec.structs.replace(intent, id=number)))

    @rule(files=rule_files | no_files)
    def reload(self, files: object) -> None:
        self.feed(Wished(Intent(str(len(self.entries)), "reload", {"files": files}, "ann", "test")))

    @rule(files=rule_files)
    def manager_starts_again(self, files: dict[str, str]) -> None:
        self.feed(Started("j", files, SETTINGS, "test"))

    @rule()
    def take_over_from_a_snapshot(self) -> None:
        snapshot = self.first.snapshot()
        assert snapshot == self.second.snapshot()
        self.second = Core.from_snapshot(snapshot)
        assert snapshot == self.second.snapshot()
        self.kept.append((len(self.entries), snapshot))

    def teardown(self) -> None:
        if not hasattr(self, "entries"):
            return
        end = self.first.snapshot()
        assert end == self.second.snapshot()
        for place, core in [(0, Core()), *((n, Core.from_snapshot(s)) for n, s in self.kept[:1])]:
            for entry, decided in zip(self.entries[place:], self.decided[place:], strict=True):
                assert [encode_output(o) for o in core.feed(entry)] == decided
            assert core.snapshot() == end


TestStreams = Streams.TestCase
TestStreams.settings = settings(
    max_examples=14, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events, max_size=60))
def test_no_stream_breaks_what_must_never_happen(drawn: list[Any]) -> None:
    core = Core()
    for entry in _entries(drawn):
        before = {name: guest.state for name, guest in core.state.guests.items()}
        outputs = core.feed(entry)
        for output in outputs:
            assert not isinstance(output, Note) or output.position == entry.position
        sent = {
            c.id: c for o in outputs if not isinstance(o, Note) and hasattr(o, "command") for c in [o.command]
        }
        for command in sent.values():
            if command.name == "destroy_guest" and command.args["name"] in before:
                guest = core.state.guests.get(command.args["name"])
                # Removed only after its node was drained and deleted, or when nothing can run in it any more.
                assert guest is None or guest.state in ("stopping", "cleaning")
        ids = [c.id for c in core.state.commands.values()]
        assert len(ids) == len(set(ids))
        addresses = [g.spec.address for g in core.state.guests.values()]
        assert len(addresses) == len(set(addresses)), "an address is given twice"
