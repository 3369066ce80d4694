"""Whose signature counts for what: the door between the bus and the stream."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from vmm.cluster.model import Client
from vmm.errors import BadMessage
from vmm.messages import codec, keys
from vmm.messages.structs import Hello, Kind, Message

log = logging.getLogger("vmm.manager.trust")

_OURS = (Kind.COMMAND, Kind.BEAT, Kind.INTENT, Kind.QUERY)


class Trust:
    """Verifies messages. Hosts' and the batch client's keys are files; a guest's own key is accepted once,
    with the token that its host was given for it, and stays bound to its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manager = keys.load_public(folder / f"{keys.MANAGER}.pub")
        self._secret = keys.load_enrol_secret(folder)
        self._files = keys.load_clients(folder)
        self._enrolled: dict[str, bytes] = {}

    def remember(self, clients: dict[str, Client]) -> None:
        """Guests whose keys were bound before this Manager started."""
        for client in clients.values():
            if client.role == "domU" and client.public_key:
                self._enrolled[client.name] = client.public_key

    def open(self, kind: int, data: bytes) -> tuple[str, Message]:
        """(sender, message), or BadMessage saying who should do what."""
        sender, message = codec.open_sealed(kind, data, self._key)
        if isinstance(message, Hello):
            self._admit(sender, message)
        return sender, message

    def _key(self, sender: str, kind: int, body: bytes) -> bytes | None:
        if kind in _OURS:
            return self._manager
        known = self._files.get(sender) or self._enrolled.get(sender)
        if known is None:
            self._files.update(keys.load_clients(self._folder))  # a key file may have come since
            known = self._files.get(sender)
        if known is None and kind == Kind.HELLO:
            hello = codec.decode_body(kind, body)
            # Signed with the key it brings; whether that key may come in is decided in _admit.
            return hello.public_key if isinstance(hello, Hello) else None
        return known

    def _admit(self, sender: str, hello: Hello) -> None:
        if hello.name != sender:
            raise BadMessage(f"{sender!r} introduces itself as {hello.name!r}; dropped.")
        if sender in self._files:
            if hello.role == "domU":
                raise BadMessage(f"{sender!r} has a host's key but says it is a guest; dropped.")
            return
        if hello.role != "domU":
            raise BadMessage(
                f"client {sender!r} ({hello.role}) has no key here; dropped.",
                next_step=f"`vmm keys init --client {sender}` and give it the .key file",
            )
        bound = self._enrolled.get(sender)
        if bound is not None:
            if bound != hello.public_key:
                raise BadMessage(f"guest {sender!r} came with a second key; dropped.")
            return
        token = keys.guest_token(self._secret, sender)
        if not hmac.compare_digest(token, hello.token):
            raise BadMessage(
                f"guest {sender!r} came without the token given to its host; dropped.",
                next_step="was it made by vmm, and with these keys?",
            )
        self._enrolled[sender] = hello.public_key
        log.info("guest %s is enrolled with its own key", sender)

    def token(self, guest: str) -> str:
        """What a new guest must show at its first hello."""
        return keys.guest_token(self._secret, guest)
