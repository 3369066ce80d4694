"""Group messaging: a Spread client with SpreadModule's names, and an embedded daemon. Knows nothing of VMs.

from vmm import spread

mbox = spread.connect("4803@localhost", "alice")
mbox.join("room")
mbox.multicast(spread.AGREED_MESS, "room", b"hello")
print(mbox.receive())
"""

from __future__ import annotations

from vmm.spread import constants
from vmm.spread.constants import *  # noqa: F403
from vmm.spread.constants import LIBRARY_VERSION
from vmm.spread.errors import Woken, error
from vmm.spread.mailbox import Mailbox, connect
from vmm.spread.messages import MembershipMsg, Message, RegularMsg, group_id

MailboxType = Mailbox
RegularMsgType = RegularMsg
MembershipMsgType = MembershipMsg


def version() -> tuple[int, int, int]:
    """The version of the protocol that we speak: (major, minor, patch) of the library we stand in for."""
    return LIBRARY_VERSION


__all__ = [
    "Mailbox",
    "MailboxType",
    "MembershipMsg",
    "MembershipMsgType",
    "Message",
    "RegularMsg",
    "RegularMsgType",
    "Woken",
    "connect",
    "error",
    "group_id",
    "version",
]
__all__ += [name for name in vars(constants) if name.isupper()]
