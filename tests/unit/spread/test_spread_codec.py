"""The codec on any bytes: split, merged, damaged, hostile. No socket here."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.spread import MembershipMsg, RegularMsg, error
from vmm.spread import constants as c
from vmm.spread.codec import (
    Frame,
    FrameDecoder,
    decode_hint,
    encode,
    encode_hint,
    hint_is_legal,
    pad_name,
    split_names,
    strip_name,
)
from vmm.spread.errors import FrameError
from vmm.spread.membership import ViewId, decode_body, encode_body, encode_view
from vmm.spread.messages import decode_name, encode_name, is_forged, message_from

MAX_PAYLOAD = 4000
names = st.binary(min_size=1, max_size=31).filter(lambda name: b"\0" not in name)
KINDS = [1 << bit for bit in range(6)] + [c.AGREED_MESS | c.SELF_DISCARD, c.JOIN_MESS, c.KILL_MESS]
membership_kinds = [c.REG_MEMB_MESS | c.CAUSED_BY_JOIN, c.CAUSED_BY_LEAVE, c.TRANSITION_MESS]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    return encode(
        draw(st.sampled_from(KINDS + membership_kinds)),
        pad_name(draw(names)),
        groups_raw=b"".join(pad_name(name) for name in draw(st.lists(names, max_size=5))),
        hint=encode_hint(draw(st.integers(-32768, 32767))),
        body=draw(st.binary(max_size=300)),
        big_endian=draw(st.booleans()),
    )


def decoder() -> FrameDecoder:
    return FrameDecoder(max_groups=50, max_payload=MAX_PAYLOAD)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.sampled_from(KINDS),
    names,
    st.lists(names, max_size=6),
    st.integers(-32768, 32767),
    st.binary(max_size=200),
    st.booleans(),
)
def test_what_is_encoded_decodes_to_the_same(
    kind: int, name: bytes, groups: list[bytes], message_type: int, body: bytes, big: bool
) -> None:
    raw = encode(
        kind,
        pad_name(name),
        groups_raw=b"".join(map(pad_name, groups)),
        hint=encode_hint(message_type),
        body=body,
        big_endian=big,
    )
    (frame,) = decoder().feed(raw)
    assert (frame.kind, strip_name(frame.name), frame.groups) == (kind, name, tuple(groups))
    assert (frame.body, frame.big_endian, frame.raw) == (body, big, raw)
    assert decode_hint(frame.hint) == (message_type, False)
    assert hint_is_legal(frame.hint)


@given(st.lists(frames(), max_size=6), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_gives_the_same_frames(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    whole = decoder()
    wanted = whole.feed(stream)
    assert [frame.raw for frame in wanted] == sent
    parts = decoder()
    got = [frame for piece in pieces(stream, cuts) for frame in parts.feed(piece)]
    assert got == wanted
    assert parts.pending == whole.pending == 0


@given(st.lists(frames(), min_size=1, max_size=4), st.integers(0, 10_000), st.integers(1, 255))
def test_frames_before_a_damaged_byte_are_untouched(sent: list[bytes], where: int, flip: int) -> None:
    stream = bytearray(b"".join(sent))
    where %= len(stream)
    stream[where] ^= flip
    machine = decoder()
    got = [frame.raw for frame in machine.feed(bytes(stream))]
    whole, end = 0, 0
    while whole < len(sent) and end + len(sent[whole]) <= where:
        end += len(sent[whole])
        whole += 1
    assert got[:whole] == sent[:whole]
    # Nothing is lost without a word: what was not decoded is held, or the decoder says that sync is lost.
    taken = sum(map(len, got))
    assert machine.error is not None or taken + machine.pending == len(stream)


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=10))
def test_any_bytes_end_in_frames_or_one_error(data: bytes, cuts: list[int]) -> None:
    machine = decoder()
    for piece in pieces(data, cuts):
        for frame in machine.feed(piece):
            assert len(frame.raw) >= c.HEADER_SIZE
            to_message(frame)
    assert machine.needed <= c.HEADER_SIZE + MAX_PAYLOAD + 4
    if machine.error is not None:
        assert machine.feed(data) == []


def to_message(frame: Frame) -> None:
    """Turning any frame into a message ends in a message or in our error, nothing else."""
    lost = False
    try:
        assert isinstance(message_from(frame), RegularMsg | MembershipMsg)
    except error as problem:
        lost = problem.lost
    assert not lost
    is_forged(frame)


@given(frames())
def test_any_legal_frame_is_a_message_or_an_error(raw: bytes) -> None:
    for frame in decoder().feed(raw):
        to_message(frame)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ({"mark": 0x80000000}, "byte-order marker"),
        ({"mark": 0x00000080}, "byte-order marker"),
        ({"groups": -1}, "-1 groups"),
        ({"groups": 51}, "51 groups"),
        ({"length": -1}, "body of -1 bytes"),
        ({"length": MAX_PAYLOAD + 1}, "4001 bytes"),
        ({"groups": 1, "length": MAX_PAYLOAD}, "4032 bytes"),
    ],
)
def test_headers_that_are_refused(field: dict[str, int], word: str) -> None:
    mark = field.get("mark", c.ORDER_MARK)
    head = (c.AGREED_MESS | mark).to_bytes(4, "little") + bytes(32)
    head += field.get("groups", 0).to_bytes(4, "little", signed=True) + encode_hint(0)
    head += field.get("length", 0).to_bytes(4, "little", signed=True)
    good = encode(c.FIFO_MESS, pad_name(b"x"))
    machine = decoder()
    assert [frame.raw for frame in machine.feed(good + head)] == [good]
    assert word in str(machine.error)


def test_a_refusal_carries_the_old_type_before_its_groups() -> None:
    plain = encode(
        c.REJECT_MESS, pad_name(b"#a#d"), groups_raw=pad_name(b"g") + pad_name(b"#a#d"), body=b"body"
    )
    old = (c.JOIN_MESS | c.ORDER_MARK).to_bytes(4, "little")
    following = encode(c.FIFO_MESS, pad_name(b"x"))
    frame, after = decoder().feed(plain[:48] + old + plain[48:] + following)
    assert (frame.old_kind, frame.groups, frame.body) == (c.JOIN_MESS, (b"g", b"#a#d"), b"body")
    assert after.raw == following
    with pytest.raises(error, match=r"type 0x10000\) for g, #a#d"):
        message_from(frame)


def test_a_reflected_reject_bit_keeps_sync() -> None:
    reflected = encode(
        c.REJECT_MESS | c.AGREED_MESS, pad_name(b"#a#d"), groups_raw=pad_name(b"g"), body=b"forged"
    )
    following = encode(c.FIFO_MESS, pad_name(b"x"))
    assert [frame.raw for frame in decoder().feed(reflected + following)] == [reflected, following]


def test_large_frame_in_small_pieces_is_read_in_linear_time() -> None:
    raw = encode(c.AGREED_MESS, pad_name(b"x"), body=bytes(100_000))
    machine = FrameDecoder(max_groups=1, max_payload=100_000)
    got = [frame for i in range(0, len(raw), 10) for frame in machine.feed(raw[i : i + 10])]
    assert [frame.raw for frame in got] == [raw]


sets = st.lists(st.lists(names, max_size=4), min_size=1, max_size=4)
words = st.integers(0, 0xFFFFFFFF)


@given(st.builds(ViewId, words, words, words), sets, st.data())
def test_membership_bodies_come_back(view: ViewId, parts: list[list[bytes]], data: st.DataObject) -> None:
    own = data.draw(st.integers(0, len(parts) - 1))
    body = encode_body(view, [b"".join(map(pad_name, part)) for part in parts], own)
    got = decode_body(body, big_endian=False)
    assert (got.view, got.own, got.sets) == (view, own, tuple(map(tuple, parts)))


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_membership_body_is_read_or_refused(body: bytes, big: bool, old: bool) -> None:
    try:
        got = decode_body(body, big_endian=big, old_layout=old)
    except FrameError:
        return
    assert 0 <= got.own < len(got.sets)


def test_membership_body_of_spread_3() -> None:
    body = encode_view(ViewId(1, 2, 3)) + (1).to_bytes(4, "little") + pad_name(b"#a#d")
    assert decode_body(body, big_endian=False, old_layout=True).sets == ((b"#a#d",),)
    with pytest.raises(FrameError):
        decode_body(body, big_endian=False)
    with pytest.raises(FrameError, match="too many"):
        decode_body(body + b"\0", big_endian=False, old_layout=True)


@given(st.text("ab#é€𝄞\udcff", max_size=20) | st.binary(max_size=31).filter(lambda name: b"\0" not in name))
def test_names_survive_the_way_there_and_back(name: str | bytes) -> None:
    raw = encode_name(name)
    if b"\0" not in raw and len(raw) < 32:
        assert encode_name(decode_name(pad_name(raw))) == raw
        assert split_names(pad_name(raw) * 2) == (raw, raw)


def test_names_that_do_not_fit() -> None:
    for name in (b"x" * 32, b"a\0b"):
        with pytest.raises(ValueError, match="does not fit"):
            pad_name(name)
