"""Programs written for SpreadModule run after `from vmm import spread`."""

from __future__ import annotations

import inspect
import select

import pytest

from vmm import spread
from vmm.spread.daemon import EmbeddedDaemon


def test_a_chat_program(daemon: EmbeddedDaemon) -> None:
    said: list[object] = []
    mbox = spread.connect(daemon.address, "ann", 0, 1)
    other = spread.connect(daemon=daemon.address, name="ben", priority=1, membership=0)
    assert isinstance(mbox, spread.MailboxType)
    mbox.join("room")
    view = mbox.receive()
    assert isinstance(view, spread.MembershipMsgType)
    other.join("room")
    mbox.receive()
    assert mbox.multicast(spread.FIFO_MESS, "room", b"hello", 70000) == 5
    assert (
        other.multigroup_multicast(
            spread.SAFE_MESS | spread.SELF_DISCARD, ("room", mbox.private_group), b"yo"
        )
        == 2
    )
    other.leave("room")
    other.disconnect()
    while len(said) < 3:
        readable, _, _ = select.select([mbox.fileno()], [], [], 2)
        assert readable
        message = mbox.receive()
        if isinstance(message, spread.RegularMsgType):
            said.append((message.sender, message.groups, message.message, message.msg_type, message.endian))
        elif isinstance(message, spread.MembershipMsgType):
            said.append((message.reason == spread.CAUSED_BY_LEAVE, message.group, message.members))
            assert message.group_id != view.group_id
            assert message.group_id == message.group_id
    assert said == [
        ("#ann#localhost", ("room",), b"hello", 4464, 0),
        ("#ben#localhost", ("room", "#ann#localhost"), b"yo", 0, 0),
        (True, "room", ("#ann#localhost",)),
    ]
    assert mbox.poll() == 0
    mbox.disconnect()
    mbox.disconnect()
    with pytest.raises(spread.error) as caught:
        mbox.join("room")
    assert caught.value.args == ("join() called on closed mbox",)


def test_calls_and_defaults_are_those_of_the_module() -> None:
    parameters = inspect.signature(spread.connect).parameters
    assert list(parameters)[:4] == ["daemon", "name", "priority", "membership"]
    assert parameters["daemon"].default == "4803@localhost"
    calls = ["join", "leave", "multicast", "multigroup_multicast", "receive", "poll", "fileno", "disconnect"]
    assert [name for name in calls if not callable(getattr(spread.Mailbox, name))] == []
    assert spread.version() == (5, 0, 1)
    assert issubclass(spread.error, Exception)


# fmt: off
CONSTANTS = {
    "LOW_PRIORITY": 0, "MEDIUM_PRIORITY": 1, "HIGH_PRIORITY": 2, "DEFAULT_SPREAD_PORT": 4803,
    "SPREAD_VERSION": 83886080, "MAX_GROUP_NAME": 32, "MAX_PRIVATE_NAME": 10, "MAX_PROC_NAME": 20,
    "UNRELIABLE_MESS": 1, "RELIABLE_MESS": 2, "FIFO_MESS": 4, "CAUSAL_MESS": 8, "AGREED_MESS": 16,
    "SAFE_MESS": 32, "REGULAR_MESS": 63, "SELF_DISCARD": 64, "DROP_RECV": 16777216,
    "REG_MEMB_MESS": 4096, "TRANSITION_MESS": 8192, "CAUSED_BY_JOIN": 256, "CAUSED_BY_LEAVE": 512,
    "CAUSED_BY_DISCONNECT": 1024, "CAUSED_BY_NETWORK": 2048, "MEMBERSHIP_MESS": 16128,
    "REJECT_MESS": 4194304, "JOIN_MESS": 65536, "LEAVE_MESS": 131072, "KILL_MESS": 262144,
    "GROUPS_MESS": 524288, "ENDIAN_RESERVED": -2147483520, "RESERVED": 4177920,
    "DEFAULT_BUFFER_SIZE": 10000, "DEFAULT_GROUPS_SIZE": 10, "ACCEPT_SESSION": 1, "ILLEGAL_SPREAD": -1,
    "COULD_NOT_CONNECT": -2, "REJECT_QUOTA": -3, "REJECT_NO_NAME": -4, "REJECT_ILLEGAL_NAME": -5,
    "REJECT_NOT_UNIQUE": -6, "REJECT_VERSION": -7, "CONNECTION_CLOSED": -8, "REJECT_AUTH": -9,
    "ILLEGAL_SESSION": -11, "ILLEGAL_SERVICE": -12, "ILLEGAL_MESSAGE": -13, "ILLEGAL_GROUP": -14,
    "BUFFER_TOO_SHORT": -15, "GROUPS_TOO_SHORT": -16, "MESSAGE_TOO_LONG": -17,
}
# fmt: on


@pytest.mark.parametrize(("name", "value"), CONSTANTS.items())
def test_constants(name: str, value: int) -> None:
    assert getattr(spread, name) == value
    assert name in spread.__all__
