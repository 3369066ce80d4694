"""Numbers of the Spread protocol: type bits, codes and limits, under the names SpreadModule gives them."""

from __future__ import annotations

from typing import Final

# Service of a data message: exactly one of the six.
UNRELIABLE_MESS: Final = 0x00000001
RELIABLE_MESS: Final = 0x00000002
FIFO_MESS: Final = 0x00000004
CAUSAL_MESS: Final = 0x00000008
AGREED_MESS: Final = 0x00000010
SAFE_MESS: Final = 0x00000020
REGULAR_MESS: Final = 0x0000003F
SELF_DISCARD: Final = 0x00000040

# Membership.
CAUSED_BY_JOIN: Final = 0x00000100
CAUSED_BY_LEAVE: Final = 0x00000200
CAUSED_BY_DISCONNECT: Final = 0x00000400
CAUSED_BY_NETWORK: Final = 0x00000800
REG_MEMB_MESS: Final = 0x00001000
TRANSITION_MESS: Final = 0x00002000
MEMBERSHIP_MESS: Final = 0x00003F00

# Requests of a client, and the daemon's refusal of one message.
JOIN_MESS: Final = 0x00010000
LEAVE_MESS: Final = 0x00020000
KILL_MESS: Final = 0x00040000
GROUPS_MESS: Final = 0x00080000
REJECT_MESS: Final = 0x00400000
DROP_RECV: Final = 0x01000000

# The byte-order marker: both bits set by a little-endian writer, both clear by a big-endian one.
ORDER_MARK: Final = 0x80000080
ENDIAN_RESERVED: Final = ORDER_MARK - (1 << 32)  # the API shows it as a signed 32-bit number
RESERVED: Final = 0x003FC000

LOW_PRIORITY: Final = 0
MEDIUM_PRIORITY: Final = 1
HIGH_PRIORITY: Final = 2

# Codes. Only ACCEPT_SESSION and REJECT_* (not NO_NAME) travel.
ACCEPT_SESSION: Final = 1
ILLEGAL_SPREAD: Final = -1
COULD_NOT_CONNECT: Final = -2
REJECT_QUOTA: Final = -3
REJECT_NO_NAME: Final = -4
REJECT_ILLEGAL_NAME: Final = -5
REJECT_NOT_UNIQUE: Final = -6
REJECT_VERSION: Final = -7
CONNECTION_CLOSED: Final = -8
REJECT_AUTH: Final = -9
ILLEGAL_SESSION: Final = -11
ILLEGAL_SERVICE: Final = -12
ILLEGAL_MESSAGE: Final = -13
ILLEGAL_GROUP: Final = -14
BUFFER_TOO_SHORT: Final = -15
GROUPS_TOO_SHORT: Final = -16
MESSAGE_TOO_LONG: Final = -17
NET_ERROR_ON_SESSION: Final = -18

# Sizes in bytes. MAX_* are SpreadModule's names and count the terminating NUL.
DEFAULT_SPREAD_PORT: Final = 4803
SPREAD_VERSION: Final = 0x05000000
LIBRARY_VERSION: Final = (5, 0, 1)  # what we say we are in the handshake
MAX_GROUP_NAME: Final = 32
MAX_PRIVATE_NAME: Final = 10
MAX_PROC_NAME: Final = 20
DEFAULT_BUFFER_SIZE: Final = 10000
DEFAULT_GROUPS_SIZE: Final = 10

HEADER_SIZE: Final = 48
NAME_SIZE: Final = 32
GROUP_NAME_BYTES: Final = 31
DAEMON_NAME_BYTES: Final = 19

# What real daemons survive: beyond 43 groups they deliver to nobody, beyond 143,200 bytes they abort.
# The client stops short of both.
SAFE_GROUPS: Final = 43
SAFE_MESSAGE_BYTES: Final = 140_000
HEADER_CHECK_GROUPS: Final = 100
HEADER_CHECK_BYTES: Final = 143_952  # groups and body, as the daemon's header check counts them
FATAL_MESSAGE_BYTES: Final = 143_200  # header, groups and body: above it a real daemon aborts
MAX_SESSION_MESSAGES: Final = 1000
MAX_LOCAL_MEMBERS: Final = 3122  # members of one group at one daemon
