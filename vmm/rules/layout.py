"""Lays out an INI file of rules evenly: `vmm rules fmt`. Comments, order and meaning stay."""

from __future__ import annotations

import re

from vmm.ini import braces_open

_INDENT = "    "
_KEY = re.compile(r"\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*)", re.DOTALL)


def format_ini(text: str) -> str:
    """The same file, evenly laid out; doing it twice changes nothing more.

    An empty line before each section, at most one elsewhere, `key = value`, spaces inside braces, and an
    even indent for further lines. Lines that are no INI stay as they are.
    """
    out: list[str] = []
    lines = text.removeprefix("\ufeff").splitlines()
    i = 0
    while i < len(lines):
        line = lines[i].strip()
        i += 1
        if not line:
            if out and out[-1]:
                out.append("")
        elif line[0] in "#;":
            out.append(line)
        elif line[0] == "[":
            _open_section(out, line)
        else:
            match = _KEY.fullmatch(lines[i - 1].rstrip())
            if match is None or lines[i - 1][0].isspace():
                out.append(lines[i - 1].rstrip())
                continue
            key, value = match[1], match[2]
            rest, i = _continuation(value, lines, i)
            out += _item(key, value, rest)
    while out and not out[-1]:
        out.pop()
    return "\n".join(out) + "\n" if out else ""


def _open_section(out: list[str], line: str) -> None:
    """An empty line above: before the comments that stand right on the section, or those that do not."""
    if out and out[-1]:
        at = len(out)
        while at and out[at - 1].startswith(("#", ";")):
            at -= 1
        if at and out[at - 1]:
            out.insert(at, "")
    out.append(f"[{line[1:-1].strip()}]" if line.endswith("]") else line)


def _continuation(value: str, lines: list[str], i: int) -> tuple[list[str], int]:
    """The stripped lines that belong to the value, and where the next item starts."""
    rest: list[str] = []
    so_far = value
    while i < len(lines):
        line = lines[i]
        if braces_open(so_far):
            if line.startswith("["):
                break
        elif not (line.strip() and line[0].isspace()):
            break
        if line.strip():
            rest.append(line.strip())
            if line.strip()[0] not in "#;":
                so_far += "\n" + line.strip()
        i += 1
    return rest, i


def _item(key: str, value: str, rest: list[str]) -> list[str]:
    value = value.strip()
    if value.startswith("{") and value[1:].strip():
        value = f"{{ {value[1:].strip()}"
    last = rest[-1] if rest else value
    if value.startswith("{") and last.endswith("}") and last[:-1].strip(" {"):
        last = f"{last[:-1].rstrip()} }}"
        if rest:
            rest = [*rest[:-1], last]
        else:
            value = last
    # The lines of an expression stand below its first word.
    indent = " " * len(f"{key} = {{ ") if value.startswith("{ ") else _INDENT
    return [f"{key} = {value}".rstrip(), *(line if line == "}" else indent + line for line in rest)]
