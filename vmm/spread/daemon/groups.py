"""Who is in which group, and what members are told when that changes. Pure state, no I/O.

Frames are made once for all receivers: in a single daemon the own set of a membership message is the same for
everybody. Members are kept in the byte order of their names, the order that Spread shows.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

from vmm.spread import constants as c
from vmm.spread.codec import Frame, encode, pad_name, split_names, strip_name
from vmm.spread.membership import ViewId, encode_body

_ROUTES_KEPT = 4096


class Member(Protocol):
    """A session as the ordering sees it."""

    private_name: bytes
    """`#user#daemon`."""
    field: bytes
    """The same as a 32-byte field."""
    membership: bool
    """Whether it wants membership messages."""


Delivery = tuple[Sequence[Member], bytes]


class Group:
    """One group: its members in order and the index of its current view."""

    __slots__ = ("index", "members", "name")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.index = 0
        self.members: list[Member] = []


def _by_name(member: Member) -> bytes:
    return member.private_name


class GroupTable:
    """Groups and private names of one daemon. Each change returns the frames it causes."""

    def __init__(self, proc: int, started_s: int, *, max_members: int = c.MAX_LOCAL_MEMBERS) -> None:
        self._proc = proc
        self._started_s = started_s
        self._max_members = max_members
        self._groups: dict[bytes, Group] = {}
        self._private: dict[bytes, Member] = {}
        self._joined: dict[bytes, set[bytes]] = {}
        self._routes: dict[bytes, tuple[Member, ...]] = {}

    def admit(self, member: Member) -> None:
        """Make the member's private group reachable."""
        self._private[member.private_name] = member
        self._joined[member.private_name] = set()
        self._routes.clear()

    def members(self, group: bytes) -> tuple[bytes, ...]:
        """Private names in a group, in order; empty for an unknown group."""
        found = self._groups.get(group)
        return tuple(member.private_name for member in found.members) if found else ()

    def join(self, member: Member, frame: Frame) -> list[Delivery]:
        """Join the first group of a request. Names that no client library lets through are ignored."""
        name = strip_name(frame.groups_raw[:32])
        if not is_joinable(frame.groups_raw[:32]) or name in self._joined[member.private_name]:
            return []
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name)
        elif len(group.members) >= self._max_members:
            return [((member,), _refusal(member, frame))]
        insort(group.members, member, key=_by_name)
        self._joined[member.private_name].add(name)
        return self._changed(group, c.CAUSED_BY_JOIN, member)

    def leave(self, member: Member, name: bytes) -> list[Delivery]:
        """Leave a group: a self-leave for the one who leaves, a new view for the others."""
        if name not in self._joined[member.private_name]:
            return []
        self._joined[member.private_name].discard(name)
        deliveries: list[Delivery] = []
        if member.membership:
            deliveries.append(((member,), encode(c.CAUSED_BY_LEAVE, pad_name(name))))
        return deliveries + self._remove(self._groups[name], member, c.CAUSED_BY_LEAVE)

    def disconnect(self, member: Member) -> list[Delivery]:
        """Take a member out of all its groups, a message for each, in the order of the groups' names."""
        deliveries: list[Delivery] = []
        for name in sorted(self._joined.pop(member.private_name, ())):
            deliveries += self._remove(self._groups[name], member, c.CAUSED_BY_DISCONNECT)
        self._private.pop(member.private_name, None)
        self._routes.clear()
        return deliveries

    def route(self, groups_raw: bytes) -> tuple[Member, ...]:
        """Who gets a message to these groups (32 bytes each): each one once, unknown names reach nobody."""
        targets = self._routes.get(groups_raw)
        if targets is None:
            found: dict[bytes, Member] = {}
            for name in split_names(groups_raw):
                private = self._private.get(name)
                if private is not None:
                    found[name] = private
                elif name in self._groups:
                    found.update((member.private_name, member) for member in self._groups[name].members)
            targets = tuple(found.values())
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            self._routes[groups_raw] = targets
        return targets

    def _remove(self, group: Group, member: Member, cause: int) -> list[Delivery]:
        del group.members[bisect_left(group.members, member.private_name, key=_by_name)]
        if not group.members:
            del self._groups[group.name]
        return self._changed(group, cause, member)

    def _changed(self, group: Group, cause: int, who: Member) -> list[Delivery]:
        self._routes.clear()
        group.index += 1
        targets = [member for member in group.members if member.membership]
        if not targets:
            return []
        view = ViewId(self._proc, self._started_s, group.index)
        frame = encode(
            c.REG_MEMB_MESS | cause,
            pad_name(group.name),
            groups_raw=b"".join([member.field for member in group.members]),
            body=encode_body(view, [who.field]),
        )
        return [(targets, frame)]


def is_joinable(field: bytes) -> bool:
    """Whether a 32-byte field holds a group name that client libraries allow to join."""
    name = strip_name(field)
    return 0 < len(name) <= c.GROUP_NAME_BYTES and all(36 <= byte <= 126 for byte in name)


def _refusal(member: Member, frame: Frame) -> bytes:
    """A REJECT frame: the old type, then the groups and the sender, then the body of the refused request."""
    groups = frame.groups_raw + member.field
    head = encode(c.REJECT_MESS, member.field, groups_raw=groups, hint=frame.hint, body=frame.body)
    old = (frame.kind | c.ORDER_MARK).to_bytes(4, "little")
    return head[: c.HEADER_SIZE] + old + head[c.HEADER_SIZE :]
