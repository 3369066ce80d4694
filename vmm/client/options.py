"""Who this client is and where it finds what it needs: from options, settings and the kernel command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmm.client.errors import BadName
from vmm.config import Settings, load_settings
from vmm.errors import ConfigError

GUEST_STATE = Path("/var/lib/vmm")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PREFIX = "vmm."


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Everything decided before the start. `state` is this client's own folder.

    `token` proves a new guest; `manager_key` (32 bytes) stands in for `keys/manager.pub` in a guest that
    has no keys folder. `facts` are sent to the Manager in each Hello.
    """

    name: str
    role: str
    settings: Settings
    state: Path
    key: Path | None = None
    token: str = ""
    manager_key: bytes | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def parse_cmdline(text: str) -> dict[str, str]:
    """`vmm.KEY=VALUE` of a kernel command line as {KEY: VALUE}; the last of two equal keys counts."""
    try:
        words = shlex.split(text)
    except ValueError:  # an odd quote in somebody else's parameter
        words = text.split()
    pairs = (word[len(_PREFIX) :].partition("=") for word in words if word.startswith(_PREFIX))
    return {key: value for key, equals, value in pairs if key and equals}


def read_cmdline(path: Path) -> dict[str, str]:
    """`parse_cmdline` of a file; a file that cannot be read counts as empty."""
    try:
        return parse_cmdline(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}


def check_name(name: str) -> str:
    """The name itself, if it can be a file name and travel. Raises BadName."""
    if _NAME.fullmatch(name) is None:
        raise BadName(
            f"{name!r} cannot be a client's name.",
            next_step="use --name with 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
        )
    return name


def build_options(
    *,
    folder: Path | None,
    role: str,
    name: str,
    bus: str = "",
    token: str = "",
    key: Path | None = None,
    state: Path | None = None,
    identity: Mapping[str, str] | None = None,
) -> ClientOptions:
    """Put it together: an option beats the kernel command line's `identity`, which beats `vmm.ini`.

    A guest may lack the folder of configuration: defaults hold.
    """
    given = identity or {}
    settings = _settings(folder, role)
    settings = _with_identity(settings, bus, given)
    own = check_name(name)
    root = state
    if root is None:
        bare_guest = role == "domU" and (folder is None or not folder.is_dir())
        root = GUEST_STATE if bare_guest else settings.path(settings.client.state)
    return ClientOptions(
        name=own,
        role=role,
        settings=settings,
        state=root / own,
        key=key,
        token=token or given.get("token", ""),
        manager_key=_key_bytes(given["manager_key"]) if "manager_key" in given else None,
        facts={k: v for k, v in given.items() if k not in ("token", "manager_key")},
    )


def _settings(folder: Path | None, role: str) -> Settings:
    if folder is not None and (folder.is_dir() or role != "domU"):
        return load_settings(folder)
    if role != "domU":
        raise ConfigError("no folder of configuration is named.", next_step="name it with -c, e.g. -c etc/")
    return Settings(folder or Path("/etc/vmm"))


def _with_identity(settings: Settings, bus: str, given: Mapping[str, str]) -> Settings:
    daemon = bus or given.get("bus", "") or settings.bus.daemon
    shards = settings.bus.shards
    if "shards" in given:
        if not given["shards"].isdecimal() or int(given["shards"]) < 1:
            raise ConfigError(f"kernel command line: vmm.shards={given['shards']!r} is not a number above 0.")
        shards = int(given["shards"])
    return replace(settings, bus=replace(settings.bus, daemon=daemon, shards=shards))


def _key_bytes(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError("kernel command line: vmm.manager_key is not 64 hexadecimal digits.")
    return key
