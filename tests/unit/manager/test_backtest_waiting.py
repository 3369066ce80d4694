"""In bulk, values wait in columns that no rule reads; reports fed one by one overtake them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from random_journal import SETTINGS, Stream, files
from test_backtest_in_bulk import assert_same, both

from vmm.api.bulk import run as bulk_run
from vmm.api.bulk.tokens import Tokens
from vmm.cluster.tables import World
from vmm.decide.events import Reported, Started
from vmm.messages.structs import Report

RULES = """# t and s are named, and so stored, but not read
[hot]
each = client
expr = { client.a > 0.8 }
cmd = { sender.notify(client.name) }

[full]
each = client
expr = { client.b > 2 }
cmd = { sender.notify(client.name) }
"""
FACTS = {"memory_mib": 9000, "reserved_mib": 512, "cpus": 4}
TURNED = {"cpus": 4, "reserved_mib": 512, "memory_mib": 9000}
GUEST = {"name": "g", "memory_mib": 512, "vcpus": 1, "state": "running"}
TABLE = [{"name": "q", "n": 1}]
TURNED_TABLE = [{"n": 1, "name": "q"}]
OTHER_TABLE = [{"name": "q", "n": 2}]
TURNED_OTHER = [{"n": 2, "name": "q"}]

FED: dict[str, Any] = {"a": 0.9}
"""A report with this is fed: a rule fires."""


class Story(Stream):
    """Hosts that always say the same, until one of them says something else."""

    def say(self, name: str, **other: Any) -> None:
        self.seq[name] += 1
        values = {"a": 0.5, "b": 0.5, "s": "y", "t": TABLE, "host_facts": FACTS, "host_guests": [GUEST]}
        self.put(Reported(name, Report(self.session[name], self.seq[name], values | other)))

    def tell(self, reports: list[dict[str, Any]]) -> None:
        self.token: dict[str, str] = {}
        self.put(Started("e", files(RULES), SETTINGS, "1"))
        hosts = [name for name in self.names if self.role(name) == "dom0"]
        for name in hosts:
            self.hello(name)
        for _ in range(60):
            self.beat()
            for name in hosts:
                self.say(name)
        for report in reports:
            self.beat()
            self.say(hosts[1], **report)
        for _ in range(20):
            self.beat()
            self.say(hosts[2])


@pytest.mark.parametrize(
    "reports",
    [
        [{"b": 0.0}, FED | {"b": -0.0}],
        [{"b": 0.7}, {"b": -0.0}, FED | {"b": 0.0}],
        [FED | {"b": -0.0}, {"b": 0.0}, {"b": 0.0}],
        [{"host_facts": None}, {"host_facts": TURNED}],
        [{"host_facts": None}, FED | {"host_facts": TURNED}],
        [{"host_facts": None}, FED | {"host_facts": None}, {}, {"host_facts": None}],
        [{"host_guests": None}, {"host_guests": [GUEST | {"memory_mib": 512.0}]}],
        [{"t": OTHER_TABLE}, {"t": TURNED_OTHER}],
        [{"t": OTHER_TABLE}, FED | {"t": TURNED_TABLE}],
        [{"t": OTHER_TABLE}, FED | {"t": TURNED_OTHER}, {"t": OTHER_TABLE}],
        [{"s": "x"}, FED, {"s": "x"}, FED | {"s": None}, {"s": "y"}],
    ],
)
def test_a_report_that_is_fed_meets_what_was_said_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(bulk_run, "_SHORT", 1)
    monkeypatch.setattr(bulk_run, "_LEAST", 24)
    story = Story(1, 18, 1.0)
    story.tell(reports)
    slow, fast, fed = both(story.write(tmp_path), RULES)
    assert_same(slow, fast)
    assert fed < len(story.rows) / 2


def test_what_a_row_said_that_has_gone_meanwhile_is_not_what_it_holds() -> None:
    world = World()
    world.guests.declare("s", type="str")
    world.guests.add("g")
    tokens = Tokens(world, [msgspec.msgpack.encode("y")])
    tokens.note("guest", "s", 0, 0)  # the report's own step has emptied the row again
    other, values = tokens.put("guest", "s", np.array([0]), np.array([0]), None)
    assert (other.tolist(), values) == ([True], ["y"])
