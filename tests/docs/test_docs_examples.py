"""Every example of the documentation is tried, and every link leads somewhere.

What a fenced block is, its language says; a block that no test covers is an error, so that no example can be
added without one. `python tests/docs/test_docs_examples.py` prints the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from docs_blocks import ROOT, Block, all_blocks, anchors, documents, indented_lines, links, name_of
from docs_console import steps, wrong_usage
from docs_generated import refreshed, with_generated_parts
from docs_kinds import findings_of, kind_of

from vmm.spread.daemon import EmbeddedDaemon

# (file, language, first line) -> the test that covers the block instead of those below.
ELSEWHERE = {
    ("docs/how-to/write-a-plugin.md", "ini", "# setup.cfg"): "tests/unit/plugins/test_discovery.py",
    (
        "docs/how-to/plan-your-own-objective.md",
        "ini",
        "# setup.cfg",
    ): "tests/unit/policies/test_plan_own_objective.py",
    ("docs/how-to/rules-*.md", "ini", "*"): "tests/unit/rules/test_documents.py",
    ("docs/reference/triggers.md", "ini", "*"): "tests/unit/rules/test_documents.py",
    ("docs/reference/properties.md", "ini", "*"): "tests/unit/rules/test_documents.py",
}
# Not examples of vmm: what is shown, or files of other programs.
SHOWN = ("text", "mermaid")


def elsewhere(block: Block) -> str:
    first = block.text.partition("\n")[0]
    for (file, language, line), test in ELSEWHERE.items():
        if fnmatch(block.file, file) and block.language == language and fnmatch(first, line):
            return test
    return ""


def covered_by(block: Block) -> str:
    """The name of what tries the block; empty when nothing does."""
    if elsewhere(block):
        return elsewhere(block)
    if block.language == "ini":
        return "checker of " + kind_of(block) if kind_of(block) else ""
    if block.language == "console":
        return "typed into a shell" if "run" in block.words else "parsed by the command line"
    if block.target:
        return "written, and used by what is typed"
    return {"python": "run", "text": "shown only", "mermaid": "generated"}.get(block.language, "")


def of(language: str, where: Callable[[Block], bool] = lambda _: True) -> list[Block]:
    return [b for b in all_blocks() if b.language == language and not elsewhere(b) and where(b)]


def test_every_block_is_covered() -> None:
    assert [f"{b}: ```{b.language}" for b in all_blocks() if not covered_by(b)] == []


def test_the_tests_that_cover_blocks_elsewhere_are_there() -> None:
    found = {elsewhere(block) for block in all_blocks()} - {""}
    assert found == set(ELSEWHERE.values())
    for test in found:
        text = (ROOT / test).read_text(encoding="utf-8")
        assert "how-to" in text or "reference" in text


@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_configuration_loads(block: Block) -> None:
    properties = "\n".join(b.text for b in of("ini") if b.file == block.file and kind_of(b) == "properties")
    findings = findings_of(block, properties)
    assert bool(findings) == ("wrong" in block.words), findings


def test_the_rule_that_the_readme_calls_shipped_is() -> None:
    (block,) = (b for b in of("ini") if b.file == "README.md")
    assert block.text.strip() in (ROOT / "etc" / "triggers.ini").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text = block.text
    if "4803@" not in text:
        exec(compile(text, str(block), "exec"), {"__name__": "example"})
        return
    with EmbeddedDaemon("127.0.0.1:0") as daemon:
        code = re.sub(r"4803@[\w.]+", daemon.address, text)
        exec(compile(code, str(block), "exec"), {"__name__": "example"})


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_commands_are_understood(path: Path) -> None:
    """`vmm` takes each line with its options; `make` has each target. Nothing is run."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [(s.place, s.command) for b in of("console") if b.file == name_of(path) for s in steps(b)]
    synopsis = re.compile(r"\[-|\[[A-Z]|\||\[--| {4}|\.\.\.|/-")
    lines += [
        (f"{name_of(path)}:{number}", line)
        for number, line in indented_lines(path)
        if re.match(r"(vmm|make) ", line) and not synopsis.search(line)
    ]
    wrong = []
    for place, line in lines:
        why = wrong_usage(line)
        made = re.match(r"(?:\w+=\S+ )*make ([a-z-]+)", line)
        if made and made[1] not in targets:
            why = f"make has no target {made[1]!r}"
        if why:
            wrong.append(f"{place}: {line}: {why}")
    assert wrong == []


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_commands_in_the_text_are_there(path: Path) -> None:
    """`vmm ...` in backquotes names a subcommand that exists, with options that it has."""
    wrong = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for words in re.findall(r"`(vmm [a-z][^`]*)`", line):
            names = re.match(r"vmm( [a-z]+)( [a-z]+)?", words)
            assert names is not None
            why = wrong_usage(f"vmm{names[1]} --help")
            group = names[2] and names[1].strip() in (
                "rules",
                "journal",
                "plan",
                "guest",
                "host",
                "share",
                "keys",
            )
            why = why or (wrong_usage(f"{names[0]} --help") if group else "")
            if why:
                wrong.append(f"{name_of(path)}:{number}: {words}: {why}")
    assert wrong == []


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for number, link in links(path):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{name_of(path)}:{number}: {link}")
    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    fresh = {ROOT / "README.md"}
    while fresh:
        seen |= fresh
        found = {
            (page.parent / link.partition("#")[0]).resolve() for page in fresh for _, link in links(page)
        }
        fresh = {page for page in found if page.suffix == ".md" and page.exists()} - seen
    assert [name_of(page) for page in documents() if page not in seen] == []


@pytest.mark.parametrize("path", with_generated_parts(), ids=name_of)
def test_generated_parts_are_what_the_code_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert refreshed(text) == text, "run: python tests/docs/refresh.py"


if __name__ == "__main__":
    for each in all_blocks():
        print(f"{each!s:45} {each.language:10} {covered_by(each)}")
