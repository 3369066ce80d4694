"""Whose signature counts for what: the door between the bus and the stream."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

from vmm.cluster.model import Client
from vmm.errors import BadMessage
from vmm.messages import codec, keys
from vmm.messages.guest import life_of
from vmm.messages.structs import Hello, Kind, Message

log = logging.getLogger("vmm.manager.trust")

_OURS = (Kind.COMMAND, Kind.BEAT, Kind.INTENT, Kind.QUERY)


class Trust:
    """Verifies messages. Hosts' and the batch client's keys are files; a guest's own key is accepted once,
    with the token that its host was given for it, and stays bound to its name. A guest that was started anew
    brings a token of its new life: from then on its former key is nobody's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manager = keys.load_public(folder / f"{keys.MANAGER}.pub")
        self._secret = keys.load_enrol_secret(folder)
        self._files = keys.load_clients(folder)
        self._enrolled: dict[str, bytes] = {}
        self._lives: dict[str, int] = {}

    def remember(self, clients: dict[str, Client]) -> None:
        """Guests whose keys were bound before this Manager started."""
        for client in clients.values():
            if client.role == "domU" and client.public_key:
                self._enrolled[client.name] = client.public_key
                self._lives[client.name] = client.life

    def open(self, kind: int, data: bytes) -> tuple[str, Message]:
        """(sender, message), or BadMessage saying who should do what."""
        sender, message = codec.open_sealed(kind, data, self._key)
        if isinstance(message, Hello):
            self._admit(sender, message)
        return sender, message

    def _key(self, sender: str, kind: int, body: bytes) -> bytes | None:
        if kind in _OURS:
            return self._manager
        if kind == Kind.HELLO and sender in self._files:
            self._files.update(keys.load_client(self._folder, sender))  # its key may have been made anew
        known = self._files.get(sender) or self._enrolled.get(sender)
        if known is None:
            self._files.update(keys.load_clients(self._folder))  # a key file may have come since
            known = self._files.get(sender)
        if kind == Kind.HELLO and sender not in self._files:
            hello = codec.decode_body(kind, body)
            # Signed with the key it brings; whether that key may come in is decided in _admit.
            if isinstance(hello, Hello) and (known is None or self._outranks(sender, hello)):
                return hello.public_key
        return known

    def _admit(self, sender: str, hello: Hello) -> None:
        if hello.name != sender:
            raise BadMessage(f"{sender!r} introduces itself as {hello.name!r}; dropped.")
        if sender in self._files:
            if hello.role == "domU":
                raise BadMessage(f"{sender!r} has a host's key but says it is a guest; dropped.")
            if hello.public_key != self._files[sender]:
                raise BadMessage(f"{sender!r} shows another key than the one it signs with; dropped.")
            return
        if hello.role != "domU":
            raise BadMessage(
                f"client {sender!r} ({hello.role}) has no key here; dropped.",
                next_step=f"`vmm keys init --client {sender}` and give it the .key file",
            )
        bound, life = self._enrolled.get(sender), life_of(hello.token)
        if bound is not None and not self._outranks(sender, hello):
            if bound != hello.public_key or life != self._lives.get(sender, 0):
                raise BadMessage(f"guest {sender!r} came with a second key; dropped.")
            return
        token = keys.guest_token(self._secret, sender, life)
        if not hmac.compare_digest(token, hello.token):
            raise BadMessage(
                f"guest {sender!r} came without the token given to its host; dropped.",
                next_step="was it made by vmm, and with these keys?",
            )
        self._enrolled[sender], self._lives[sender] = hello.public_key, life
        log.info("guest %s is enrolled with its own key", sender)

    def _outranks(self, sender: str, hello: Hello) -> bool:
        return life_of(hello.token) > self._lives.get(sender, 0)

    def token(self, guest: str, life: int = 0) -> str:
        """What a new guest must show at its first hello; `life`: how often it was started anew before."""
        return keys.guest_token(self._secret, guest, life)
