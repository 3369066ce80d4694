"""Warnings about rules that fight, flap, or do nothing."""

from __future__ import annotations

import pytest
from worlds import findings

STATE = "manager.hosts['x'].state"
MEAN = "mean(h.load for h in manager.hosts.values())"


def pair(create: str, destroy: str, more: str = "") -> list[str]:
    return findings(
        f"[up]\nexpr = {{ {create} }}\ncmd = {{ sender.create_guest('a') }}\n{more}"
        f"[down]\nexpr = {{ {destroy} }}\ncmd = {{ sender.retire_guest('g') }}\n"
    )


def test_two_rules_that_act_against_each_other_at_the_same_time() -> None:
    (said,) = pair(f"{MEAN} > 0.80", f"{MEAN.replace('h.', 'x.').replace('for h', 'for x')} > 0.78")
    assert said.startswith("t.ini:2: warning: [up] makes guests and [down] (t.ini:5) takes guests away when ")
    assert "is above 0.8." in said


@pytest.mark.parametrize("destroy", [f"{MEAN} < 0.78", f"{MEAN} <= 0.8", f"not {MEAN} >= 0.8"])
def test_no_dead_band(destroy: str) -> None:
    (said,) = pair(f"{MEAN} > 0.80", destroy)
    assert "there is no dead band between" in said


@pytest.mark.parametrize(
    ("create", "destroy"),
    [
        (f"{MEAN} > 0.8", f"{MEAN} < 0.4"),
        ("manager.shares['a'].jobs_waiting > 0", "manager.shares['a'].jobs_waiting == 0"),
        ("manager.shares['a'].jobs_waiting > 0", "manager.shares['b'].jobs_waiting > 0"),
        (f"{MEAN} > 0.8 and {STATE} == 'up'", f"{MEAN} > 0.7 and {STATE} == 'gone'"),
    ],
)
def test_rules_that_go_together(create: str, destroy: str) -> None:
    assert pair(create, destroy) == []


def guests(create: str, retire: str, more: str = "") -> list[str]:
    """A rule for each share that makes guests, one for each guest that takes it away."""
    return findings(
        f"[up]\neach = share\nexpr = {{ {create} }}\ncmd = {{ sender.create_guest(share) }}\n"
        f"[down]\neach = guest\nexpr = {{ {retire} }}\ncmd = {{ sender.retire_guest(guest) }}\n{more}"
    )


OWN = "manager.shares[guest.share]"
IDLE_GUESTS = "count(g.idle for g in manager.guests.values())"


@pytest.mark.parametrize(
    ("create", "retire"),
    [
        ("share.guests_ready == 0", "guest.idle"),
        ("share.guests_idle == 0 and share.can_grow", "guest.idle"),
        ("share.guests_ready < 1", "guest.state == 'ready'"),
        ("share.guests_idle < 2", "guest.idle"),
        ("share.guests_idle == 0", f"guest.idle and {OWN}.guests_idle > 0"),
        ("share.guests < share.guaranteed", f"guest.idle and {OWN}.guests >= {OWN}.guaranteed"),
        ("share.room > 0", f"{OWN}.room == 0"),
        (f"{IDLE_GUESTS} == 0", "guest.idle"),
        (f"not {IDLE_GUESTS.replace('count', 'any')}", "guest.idle"),
        ("len(manager.guests) < 5", "guest.idle and len(manager.guests) >= 5"),
        ("host.temp > 0", "host.temp <= 0"),
        ("share.guests == 0", "guest.idle"),
        ("share.guests < share.guaranteed", "guest.idle"),
        (
            "share.name == 'a' and share.guests == 0 and share.room > 0",
            f"guest.idle and {OWN}.jobs_waiting == 0",
        ),
        (f"share.guests_wanted > 0 and {MEAN} > 0.8", f"guest.idle and {MEAN} > 0.78"),
        (f"share.guests_wanted > 0 and {MEAN} > 0.8", f"guest.idle and {MEAN} < 0.78"),
    ],
)
def test_one_guest_more_or_less_is_no_dead_band(create: str, retire: str) -> None:
    if "host." in create:
        said = pair(f"manager.{create.replace('host', 'hosts[' + repr('a') + ']')}",
                    f"manager.{retire.replace('host', 'hosts[' + repr('a') + ']')}")  # fmt: skip
    else:
        said = guests(create, retire, "for = 5m\n")
    assert len(said) == 1
    assert "makes guests" in said[0]
    assert "takes guests away when" in said[0]
    assert "[down] (t.ini:" in said[0]


