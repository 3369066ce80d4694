"""Both sides of the handshake, without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.spread import constants as c
from vmm.spread import error
from vmm.spread.handshake import ClientHandshake, ServerHandshake

CHOICE = b"NULL".ljust(90, b"\0")
ACCEPT = b"\x01\x05\x00\x01\x0e#bob#localhost"


def hello(name: bytes, version: bytes = b"\x05\x00\x01", flags: int = 1, length: int | None = None) -> bytes:
    return version + bytes((flags, len(name) if length is None else length)) + name


def server() -> ServerHandshake:
    taken = {b"alice"}
    return ServerHandshake(
        lambda name: c.REJECT_NOT_UNIQUE if name in taken else name or b"r1-7", b"localhost"
    )


def in_pieces(machine: ServerHandshake, data: bytes, size: int) -> bytes:
    return b"".join(machine.feed(data[i : i + size]) for i in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 200])
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (hello(b"bob") + CHOICE, b"\x05NULL " + ACCEPT),
        (hello(b"bob", version=b"\x03\x0f\x00"), ACCEPT),
        (b"\x03\x0e\x01\x03bob", b"\x01\x05\x00\x0e#bob#localhost"),
        (hello(b"") + CHOICE, b"\x05NULL \x01\x05\x00\x01\x0f#r1-7#localhost"),
        (hello(b"alice"), b"\xfa"),
        (hello(b"a b"), b"\xfb"),
        (hello(b"a#b"), b"\xfb"),
        (hello(b"\xff"), b"\xfb"),
        (hello(b"", length=11), b"\xfb"),
        (hello(b"", length=200), b"\xfb"),
        (b"\x03\x00", b"\xf9"),
        (hello(b"bob") + b"XYZ".ljust(90, b"\0"), b"\x05NULL \xf7"),
        (hello(b"bob") + bytes(90), b"\x05NULL \xf7"),
        (hello(b"bob") + b"NULL".ljust(30, b"\0") + b"IP".ljust(60, b"\0"), b"\x05NULL \xf7"),
        (hello(b"bob", length=5), b""),
        (hello(b"bob") + CHOICE[:89], b"\x05NULL "),
    ],
)
def test_the_daemon_answers(sent: bytes, answer: bytes, size: int) -> None:
    machine = server()
    assert in_pieces(machine, sent, size) == answer
    assert machine.done == (b"\x01\x05\x00" in answer)
    code = int.from_bytes(answer[-1:], "big", signed=True)
    assert machine.refused == (code if code < 0 else 0)


def test_flags_and_what_follows_the_handshake() -> None:
    machine = server()
    machine.feed(hello(b"bob", flags=0x11) + CHOICE + b"frames")
    assert (machine.membership, machine.priority, machine.rest) == (True, 1, b"frames")
    machine = server()
    machine.feed(hello(b"bob", flags=0x00) + CHOICE)
    assert not machine.membership


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b""), (b"\x05\x00\x01", b""), (hello(b"bo", length=5), b"\xfb"), (hello(b"bob"), b"\xf7")],
)
def test_giving_up_on_a_client_that_stopped(sent: bytes, answer: bytes) -> None:
    machine = server()
    machine.feed(sent)
    assert machine.give_up() == answer
    assert machine.give_up() == b""


@given(st.lists(st.binary(max_size=120), max_size=6))
def test_the_daemon_takes_any_bytes(parts: list[bytes]) -> None:
    machine = server()
    answers = [machine.feed(part) for part in parts]
    whole = server()
    assert whole.feed(b"".join(parts))[: len(b"".join(answers))] == b"".join(answers)
    assert not (machine.done and machine.refused)


def client(name: bytes = b"bob") -> ClientHandshake:
    return ClientHandshake(name, membership=True, priority=0)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_client_gets_through(size: int) -> None:
    machine = client()
    assert machine.hello() == hello(b"bob")
    stream = b"\x05NULL " + ACCEPT + b"first frame"
    sent = b"".join(machine.feed(stream[i : i + size]) for i in range(0, len(ACCEPT) + 6, size))
    assert sent == CHOICE
    assert machine.done
    assert (machine.version, machine.private_group) == ((5, 0, 1), b"#bob#localhost")
    assert b"first frame".startswith(machine.rest)


def test_the_client_cuts_its_name_as_the_library_does() -> None:
    assert client(b"abcdefghijkl").hello() == hello(b"abcdefghij")


@pytest.mark.parametrize("code", [-3, -5, -6, -7, -9])
def test_refusals_carry_their_code(code: int) -> None:
    byte = code.to_bytes(1, "big", signed=True)
    for stream in (byte, b"\x05NULL " + byte):
        with pytest.raises(error, match="refused the session of 'bob'") as caught:
            client().feed(stream)
        assert (caught.value.code, caught.value.lost) == (code, True)


def test_a_daemon_with_other_ways_of_authentication() -> None:
    assert client().feed(b"\x03IP ") == b"IP".ljust(90, b"\0")
    with pytest.raises(error, match="PAM") as caught:
        client().feed(b"\x04PAM ")
    assert caught.value.code == c.REJECT_AUTH


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_the_client_takes_any_bytes(parts: list[bytes]) -> None:
    machine = client()
    refused: error | None = None
    try:
        for part in parts:
            machine.feed(part)
    except error as problem:
        refused = problem
    assert refused is None or refused.lost
