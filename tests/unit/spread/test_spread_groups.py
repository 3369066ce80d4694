"""Groups, views and routes of the daemon's ordering half: pure, no socket."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.spread import MembershipMsg, RegularMsg, error
from vmm.spread import constants as c
from vmm.spread.codec import Frame, FrameDecoder, encode, encode_hint, pad_name
from vmm.spread.daemon.groups import GroupTable, Member
from vmm.spread.daemon.ordering import LocalOrdering
from vmm.spread.messages import message_from


@dataclass(eq=False)
class Client:
    private_name: bytes
    membership: bool = True
    field: bytes = b""
    inbox: list[Frame] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.field = pad_name(self.private_name)

    def messages(self) -> list[RegularMsg | MembershipMsg]:
        found, self.inbox = self.inbox, []
        return [message_from(frame) for frame in found]


def one_frame(raw: bytes) -> Frame:
    (frame,) = FrameDecoder(max_groups=4000, max_payload=1 << 20).feed(raw)
    return frame


class World:
    def __init__(self, *clients: Client, max_members: int = 100) -> None:
        self.ordering = LocalOrdering(GroupTable(0xABCD, 1000, max_members=max_members), self.deliver)
        for client in clients:
            self.ordering.admit(client)

    def deliver(self, targets: Sequence[Member], raw: bytes) -> None:
        for client in cast(Sequence[Client], targets):
            client.inbox.append(one_frame(raw))

    def ask(self, kind: int, client: Client, *groups: bytes, body: bytes = b"", big: bool = False) -> None:
        raw = b"".join(map(pad_name, groups))
        hint = encode_hint(0)[::-1] if big else encode_hint(0)
        frame = one_frame(encode(kind, client.field, groups_raw=raw, hint=hint, body=body, big_endian=big))
        if kind == c.JOIN_MESS:
            self.ordering.join(client, frame)
        elif kind == c.LEAVE_MESS:
            self.ordering.leave(client, frame)
        else:
            self.ordering.multicast(client, frame)


def people(*names: bytes) -> list[Client]:
    return [Client(b"#" + name + b"#d") for name in names]


def test_views_are_numbered_and_ordered_by_name() -> None:
    bob, alice = people(b"bob", b"alice")
    world = World(bob, alice)
    world.ask(c.JOIN_MESS, bob, b"g")
    world.ask(c.JOIN_MESS, alice, b"g")
    first, second = bob.messages()
    assert isinstance(first, MembershipMsg)
    assert isinstance(second, MembershipMsg)
    assert (first.members, second.members) == (("#bob#d",), ("#alice#d", "#bob#d"))
    assert repr(second.group_id) == "<group_id 0000ABCD:000003E8:00000002>"
    assert [repr(m) for m in alice.messages()] == [repr(second)]


def test_a_group_that_emptied_begins_again_at_index_1() -> None:
    (bob,) = people(b"bob")
    world = World(bob)
    for _ in range(2):
        world.ask(c.JOIN_MESS, bob, b"g")
        world.ask(c.LEAVE_MESS, bob, b"g")
        joined, left = bob.messages()
        assert isinstance(joined, MembershipMsg)
        assert repr(joined.group_id).endswith(":00000001>")
        assert isinstance(left, MembershipMsg)
        assert (left.reason, left.members) == (c.CAUSED_BY_LEAVE, ())


@pytest.mark.parametrize("group", [b"", b"a b", b"#bob#d", b"x#", b"caf\xc3\xa9", b"!"])
def test_names_that_no_library_joins_are_ignored(group: bytes) -> None:
    (bob,) = people(b"bob")
    world = World(bob)
    world.ask(c.JOIN_MESS, bob, group)
    assert bob.messages() == []


def test_repeated_join_and_foreign_leave_say_nothing() -> None:
    alice, bob = people(b"alice", b"bob")
    world = World(alice, bob)
    world.ask(c.JOIN_MESS, alice, b"g")
    alice.messages()
    world.ask(c.JOIN_MESS, alice, b"g")
    world.ask(c.LEAVE_MESS, bob, b"g")
    world.ask(c.LEAVE_MESS, bob, b"nosuch")
    world.ask(c.JOIN_MESS, bob)
    world.ask(c.LEAVE_MESS, bob)
    assert alice.messages() == bob.messages() == []


def test_disconnect_is_told_once_for_each_group_in_order() -> None:
    alice, bob = people(b"alice", b"bob")
    world = World(alice, bob)
    for group in (b"b", b"a", b"c"):
        world.ask(c.JOIN_MESS, bob, group)
        world.ask(c.JOIN_MESS, alice, group)
    alice.messages()
    world.ordering.disconnect(bob)
    got = [m for m in alice.messages() if isinstance(m, MembershipMsg)]
    assert [(m.group, m.reason, m.members, m.extra) for m in got] == [
        (group, c.CAUSED_BY_DISCONNECT, ("#alice#d",), ("#bob#d",)) for group in "abc"
    ]
    world.ask(c.AGREED_MESS, alice, b"#bob#d", b"a", body=b"x")
    assert [type(m) for m in alice.messages()] == [RegularMsg]


def test_data_reaches_each_receiver_once_with_all_groups_named() -> None:
    alice, bob, carol = people(b"alice", b"bob", b"carol")
    carol.membership = False
    world = World(alice, bob, carol)
    for client, group in ((alice, b"g"), (bob, b"g"), (bob, b"h"), (carol, b"h")):
        world.ask(c.JOIN_MESS, client, group)
    for client in (alice, bob):
        client.messages()
    groups = (b"h", b"g", b"h", b"#alice#d", b"nosuch")
    world.ask(c.SAFE_MESS, alice, *groups, body=b"body")
    for client in (alice, bob, carol):
        (message,) = client.messages()
        assert isinstance(message, RegularMsg)
        assert message.groups == ("h", "g", "h", "#alice#d", "nosuch")
        assert (message.message, message.service, message.sender) == (b"body", c.SAFE_MESS, "#alice#d")
    world.ask(c.AGREED_MESS | c.SELF_DISCARD, bob, b"g", b"h")
    assert [len(client.messages()) for client in (alice, bob, carol)] == [1, 0, 1]


def test_bits_that_a_client_may_not_set_are_taken_away() -> None:
    (bob,) = people(b"bob")
    world = World(bob)
    for bits in (c.REG_MEMB_MESS | c.CAUSED_BY_JOIN, c.DROP_RECV, c.REJECT_MESS, 0x4000):
        world.ask(c.AGREED_MESS | bits, bob, b"#bob#d", body=b"x")
    world.ask(c.AGREED_MESS, bob, b"#bob#d", body=b"x", big=True)
    assert [(frame.kind, frame.big_endian, frame.body) for frame in bob.inbox] == [
        (c.AGREED_MESS, False, b"x")
    ] * 5
    assert [m.endian for m in bob.messages() if isinstance(m, RegularMsg)][:4] == [0] * 4


def test_a_full_group_refuses_with_a_reject() -> None:
    alice, bob = people(b"alice", b"bob")
    world = World(alice, bob, max_members=1)
    world.ask(c.JOIN_MESS, alice, b"g")
    world.ask(c.JOIN_MESS, bob, b"g")
    assert len(alice.messages()) == 1
    with pytest.raises(error, match="for g, #bob#d"):
        bob.messages()


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "send", "drop"]), st.integers(0, 4), st.sampled_from([b"g", b"h"])
    ),
    max_size=40,
)


@given(steps)
def test_members_agree_on_order_and_views(moves: list[tuple[str, int, bytes]]) -> None:
    """Any two clients see what both see in the same order, and a view lists exactly who is in."""
    clients = people(b"a", b"b", b"c", b"d", b"e")
    world = World(*clients)
    inside: dict[bytes, set[str]] = {b"g": set(), b"h": set()}
    gone: set[int] = set()
    seen: dict[int, list[str]] = {number: [] for number in range(5)}
    for serial, (move, who, group) in enumerate(moves):
        client, name = clients[who], clients[who].private_name.decode()
        if who in gone:
            continue
        if move == "join":
            world.ask(c.JOIN_MESS, client, group)
            inside[group].add(name)
        elif move == "leave":
            world.ask(c.LEAVE_MESS, client, group)
            inside[group].discard(name)
        elif move == "send":
            world.ask(c.AGREED_MESS, client, group, body=b"%d" % serial)
        else:
            world.ordering.disconnect(client)
            gone.add(who)
            for members in inside.values():
                members.discard(name)
        for number, other in enumerate(clients):
            for message in other.messages():
                if isinstance(message, RegularMsg):
                    seen[number].append(message.message.decode())
                elif message.group_id is not None:
                    assert set(message.members) == inside[message.group.encode()]
                    assert list(message.members) == sorted(message.members)
                    seen[number].append(f"{message.group} {message.group_id!r} {serial}")
    for one in range(5):
        for two in range(one):
            both = set(seen[one]) & set(seen[two])
            assert [x for x in seen[one] if x in both] == [x for x in seen[two] if x in both]
