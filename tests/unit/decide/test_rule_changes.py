"""What a reload says that it changes: every file, each key old -> new, and whose timers are lost."""

from __future__ import annotations

import pytest
from decide_bench import SETTINGS, shipped_files

from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.changes import NOTHING, describe
from vmm.decide.core import Core
from vmm.decide.events import Entry, Started, Wished
from vmm.decide.outputs import Note
from vmm.decide.rulebook import compile_rules
from vmm.messages.structs import Intent
from vmm.plugins.manager import load_plugins

FILES = {CATALOGUE: encode_catalogue(load_plugins().collectors), **shipped_files()}
KEPT = "= client_query, grow, make_room, shrink (timers kept)"
CASES = {
    "a share": (
        ("shares.ini", "guaranteed = 1", "guaranteed = 3"),
        ["~ shares.ini [groupA] guaranteed: 1 -> 3", "~ shares.ini [groupB] guaranteed: 1 -> 3"],
    ),
    "a property": (
        ("properties.ini", "[load]", "[load]\nmax_age = 2m"),
        ["~ properties.ini [load] max_age: (not set) -> 2m"],
    ),
    "a new share": (
        ("shares.ini", "[groupA]", "[groupC]\nprofile = PROFILE\n[groupA]"),
        ["+ shares.ini [groupC]"],
    ),
    "only blanks and comments": (("shares.ini", "[groupA]", "# a comment\n\n[groupA]"), [NOTHING]),
}


def changed(name: str, old: str, new: str) -> dict[str, str]:
    profile = next(iter(compile_rules(FILES).entitlements.profiles))
    text = FILES[name].replace(old, new.replace("PROFILE", profile))
    assert text != FILES[name]
    return {**FILES, name: text}


@pytest.mark.parametrize("case", CASES)
def test_files_beside_the_rules_are_compared(case: str) -> None:
    change, lines = CASES[case]
    said = describe(compile_rules(FILES), compile_rules(changed(*change)))
    assert said == (lines if lines == [NOTHING] else [KEPT, *lines])


def test_a_changed_rule_says_what_and_that_its_timers_are_lost() -> None:
    said = describe(compile_rules(FILES), compile_rules(changed("triggers.ini", "for = 20s", "for = 9m")))
    assert said == [
        "~ shrink (starts anew: its timers, latches and counts are lost)",
        "    for: 20s -> 9m",
        "= client_query, grow, make_room (timers kept)",
    ]


def test_a_changed_order_is_said() -> None:
    files = changed("triggers.ini", "[shrink]", "[shrink]\ndescription = x")
    head, mark, tail = FILES["triggers.ini"].partition("[shrink]")
    files["triggers.ini"] = mark + tail + "\n" + head
    said = describe(compile_rules(FILES), compile_rules(files))
    assert said[0] == "~ the order in which rules are evaluated"


def test_the_log_says_it_too() -> None:
    core = Core()
    core.feed(Entry(1, 1.0, Started("j", FILES, SETTINGS, "test")))
    files = changed("shares.ini", "guaranteed = 1", "guaranteed = 3")
    wish = Intent("1", "reload", {"files": files}, "ann", "test")
    notes = [
        o.text for o in core.feed(Entry(2, 2.0, Wished(wish))) if isinstance(o, Note) and o.subject == "rules"
    ]
    assert notes == [
        f"reload by ann: {KEPT}; ~ shares.ini [groupA] guaranteed: 1 -> 3; "
        "~ shares.ini [groupB] guaranteed: 1 -> 3"
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (7, "holds no files (name -> text)"),
        ({"triggers.ini": 7}, "holds no files (name -> text)"),
        ({**FILES, CATALOGUE: "[1]"}, "collectors:1: error: the catalogue of collectors is not one"),
        ({**FILES, CATALOGUE: "{"}, "collectors:1: error: the catalogue of collectors is not one"),
    ],
)
def test_a_reload_of_something_else_is_refused_and_the_rules_stay(files: object, said: str) -> None:
    core = Core()
    core.feed(Entry(1, 1.0, Started("j", FILES, SETTINGS, "test")))
    outputs = core.feed(Entry(2, 2.0, Wished(Intent("1", "reload", {"files": files}, "ann", "test"))))
    (text,) = [o.text for o in outputs if isinstance(o, Note) and o.subject == "rules"]
    assert text.startswith("reload by ann is refused, the old rules stay: ")
    assert said in text
    assert list(core.rules.book.rules) == ["client_query", "grow", "make_room", "shrink"]
