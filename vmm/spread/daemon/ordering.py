"""The ordering half of the daemon: who decides in which order requests take effect. No I/O.

Sessions hand their requests down to an `Ordering` and get frames back through `deliver`, in an order that is
the same for everybody. With one daemon the order is that of arrival and the effect is immediate
(`LocalOrdering`). Daemons joined by a ring put another implementation here: it multicasts each request to its
peers and applies it to the same `GroupTable` when it comes back in the agreed order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vmm.spread.codec import Frame, encode, strip_name
from vmm.spread.constants import REGULAR_MESS, SELF_DISCARD
from vmm.spread.daemon.groups import GroupTable, Member

_DELIVERED_BITS = REGULAR_MESS | SELF_DISCARD

Deliver = Callable[[Sequence[Member], bytes], None]
"""Queue one frame for each of the members. Must not call back into the ordering."""


class Ordering(Protocol):
    """What sessions may ask for. Nothing is answered: effects come as deliveries."""

    def admit(self, member: Member) -> None:
        """A session is open: its private group can be sent to."""

    def join(self, member: Member, frame: Frame) -> None:
        """Make the member one of the frame's first group."""

    def leave(self, member: Member, frame: Frame) -> None:
        """Take the member out of the frame's first group."""

    def multicast(self, member: Member, frame: Frame) -> None:
        """Deliver a data frame to the members of its groups."""

    def disconnect(self, member: Member) -> None:
        """A session is over: take the member out of everything."""


class LocalOrdering:
    """The order of a single daemon: that of the calls."""

    def __init__(self, table: GroupTable, deliver: Deliver) -> None:
        self._table = table
        self._deliver = deliver

    def admit(self, member: Member) -> None:
        self._table.admit(member)

    def join(self, member: Member, frame: Frame) -> None:
        for targets, raw in self._table.join(member, frame):
            self._deliver(targets, raw)

    def leave(self, member: Member, frame: Frame) -> None:
        if frame.num_groups:
            for targets, raw in self._table.leave(member, strip_name(frame.groups_raw[:32])):
                self._deliver(targets, raw)

    def disconnect(self, member: Member) -> None:
        for targets, raw in self._table.disconnect(member):
            self._deliver(targets, raw)

    def multicast(self, member: Member, frame: Frame) -> None:
        kind, raw = frame.kind, frame.raw
        targets = self._table.route(raw[48 : 48 + 32 * frame.num_groups])
        if kind & SELF_DISCARD and member in targets:
            targets = tuple(target for target in targets if target is not member)
        if targets:
            plain = not (kind & ~_DELIVERED_BITS or frame.big_endian) and frame.name == member.field
            self._deliver(targets, raw if plain else normalised(frame, member))


def normalised(frame: Frame, sender: Member) -> bytes:
    """A data frame in our byte order with nothing in its type but the service and SELF_DISCARD.

    The hint keeps its order: it tells the receiver about the byte order of the sender.
    """
    return encode(
        frame.kind & _DELIVERED_BITS,
        sender.field,
        groups_raw=frame.groups_raw,
        hint=frame.hint,
        body=frame.raw[48 + 32 * frame.num_groups :],
    )
