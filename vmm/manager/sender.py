"""Sender: signs and multicasts what was decided, in the order decided. The only writer of the bus."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable

import msgspec

from vmm.decide.outputs import Ask, Send
from vmm.errors import VmmError
from vmm.manager.line import Line
from vmm.messages import codec
from vmm.messages.bus import MANAGERS, BusLost, all_shards
from vmm.messages.keys import MANAGER, Signer
from vmm.messages.structs import Beat, Command, Intent

log = logging.getLogger("vmm.manager.sender")


class Pulse(msgspec.Struct, frozen=True):
    """A beat to send: to the Managers, and to all clients when `everybody`."""

    beat: Beat
    everybody: bool


Outgoing = Send | Ask | Pulse | Intent


class Sender:
    """`token` gives a new guest's one-time token; `guest_bus` is the daemon as guests reach it."""

    def __init__(
        self,
        line: Line,
        signer: Signer,
        outbox: queue.SimpleQueue[Outgoing | None],
        *,
        shards: int,
        token: Callable[[str, int], str],
        guest_bus: str,
    ) -> None:
        self._line, self._signer, self._outbox = line, signer, outbox
        self._shards = all_shards(shards)
        self._token, self._guest_bus = token, guest_bus
        self.sent = 0

    def run(self) -> None:
        """Until None arrives in the outbox."""
        while (item := self._outbox.get()) is not None:
            try:
                self._send(item)
            except BusLost:
                # Commands stay in the table of commands under way and go out again after the reconnect.
                log.debug("not sent, the bus is down: %s", type(item).__name__)
            except VmmError as exc:
                log.error("cannot send %s: %s", type(item).__name__, exc)

    def _send(self, item: Outgoing) -> None:
        match item:
            case Pulse():
                groups = [MANAGERS, *self._shards] if item.everybody else [MANAGERS]
                kind, body = codec.seal(item.beat, MANAGER, self._signer)
            case Intent():
                groups = [MANAGERS]
                kind, body = codec.seal(item, MANAGER, self._signer)
            case Ask():
                groups = [item.address] if item.address else self._shards
                kind, body = codec.seal(item.query, MANAGER, self._signer)
            case Send():
                groups = [item.address, MANAGERS]
                kind, body = codec.seal(self._delivered(item.command), MANAGER, self._signer)
        self._line.send(groups, kind, body)
        self.sent += 1

    def _delivered(self, command: Command) -> Command:
        """Add what no decision depends on: where the bus is, whom to obey, and the guest's token."""
        guest = command.args.get("guest")
        if not isinstance(guest, dict):
            return command
        words = guest.get("identity", {})
        identity = {
            **words,
            "bus": self._guest_bus,
            "shards": str(len(self._shards)),
            "manager_key": self._signer.public_key.hex(),
            "token": self._token(str(guest.get("name")), int(words.get("life", 0))),
        }
        args = {**command.args, "guest": {**guest, "identity": identity}}
        return msgspec.structs.replace(command, args=args)
