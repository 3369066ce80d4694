"""The examples of the documentation: fenced blocks with the words behind their fence, and the links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)(```+)(.*)$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href|srcset)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. ```` ```ini triggers >>etc/triggers.ini ```` has language `ini` and two words."""

    file: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def target(self) -> str:
        """The file that a reader is told to write (`NAME`) or to append to (`>>NAME`), if any."""
        return next((word for word in self.words if "." in word), "")


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> Iterator[Block]:
    """In order; a fence that is never closed is an error of the test run."""
    opened: tuple[int, int, str, str] | None = None
    body: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened, body = (number, len(fence[1]), fence[2], fence[3].strip()), []
        elif fence is not None and fence[2] == opened[2] and not fence[3].strip():
            language, *words = opened[3].split() or [""]
            yield Block(name_of(path), opened[0] + 1, language, tuple(words), "\n".join(body) + "\n")
            opened = None
        else:
            body.append(line[opened[1] :] if line[: opened[1]].isspace() or not opened[1] else line)
    assert opened is None, f"{path}:{opened[0]}: a fence that is never closed"


def all_blocks() -> list[Block]:
    return [block for path in documents() for block in blocks(path)]


def prose(path: Path) -> str:
    """The text without its fenced blocks, lines kept."""
    lines, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
            lines.append("")
        else:
            lines.append("" if inside else line)
    return "\n".join(lines)


def indented_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of code blocks that are made by indentation: number and text."""
    before_blank, inside = True, False
    for number, line in enumerate(prose(path).splitlines(), 1):
        if not line.strip():
            before_blank = True
            continue
        inside = line.startswith("    ") and (inside or before_blank)
        before_blank = False
        if inside:
            yield number, line.strip()


def links(path: Path) -> Iterator[tuple[int, str]]:
    """Line and target of each; the text of a link may run over lines."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    for match in _LINK.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match[1] or match[2]


def anchors(path: Path) -> set[str]:
    """The names that headings get: lower case, no punctuation, hyphens for blanks."""
    found = set()
    for heading in _HEADING.findall(prose(path)):
        bare = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(bare.replace(" ", "-"))
    return found
