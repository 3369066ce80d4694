"""Damaged cluster and load files: a VmmError, or a cluster that every planner takes. Never anything else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from planning_world import DATA

from vmm.errors import VmmError
from vmm.policies.balance import Search, balance
from vmm.policies.consolidate import consolidate
from vmm.policies.evacuate import evacuate
from vmm.policies.ganeti import format_cluster, parse_cluster, parse_loads
from vmm.policies.generate import Shape, generate
from vmm.policies.model import Cluster, Guest
from vmm.policies.objective import GANETI, STATIC
from vmm.policies.place import place
from vmm.policies.plan import Plan
from vmm.policies.recover import recover

LOCAL = (
    (DATA / "c3.data")
    .read_text()
    .replace("||ext||", "|n0001|drbd||", 1)
    .replace("||ext||", "||plain||", 1)
    .replace("|n0001|n0001|", "|n0001|n0002|")
)
FILES = [
    LOCAL,
    format_cluster(generate(Shape(4, 9, 1, "lopsided", groups=2, tagged=0.6))),
    format_cluster(generate(Shape(3, 7, 2, tagged=0.8))),
]
LOADS = (DATA / "c3.util").read_text()
NUMBERS = ("", "0", "-1", "nan", "inf", "-inf", "1e400", "1e308", "1e-320", "x", " ", "\u0663", "\x00")
WORDS = ("N", "Y", "M", "n0001", "g0", "uuid-g0", "ext", "drbd", "|", ",", ":", "htools:iextags:", "role")
JUNK = st.sampled_from(NUMBERS + WORDS)
few = settings(max_examples=int(os.environ.get("PLAN_EXAMPLES", "60")), deadline=None)


@st.composite
def damaged(draw: st.DrawFn, texts: list[str], separator: str) -> str:
    lines = draw(st.sampled_from(texts)).split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["field", "field", "field", "drop", "double", "cut", "swap", "junk"]))
        if how == "field":
            fields = lines[at].split(separator)
            fields[draw(st.integers(0, len(fields) - 1))] = draw(JUNK)
            lines[at] = separator.join(fields)
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "double":
            lines.insert(at, lines[at])
        elif how == "cut":
            lines[at] = lines[at][: draw(st.integers(0, max(len(lines[at]) - 1, 0)))]
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif how == "junk":
            lines[at] = draw(st.text(max_size=30))
    return "\n".join(lines)


def outcome(make: Callable[[], Any]) -> Any:
    """What comes out, or the error: a VmmError with words. All else fails the test."""
    try:
        return make()
    except VmmError as error:
        return error


def plans(cluster: Cluster) -> list[Plan]:
    new = [Guest(f"new {i}", 512, 1) for i in range(2)]
    return [
        balance(cluster, STATIC, Search(max_moves=3)),
        consolidate(cluster, GANETI),
        evacuate(cluster, [h.name for h in cluster.hosts[:1]], STATIC),
        recover(cluster, STATIC),
        place(cluster, new, GANETI),
    ]


def test_the_files_are_whole() -> None:
    assert [len(parse_cluster(text).guests) for text in FILES] == [8, 9, 7]
    assert any(g.secondary for g in parse_cluster(LOCAL).guests)


@few
@given(damaged(FILES, "|"))
def test_a_damaged_cluster_file(text: str) -> None:
    cluster = outcome(lambda: parse_cluster(text, "f.data"))
    if isinstance(cluster, VmmError):
        assert cluster.message
    elif cluster.hosts:
        assert all(math.isfinite(plan.score_after) for plan in plans(cluster))


@few
@given(damaged([LOADS], " "))
def test_a_damaged_load_file(text: str) -> None:
    data = (DATA / "c3.data").read_text()
    cluster = outcome(lambda: parse_cluster(data, "f.data", parse_loads(text, "f.util")))
    if isinstance(cluster, VmmError):
        assert cluster.message
    else:
        assert math.isfinite(balance(cluster, GANETI, Search(max_moves=2)).score_after)


@few
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    assert isinstance(outcome(lambda: parse_cluster(text)), VmmError)
    assert isinstance(outcome(lambda: parse_loads(text)), VmmError | dict)
