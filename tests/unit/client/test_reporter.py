"""The Reporter's turns, driven by hand: what is asked, read, waited for and sent."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from client_bus import LocalDaemon

from vmm.client.outbox import Outbox
from vmm.client.reporter import Read, ReadAll, Reporter
from vmm.messages.structs import Hello, Query, Report
from vmm.plugins.run import Outcome


class Hands:
    """A Reporter whose clock and reads are ours."""

    def __init__(self, ticks_s: dict[str, float], attached: bool = True) -> None:
        self.now_s = 0.0
        self.submitted: list[str] = []
        self.outbox = Outbox()
        if attached:
            self.outbox.attach(LocalDaemon().connect("h1"), Hello("h1", "dom0", 1, b""))
            self.outbox.take()
        self.reporter = Reporter(
            periods_s=ticks_s,
            submit=self.submitted.append,
            outbox=self.outbox,
            session=1,
            stop=threading.Event(),
            clock=lambda: self.now_s,
            patience_s=1.0,
        )

    def at(self, now_s: float, *events: Read | ReadAll | Query) -> list[str]:
        """One turn; returns what it began to read."""
        self.now_s = now_s
        self.submitted.clear()
        self.reporter.step(events)
        return list(self.submitted)

    def sent(self) -> list[tuple[str, dict[str, object], Sequence[str]]]:
        reports = []
        while len(self.outbox):
            parcel = self.outbox.take()
            assert parcel is not None
            assert isinstance(parcel.message, Report)
            reports.append((parcel.message.query, dict(parcel.message.values), list(parcel.message.errors)))
        return reports


def read(name: str, value: int = 1) -> Read:
    return Read(name, Outcome(value=value))


def test_a_slow_property_misses_its_ticks_and_delays_no_other() -> None:
    hands = Hands({"slow": 5.0, "quick": 5.0})
    assert hands.at(0.0) == ["slow", "quick"]
    hands.at(0.1, read("quick"))
    assert hands.sent() == []
    hands.at(1.1)
    assert hands.sent() == [("", {"quick": 1}, [])]
    assert hands.at(5.0) == ["quick"]
    hands.at(5.1, read("quick"))
    assert hands.sent() == [("", {"quick": 1}, [])], "it waited for the slow one"
    hands.at(7.0, read("slow"))
    assert hands.sent() == [("", {"slow": 1}, [])]
    assert hands.at(10.0) == ["slow", "quick"]


def test_one_read_serves_all_who_wait_for_it() -> None:
    hands = Hands({"ram": 100.0})
    assert hands.at(0.0, Query("q1"), ReadAll(), Query("q2", ["ram", "rma"])) == ["ram"]
    hands.at(0.1, read("ram", 7))
    assert sorted(hands.sent()) == [("", {"ram": 7}, []), ("q1", {"ram": 7}, []), ("q2", {"ram": 7}, ["rma"])]


def test_without_a_connection_ticks_read_nothing() -> None:
    hands = Hands({"ram": 5.0}, attached=False)
    assert [hands.at(t) for t in (0.0, 5.0, 10.0)] == [[], [], []]
    assert hands.at(11.0, ReadAll()) == ["ram"], "a full report is asked for by the connection itself"


def test_a_property_that_still_hangs_keeps_its_first_reason() -> None:
    hands = Hands({"hangs": 5.0})
    texts = []
    for now, code in ((0.0, "plugin-timeout"), (5.0, "plugin-busy"), (10.0, "plugin-busy")):
        hands.at(now)
        hands.at(now, Read("hangs", Outcome(code=code, message=f"since {now}")))
        parcel = hands.outbox.take()
        assert parcel is not None
        assert isinstance(parcel.message, Report)
        texts.append(parcel.message.errors["hangs"])
    assert set(texts) == {"[plugin-timeout] since 0.0"}
