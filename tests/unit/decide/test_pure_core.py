"""`decide` is a function of the stream: any order of events, cut anywhere, gives the same bytes again."""

from __future__ import annotations

from typing import Any

import msgspec
from decide_bench import SETTINGS, shipped_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from vmm.decide.outputs import Note, encode_output
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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events, max_size=60), st.integers(0, 70))
def test_any_stream_decides_the_same_again_and_from_any_snapshot(drawn: list[Any], cut: int) -> None:
    stream = _entries(drawn)
    first, second = Core(), Core()
    for entry in stream:
        one, two = first.feed(entry), second.feed(entry)
        assert [encode_output(o) for o in one] == [encode_output(o) for o in two]
        if entry.position == cut:
            second = Core.from_snapshot(second.snapshot())
    assert first.snapshot() == second.snapshot()


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