@pytest.mark.parametrize(
    ("create", "retire"),
    [
        ("share.guests_idle == 0", f"guest.idle and {OWN}.guests_idle > 1"),
        ("share.guests_ready < 3", f"guest.idle and {OWN}.guests_ready > 5"),
        ("share.guests < share.guaranteed", f"guest.idle and {OWN}.guests > {OWN}.guaranteed"),
        ("share.guests_wanted > 0 and share.guests_ready < 10", "guest.idle"),
        ("share.jobs_waiting > 0 and share.guests_idle == 0", f"guest.idle and {OWN}.jobs_waiting == 0"),
        ("share.can_grow and share.guests_idle == 0", f"{OWN}.can_grow and guest.state == 'lost'"),
        ("len(manager.guests) < 5", "guest.idle and len(manager.guests) > 5"),
        ("share.guests_idle == 0", "guest.state == 'lost'"),
        ("share.guests < 100", f"guest.idle and {OWN}.guests > 102"),
        (
            "share.guests_idle == 0",
            "guest.idle and count(g.idle for g in manager.guests.values() if g.share == guest.share) > 2",
        ),
        ("share.jobs_waiting > 0", f"guest.idle and {OWN}.jobs_waiting > 0 and guest.node_state == 'down'"),
        ("share.guests_wanted > share.guests_coming and share.guests_idle == 0", "guest.idle"),
        ("share.name == 'a' and share.guests == 0", "guest.idle and guest.share != 'a'"),
        (
            "share.jobs_waiting == 0 and share.guests_ready < 2",
            f"guest.idle and {OWN}.jobs_waiting == 0 and {OWN}.guests_idle > 3",
        ),
        (f"share.guests_wanted > 0 and {MEAN} < 16", f"guest.idle and {MEAN} < 4"),
        ("share.guests_wanted > 0 and share.room > 0", f"guest.idle and {OWN}.room == 0"),
    ],
)
def test_guests_that_stay(create: str, retire: str) -> None:
    assert guests(create, retire) == []


@pytest.mark.parametrize(
    ("retire", "warned"),
    [("guest.share == 'a'", True), ("guest.share == 'b'", False), (f"{OWN}.guests_idle > 2", False)],
)
def test_a_share_by_name(retire: str, warned: bool) -> None:
    said = findings(
        "[up]\nexpr = { manager.shares['a'].guests_idle == 0 }\ncmd = { sender.create_guest('a') }\n"
        f"[down]\neach = guest\nexpr = {{ guest.idle and {retire} }}\n"
        "cmd = { sender.retire_guest(guest) }\n"
    )
    assert len(said) == warned


@pytest.mark.parametrize(
    ("create", "destroy", "warned"),
    [
        ("any(h.load > 0.8 {0})", "any(h.load > 0.78 {0})", True),
        ("any(h.load > 0.8 {0})", "all(h.load < 0.78 {0})", True),
        ("all(h.load > 0.8 {0})", "any(h.load < 0.78 {0})", True),
        ("all(h.load > 0.8 {0})", "not all(h.load >= 0.79 {0})", True),
        ("any(0.8 < h.load {0} if h.ok)", "max(h.load {0} if h.ok) < 0.79", True),
        ("any(h.load > 0.8 {0})", "all(h.load < 0.4 {0})", False),
        ("any(h.load > 0.8 {0})", "any(h.load < 0.78 {0})", False),
    ],
)
def test_bounds_of_all_hosts(create: str, destroy: str, warned: bool) -> None:
    hosts = "for h in manager.hosts.values()"
    assert len(pair(create.format(hosts), destroy.format(hosts))) == warned


def each_guest(first: str, act: str, second: str, other: str) -> list[str]:
    return findings(
        f"[up]\neach = guest\nexpr = {{ {first} }}\ncmd = {{ sender.{act} }}\n"
        f"[down]\neach = guest\nexpr = {{ {second} }}\ncmd = {{ sender.{other} }}\n"
    )


SMALL, LARGE = "resize_guest(guest, memory_mib=1024)", "resize_guest(guest, memory_mib=2048)"


