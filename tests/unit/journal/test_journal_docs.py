"""What the documentation shows runs, and what it lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from vmm.journal import JournalError, format, index, snapshots

DOCS = Path(__file__).parents[3] / "docs"


def test_the_example_of_the_how_to_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = (DOCS / "how-to" / "keep-the-journal.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, object] = {}
    exec(example, scope)
    assert scope["position"] == 2
    assert scope["state"] == b"the state after position 2"


def test_the_reference_names_every_error_and_layout():
    text = (DOCS / "reference" / "journal.md").read_text()
    kinds = [JournalError, *JournalError.__subclasses__()]
    assert [kind for kind in kinds if f"| `{kind.code}` | `{kind.__name__}` |" not in text] == []
    layouts = [
        format._SEGMENT.format + "I",
        format._BLOCK.format + "I",
        index._TRAILER.format + "I",
        index._HEAD.format,
        index._GROUP.format,
        snapshots._HEADER.format,
    ]
    assert [layout for layout in layouts if f"`{layout}`" not in text] == []
    for size in (format.SEGMENT_HEADER_BYTES, format.BLOCK_HEADER_BYTES, index.TRAILER_BYTES):
        assert f"{size} bytes" in text
