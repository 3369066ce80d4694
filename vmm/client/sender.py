"""The thread that seals and sends; the only one that writes to the bus."""

from __future__ import annotations

import logging

from vmm.client.outbox import Outbox, Outgoing
from vmm.client.packing import fit_result
from vmm.errors import VmmError
from vmm.messages.bus import MANAGERS, BusLost
from vmm.messages.codec import seal
from vmm.messages.keys import Signer
from vmm.messages.structs import Result

log = logging.getLogger(__name__)


class Sender:
    """Takes from the outbox, signs as `name`, multicasts to the managers' group."""

    def __init__(self, outbox: Outbox, name: str, signer: Signer) -> None:
        self._outbox, self._name, self._signer = outbox, name, signer

    def run(self) -> None:
        while (parcel := self._outbox.take()) is not None:
            sealed = self._seal(parcel.message)
            if sealed is None:
                continue
            try:
                parcel.bus.multicast((MANAGERS,), *sealed)
            except BusLost as exc:
                self._outbox.put_back(parcel)
                log.info("not sent, the connection is gone: %s", exc)
            except VmmError as exc:
                log.error("a %s is not sent: %s", type(parcel.message).__name__, exc)

    def _seal(self, message: Outgoing) -> tuple[int, bytes] | None:
        if isinstance(message, Result):
            message = fit_result(message)
        try:
            return seal(message, self._name, self._signer)
        except (TypeError, ValueError, OverflowError) as exc:
            log.error("a %s cannot be encoded and is not sent: %s", type(message).__name__, exc)
            return None
