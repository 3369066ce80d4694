"""What a mailbox hands out: data and membership messages, made from frames."""

from __future__ import annotations

import sys
from typing import Final, TypeVar

from vmm.spread import constants as c
from vmm.spread.codec import HINT_NONE, Frame, decode_hint, strip_name
from vmm.spread.errors import FrameError, error
from vmm.spread.membership import ViewId, decode_body

_NATIVE_BIG: Final = sys.byteorder == "big"
_CAUSES: Final = c.CAUSED_BY_JOIN | c.CAUSED_BY_LEAVE | c.CAUSED_BY_DISCONNECT | c.CAUSED_BY_NETWORK
_SERVICES: Final = frozenset(1 << bit for bit in range(6))
_CACHE_LIMIT: Final = 8192

_V = TypeVar("_V")

_names: dict[bytes, str] = {}
_lists: dict[bytes, tuple[str, ...]] = {}
_hints: dict[bytes, tuple[int, int]] = {HINT_NONE: (0, int(_NATIVE_BIG))}


class group_id:  # noqa: N801 - the name is SpreadModule's
    """Identity of a view of a group. Opaque: can be compared for equality only, not hashed."""

    __slots__ = ("view",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, view: ViewId) -> None:
        self.view = view

    def __eq__(self, other: object) -> bool:
        return self.view == other.view if isinstance(other, group_id) else NotImplemented

    def __repr__(self) -> str:
        return "<group_id {:08X}:{:08X}:{:08X}>".format(*self.view)


class RegularMsg:
    """A data message.

    `message` is the body, `msg_type` the signed 16-bit type the sender gave it, `endian` 1 if the sender's
    byte order is not ours, `service` the service bit (and SELF_DISCARD) it was sent with.
    """

    __slots__ = ("endian", "groups", "message", "msg_type", "sender", "service")

    def __init__(
        self, sender: str, groups: tuple[str, ...], message: bytes, msg_type: int, endian: int, service: int
    ) -> None:
        self.sender = sender
        self.groups = groups
        self.message = message
        self.msg_type = msg_type
        self.endian = endian
        self.service = service

    def __repr__(self) -> str:
        return (
            f"<RegularMsg from {self.sender} to {', '.join(self.groups)}: service {self.service:#x}, "
            f"type {self.msg_type}, {len(self.message)} bytes>"
        )


class MembershipMsg:
    """A change of a group.

    `reason` is CAUSED_BY_JOIN, _LEAVE, _DISCONNECT or _NETWORK, or 0 for a transitional message. `members`
    are all members now, in the order that every member sees. `orig_members` holds the sets that came or went
    together (the joiner or leaver; after a network event those who stayed together), `extra` the receiver's
    own of them. A self-leave has reason CAUSED_BY_LEAVE, no members and no group id.
    """

    __slots__ = ("extra", "group", "group_id", "members", "orig_members", "reason")

    def __init__(
        self,
        reason: int,
        group: str,
        members: tuple[str, ...] = (),
        group_id: group_id | None = None,
        orig_members: tuple[tuple[str, ...], ...] | None = None,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.reason = reason
        self.group = group
        self.members = members
        self.group_id = group_id
        self.orig_members = orig_members
        self.extra = extra

    def __repr__(self) -> str:
        return (
            f"<MembershipMsg of {self.group}: reason {self.reason:#x}, {len(self.members)} members, "
            f"{self.extra or 'nobody'} changed>"
        )


Message = RegularMsg | MembershipMsg


def is_forged(frame: Frame) -> bool:
    """Whether a frame pretends to be a membership message.

    Real daemons pass on membership bits that a client put into a data message. It shows: the "group" is the
    forger's private name, and no group that a library joins begins with '#'.
    """
    return bool(frame.kind & c.MEMBERSHIP_MESS) and frame.name[0] == 0x23


def message_from(frame: Frame, *, old_layout: bool = False) -> Message:
    """The message in a frame. `old_layout`: membership bodies are those of Spread 3.

    Raises `error` for what is neither data nor membership; the mailbox stays usable.
    """
    kind = frame.kind
    if kind & c.REJECT_MESS:
        names = ", ".join(decode_name(name) for name in frame.groups)
        text = f"the daemon refused a request (type {frame.old_kind:#x}) for {names}: access or group size"
        raise error(c.ILLEGAL_MESSAGE, text)
    if kind & c.MEMBERSHIP_MESS:
        try:
            return _membership(frame, old_layout)
        except FrameError as problem:
            raise error(c.ILLEGAL_MESSAGE, f"malformed membership message dropped: {problem}") from problem
    if kind & c.REGULAR_MESS not in _SERVICES:
        raise error(f"unexpected service type {kind:#x}; message dropped")
    hint = frame.hint
    typed = _hints.get(hint)
    if typed is None:
        number, big = decode_hint(hint)
        typed = number, int(big != _NATIVE_BIG)
        _remember(_hints, hint, typed)
    body_at = 48 + 32 * frame.num_groups
    raw = frame.raw
    groups_raw = raw[48:body_at]
    groups = _lists.get(groups_raw)
    if groups is None:
        groups = tuple(decode_name(name) for name in frame.groups)
        _remember(_lists, groups_raw, groups)
    name = frame.name
    sender = _names.get(name) or decode_name(name)
    return RegularMsg(sender, groups, raw[body_at:], typed[0], typed[1], kind & 0x7F)


def decode_name(field: bytes) -> str:
    """A name field as text. Bytes that are not UTF-8 survive the way back through `encode_name`."""
    text = _names.get(field)
    if text is None:
        text = strip_name(field).decode("utf-8", "surrogateescape")
        _remember(_names, field, text)
    return text


def encode_name(name: str | bytes) -> bytes:
    """The bytes of a name."""
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)


def _remember(cache: dict[bytes, _V], key: bytes, value: _V) -> None:
    """Keep what the same few names and types decode to; emptied when strangers fill it."""
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[key] = value


def _membership(frame: Frame, old_layout: bool) -> MembershipMsg:
    group = decode_name(frame.name)
    reason = frame.kind & _CAUSES
    if frame.kind & c.TRANSITION_MESS:
        return MembershipMsg(0, group)
    if not frame.kind & c.REG_MEMB_MESS:
        return MembershipMsg(reason, group)
    body = decode_body(frame.body, big_endian=frame.big_endian, old_layout=old_layout)
    sets = tuple(tuple(decode_name(name) for name in names) for names in body.sets)
    members = tuple(decode_name(name) for name in frame.groups)
    return MembershipMsg(reason, group, members, group_id(body.view), sets, sets[body.own])
