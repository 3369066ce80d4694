"""The INI reader: values with the lines they stand on, and findings for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.errors import ConfigError
from vmm.ini import Finding, FindingsError, parse_ini, read_ini, suggest

TEXT = """# a comment
[one]
key = value   with  spaces
other: 3
; another
long = first
    second
    # not this
    third

expr = { a
and b
# why
  and "}{" == c }
empty =
[two]
next =
    on the line below
"""


def test_values_and_the_lines_they_stand_on() -> None:
    (one, two), findings = parse_ini(TEXT, "f.ini")
    assert findings == []
    assert (one.name, one.line, two.name, two.line) == ("one", 2, "two", 16)
    assert {k: v.value for k, v in one.items.items()} == {
        "key": "value   with  spaces",
        "other": "3",
        "long": "first\nsecond\nthird",
        "expr": '{ a\nand b\nand "}{" == c }',
        "empty": "",
    }
    expr = one.items["expr"]
    assert (expr.line, [expr.line_of(i) for i in range(4)]) == (11, [11, 12, 14, 11])
    assert (two.items["next"].value, two.items["next"].line_of(0)) == ("on the line below", 18)
    assert one.get("nothing", "default") == "default"


MISTAKES = {
    "[a]\n[a]\n": (2, "section [a] stands here a second time (first at line 1)."),
    "[a]\nx = 1\nx = 2\n": (3, "[a] sets 'x' twice (first at line 2)."),
    "x = 1\n": (1, "'x' stands before the first [section]."),
    "[a]\njust words\n": (2, "neither a section, a comment, nor `key = value`"),
    "[a\n": (1, "not a section header"),
    "[]\n": (1, "not a section header"),
    "[a]\nx = { 1\n[b]\ny = 2\n": (2, "'x' opens a brace that is never closed."),
    "[a]\nx = { '}' \n": (2, "'x' opens a brace that is never closed."),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_found_where_it_stands(text: str) -> None:
    line, said = MISTAKES[text]
    _, findings = parse_ini(text, "f.ini")
    assert findings[0].line == line
    assert said in findings[0].message
    assert str(findings[0]).startswith(f"f.ini:{line}: error: ")


def test_after_an_unclosed_brace_the_next_section_is_read() -> None:
    sections, _ = parse_ini("[a]\nx = { 1\n[b]\ny = 2\n", "f.ini")
    assert [(s.name, s.get("y")) for s in sections] == [("a", ""), ("b", "2")]


@given(st.text(alphabet="[]={}#;:ab\"' \n\t", max_size=80))
def test_any_text_is_read_with_lines_that_exist(text: str) -> None:
    sections, findings = parse_ini(text, "f.ini")
    count = len(text.splitlines()) or 1
    assert all(1 <= f.line <= count for f in findings)
    for section in sections:
        for item in section.items.values():
            assert all(1 <= line <= count for line in item.lines)
            assert len(item.lines) >= len(item.value.split("\n"))


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ini"
    with pytest.raises(ConfigError, match="no such file"):
        read_ini(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_ini(path)
    path.write_text("[a]\nx = 1\nbad\n")
    with pytest.raises(FindingsError, match=r"x\.ini:3: error") as caught:
        read_ini(path)
    assert len(caught.value.findings) == 1
    path.write_text("[a]\nx = 1\n")
    assert read_ini(path)[0].get("x") == "1"


def test_suggestions() -> None:
    assert suggest("tick", ["ticks", "expr"]) == "Did you mean 'ticks'?"
    assert suggest("zzz", ["b", "a"]) == "Known: a, b."
    assert suggest("zzz", map(str, range(99))) == ""
    assert str(Finding("f", 1, "m.", "s.", "warning")) == "f:1: warning: m. s."
