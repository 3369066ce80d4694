"""What these tests are made of catches what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs_blocks import Block, anchors, blocks, links
from docs_console import matches, steps, wrong_usage
from docs_kinds import findings_of, kind_of


@pytest.mark.parametrize(
    "line",
    [
        "vmm status var/journal",
        "vmm client --role dom0 --name host1 2> host1.log &",
        "vmm rules explain grow --on groupA | head",
        "DEMO_S=20 vmm demo --plain",
        "ls -l",
        "vmm rules check",
    ],
)
def test_what_vmm_understands(line: str) -> None:
    assert wrong_usage(line) == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("vmm staus var/journal", "no command 'staus'"),
        ("vmm rules", "subcommand is missing"),
        ("vmm rules explain", "Missing argument"),
        ("vmm rules explain grow --subject groupA", "No such option"),
        ("vmm client --role dom1", "dom1"),
        ("vmm 'rules", "No closing quotation"),
    ],
)
def test_what_vmm_does_not_understand(line: str, why: str) -> None:
    assert why.lower() in wrong_usage(line).lower()


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a b", " a   b \n", True),
        ("a ... c", "a b c", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...", "a", True),
        ("a", "a\nb", False),
        ("a.b", "axb", False),
        ("a\nb", "a", False),
    ],
)
def test_what_is_shown_is_compared(shown: str, printed: str, same: bool) -> None:
    assert matches(tuple(shown.splitlines()), printed) is same


def test_blocks_links_and_anchors(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "index.md"
    text = "# One: `two` three\n\n[a\nb](c.md)\n```ini triggers\n[x](y)\n```\n`[z](q)`\n"
    draft = tmp_path / "draft.md"
    draft.write_text(text)
    assert list(links(draft)) == [(3, "c.md")]
    assert anchors(draft) == {"one-two-three"}
    assert len(list(links(page))) > 20


def test_a_fence_without_an_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs_blocks.ROOT", tmp_path)
    draft = tmp_path / "draft.md"
    draft.write_text("```ini\n[x]\n")
    with pytest.raises(AssertionError, match="never closed"):
        list(blocks(draft))


def block(text: str, *words: str) -> Block:
    return Block("docs/index.md", 1, "ini", words, text)


def test_steps_of_a_console_block() -> None:
    first, second = steps(block("$ a\nx\nGo? [y/N]: y\nz\n$ b\n"))
    assert (first.command, first.typed, first.shown) == ("a", "y\n", ("x", "Go? [y/N]: z"))
    assert (second.command, second.shown) == ("b", ())


@pytest.mark.parametrize(
    ("text", "kind", "wrong"),
    [
        ("[a]\nexpr = { len(manager.hosts) > 1 }\ncmd = { sender.notify('x') }", "triggers", ""),
        ("[a]\nexpr = { share.x }\ncmd = { sender.notify('x') }\neach = share", "triggers", "no column"),
        ("[a]\ncommand = laod", "properties", "laod"),
        ("[a]\ntemplate = a.qcow2\nvcpus = two\nmemory = 1GiB", "profiles", "vcpus"),
        ("[a]\nprofile = nobody", "shares", "nobody"),
        ("[bus]\nport = 1", "vmm", "port"),
        ("[search]\nmax_move = 1", "policies", "max_move"),
        ("[a]\ngiven =\n    0s host h1 load = 1\nexpect =\n    5s grow on a fires", "tests", "did not fire"),
        ("[metadata]\nname = x", "", ""),
    ],
)
def test_kinds_of_configuration(text: str, kind: str, wrong: str) -> None:
    example = block(text)
    assert kind_of(example) == kind
    if kind:
        said = "\n".join(findings_of(example))
        assert wrong in said if wrong else not said