def test_other_acts_that_undo_one_another() -> None:
    (said,) = each_guest("guest.load > 0.8", LARGE, "guest.load < 0.79", SMALL)
    assert (
        "[up] resizes guests when guest.load is above 0.8, [down] (t.ini:7) gives them another size when"
        in said
    )
    assert each_guest("guest.load > 0.8", LARGE, "guest.load < 0.3", SMALL) == []
    assert each_guest("guest.load > 0.8", LARGE, "guest.load > 0.9", LARGE) == []
    lost = "guest.state == 'lost'"
    (said,) = each_guest(lost, "restart_guest(guest)", lost, "destroy_guest(guest)")
    assert "starts guests anew and [down] (t.ini:7) takes guests away when guest.state is 'lost'" in said
    assert each_guest(lost, "restart_guest(guest)", "guest.state != 'lost'", "retire_guest(guest)") == []
    (said,) = each_guest("guest.load > 0.8", SMALL, "guest.load < 0.82", LARGE)
    assert "gives them another size when guest.load is above 0.8 and below 0.82." in said
    (said,) = each_guest("guest.load > 0.8", SMALL, "guest.load > 0.8", LARGE)
    assert said.startswith(
        "t.ini:4: warning: [up] sender.resize_guest(guest, memory_mib=1024) and sender.resize"
    )
    assert "of [down] (t.ini:7) undo one another" in said
    (said,) = each_guest(
        "guest.load > 0.8", "migrate_guest(guest, 'a')", "guest.load > 0.7", "migrate_guest(guest, 'b')"
    )
    assert "moves guests and [down] (t.ini:7) moves them elsewhere when guest.load is above 0.8." in said


@pytest.mark.parametrize(
    ("fill", "close", "warned"),
    [
        ("create_guest('a', host=host)", "drain_host(host)", True),
        ("create_guest('a', host=host)", "hold_host(host)", True),
        ("migrate_guest('g', host)", "hold_host(host)", True),
        ("create_guest('a', 'h1')", "hold_host('h2')", False),
        ("create_guest('a')", "hold_host(host)", False),
    ],
)
def test_a_host_that_one_rule_fills_and_another_closes(fill: str, close: str, warned: bool) -> None:
    rules = (
        f"[up]\neach = host\nexpr = {{ host.load < 5 }}\ncmd = {{ sender.{fill} }}\n"
        f"[down]\neach = host\nexpr = {{ host.load > %s }}\ncmd = {{ sender.{close} }}\n"
    )
    assert len(findings(rules % "4.9")) == warned
    assert findings(rules % "16") == []


def test_a_clearing_condition_that_differs_in_one_thing_is_enough() -> None:
    rule = "[r]\neach = host\nexpr = {{ {0} and host.load > 0.8 }}\nuntil = {{ {0} and host.load < 0.5 }}\n"
    for both in ("host.ok", "known(host.temp)", "host.temp > 3"):
        assert findings(rule.format(both) + "cmd = { sender.notify('x') }\n") == []


def test_a_clearing_condition_is_dead_band_enough() -> None:
    assert pair(f"{MEAN} > 0.80", f"{MEAN} < 0.78", f"until = {{ {MEAN} < 0.5 }}\n") == []


