"""Keys: who signs what, and where the key files live.

A folder `keys/` holds `manager.key`/`manager.pub` (the Managers' key), `clients/NAME.key`/`.pub` (one pair a
dom0 or batch client; a host needs only its own `.key` and `manager.pub`) and `enrol.secret`, from which the
one-time tokens of new guests are derived. Keys are 32-byte Ed25519 seeds in hexadecimal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from nacl.encoding import RawEncoder
from nacl.exceptions import BadSignatureError
from nacl.hash import blake2b
from nacl.signing import SigningKey, VerifyKey
from nacl.utils import random as random_bytes

from vmm.errors import ConfigError

log = logging.getLogger(__name__)

MANAGER = "manager"
_DOMAIN = b"vmm-envelope-1"


class Signer:
    """Signs envelopes with one private key."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public_key: bytes = bytes(key.verify_key)

    @classmethod
    def generate(cls) -> Signer:
        return cls(SigningKey.generate())

    @classmethod
    def load(cls, path: Path) -> Signer:
        return cls(SigningKey(_read_hex(path, "a private key")))

    def sign(self, schema: int, kind: int, sender: str, body: bytes) -> bytes:
        return bytes(self._key.sign(_signed(schema, kind, sender, body)).signature)


def verify(public_key: bytes, signature: bytes, schema: int, kind: int, sender: str, body: bytes) -> bool:
    """True when `signature` is this key's over exactly these fields."""
    try:
        VerifyKey(public_key).verify(_signed(schema, kind, sender, body), signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def load_public(path: Path) -> bytes:
    """The 32 bytes of a `.pub` file."""
    return _read_hex(path, "a public key")


def load_clients(folder: Path) -> dict[str, bytes]:
    """Client name -> public key, of all `clients/*.pub`. A file that is no key is logged and left out."""
    found = {}
    for path in sorted((folder / "clients").glob("*.pub")):
        found.update(load_client(folder, path.name.removesuffix(".pub")))
    return found


def load_client(folder: Path, name: str) -> dict[str, bytes]:
    """The key of one client with a file, by its name; nothing, and a line in the log, when that is no key."""
    try:
        return {name: load_public(folder / "clients" / f"{name}.pub")}
    except ConfigError as exc:  # half-copied, say; the other clients are not touched by it
        log.error("%s", exc)
        return {}


def load_enrol_secret(folder: Path) -> bytes:
    return _read_hex(folder / "enrol.secret", "the enrolment secret")


def guest_token(secret: bytes, guest: str, life: int = 0) -> str:
    """The token with which a guest's first key is accepted. Derived (names are never used twice), so that
    nothing is stored. A guest that is started anew elsewhere gets another one, which outranks the former."""
    said = f"{guest}#{life}" if life else guest
    digest = blake2b(said.encode(), digest_size=16, key=secret, encoder=RawEncoder)
    return f"{life}.{bytes(digest).hex()}" if life else bytes(digest).hex()


def init_keys(folder: Path, clients: Iterable[str] = ()) -> list[Path]:
    """Make what is missing; never overwrites. Returns the files made. Private files get mode 0600."""
    names = list(clients)
    for name in names:
        if not name or name != Path(name).name or name.startswith("."):
            raise ConfigError(
                f"{name!r} cannot be a client's name.", next_step="use letters, digits, '-' and '.'"
            )
    try:
        return _init_files(folder, names)
    except OSError as exc:
        raise ConfigError(
            f"{exc.filename or folder}: a key cannot be stored: {exc.strerror}.",
            next_step="make the folder of keys writable for the user that runs this",
        ) from exc


def _init_files(folder: Path, clients: list[str]) -> list[Path]:
    made: list[Path] = []
    (folder / "clients").mkdir(parents=True, exist_ok=True)
    made += _init_pair(folder, MANAGER)
    secret = folder / "enrol.secret"
    if not secret.exists():
        _write_private(secret, random_bytes(32).hex())
        made.append(secret)
    for name in clients:
        made += _init_pair(folder / "clients", name)
    return made


def load_or_make(path: Path) -> Signer:
    """The private key in `path`; makes one at the first call. A crash leaves a whole file or none."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.unlink(missing_ok=True)
            _write_private(draft, SigningKey.generate().encode().hex())
            os.replace(draft, path)
            _sync_folder(path.parent)
        except OSError as exc:
            raise ConfigError(
                f"{path}: a new key cannot be stored: {exc.strerror}.",
                next_step="make the folder writable for the user that runs vmm",
            ) from exc
    return Signer.load(path)


def _init_pair(folder: Path, name: str) -> list[Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    made = []
    if not private.exists():
        if public.exists():
            raise ConfigError(
                f"{public} is there but {private.name} is not.",
                next_step="bring the private key back, or remove the public one to make a new pair",
            )
        _write_private(private, SigningKey.generate().encode().hex())
        made.append(private)
    if not public.exists():
        public.write_text(Signer.load(private).public_key.hex() + "\n", encoding="ascii")
        made.append(public)
    return made


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_hex(path: Path, what: str) -> bytes:
    try:
        data = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as exc:
        raise ConfigError(
            f"{path}: {what} cannot be read: {exc.strerror}.",
            next_step="run `vmm keys init`, and copy the files each machine needs",
        ) from exc
    except ValueError:
        data = b""
    if len(data) != 32:
        raise ConfigError(
            f"{path}: not {what} (64 hexadecimal digits).", next_step="remove it and run `vmm keys init`"
        )
    return data


def _signed(schema: int, kind: int, sender: str, body: bytes) -> bytes:
    name = sender.encode()
    return b"%s|%d|%d|%d|%s|%s" % (_DOMAIN, schema, kind, len(name), name, body)
