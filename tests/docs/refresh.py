"""Write the generated parts of the documentation anew: `python tests/docs/refresh.py`."""

from __future__ import annotations

from docs_blocks import name_of
from docs_generated import refreshed, with_generated_parts

for path in with_generated_parts():
    before = path.read_text(encoding="utf-8")
    after = refreshed(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
        print(f"{name_of(path)}: written")
