"""The one tree of exceptions. Each has a stable code, says what was wrong and what to do next."""

from __future__ import annotations


class VmmError(Exception):
    """Base of all errors that vmm raises on purpose.

    `code` is stable and greppable; `next_step` tells the reader what to do. Subclasses set `code`.
    """

    code = "vmm"

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        text = f"[{self.code}] {self.message}"
        return f"{text} Next: {self.next_step}" if self.next_step else text


class ConfigError(VmmError):
    """A file of the configuration is wrong; the message starts with `file:line:`."""

    code = "config"


class BadMessage(VmmError):
    """Bytes from the bus are not a message we accept (torn, unknown version, wrong signature)."""

    code = "message"


class CommandFailed(VmmError):
    """A command could not be carried out on a host, in a guest or in the batch system."""

    code = "command"


class Refused(VmmError):
    """The request is understood and will not be done."""

    code = "refused"
