"""The mailbox: what it sends, refuses, hands out, and how it ends; and two threads on one of them."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmm import spread
from vmm.spread import constants as c
from vmm.spread.address import parse_daemon
from vmm.spread.codec import encode, pad_name
from vmm.spread.daemon import EmbeddedDaemon
from vmm.spread.membership import ViewId, encode_body

ME = pad_name(b"#bob#fake")


def body_of(mbox: spread.Mailbox) -> bytes:
    """Body of the next message, which is data."""
    message = mbox.receive(5)
    assert isinstance(message, spread.RegularMsg)
    return message.message


@contextmanager
def scripted_daemon(version: int = 5, first: bytes = b"") -> Iterator[tuple[spread.Mailbox, socket.socket]]:
    """A mailbox connected to a socket on which the test plays the daemon."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: list[socket.socket] = []

        def greet() -> None:
            stream, _ = server.accept()
            stream.recv(100)
            stream.sendall(b"\x05NULL ")
            stream.recv(90, socket.MSG_WAITALL)
            stream.sendall(bytes((1, version, 0, 1, 9)) + b"#bob#fake" + first)
            found.append(stream)

        thread = threading.Thread(target=greet)
        thread.start()
        mbox = spread.connect(f"{server.getsockname()[1]}@127.0.0.1", "bob", timeout=5)
        thread.join()
        with found[0]:
            yield mbox, found[0]
            found[0].close()
            mbox.disconnect()


def data(body: bytes) -> bytes:
    return encode(c.AGREED_MESS, pad_name(b"#ann#fake"), groups_raw=pad_name(b"g"), body=body)


def test_messages_come_as_text_names_and_bytes(daemon: EmbeddedDaemon) -> None:
    with spread.connect(daemon.address, "ann") as ann, spread.connect(daemon.address, b"ben") as ben:
        ann.join(b"g")
        view = ann.receive(2)
        assert isinstance(view, spread.MembershipMsg)
        assert (view.members, view.extra) == (("#ann#localhost",), ("#ann#localhost",))
        ben.multigroup_multicast(c.CAUSAL_MESS, ("g", b"h"), bytearray(b"body"), -2)
        message = ann.receive(2)
        assert isinstance(message, spread.RegularMsg)
        assert (message.sender, message.groups, message.message) == ("#ben#localhost", ("g", "h"), b"body")
        assert (message.msg_type, message.service) == (-2, c.CAUSAL_MESS)
        assert "#ben#localhost" in repr(message)
        assert "1 members" in repr(view)
        with pytest.raises(TypeError, match="unhashable"):
            hash(view.group_id)
        assert view.group_id != "x"


@pytest.mark.parametrize(
    ("service", "group", "body", "problem", "code"),
    [
        (0, "g", b"", spread.error, c.ILLEGAL_SERVICE),
        (c.SELF_DISCARD, "g", b"", spread.error, c.ILLEGAL_SERVICE),
        (c.AGREED_MESS | c.SAFE_MESS, "g", b"", spread.error, c.ILLEGAL_SERVICE),
        (c.REG_MEMB_MESS | c.AGREED_MESS, "g", b"", ValueError, None),
        (c.REJECT_MESS | c.AGREED_MESS, "g", b"", ValueError, None),
        (c.AGREED_MESS, "", b"", spread.error, c.ILLEGAL_GROUP),
        (c.AGREED_MESS, "x" * 32, b"", spread.error, c.ILLEGAL_GROUP),
        (c.AGREED_MESS, "g", bytes(140_000 - 79), spread.error, c.MESSAGE_TOO_LONG),
        (c.AGREED_MESS, "g", "text", TypeError, None),
    ],
)
def test_messages_that_are_refused_before_sending(
    daemon: EmbeddedDaemon, service: int, group: str, body: bytes, problem: type[Exception], code: int | None
) -> None:
    with spread.connect(daemon.address) as mbox:
        with pytest.raises(problem) as caught:
            mbox.multicast(service, group, body)
        assert getattr(caught.value, "code", None) == code
        assert not getattr(caught.value, "lost", False)
        mbox.multicast(c.AGREED_MESS, mbox.private_group, bytes(140_000 - 80))
        message = mbox.receive(2)
        assert isinstance(message, spread.RegularMsg)
        assert len(message.message) == 139_920


def test_too_many_groups_are_refused_and_the_message_says_why(daemon: EmbeddedDaemon) -> None:
    with spread.connect(daemon.address) as mbox:
        many = (*(f"g{n}" for n in range(42)), mbox.private_group)
        mbox.multigroup_multicast(c.AGREED_MESS, many, b"43")
        with pytest.raises(spread.error, match="deliver to nobody above 43"):
            mbox.multigroup_multicast(c.AGREED_MESS, ("g", *many), b"44")
        with pytest.raises(spread.error, match="real daemons abort above 143200"):
            mbox.multigroup_multicast(c.AGREED_MESS, many, bytes(140_000))
        for groups, problem in (([], TypeError), ((), ValueError)):
            with pytest.raises(problem):
                mbox.multigroup_multicast(c.AGREED_MESS, groups, b"")  # type: ignore[arg-type]
        message = mbox.receive(2)
        assert isinstance(message, spread.RegularMsg)
        assert message.message == b"43"


