"""What travels: every struct there and back, and foreign bytes that must end in one clear error."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.errors import BadMessage
from vmm.messages import keys
from vmm.messages.codec import decode_body, encode_body, open_envelope, open_sealed, seal
from vmm.messages.structs import (
    KINDS,
    SCHEMA,
    STRUCTS,
    Beat,
    Command,
    Envelope,
    Hello,
    Intent,
    Kind,
    Message,
    Query,
    Reason,
    Report,
    Result,
)

SIGNER = keys.Signer.generate()
STRANGER = keys.Signer.generate()

texts = st.text(max_size=20)
floats = st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | floats | texts
plain = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=8
)
args = st.dictionaries(texts, plain, max_size=4)
reasons = st.lists(st.builds(Reason, texts, texts, floats, st.integers(0, 2**60)), max_size=3)
messages = st.one_of(
    st.builds(Hello, texts, texts, st.integers(0, 2**63 - 1), st.binary(max_size=32), texts, args),
    st.builds(Report, st.integers(0, 99), st.integers(0, 99), args, st.dictionaries(texts, texts), texts),
    st.builds(Query, texts, st.lists(texts, max_size=3)),
    st.builds(Command, texts, texts, texts, args, floats, reasons, st.integers(1, 99)),
    st.builds(Result, texts, texts, plain, texts, texts, texts, st.booleans(), floats),
    st.builds(Beat, floats, texts, texts, st.integers(0, 2**60), texts),
    st.builds(Intent, texts, texts, args, texts, texts),
)  # fmt: skip


def known(sender: str, kind: int, body: bytes) -> bytes | None:
    return None if sender == "nobody" else SIGNER.public_key


@given(messages, st.text(max_size=20).filter(lambda name: name != "nobody"))
def test_every_message_comes_back_as_it_was_sealed(message: Message, sender: str) -> None:
    kind, data = seal(message, sender, SIGNER)
    assert kind == KINDS[type(message)]
    assert open_sealed(kind, data, known) == (sender, message)
    assert decode_body(kind, encode_body(message)) == message


@given(messages, st.data())
def test_a_changed_or_cut_byte_never_passes(message: Message, data: st.DataObject) -> None:
    kind, sealed = seal(message, "m", SIGNER)
    position = data.draw(st.integers(0, len(sealed) - 1))
    flipped = (
        sealed[:position]
        + bytes([sealed[position] ^ data.draw(st.integers(1, 255))])
        + sealed[position + 1 :]
    )
    for wrong in (flipped, sealed[:position]):
        try:
            opened = open_sealed(kind, wrong, known)
        except BadMessage:
            continue
        # Only the way of writing the outer array may differ, never what was signed.
        assert opened == ("m", message)


@given(st.sampled_from(list(Kind)), st.binary(max_size=300))
def test_foreign_bytes_are_a_bad_message_and_nothing_else(kind: Kind, data: bytes) -> None:
    with pytest.raises(BadMessage):
        open_sealed(kind, data, known)
    with contextlib.suppress(BadMessage):  # anything else fails the test
        assert isinstance(decode_body(kind, data), STRUCTS[kind])


DEEP = b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("deep", DEEP),
        ("deep in an unknown field", b"\x95\x01\xa1a\xc4\x00\xc4\x00" + DEEP),
        ("endless array", b"\xdd\xff\xff\xff\xff"),
        ("endless bytes", b"\x94\x01\xa1a\xc6\xff\xff\xff\xff"),
        ("no text", b"\x94\x01\xa1\xff\xc4\x00\xc4\x00"),
        ("empty", b""),
    ],
)
def test_hostile_envelopes(name: str, data: bytes) -> None:
    with pytest.raises(BadMessage):
        open_envelope(Kind.COMMAND, data)


@pytest.mark.parametrize(
    "body",
    [
        b"\x93\x01\x01\x81\xa1x" + DEEP,
        b"\x93\x01\x01\x81\xa1x\xdd\xff\xff\xff\xff",
        b"\x93\x01\x01\x81\xa1x\xdf\xff\xff\xff\xff",
        b"\x93\x01\x01\x81\xa1x\xc7\x05\x07abcde",
        b"\x93\x01\x01\x81\xa1x\x91\x81\x91\x81\xa1a\x01\x01",
        b"\x93\x01\x01\x80\x00",
    ],
)
def test_hostile_bodies_of_a_trusted_sender(body: bytes) -> None:
    data = msgspec.msgpack.encode(Envelope(SCHEMA, "h1", body, SIGNER.sign(SCHEMA, Kind.REPORT, "h1", body)))
    with pytest.raises(BadMessage, match="REPORT"):
        open_sealed(Kind.REPORT, data, known)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": SCHEMA + 1}, "version 2"),
        ({"sender": "nobody"}, "not known here"),
        ({"sender": "h2"}, "wrong signature"),
        ({"signature": b""}, "wrong signature"),
        ({"signature": b"\0" * 64}, "wrong signature"),
        ({"body": msgspec.msgpack.encode(Query("q2"))}, "wrong signature"),
    ],
)
def test_a_changed_envelope_says_what_is_wrong(change: dict[str, Any], words: str) -> None:
    kind, data = seal(Query("q1"), "h1", SIGNER)
    envelope = msgspec.structs.replace(open_envelope(kind, data), **change)
    with pytest.raises(BadMessage, match=words):
        open_sealed(kind, msgspec.msgpack.encode(envelope), known)


def test_a_stranger_and_another_kind_do_not_pass() -> None:
    kind, data = seal(Query("q1"), "h1", STRANGER)
    with pytest.raises(BadMessage, match="wrong signature"):
        open_sealed(kind, data, known)
    _, data = seal(Query("q1"), "h1", SIGNER)
    with pytest.raises(BadMessage, match="wrong signature"):
        open_sealed(Kind.COMMAND, data, known)
    with pytest.raises(BadMessage, match="unknown message kind 99"):
        decode_body(99, b"")


def test_each_struct_has_one_kind_and_back() -> None:
    assert set(STRUCTS) == set(Kind)
    assert all(KINDS[struct] == kind for kind, struct in STRUCTS.items())


def test_fields_that_a_newer_program_appends_are_passed_over() -> None:
    assert decode_body(Kind.QUERY, msgspec.msgpack.encode(["q1", ["a"], "new", 7])) == Query("q1", ["a"])
