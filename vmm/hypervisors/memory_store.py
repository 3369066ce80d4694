"""The in-memory hypervisor's table of guests in a JSON file, so that a restarted client finds them again."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vmm.errors import ConfigError
from vmm.messages.guest import GuestSpec

VERSION = 1


@dataclass(slots=True)
class Record:
    """One guest as it is kept: what it was made from, its state, the end of its console."""

    spec: GuestSpec
    state: str
    console: list[str] = field(default_factory=list)


class _File(msgspec.Struct):
    version: int
    guests: list[Record]


def load_records(path: Path) -> list[Record]:
    """The guests of the file; none when there is no file. ConfigError when it is not such a file."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise ConfigError(
            f"{path}: not a table of guests: {exc}.", next_step="remove it: its guests are only records"
        ) from exc
    if content.version != VERSION:
        raise ConfigError(
            f"{path}: version {content.version} of the table of guests, this program reads {VERSION}.",
            next_step="remove it: its guests are only records",
        )
    return content.guests


def save_records(path: Path, records: list[Record]) -> None:
    """Replace the file in one step, so that a crash leaves the old table or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(msgspec.json.encode(_File(VERSION, records)))
    os.replace(part, path)
