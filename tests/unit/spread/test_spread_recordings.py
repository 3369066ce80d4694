"""Every stream that a real daemon sent decodes to what the recording client saw."""

from __future__ import annotations

import pytest
from spread_tapes import NAMES, Tape, frame_line, load, split_frames, split_handshake

from vmm.spread import MembershipMsg, RegularMsg, error
from vmm.spread import constants as c
from vmm.spread.handshake import ClientHandshake
from vmm.spread.messages import is_forged, message_from

# In these the summary lists every frame of every connection, in order for each connection.
COMPLETE = {
    "03_membership",
    "09_big_endian_client",
    "10_pipelined_and_fragmented",
    "13_partition_merge_crash",
}


def lines_of(tape: Tape, conn: str) -> list[str]:
    _, rest = split_handshake(tape.received(conn))
    frames, decoder = split_frames(rest)
    assert decoder.error is None
    return [frame_line(frame) for frame in frames]


def summary_lines(tape: Tape) -> dict[str, list[str]]:
    """The summaries of the form [what, (when,) connection, line]."""
    lines: dict[str, list[str]] = {}
    for entry in tape.summary:
        if isinstance(entry, list) and isinstance(entry[-1], str) and entry[-1].startswith("type="):
            lines.setdefault(entry[-2], []).append(entry[-1])
    return lines


@pytest.mark.parametrize("name", NAMES)
def test_every_stream_cuts_into_whole_frames(name: str) -> None:
    tape = load(name)
    for conn in tape.connections():
        _, rest = split_handshake(tape.received(conn))
        frames, decoder = split_frames(rest)
        assert decoder.error is None
        # The exception is the reflected REJECT bit: the recording client lost sync there and stopped early.
        assert decoder.pending == (84 if (name, conn) == ("08_illegal_requests", "A14") else 0)
        assert b"".join(frame.raw for frame in frames) == rest[: len(rest) - decoder.pending]


@pytest.mark.parametrize("name", [n for n in NAMES if summary_lines(load(n))])
def test_streams_decode_to_the_summary(name: str) -> None:
    tape = load(name)
    for letter, wanted in summary_lines(tape).items():
        conns = [conn for conn in tape.connections() if conn.rstrip("0123456789") == letter]
        got = [line for conn in conns for line in lines_of(tape, conn)]
        if name in COMPLETE:
            assert got == wanted
        rest = iter(got)
        missing = [line for line in wanted if line not in rest]
        assert not missing


def test_handshakes_decode_to_the_summary() -> None:
    for name in ("01_connect_ok", "02_connect_rejected", "14_reject_quota", "16_spread_4_4_0_daemon"):
        tape = load(name)
        outcomes: list[object] = []
        for conn in tape.connections():
            stream = tape.received(conn)
            if not stream or stream[:1] == b"\x01":
                continue  # closed without a word; or without the phase that we always go through
            handshake = ClientHandshake(b"", membership=True, priority=0)
            try:
                handshake.feed(stream)
                outcomes.append([1, list(handshake.version), handshake.private_group.decode()])
            except error as problem:
                outcomes.append(problem.code)
        if name == "01_connect_ok":
            assert outcomes == [[1, [5, 0, 1], entry[2]] for entry in tape.summary]
        elif name == "02_connect_rejected":
            codes = [entry[1] for entry in tape.summary if not str(entry[1]).startswith("closed")]
            got = [outcome if isinstance(outcome, int) else 1 for outcome in outcomes[1:]]
            assert got == codes[: len(got)]
            assert len(got) == len(codes) - 2
        elif name == "14_reject_quota":
            assert outcomes == [c.REJECT_QUOTA] * 4
        else:
            assert outcomes[0] == [1, [4, 4, 0], "#alice#localhost"]