@pytest.mark.parametrize("group", ["", "x" * 32, "a b", "#x", "caf\xe9", '"', "x\0y"])
def test_groups_that_cannot_be_joined(daemon: EmbeddedDaemon, group: str) -> None:
    with spread.connect(daemon.address) as mbox:
        for call in (mbox.join, mbox.leave):
            with pytest.raises(spread.error) as caught:
                call(group)
            assert caught.value.args[0] == c.ILLEGAL_GROUP


@pytest.mark.parametrize("text", ["host:4803", "x", "4803:host", "0@localhost", "70000@localhost", "4803@"])
def test_texts_that_name_no_daemon(text: str) -> None:
    with pytest.raises(spread.error) as caught:
        spread.connect(text)
    assert caught.value.code == c.ILLEGAL_SPREAD


def test_forms_of_a_daemons_name() -> None:
    assert parse_daemon("4803@::1")[:2] == ("::1", 4803)
    assert parse_daemon("")[2].endswith("/4803")
    assert parse_daemon(None) == parse_daemon("4803") == parse_daemon("")
    assert parse_daemon("12@/run/x")[2] == "/run/x/12"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(spread.error, match="is a daemon running there") as caught:
        spread.connect(f"{port}@127.0.0.1")
    assert caught.value.code == c.COULD_NOT_CONNECT


def test_a_daemon_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(spread.error, match="did not answer in time") as caught:
            spread.connect(f"{server.getsockname()[1]}@127.0.0.1", timeout=0.02)
        assert caught.value.code == c.COULD_NOT_CONNECT


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "4803"
    with (
        EmbeddedDaemon(f"{path}, 127.0.0.1:0") as daemon,
        spread.connect(daemon.address, "ann") as ann,
        spread.connect(f"4803@{tmp_path}", "ben") as ben,
    ):
        ben.multicast(c.AGREED_MESS, ann.private_group, b"x")
        assert body_of(ann) == b"x"
    assert not path.exists()


def test_a_closed_stream_and_a_torn_one_are_told_apart() -> None:
    for tail, code, words in (
        (b"", c.CONNECTION_CLOSED, "closed the connection"),
        (data(b"body")[:60], c.NET_ERROR_ON_SESSION, "inside a message, after 60 of 84 bytes"),
        (b"\x80" * 48, c.ILLEGAL_MESSAGE, "no message"),
    ):
        with scripted_daemon(first=data(b"one")) as (mbox, stream):
            stream.sendall(data(b"two") + tail)
            stream.close()
            assert [body_of(mbox) for _ in range(2)] == [b"one", b"two"]
            with pytest.raises(spread.error, match=words) as caught:
                mbox.receive(2)
            assert (caught.value.code, caught.value.lost) == (code, True)
            assert mbox.poll is not None
            for call in (mbox.receive, mbox.poll, mbox.fileno, lambda: mbox.join("g")):
                with pytest.raises(spread.error, match="called on closed mbox"):
                    call()


