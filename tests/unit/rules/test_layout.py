"""`vmm rules fmt`: even layout, same meaning, comments kept."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vmm.ini import parse_ini
from vmm.rules.layout import format_ini

MESSY = """# about the file


[ a ]
expr={host.load>1
# why
   and host.ok}
cmd  :   {sender.notify('x')}
; about b
[b]
description = two
     lines
expr = {
  host.ok
}

# the end
"""
NEAT = """# about the file

[a]
expr = { host.load>1
         # why
         and host.ok }
cmd = { sender.notify('x') }

; about b
[b]
description = two
    lines
expr = {
    host.ok
}

# the end
"""


def test_a_messy_file_becomes_neat() -> None:
    assert format_ini(MESSY) == NEAT


def meaning(text: str) -> object:
    sections, findings = parse_ini(text, "f")
    return (
        [
            (s.name, {k: i.value.replace("{ ", "{").replace(" }", "}") for k, i in s.items.items()})
            for s in sections
        ],
        [re.sub(r"line \d+", "line", f.message) for f in findings],
    )


_LINES = """
# note
  ; note
[a]
[ b ]
expr={x}
expr = { x
  and y }
cmd : {
sender.x()
}
description = one
    two
text = '{'
key
a=b=c
  {
expr = {'}' == x
}}"""
lines = st.sampled_from(_LINES.split("\n"))


@given(st.lists(lines, max_size=14))
def test_meaning_and_comments_stay_and_twice_is_once(parts: list[str]) -> None:
    text = "\n".join(parts) + "\n"
    after = format_ini(text)
    assert meaning(after) == meaning(text)
    assert format_ini(after) == after
    notes = [part.strip() for part in parts if part.strip()[:1] in ("#", ";") and part.strip()]
    assert [x.strip() for x in after.splitlines() if x.strip()[:1] in ("#", ";") and x.strip()] == notes