def test_sizes_and_counts_decode_to_the_summary() -> None:
    for name in NAMES:
        tape = load(name)
        for entry in tape.summary:
            if name.startswith("07") and isinstance(entry[0], int):
                frames, _ = split_frames(split_handshake(tape.received(entry[1]))[1])
                got = [[hex(f.kind), len(f.body), [g.decode() for g in f.groups]] for f in frames]
                joins = [seen for seen in got if seen[0] == "0x1100"]
                assert got[len(joins) :] == [seen for seen in entry[2] if isinstance(seen, list)]
            elif name.startswith("05") and entry[-1] == "delivered":
                frames, _ = split_frames(split_handshake(tape.received("A"))[1])
                names = [f.groups for f in frames if f.num_groups == entry[0]]
                assert any((g[0] if entry[1] == "first" else g[-1]) == b"g1" for g in names)
            elif name.startswith("06"):
                frames, _ = split_frames(split_handshake(tape.received("A"))[1])
                assert [len(f.body) for f in frames if f.kind == c.AGREED_MESS] == entry[1]


def test_illegal_requests_decode_to_the_summary() -> None:
    tape = load("08_illegal_requests")
    for conn, entry in zip(tape.connections(), tape.summary, strict=True):
        seen = [line for line in entry[2] if line.startswith("type=")]
        assert lines_of(tape, conn)[1:] == seen  # the first is the join of g1
        assert tape.ended(conn) == (entry[2] in (["RESET"], ["EOF"]))


def test_messages_of_the_c_library_session() -> None:
    tape = load("15_libspread_client_session")
    seen = {
        conn: [message_from(f) for f in split_frames(split_handshake(tape.received(conn))[1])[0]]
        for conn in "LM"
    }
    fifo, safe = (m for m in seen["L"] if isinstance(m, RegularMsg))
    assert (fifo.message, fifo.msg_type, fifo.service, fifo.sender) == (
        b"hello",
        5,
        c.FIFO_MESS,
        "#libl#localhost",
    )
    assert (safe.groups, safe.msg_type, safe.endian) == (("room", "#libl#localhost"), -1, 0)
    assert safe.service == c.SAFE_MESS | c.SELF_DISCARD
    both = ("#libl#localhost", "#libm#localhost")
    joined = seen["M"][0]
    assert isinstance(joined, MembershipMsg)
    assert (joined.reason, joined.group, joined.members) == (c.CAUSED_BY_JOIN, "room", both)
    assert (joined.orig_members, joined.extra) == (((both[1],),), (both[1],))
    left = seen["M"][-1]
    assert isinstance(left, MembershipMsg)
    assert (left.reason, left.group, left.members, left.group_id) == (0x200, "room", (), None)
    assert left.orig_members is None


def test_messages_of_partition_and_merge() -> None:
    tape = load("13_partition_merge_crash")
    frames = split_frames(split_handshake(tape.received("A"))[1])[0]
    seen = [m for m in map(message_from, frames) if isinstance(m, MembershipMsg) and m.group == "seg"]
    transitional = [m for m in seen if m.reason == 0]
    assert [(m.members, m.group_id, m.orig_members) for m in transitional] == [((), None, None)] * 2
    merge = next(m for m in seen if m.reason == c.CAUSED_BY_NETWORK and len(m.orig_members or ()) == 2)
    assert merge.members == ("#alice#d1", "#bob#d2", "#carl#d3")
    assert merge.orig_members == (("#carl#d3",), ("#alice#d1", "#bob#d2"))
    assert merge.extra == ("#alice#d1", "#bob#d2")


def test_sender_of_other_byte_order_is_told() -> None:
    tape = load("09_big_endian_client")
    frames = split_frames(split_handshake(tape.received("B"))[1])[0]
    big, little = (m for m in map(message_from, frames) if isinstance(m, RegularMsg))
    assert (big.sender, big.msg_type, big.endian) == ("#bige#localhost", 0x1234, 1)
    assert (little.sender, little.msg_type, little.endian) == ("#little#localhost", 0x1234, 0)


def test_the_forged_membership_message_shows() -> None:
    tape = load("08_illegal_requests")
    forged = [
        frame_line(frame)
        for conn in tape.connections()
        for frame in split_frames(split_handshake(tape.received(conn))[1])[0]
        if is_forged(frame)
    ]
    assert [line.split()[0] for line in forged] == ["type=0x1010"]
