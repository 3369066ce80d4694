"""The small parts: lanes, outbox, packing, complaints."""

from __future__ import annotations

import threading

import msgspec
import pytest
from client_bus import LocalDaemon
from hypothesis import given
from hypothesis import strategies as st

from vmm.client.complaints import Complaints
from vmm.client.lanes import Job, Lanes
from vmm.client.outbox import Outbox, Parcel
from vmm.client.packing import fit_result, pack, size_of
from vmm.messages.structs import Hello, Report, Result

HELLO = Hello("h1", "dom0", 1, b"")


def report(seq: int) -> Report:
    return Report(1, seq, {})


class TestLanes:
    def test_one_subject_hands_out_one_job_at_a_time(self) -> None:
        lanes: Lanes[int] = Lanes()
        for n, subject in enumerate(["g1", "g1", "g2"]):
            assert lanes.put(Job(f"c{n}", subject, n)) == "taken"
        first, second = lanes.take(), lanes.take()
        assert first is not None
        assert second is not None
        assert [first.work, second.work] == [0, 2]
        lanes.done(first)
        third = lanes.take()
        assert third is not None
        assert third.work == 1

    def test_an_id_is_known_until_it_is_done(self) -> None:
        lanes: Lanes[int] = Lanes()
        job = Job("c1", "g1", 1)
        assert [lanes.put(job), lanes.put(job)] == ["taken", "known"]
        taken = lanes.take()
        assert taken == job
        assert lanes.put(job) == "known"
        lanes.done(job)
        assert lanes.put(job) == "taken"

    def test_a_full_or_closed_one_says_so(self) -> None:
        lanes: Lanes[int] = Lanes(bound=1)
        lanes.put(Job("c1", "g1", 1))
        assert lanes.put(Job("c2", "g2", 2)) == "full"
        assert [job.id for job in lanes.close()] == ["c1"]
        assert lanes.put(Job("c3", "g3", 3)) == "closed"
        assert lanes.take() is None

    @given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 4))
    def test_order_per_subject_holds_with_any_number_of_threads(self, subjects: list[int], pool: int) -> None:
        lanes: Lanes[int] = Lanes()
        running: set[str] = set()
        done: dict[str, list[int]] = {}
        overlaps = []
        left = threading.Semaphore(0)

        def work() -> None:
            while (job := lanes.take()) is not None:
                if job.subject in running:
                    overlaps.append(job)
                running.add(job.subject)
                done.setdefault(job.subject, []).append(job.work)
                running.discard(job.subject)
                lanes.done(job)
                left.release()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(pool)]
        for thread in threads:
            thread.start()
        for n, subject in enumerate(subjects):
            lanes.put(Job(str(n), str(subject), n))
        for _ in subjects:
            assert left.acquire(timeout=20)
        lanes.close()
        for thread in threads:
            thread.join(20)
        assert not overlaps
        assert all(order == sorted(order) for order in done.values())
        assert sum(map(len, done.values())) == len(subjects)


class TestOutbox:
    def test_a_new_connection_says_hello_and_drops_old_reports_not_results(self) -> None:
        outbox, bus = Outbox(), LocalDaemon().connect("h1")
        outbox.put(report(0))
        outbox.put(Result("c1", "done"))
        outbox.attach(bus, HELLO)
        outbox.put(report(1))
        assert [outbox.take() for _ in range(3)] == [
            Parcel(bus, HELLO), Parcel(bus, Result("c1", "done")), Parcel(bus, report(1)),
        ]  # fmt: skip

    def test_a_full_one_drops_the_oldest_report_and_counts(self) -> None:
        outbox, bus = Outbox(bound=2), LocalDaemon().connect("h1")
        outbox.put(Result("c1", "done"))
        outbox.put(report(0))
        outbox.put(report(1))
        outbox.put(Result("c2", "done"))
        outbox.put(Result("c3", "done"))
        assert outbox.dropped == 3
        outbox.attach(bus, HELLO)
        outbox.close()
        sent = [outbox.take() for _ in range(4)]
        assert [p.message for p in sent if p] == [HELLO, Result("c2", "done"), Result("c3", "done")]

    def test_a_result_under_which_the_connection_broke_goes_out_on_the_next(self) -> None:
        daemon = LocalDaemon()
        outbox, old, new = Outbox(), daemon.connect("h1"), daemon.connect("h2")
        outbox.attach(old, HELLO)
        outbox.put(Result("c1", "done"))
        outbox.put(report(1))
        taken = [outbox.take() for _ in range(3)]
        for parcel in reversed(taken):
            assert parcel is not None
            outbox.put_back(parcel)
        assert not outbox.attached
        outbox.attach(new, HELLO)
        assert [outbox.take(), outbox.take()] == [Parcel(new, HELLO), Parcel(new, Result("c1", "done"))]
        assert len(outbox) == 0

    def test_what_comes_back_late_neither_detaches_the_new_connection_nor_overtakes_its_hello(self) -> None:
        daemon = LocalDaemon()
        outbox, old, new = Outbox(), daemon.connect("h1"), daemon.connect("h2")
        outbox.attach(new, HELLO)
        outbox.put_back(Parcel(old, Result("c1", "done")))
        assert outbox.attached
        assert [outbox.take(), outbox.take()] == [Parcel(new, HELLO), Parcel(new, Result("c1", "done"))]

    def test_closed_without_a_connection_it_gives_nothing(self) -> None:
        outbox = Outbox()
        outbox.put(Result("c1", "done"))
        outbox.close()
        assert outbox.take() is None


numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


class TestPacking:
    @given(st.dictionaries(st.text(max_size=10), values, max_size=12), st.integers(60, 400))
    def test_every_value_arrives_once_or_is_an_error_and_every_part_fits(
        self, given_values: dict[str, object], limit: int
    ) -> None:
        parts = pack(given_values, {}, limit)  # type: ignore[arg-type]
        names = [name for part in parts for name in (*part.values, *part.errors)]
        assert sorted(names) == sorted(given_values)
        for part in parts:
            assert all(given_values[name] == value for name, value in part.values.items())
            if part.values:
                assert len(msgspec.msgpack.encode(part.values)) <= limit

    @pytest.mark.parametrize("bad", [object(), 2**70, {1, object()}, {"x": [lambda: 0]}])
    def test_what_cannot_travel_is_an_error_of_its_own(self, bad: object) -> None:
        (part,) = pack({"bad": bad, "good": 1}, {"other": "down"})  # type: ignore[dict-item]
        assert part.values == {"good": 1}
        assert "bad-value" in part.errors["bad"]
        assert part.errors["other"] == "down"

    def test_nothing_is_one_empty_part(self) -> None:
        assert len(pack({}, {})) == 1

    def test_long_texts_of_errors_are_cut(self) -> None:
        (part,) = pack({}, {"x": "y" * 10_000})
        assert len(part.errors["x"]) == 500

    def test_a_result_that_fits_stays_as_it_is(self) -> None:
        result = Result("c1", "done", value=[1, 2])
        assert fit_result(result) is result
        assert isinstance(size_of(fit_result(Result("c1", "failed", message="m" * 10**6)).message), int)


def test_complaints_are_all_counted_and_written_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    complaints = Complaints(lambda: now[0], every_s=10.0)
    for _ in range(100):
        complaints.say("bad", "a bad one")
    complaints.say("other", "another")
    now[0] = 10.0
    complaints.say("bad", "a bad one")
    assert complaints.counts == {"bad": 101, "other": 1}
    assert [r.message for r in caplog.records] == ["a bad one", "another", "a bad one (and 99 more like it)"]
