"""Ganeti's text format where real exports differ from tidy ones."""

from __future__ import annotations

import pytest
from planning_world import DATA, replayed

from vmm.policies.balance import Search, balance
from vmm.policies.ganeti import parse_cluster
from vmm.policies.model import HostState
from vmm.policies.objective import STATIC

LINES = (DATA / "c10.data").read_text().splitlines()
AT = next(i for i, line in enumerate(LINES) if line.startswith("n0003|"))
FIELDS = LINES[AT].split("|")


@pytest.mark.parametrize(
    ("numbers", "state"),
    [
        (["?"] * 6, "Y"),
        (["?"] * 6, "N"),  # hbal takes such a node as offline, whatever the field says
        (["0"] * 6, "Y"),
        (FIELDS[1:7], "Y"),
    ],
)
def test_a_host_that_is_off_need_not_say_what_it_has(numbers: list[str], state: str) -> None:
    line = "|".join([FIELDS[0], *numbers, state, *FIELDS[8:]])
    cluster = parse_cluster("\n".join([*LINES[:AT], line, *LINES[AT + 1 :]]), "c10.data")
    assert cluster.host_by_name["n0003"].state is HostState.OFFLINE
    assert any(guest.host == "n0003" for guest in cluster.guests)
    after = replayed(cluster, balance(cluster, STATIC, Search()))
    assert not any(guest.host == "n0003" for guest in after.guests)
