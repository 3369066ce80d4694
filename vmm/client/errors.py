"""What can stop a client."""

from __future__ import annotations

from vmm.errors import ConfigError, VmmError


class ThreadDied(VmmError):
    """A thread of the client ended with an error; the program ends with it."""

    code = "thread-died"


class RecordError(VmmError):
    """The record of commands on disk cannot be used; nothing may be run without it."""

    code = "record-failed"


class RecordFull(RecordError):
    """The disk under the record is full."""

    code = "record-full"


class StateInUse(VmmError):
    """Another client of this name runs on this machine with the same state folder."""

    code = "name-taken"


class BadName(ConfigError):
    """A client's name that cannot travel or be a file name."""

    code = "bad-name"
