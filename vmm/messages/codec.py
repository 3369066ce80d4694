"""Struct <-> bytes: seal (encode and sign) and open (check, verify, decode)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from vmm.errors import BadMessage
from vmm.messages import keys
from vmm.messages.structs import KINDS, SCHEMA, STRUCTS, Envelope, Kind, Message

_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(Envelope)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, MemoryError)
"""What decoding foreign bytes raises: a text that is not UTF-8 is a ValueError, arrays nested a thousand
deep are a RecursionError."""
_bodies = {kind: msgspec.msgpack.Decoder(struct) for kind, struct in STRUCTS.items()}


def encode_body(message: Message) -> bytes:
    """MessagePack of the bare struct, as the journal keeps it."""
    return _encoder.encode(message)


def decode_body(kind: int, body: bytes) -> Message:
    """The inverse of `encode_body`; raises BadMessage."""
    try:
        decoder = _bodies[Kind(kind)]
    except ValueError:
        raise BadMessage(
            f"unknown message kind {kind}.",
            next_step="a newer vmm may have sent it; bring both ends to one version",
        ) from None
    try:
        message: Message = decoder.decode(body)
    except _UNREADABLE as exc:
        raise BadMessage(f"body of a {Kind(kind).name} message does not decode: {exc}.") from exc
    return message


def seal(message: Message, sender: str, signer: keys.Signer) -> tuple[int, bytes]:
    """(message type, bytes) ready for the bus."""
    kind, body = KINDS[type(message)], _encoder.encode(message)
    signature = signer.sign(SCHEMA, kind, sender, body)
    return int(kind), _encoder.encode(Envelope(SCHEMA, sender, body, signature))


def open_envelope(kind: int, data: bytes) -> Envelope:
    """Parse the outer layer only; nothing in it is trusted yet. Raises BadMessage."""
    try:
        envelope = _envelopes.decode(data)
    except _UNREADABLE as exc:
        raise BadMessage(
            f"{len(data)} bytes of message kind {kind} are not an envelope: {exc}.",
            next_step="find who sends to vmm's groups without being part of vmm",
        ) from exc
    if envelope.schema != SCHEMA:
        raise BadMessage(
            f"message version {envelope.schema} from {envelope.sender!r}; this program speaks {SCHEMA}.",
            next_step="bring both ends to one version of vmm",
        )
    return envelope


def open_sealed(
    kind: int, data: bytes, trusted: Callable[[str, int, bytes], bytes | None]
) -> tuple[str, Message]:
    """(sender, message) of a message whose signature holds, else BadMessage.

    `trusted(sender, kind, body)` returns the public key that must have signed, or None for nobody known.
    """
    envelope = open_envelope(kind, data)
    key = trusted(envelope.sender, kind, envelope.body)
    if key is None:
        raise BadMessage(
            f"{envelope.sender!r} is not known here; its message (kind {kind}) is dropped.",
            next_step=f"make its key with `vmm keys init --client {envelope.sender}` if it belongs to us",
        )
    if not keys.verify(key, envelope.signature, envelope.schema, kind, envelope.sender, envelope.body):
        raise BadMessage(
            f"wrong signature on a message (kind {kind}) that says it is from {envelope.sender!r}.",
            next_step="check that both sides have the same key pair; else somebody forges messages",
        )
    return envelope.sender, decode_body(kind, envelope.body)
