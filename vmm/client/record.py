"""The record of commands on disk: what was begun, and what came of it. It makes a command run once.

One SQLite file per client, write-ahead log, every change synced before it counts. The file is held
exclusively, so two programs cannot share it. A forgotten command cannot come back either: the record
remembers up to which deadline it has forgotten, and what is not in it and older than that is refused.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from vmm.client.errors import RecordError, RecordFull, StateInUse
from vmm.client.verdict import subject_of
from vmm.messages.structs import Command, Result

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL,
    deadline_s REAL NOT NULL, result BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_deadline ON commands (deadline_s);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Result)


class State(Enum):
    """What the record knows of a command's id."""

    UNKNOWN = "unknown"
    STARTED = "started"
    FINISHED = "finished"
    FORGOTTEN = "forgotten"
    OTHER = "other"
    """The id is known, but for another command or another object."""


@dataclass(frozen=True, slots=True)
class Entry:
    state: State
    result: Result | None = None


class Record:
    """Open with a path; all methods may be called from any thread. Raises RecordError, StateInUse."""

    def __init__(self, path: Path, *, keep_count: int = 10_000, keep_s: float = 7 * 86400.0) -> None:
        self.path = path
        self._keep_count, self._keep_s = keep_count, keep_s
        self._lock = threading.Lock()
        self._unsaved: dict[str, Result] = {}
        self._begun = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (sqlite3.Error, OSError) as exc:
            raise _explain(exc, path) from exc

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise RecordError(
                f"{self.path} has format {version}; this program reads {_VERSION}.",
                next_step="start the version of vmm that made it, or move the file away",
            )
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock now, not at the first command
        for statement in _SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.execute("COMMIT")
        row = self._db.execute("SELECT value FROM meta WHERE key = 'forgotten_until'").fetchone()
        self._forgotten_until_s: float = row[0] if row else float("-inf")

    def look(self, command: Command) -> Entry:
        """What is known of this command's id."""
        with self._lock:
            row = self._run("SELECT digest, result FROM commands WHERE id = ?", command.id).fetchone()
            unsaved = self._unsaved.get(command.id)
        if row is None:
            forgotten = command.deadline_s <= self._forgotten_until_s
            return Entry(State.FORGOTTEN if forgotten else State.UNKNOWN)
        digest, stored = row
        if digest != _digest(command):
            return Entry(State.OTHER)
        if unsaved is not None:
            return Entry(State.FINISHED, unsaved)
        if stored is None:
            return Entry(State.STARTED)
        return Entry(State.FINISHED, _decoder.decode(stored))

    def begin(self, command: Command, now_s: float) -> None:
        """Put on disk that this command is about to run. `now_s` is stream time. Raises RecordFull."""
        with self._lock:
            self._save_unsaved()
            if self._begun % 256 == 0:
                self._forget(now_s)
            self._begun += 1
            self._run(
                "INSERT INTO commands (id, name, digest, deadline_s) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET result = NULL",
                command.id,
                command.name,
                _digest(command),
                command.deadline_s,
            )

    def finish(self, result: Result) -> None:
        """Put a result on disk. When the disk refuses, it is kept in memory and saved later; raises then."""
        with self._lock:
            self._unsaved[result.id] = result
            self._save_unsaved()

    def close(self) -> None:
        with self._lock:
            try:
                self._save_unsaved()
            except RecordError:
                pass  # reported when it was first tried
            finally:
                self._db.close()

    def _save_unsaved(self) -> None:
        for key, result in list(self._unsaved.items()):
            self._run("UPDATE commands SET result = ? WHERE id = ?", _encoder.encode(result), key)
            del self._unsaved[key]

    def _forget(self, now_s: float) -> None:
        """Drop finished commands whose deadline passed `keep_s` ago, and expired ones over `keep_count`."""
        before = now_s - self._keep_s
        (count,) = self._run("SELECT count(*) FROM commands").fetchone()
        if count > self._keep_count:
            skip = self._keep_count // 2
            row = self._run(
                "SELECT deadline_s FROM commands ORDER BY deadline_s DESC LIMIT 1 OFFSET ?", skip
            ).fetchone()
            before = max(before, min(row[0], now_s)) if row else before
        (until,) = self._run(
            "SELECT max(deadline_s) FROM commands WHERE result IS NOT NULL AND deadline_s < ?", before
        ).fetchone()
        if until is None:
            return
        self._run("BEGIN")
        try:
            self._run(
                "INSERT INTO meta VALUES ('forgotten_until', ?)"
                " ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                until,
            )
            self._run("DELETE FROM commands WHERE result IS NOT NULL AND deadline_s <= ?", until)
            self._run("COMMIT")
        except RecordError:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._forgotten_until_s = max(self._forgotten_until_s, until)

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as exc:
            raise _explain(exc, self.path) from exc


def _digest(command: Command) -> bytes:
    """What a repeated command must have in common with the first. Not all arguments: a Manager that was
    started again may tell a new guest another address of the bus."""
    body = _encoder.encode((command.name, subject_of(command)))
    return hashlib.blake2b(body, digest_size=16).digest()


def _explain(exc: Exception, path: Path) -> Exception:
    if isinstance(exc, RecordError):
        return exc
    name = getattr(exc, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or (isinstance(exc, OSError) and exc.errno == 28):
        return RecordFull(
            f"{path}: the disk is full ({exc}).",
            next_step="free some space; commands are refused until then, because none may run unrecorded",
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StateInUse(
            f"{path}: another client of this name has it open.",
            next_step="stop the other client, or give this one another name or state folder",
        )
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return RecordError(
            f"{path}: the record of commands is damaged ({exc}).",
            next_step="move the file away; what ran before is then not known, and could be run again",
        )
    return RecordError(
        f"{path}: {exc}.", next_step="make the state folder writable for the user that runs the client"
    )