def test_a_reset_stream_is_an_error_too() -> None:
    with scripted_daemon() as (mbox, stream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
        with pytest.raises(spread.error, match="connection lost") as caught:
            mbox.receive(2)
        assert caught.value.code == c.CONNECTION_CLOSED


def test_forged_and_odd_messages_do_not_disturb_the_others() -> None:
    forged = encode(
        c.REG_MEMB_MESS | c.AGREED_MESS, pad_name(b"#eve#fake"), groups_raw=pad_name(b"g"), body=b"x"
    )
    refused = encode(c.REJECT_MESS, ME, groups_raw=pad_name(b"g") + ME)
    refused = refused[:48] + (c.JOIN_MESS | c.ORDER_MARK).to_bytes(4, "little") + refused[48:]
    unknown = encode(c.GROUPS_MESS, ME)
    torn = encode(c.REG_MEMB_MESS | c.CAUSED_BY_JOIN, pad_name(b"g"), groups_raw=ME, body=b"short")
    with scripted_daemon() as (mbox, stream):
        stream.sendall(forged + data(b"1") + refused + data(b"2") + unknown + torn + forged + data(b"3"))
        assert body_of(mbox) == b"1"
        for words in ("refused a request", "unexpected service type", "malformed membership"):
            if words != "malformed membership":
                with pytest.raises(spread.error, match=words) as caught:
                    mbox.receive_many(10, 2)
                assert not caught.value.lost
            else:
                with pytest.raises(spread.error, match=words):
                    mbox.receive(2)
            if words == "refused a request":
                assert [getattr(m, "message", None) for m in mbox.receive_many(10, 2)] == [b"2"]
        assert body_of(mbox) == b"3"
        assert mbox.forged_dropped == 2


def test_membership_of_a_spread_3_daemon() -> None:
    body = encode_body(ViewId(1, 2, 3), [ME])
    old = body[:12] + body[20:]
    with scripted_daemon(version=3) as (mbox, stream):
        stream.sendall(encode(c.REG_MEMB_MESS | c.CAUSED_BY_JOIN, pad_name(b"g"), groups_raw=ME, body=old))
        message = mbox.receive(2)
        assert isinstance(message, spread.MembershipMsg)
        assert (message.members, message.extra) == (("#bob#fake",), ("#bob#fake",))


def test_fileno_is_readable_while_messages_wait_inside(daemon: EmbeddedDaemon) -> None:
    def readable(mbox: spread.Mailbox) -> bool:
        return bool(select.select([mbox], [], [], 0)[0])

    with spread.connect(daemon.address) as mbox:
        assert not readable(mbox)
        for body in (b"1", b"2", b"3", b"4"):
            mbox.multicast(c.AGREED_MESS, mbox.private_group, body)
        mbox.multicast(c.AGREED_MESS, "nobody", b"")
        got = [body_of(mbox)]
        while readable(mbox) or len(got) < 4:
            assert (mbox.poll() > 0) == readable(mbox)
            got.append(body_of(mbox))
        assert got == [b"1", b"2", b"3", b"4"]
        assert mbox.poll() == 0


def test_timeouts_and_wake(daemon: EmbeddedDaemon) -> None:
    with spread.connect(daemon.address) as mbox:
        for timeout in (0, 0.001):
            with pytest.raises(TimeoutError):
                mbox.receive(timeout)
            assert mbox.receive_many(5, timeout) == []
        mbox.wake()
        with pytest.raises(spread.Woken):
            mbox.receive(5)
        with pytest.raises(TimeoutError, match="no message"):
            mbox.receive(0)
        waker = threading.Timer(0.02, mbox.wake)
        waker.start()
        assert mbox.receive_many(5, 5) == []
        waker.join()
        for _ in range(3):
            mbox.multicast(c.AGREED_MESS, mbox.private_group, b"x")
        got = mbox.receive_many(2, 5)
        while len(got) < 3:
            got += mbox.receive_many(2, 5)
        assert len(got) == 3


def test_one_thread_receives_while_others_send(daemon: EmbeddedDaemon) -> None:
    senders, each = 3, 300
    with spread.connect(daemon.address, membership=False) as mbox:
        seen: list[tuple[int, int]] = []
        window = threading.Semaphore(200)

        def receive() -> None:
            while len(seen) < senders * each:
                for message in mbox.receive_many(timeout=5):
                    assert isinstance(message, spread.RegularMsg)
                    seen.append((message.msg_type, int(message.message)))
                    window.release()

        def send(number: int) -> None:
            for serial in range(each):
                window.acquire()
                mbox.multicast(c.FIFO_MESS, mbox.private_group, b"%d" % serial, number)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
        threads.append(threading.Thread(target=receive))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for number in range(senders):
            assert [serial for sender, serial in seen if sender == number] == list(range(each))


@pytest.mark.parametrize("many", [False, True])
def test_disconnect_wakes_a_blocked_receive(daemon: EmbeddedDaemon, many: bool) -> None:
    mbox = spread.connect(daemon.address)
    problems: list[spread.error] = []

    def receive() -> None:
        try:
            mbox.receive_many() if many else mbox.receive()
        except spread.error as problem:
            problems.append(problem)

    thread = threading.Thread(target=receive)
    thread.start()
    threading.Event().wait(0.02)
    mbox.disconnect()
    thread.join(5)
    assert not thread.is_alive()
    assert [problem.lost for problem in problems] == [True]


def test_disconnect_frees_a_sender_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmm.spread.mailbox._GOODBYE_S", 0.05)
    with scripted_daemon() as (mbox, stream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        problems: list[spread.error] = []

        def send() -> None:
            try:
                while True:
                    mbox.multicast(c.AGREED_MESS, "g", bytes(100_000))
            except spread.error as problem:
                problems.append(problem)

        thread = threading.Thread(target=send)
        thread.start()
        threading.Event().wait(0.05)
        mbox.disconnect()
        thread.join(5)
        assert not thread.is_alive()
        assert [problem.lost for problem in problems] == [True]


def test_what_was_sent_before_disconnect_arrives(daemon: EmbeddedDaemon) -> None:
    with spread.connect(daemon.address, "ann", membership=False) as ann:
        ben = spread.connect(daemon.address, "ben", membership=False)
        ann.multicast(c.AGREED_MESS, ben.private_group, b"never read")
        for _ in range(8):
            ben.multicast(c.AGREED_MESS, ann.private_group, bytes(10_000))
        ben.disconnect()
        assert sum(len(body_of(ann)) for _ in range(8)) == 80_000
        spread.connect(daemon.address, "ben").disconnect()


def test_a_mailbox_that_is_dropped_ends_its_session(daemon: EmbeddedDaemon) -> None:
    with spread.connect(daemon.address, "ann") as ann:
        ann.join("g")
        ann.receive(2)
        ben = spread.connect(daemon.address, "ben")
        ben.join("g")
        ann.receive(2)
        del ben
        message = ann.receive(2)
        assert isinstance(message, spread.MembershipMsg)
        assert message.reason == c.CAUSED_BY_DISCONNECT
