"""Rules do not wait for commands that nobody will answer any more."""

from __future__ import annotations

from random_journal import SETTINGS, files

from vmm.decide.core import Core
from vmm.decide.events import Entry, Event, Greeted, Reported, Started, Ticked, Viewed, Wished
from vmm.decide.outputs import Send
from vmm.messages.bus import shard_of
from vmm.messages.structs import Beat, Hello, Intent, Report

RULE = "[r]\neach = client\nexpr = { client.a > 0.5 }\ncmd = { sender.run(client, 'poke') }\n"
OFFER = {"host_facts": {"memory_mib": 4096, "reserved_mib": 512, "cpus": 4}}


def test_a_dead_hosts_command_is_not_waited_for() -> None:
    core = Core()
    stream: list[Event] = [
        Started("e", files(RULE), {**SETTINGS, "command_deadline_s": 1e6}, "1"),
        Greeted("#h#d", Hello("h", "dom0", 1, b"k")),
        Reported("h", Report(1, 1, {"a": 0.9, **OFFER})),
        Viewed(shard_of("h", 8), [], "disconnect", ["#h#d"]),
        Wished(Intent("w", "fence_host", {"host": "h"}, "somebody")),
        Ticked(Beat(1001.0, "m", "e")),
    ]
    running, sent = [], []
    for position, event in enumerate(stream, 1):
        sent += [o for o in core.feed(Entry(position, 1000.0, event)) if isinstance(o, Send)]
        (runner,) = core.engine.runners
        running.append(sum(instance.running for instance in runner.instances.values()))
    assert len(sent) == 1
    assert running == [0, 0, 1, 1, 0, 0]
    # Back again, it is asked again: `mode = single` waits for nothing.
    for position, event in enumerate(
        [
            Greeted("#h#d", Hello("h", "dom0", 2, b"k")),
            Reported("h", Report(2, 1, {"a": 0.1})),
            Reported("h", Report(2, 2, {"a": 0.9})),
        ],
        len(stream) + 1,
    ):
        sent += [o for o in core.feed(Entry(position, 1001.0, event)) if isinstance(o, Send)]
    assert len(sent) == 2
