"""The generated parts of docs/reference/triggers.md and properties.md: made from what the code knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vmm.rules import properties, triggers
from vmm.rules.calls import signature
from vmm.rules.properties import CollectorLike
from vmm.rules.schema import KINDS, default_schema

FUNCTIONS = {
    "any(... for x in ...)": "true when one is true",
    "all(... for x in ...)": "true when none is false",
    "count(... for x in ...)": "how many are true; `len([x for x in ... if ...])` and `sum(1 for ...)` too",
    "sum, mean (... for x in ...)": "rounded once, whatever the order; the mean of none is unknown",
    "min, max (... for x in ...)": "of none: unknown; also of several values: `min(a, b)`",
    "len(manager.hosts)": "how many there are; also the rows of a table, the characters of a text",
    "known(x)": "true when x has a value that is not too old; never unknown itself",
    "age(host.load)": "seconds since the value was read, even if it is too old now; unknown if it never was",
    "abs(x), round(x), round(x, 2)": "as in Python",
    "seconds(n), minutes(n), hours(n), days(n)": "a duration in seconds",
    "text.startswith(t), text.endswith(t)": "as in Python",
}


def tables(collectors: Mapping[str, CollectorLike]) -> dict[str, str]:
    """Name of the generated part -> Markdown."""
    return {
        "trigger keys": _keys(triggers.KEYS),
        "property keys": _keys(properties.KEYS),
        "columns": "\n\n".join(_columns(kind) for kind in KINDS),
        "operations": _operations(),
        "functions": _table(("function", "value"), ((f"`{k}`", v) for k, v in FUNCTIONS.items())),
        "collectors": _collectors(collectors),
    }


def fill(document: str, parts: Mapping[str, str]) -> str:
    """The document with what stands between `<!-- generated: NAME -->` and `<!-- end -->` made anew."""
    out: list[str] = []
    skipping = False
    for line in document.splitlines():
        if skipping and line.strip() == "<!-- end -->":
            skipping = False
        if skipping:
            continue
        out.append(line)
        if line.startswith("<!-- generated: "):
            out += ["", parts[line.removeprefix("<!-- generated: ").removesuffix(" -->")], ""]
            skipping = True
    return "\n".join(out) + "\n"


def _keys(keys: Mapping[str, str]) -> str:
    return _table(("key", "meaning"), ((f"`{key}`", text) for key, text in keys.items()))


def _columns(kind: str) -> str:
    rows = []
    for column in default_schema().kinds[kind].values():
        values = f" One of {', '.join(f'`{v}`' for v in column.values)}." if column.values else ""
        rows.append((f"`{column.name}`", column.type, column.unit, column.description + values))
    return f"A {kind} (`each = {kind}`, `manager.{kind}s`):\n\n" + _table(
        ("column", "type", "unit", "meaning"), rows
    )


def _operations() -> str:
    schema = default_schema()
    rows = ((f"`{signature(operation)}`", operation.description) for operation in schema.operations.values())
    return _table(("command", "what it does"), rows)


def _collectors(collectors: Mapping[str, CollectorLike]) -> str:
    rows = []
    for collector in collectors.values():
        columns = ", ".join(f"`{name}`" for name in collector.columns)
        text = str(getattr(collector, "description", "")) + (f"; columns {columns}" if columns else "")
        type_ = properties.type_name(collector.returns)
        rows.append((f"`{collector.name}`", type_, collector.unit, ", ".join(collector.roles), text))
    return _table(("collector", "type", "unit", "roles", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