NEVER = [
    "False",
    "1 > 2",
    "not 2 > 1",
    "1 / 0 > 0",
    "host.load > 3 and 1 > 2",
    "min(1, 2) > 1 or 'a' == 'b'",
    "not (host.load > 3 or 2 > 1)",
    "host.load > 3 and host.load < 2",
    "host.load > 3 and not host.load > 3",
    "host.disks > 3 and host.disks < 4",
    "host.mode == 'a' and host.mode == 'b'",
    "host.mode == 'a' and host.mode in ('b', 'c')",
    "host.ok and not host.ok",
    "len(manager.clients) < 0",
    "count(h.ok for h in manager.hosts.values()) < 0",
    "any(h.load > 3 and h.load < 2 for h in manager.hosts.values())",
    "any(h.load > 3 for h in manager.hosts.values() if h.load < 2)",
    "(host.load > 3 and host.load < 2) or age(host.load) < 0",
    "host.guests < 0",
    "host.mode == 'a' and host.mode != 'a'",
    "known(host.load) and not known(host.load)",
    "(host.load > 3 or host.load > 5) and host.load < 2",
    "not (host.load < 3 or host.load >= 3)",
    "host.load > host.load",
    "host.load > host.temp and host.temp >= host.load",
    "manager.now < 0",
    "host.load in (1, 2) and host.load > 3",
    "sum(s.guests for s in manager.shares.values()) < 0",
    "any(h.ok for h in manager.hosts.values()) and count(h.ok for h in manager.hosts.values()) == 0",
    "any(h.load > 3 for h in manager.hosts.values()) and all(h.load < 2 for h in manager.hosts.values())",
    "all(h.load > 3 for h in manager.hosts.values()) and any(h.load < 3 for h in manager.hosts.values())",
    "host.guests == 0.5",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_can_never_be_true(text: str) -> None:
    said = findings(f"[r]\neach = host\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\nticks = 5\n")
    assert [s for s in said if "expr can never be true" in s and ":3: warning:" in s]


def test_what_is_always_true() -> None:
    always = "[r]\nexpr = { len(manager.hosts) > 3 or 2 > 1 }\ncmd = { sender.notify('x') }\n"
    (said,) = findings(always)
    assert said.startswith("t.ini:2: warning: [r] expr is always true: without ticks the rule fires once")
    assert findings(always + "ticks = 1d\n") == [], "a timer"
    (said,) = findings(always + "ticks = 1d\nuntil = { 2 > 1 }\n")
    assert "until is always true: the rule can never fire." in said


@pytest.mark.parametrize("name", ["*", "a on b", "a b", "", "9", "a,b", "a" * 64])
def test_names_that_would_be_mistaken(name: str) -> None:
    said = findings(f"[{name}]\nexpr = {{ len(manager.hosts) > 3 }}\ncmd = {{ sender.notify('x') }}\n")
    assert said[0].startswith("t.ini:1: error: ")
    assert findings("[Fünf-2.b_]\nexpr = { len(manager.hosts) > 3 }\ncmd = { sender.notify('x') }\n") == []


SOMETIMES = [
    "host.load > 3 or host.load < 2",
    "host.load >= 3 and host.load <= 3",
    "host.mode in ('a', 'b')",
    "host.load > host.temp or host.load < host.temp",
    "host.load > host.temp and host.load < host.temp + 1",
    "(host.load > 3 or host.temp > 5) and host.load < 2",
    "not (host.load > 3 and host.temp > 5) and host.load > 4",
    "host.mode != 'a' and host.mode != 'b'",
    "host.load in (1, 3) and host.load > 2",
    "host.memory_free_mib < 0",
    "any(h.load > 3 for h in manager.hosts.values()) and any(h.load < 2 for h in manager.hosts.values())",
    "all(h.load > 3 for h in manager.hosts.values()) and all(h.load < 2 for h in manager.hosts.values())",
    "any(h.load > 3 for h in manager.hosts.values()) and not all(h.load > 3 for h in manager.hosts.values())",
    "host.guests == 2 and host.guests < 2.5",
]


@pytest.mark.parametrize("text", SOMETIMES)
def test_what_can_be_true(text: str) -> None:
    assert findings(f"[r]\neach = host\nexpr = {{ {text} }}\ncmd = {{ sender.notify('x') }}\n") == []


def test_a_clearing_condition_without_a_gap() -> None:
    (said,) = findings(
        "[r]\neach = host\nexpr = { host.load > 0.8 }\nuntil = { host.load <= 0.8 }\n"
        "cmd = { sender.notify('x') }\n"
    )
    assert said.startswith("t.ini:4: warning: [r] until (host.load at most 0.8) leaves no dead band to expr")


def test_commands_of_one_rule_that_undo_one_another() -> None:
    (said,) = findings(
        "[r]\neach = guest\nexpr = { guest.idle }\n"
        "cmd = { sender.retire_guest(guest); sender.create_guest(guest.share) }\n"
    )
    assert (
        "t.ini:4: warning: [r] sender.retire_guest(guest) and sender.create_guest(guest.share) undo" in said
    )


def test_units_that_differ() -> None:
    (said,) = findings(
        "[r]\neach = host\nexpr = { host.memory_free_mib < age(host.load) }\nticks = 5\n"
        "cmd = { sender.notify('x') }\n"
    )
    assert "compares MiB with s" in said


def test_a_disabled_rule_is_not_complained_of() -> None:
    assert pair(f"{MEAN} > 0.80", f"{MEAN} < 0.78", "enabled = no\n") == []
