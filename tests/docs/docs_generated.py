"""The parts of the docs made from the code: between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from docs_blocks import documents

from vmm.cli.main import vmm
from vmm.cluster.states import CLIENT, COMMAND, GUEST, Machine

_PART = re.compile(r"(<!-- generated: (\w[\w-]*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def refreshed(text: str) -> str:
    """The text with every generated part as the code has it now; parts of other names stay as they are."""
    return _PART.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}{m[4]}" if m[2] in PARTS else m[0], text)


def with_generated_parts() -> list[Path]:
    return [path for path in documents() if _PART.search(path.read_text(encoding="utf-8"))]


def _machine(machine: Machine) -> str:
    rows = [
        f"| {old} | {new} | {why} |" for old, arrows in machine.arrows.items() for new, why in arrows.items()
    ]
    arrows = [f"    {old} --> {new}" for old, nexts in machine.arrows.items() for new in nexts]
    first = next(iter(machine.arrows))
    ends = [f"    {state} --> [*]" for state, nexts in machine.arrows.items() if not nexts]
    diagram = "\n".join(["stateDiagram-v2", f"    [*] --> {first}", *arrows, *ends])
    table = "\n".join(["| from | to | because |", "| --- | --- | --- |", *rows])
    return f"\n```mermaid\n{diagram}\n```\n\n{table}\n\n"


def _command_line() -> str:
    """One section a command, in the order of the alphabet."""
    context = click.Context(vmm, info_name="vmm")
    return "\n" + "\n".join(_sections(vmm, context))


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield f"## {inner.command_path}\n\n{_words(command.help)}\n"
            yield from _sections(command, inner)
        else:
            level = "##" if context.parent is None else "###"
            yield f"{level} {inner.command_path}\n\n{_words(command.help)}\n\n{_usage(command, inner)}"


def _usage(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    rows = [(names, text) for names, text in rows if names[0] == "-" and "--help" not in names]
    lines = ["```text", usage, "```", ""]
    if rows:
        lines += ["| option | |", "| --- | --- |"]
        lines += [f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows]
        lines.append("")
    return "\n".join(lines)


def _words(text: str | None) -> str:
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "guest": lambda: _machine(GUEST),
    "command": lambda: _machine(COMMAND),
    "client": lambda: _machine(CLIENT),
    "command-line": _command_line,
}
