"""Reading INI files so that every finding can name file and line.

The standard library's parser forgets line numbers, so this one keeps them. The dialect is configparser's:
`[section]`, `key = value` or `key: value`, `#` and `;` comment lines, and continuation lines that are
indented. A value that opens a brace may span lines until the braces balance, indented or not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong (or doubtful) in a configuration file. `severity` is `error` or `warning`."""

    file: str
    line: int
    message: str
    suggestion: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        tail = f" {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}: {self.severity}: {self.message}{tail}"


@dataclass(frozen=True, slots=True)
class Item:
    """A key's value (stripped, continuation lines joined by newlines) and the line its key stands on."""

    value: str
    line: int
    lines: tuple[int, ...] = ()

    def line_of(self, index: int) -> int:
        """The file's line on which line `index` (from 0) of the value stands."""
        return self.lines[index] if 0 <= index < len(self.lines) else self.line


@dataclass(slots=True)
class Section:
    name: str
    line: int
    file: str
    items: dict[str, Item] = field(default_factory=dict)

    def get(self, key: str, default: str = "") -> str:
        item = self.items.get(key)
        return default if item is None else item.value


class BadValue(ValueError):
    """A key's value is wrong; `suggestion` is the next step."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


class FindingsError(ConfigError):
    """Raised when a file has errors; carries all of them, not only the first."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        lines = "\n".join(str(f) for f in findings)
        super().__init__(lines, next_step="mend the lines named above; `vmm rules check` repeats the check")


def suggest(word: str, known: Iterable[str]) -> str:
    """`Did you mean ...?` for the nearest known word, or the list of known ones when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(names)}." if names and len(names) <= 30 else ""


def parse_ini(text: str, file: str) -> tuple[list[Section], list[Finding]]:
    """Sections in file order, and what is wrong. Never raises on bad text; duplicates keep the first."""
    sections: list[Section] = []
    findings: list[Finding] = []
    seen: dict[str, Section] = {}
    section: Section | None = None
    for line, name, key, item in _logical_lines(text, file, findings):
        if name is not None:
            if name in seen:
                findings.append(
                    Finding(
                        file,
                        line,
                        f"section [{name}] stands here a second time (first at line {seen[name].line}).",
                        "Rename or merge it.",
                    )
                )
                section = Section(name, line, file)  # read and dropped, so that its own errors show
                continue
            section = seen[name] = Section(name, line, file)
            sections.append(section)
        elif section is None:
            findings.append(Finding(file, line, f"{key!r} stands before the first [section]."))
        elif key in section.items:
            first = section.items[key].line
            findings.append(
                Finding(
                    file, line, f"[{section.name}] sets {key!r} twice (first at line {first}).", "Remove one."
                )
            )
        else:
            section.items[key] = item
    return sections, findings


def read_text(path: Path) -> str:
    """A file's text, without a byte order mark. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file.", next_step="create it, or name another file or folder"
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"{path}: cannot be read: {exc}.", next_step="make it a readable UTF-8 text"
        ) from exc


def read_ini(path: Path) -> list[Section]:
    """Parse one file; raises ConfigError when it cannot be read and FindingsError when it is malformed."""
    text = read_text(path)
    sections, findings = parse_ini(text, str(path))
    if findings:
        raise FindingsError(findings)
    return sections


def _logical_lines(
    text: str, file: str, findings: list[Finding]
) -> Iterator[tuple[int, str | None, str, Item]]:
    """Yields (line, section name or None, key, value) with continuations joined."""
    lines = text.removeprefix("\ufeff").splitlines()
    i = 0
    while i < len(lines):
        raw, at = lines[i], i + 1
        i += 1
        body = raw.strip()
        if not body or body[0] in "#;":
            continue
        if body[0] == "[":
            if not body.endswith("]") or not body[1:-1].strip():
                findings.append(Finding(file, at, f"not a section header: {body!r}.", "Write [name]."))
                continue
            yield at, body[1:-1].strip(), "", Item("", at)
            continue
        cut = min((p for p in (body.find("="), body.find(":")) if p > 0), default=-1)
        if cut < 0 or raw[0].isspace():
            findings.append(
                Finding(
                    file,
                    at,
                    f"neither a section, a comment, nor `key = value`: {body!r}.",
                    "Continuation lines must be indented and follow a key.",
                )
            )
            continue
        key, value = body[:cut].strip(), body[cut + 1 :].strip()
        numbers = [at]
        while i < len(lines) and _continues(value, lines[i]):
            extra = lines[i].strip()
            if extra and extra[0] not in "#;":
                value = f"{value}\n{extra}" if value else extra
                numbers = [*numbers, i + 1] if value != extra else [i + 1]
            i += 1
        if braces_open(value):
            findings.append(Finding(file, at, f"{key!r} opens a brace that is never closed.", "Add '}'."))
            continue
        yield at, None, key, Item(value.strip(), at, tuple(numbers))


_QUOTED = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")


def braces_open(value: str) -> bool:
    """Whether the value starts with a brace that is not closed yet; braces within quotes do not count."""
    if not value.startswith("{"):
        return False
    bare = _QUOTED.sub("", value)
    return bare.count("{") > bare.count("}")


def _continues(value: str, line: str) -> bool:
    if braces_open(value):
        # An unclosed brace swallows lines, but not the next section: the error stays near its cause.
        return not line.startswith("[")
    return bool(line.strip()) and line[0].isspace()
