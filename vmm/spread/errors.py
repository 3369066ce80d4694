"""The exception of SpreadModule, and the two ways in which a byte stream is wrong."""

from __future__ import annotations

from vmm.spread import constants as c

TEXTS = {
    c.ILLEGAL_SPREAD: "not the name of a daemon",
    c.COULD_NOT_CONNECT: "could not connect to the daemon",
    c.REJECT_QUOTA: "the daemon has no room for another session",
    c.REJECT_NO_NAME: "the daemon wants a private name",
    c.REJECT_ILLEGAL_NAME: "the daemon does not allow this private name",
    c.REJECT_NOT_UNIQUE: "the private name is in use at this daemon",
    c.REJECT_VERSION: "the daemon does not speak our version",
    c.REJECT_AUTH: "the daemon does not accept our way of authentication",
}


class error(Exception):  # noqa: N801 - the name is SpreadModule's
    """What every call of this package raises; `args` is `(code, text)`, or `(text,)` for misuse.

    `code` is None for misuse. `lost` says that the mailbox is of no further use and has to be connected
    again. Codes that end a mailbox: CONNECTION_CLOSED (the stream ended between two frames),
    NET_ERROR_ON_SESSION (torn: it ended inside a frame) and, with `lost` set, ILLEGAL_MESSAGE (bytes that
    are no frame).
    """

    def __init__(self, code: int | str, text: str = "", *, lost: bool = False) -> None:
        if isinstance(code, int):
            super().__init__(code, text)
            self.code: int | None = code
            self.text = text
        else:
            super().__init__(code)
            self.code = None
            self.text = code
        self.lost = lost

    def __str__(self) -> str:
        return self.text if self.code is None else f"({self.code}) {self.text}"


class FrameError(ValueError):
    """Bytes that cannot be a frame. A stream that held them is of no further use: sync is lost."""


def refusal(code: int, *, what: str) -> error:
    """The `error` for a code byte that the daemon sent in the handshake."""
    return error(code, f"{what}: {TEXTS.get(code, 'refused by the daemon')}", lost=True)


class Woken(TimeoutError):
    """A blocked `receive` ended because another thread called `wake`."""
