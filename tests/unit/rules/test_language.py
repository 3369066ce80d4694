"""What belongs to the language and what does not; the three truth values; the messages for mistakes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from worlds import SCHEMA, fill, findings, make_world

from vmm.ini import FindingsError
from vmm.rules import ExpressionError, load_triggers
from vmm.rules.analyse import analyse
from vmm.rules.bounds import Between, arith, between, compare, conjunction, disjunction, negate, truth
from vmm.rules.calls import analyse_calls
from vmm.rules.interpret import Interpreter

HOSTILE = [
    "().__class__.__bases__[0].__subclasses__()",
    "manager.__class__",
    "manager.clients.__init__.__globals__",
    "any(c.__dict__ for c in manager.clients.values())",
    "__import__('os').system('true')",
    "open('/etc/passwd')",
    "exec('1')",
    "eval('1')",
    "getattr(manager, 'clients')",
    "globals()",
    "(lambda: 1)()",
    "lambda: 1",
    "[x for x in (1).__class__.mro()]",
    "'{0.__class__}'.format(manager)",
    "f'{manager!r:>1000000000}' == ''",
    "f'{1:>1000000000}' == ''",
    "'%1000000000d' % 1",
    "'a' * 1000000000 == ''",
    "9 ** 9 ** 9 ** 9",
    "1 << 1000000",
    "(x := 1)",
    "yield 1",
    "await x",
    "any(1 async for x in manager.clients)",
    "{1: 2}",
    "{x for x in manager.clients}",
    "[1, 2][0]",
    "manager.clients.clear()",
    "manager.clients.pop('a')",
    "manager.now.real",
    "'x'.join(['a'])",
    "'x'.encode()",
    "print(1)",
    "True.__class__",
    "any(c for manager in manager.clients.values() for c in manager.clients)",
    "any(sender for sender in manager.clients.values())",
    "sender.notify('x')",
    "*manager.clients,",
    "len(*manager.clients)",
    "any(**{})",
    "...",
    "None",
    "b'x' == b'x'",
    "1j == 1",
    "1e999 > 1",
    "not " * 2000 + "True",
    "(" * 500 + "1" + ")" * 500,
    "1 +" * 1300 + "1",
    "-" * 3000 + "1 > 0",
    "x" * 5000,
    "a" + ".b" * 1500,
    "1" * 4500 + " > 0",
    "any(any(any(1 for a in manager.clients) for b in manager.clients) for c in manager.clients)",
    "import os",
    "x = 1",
    "1; 2",
    "\0",
    "",
    "a if",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
def test_what_is_not_of_the_language_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        analyse(f"{{ {text} }}", SCHEMA, None)
    with pytest.raises(ExpressionError):
        analyse_calls(f"{{ sender.notify({text}) }}", SCHEMA, None)


@given(st.text(max_size=60))
@example("\rA")
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (analyse, analyse_calls):
        line = 1
        try:
            read("{" + text + "}", SCHEMA, "host")
        except ExpressionError as exc:
            line = exc.line
        assert 1 <= line <= text.count("\n") + 1


MISTAKES = {
    "expr = { host.lod > 1 }": "a host has no column 'lod'. Did you mean 'load'?",
    "expr = { host.load > '1' }": "'host.load' is float and \"'1'\" is str: they do not compare.",
    "expr = { host.state == 'ready' }": "host.state is never 'ready'.",
    "expr = { any(c.load > 1 for c in manager.clients) }": "c is a str and has no 'load'. Loop",
    "expr = { manager.host }": "manager has no 'host'. Did you mean 'hosts'?",
    "expr = { manager.clients }": "is all clients, not a condition",
    "expr = { guest.idle }": "'guest' is known only in a rule for each guest. Add `each = guest`.",
    "expr = { sun(h.load for h in manager.hosts.values()) > 1 }": "no function 'sun'. Did you mean 'sum'?",
    "expr = { sum(h.mode for h in manager.hosts.values()) > 1 }": "sum needs numbers, 'h.mode' is str.",
    "expr = { host.load = 1 }": "Write == to compare.",
    "expr = { host.load > 1 && host.ok }": "Write `and`, `or`, `not`.",
    "expr = { host.memory_free_mib < 2GiB }": "Numbers have no unit here: write them in the column's",
    "expr = { age(host.load) > 5m }": "minutes(5) is a duration.",
    "expr = { host.load is 1 }": "`is` is not part of the language.",
    "expr = { any(host.load) }": "any needs something to loop over.",
    "expr = { age(1) > 2 }": "age needs a column, not '1'.",
    "expr = { any(d.stat == 'x' for d in host.domains) }": "d has no column 'stat'. Did you mean 'state'?",
    "expr = { host.facts.cpsu > 1 }": "host.facts has no column 'cpsu'. Did you mean 'cpus'?",
    "expr = { host.mode.upper() == 'X' }": "has no method 'upper'.",
    "expr = { host }\ncmd = { sender.drain_host(host, 1) }": "sender.drain_host takes no 2. argument.",
    "expr = host.load > 1": "an expression stands in braces. Write { host.load > 1 }.",
    "expr = { host.load > 1": "'expr' opens a brace that is never closed.",
    "expr = { host.ok }\nepxr = { 1 }": "has no key 'epxr'. Did you mean 'expr'?",
    "expr = { host.ok }\nfor = soon": "for: 'soon' is not a duration",
    "expr = { host.ok }\nlimit = 3": "limit: '3' is not like `3/hour`",
    "expr = { host.ok }\nlimit = 0/hour": "is not like `3/hour`",
    "expr = { host.ok }\nn_of = 5 of 3": "is not like `3 of 5`",
    "expr = { host.ok }\non_unknown = wait": "'wait' is not one of hold, false, fire",
    "expr = { host.ok }\nmode = twice": "'twice' is not one of single, parallel",
    "expr = { host.ok }\nenabled = maybe": "'maybe' is neither yes nor no",
    "expr = { host.ok }\npriority = high": "'high' is not a whole number",
    "expr = { host.ok }\nticks = 0": "'0' is not longer than nothing",
    "expr = { host.ok }\nmax_running = 0": "'0' is less than 1",
    "expr = { host.ok }\non_update_check = no": "is never evaluated",
    "expr = { host.ok }\nexpr = { host.ok }": "sets 'expr' twice",
    "expr = { host.ok }\n[r]": "section [r] stands here a second time",
    "ticks = 5": "has no expr.",
}


@pytest.mark.parametrize("keys", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_a_way_out(keys: str) -> None:
    cmd = "" if "cmd" in keys else "cmd = { sender.drain_host(host) }\n"
    text = f"[r]\neach = host\n{cmd}{keys}\n"
    said = [f for f in findings(text) if MISTAKES[keys] in f]
    assert said, findings(text)
    assert "error" in said[0]
    line = int(said[0].split(":")[1])
    assert line == 1 or text.splitlines()[line - 1].strip()
    with pytest.raises(FindingsError):
        load_triggers(text, "t.ini", SCHEMA)


COMMANDS = {
    "sender.creat_guest('a')": "sender has no 'creat_guest'. Did you mean 'create_guest'?",
    "sender.create_guest()": "sender.create_guest needs 'share' (share).",
    "sender.create_guest(host)": "share is a share, 'host' is a host.",
    "sender.create_guest(3)": "share is a share or its name, not int.",
    "sender.create_guest('a', hots='b')": "no argument 'hots'. Did you mean 'host'?",
    "sender.create_guest('a', share='b')": "'share' is given twice.",
    "sender.notify(3)": "text is str, '3' is int. Write an f-string",
    "notify('x')": "is not a command. Write sender.NAME(...).",
    "host.load > 1": "a command is a call",
    "sender.notify": "a command is a call",
}


@pytest.mark.parametrize("cmd", COMMANDS)
def test_a_wrong_command_is_named(cmd: str) -> None:
    (said,) = findings(f"[r]\neach = host\nexpr = {{ host.ok }}\ncmd = {{ {cmd} }}\n")
    assert said.startswith("t.ini:4: error: [r] cmd: ")
    assert COMMANDS[cmd] in said


def test_the_line_of_a_long_expression_is_the_mistakes_own() -> None:
    text = (
        "[r]\neach = host\ncmd = { sender.drain_host(host) }\nexpr = { host.ok\n  # why\n\n  and host.lod }\n"
    )
    (said,) = findings(text)
    assert said.startswith("t.ini:7:")


THREE = (True, False, None)
KLEENE_AND = {(True, True): True, (True, None): None, (None, True): None, (None, None): None}
KLEENE_OR = {(False, False): False, (False, None): None, (None, False): None, (None, None): None}


@pytest.mark.parametrize("pair", list(product(THREE, THREE)))
def test_truth_tables(pair: tuple[bool | None, bool | None]) -> None:
    assert conjunction(pair) is KLEENE_AND.get(pair, False)
    assert disjunction(pair) is KLEENE_OR.get(pair, True)
    assert negate(conjunction(pair)) is disjunction(negate(x) for x in pair)


UNKNOWN_CASES = [
    # host a: load 0.9, ram_free 5; host b: load unknown, ram_free 7; host c: load 0.1, ram_free unknown
    ("any(h.load > 0.8 for h in manager.hosts.values())", True),
    ("any(h.load > 0.95 for h in manager.hosts.values())", None),
    ("all(h.load > 0.05 for h in manager.hosts.values())", None),
    ("all(h.load > 0.5 for h in manager.hosts.values())", False),
    ("count(h.load > 0.5 for h in manager.hosts.values()) >= 1", True),
    ("count(h.load > 0.5 for h in manager.hosts.values()) >= 2", None),
    ("count(h.load > 0.5 for h in manager.hosts.values()) >= 3", False),
    ("count(h.load > 0.5 for h in manager.hosts.values()) / len(manager.hosts) > 0.3", True),
    ("count(h.load > 0.5 for h in manager.hosts.values()) == 1", None),
    ("count(h.load > 0.5 for h in manager.hosts.values()) != 3", True),
    ("sum(h.load for h in manager.hosts.values()) > 0", None),
    ("sum(h.load for h in manager.hosts.values() if known(h.load)) == 1.0", True),
    ("mean(h.load for h in manager.hosts.values() if known(h.load)) == 0.5", True),
    ("mean(h.load for h in manager.hosts.values() if h.ram_free > 100) > 0", None),
    ("mean(h.load for h in manager.hosts.values() if h.name == 'x') > 0", None),
    ("min(h.load for h in manager.hosts.values()) <= 0.1", True),
    ("min(h.load for h in manager.hosts.values()) < 0.1", None),
    ("min(h.load for h in manager.hosts.values()) > 0.1", False),
    ("max(h.load for h in manager.hosts.values()) >= 0.9", True),
    ("max(h.load for h in manager.hosts.values() if h.ram_free < 100) > 5", None),
    ("len([h for h in manager.hosts.values() if h.load > 0.5]) < 3", True),
    ("manager.hosts['b'].load > 0 or manager.hosts['a'].load > 0", True),
    ("manager.hosts['b'].load > 0 and manager.hosts['a'].load < 0", False),
    ("not manager.hosts['b'].load > 0", None),
    ("manager.hosts['nobody'].load > 0", None),
    ("known(manager.hosts['nobody'].load)", False),
    ("known(manager.hosts['a'].load) and not known(manager.hosts['b'].load)", True),
    ("'a' in manager.hosts and 'nobody' not in manager.hosts", True),
    ("manager.hosts['b'].mode in ('x', 'y')", None),
    ("manager.hosts['b'].load * 0 == 0", None),
    ("1 / (manager.hosts['a'].ram_free - 5) > 0", None),
    ("(1 if manager.hosts['b'].ok else 2) > 0", None),
    ("age(manager.hosts['a'].load) == 5", True),
    ("age(manager.hosts['b'].load) > 0", None),
    ("0 < manager.hosts['a'].load <= 0.9", True),
    ("manager.now == 5 and minutes(2) == 120 and hours(1) + days(1) > 86400", True),
    ("round(manager.hosts['a'].load) == 1 and round(2.345, 1) == 2.3 and abs(-2) == 2", True),
    ("min(manager.hosts['a'].ram_free, 3) == 3 and max(1, 2.5) == 2.5", True),
    ("any(d.state == 'crash' for d in manager.hosts['a'].domains)", True),
    ("count(d.mem > 1 for d in manager.hosts['a'].domains) == 1", None),
    ("any(d.state == 'crash' for d in manager.hosts['b'].domains)", None),
    ("count(True for d in manager.hosts['b'].domains) >= 0", True),
    ("count(True for d in manager.hosts['b'].domains) < 100", None),
    ("len(manager.hosts['a'].domains) == 2", True),
    ("manager.hosts['a'].facts.cpus >= 4 and manager.hosts['a'].facts['kind'] == 'kvm'", True),
    ("manager.hosts['a'].facts.mem > 1", None),
    ("manager.hosts['b'].facts.cpus > 1", None),
    ("any(h.facts.cpus > 3 for h in manager.hosts.values())", True),
]


@pytest.mark.parametrize(("text", "expected"), UNKNOWN_CASES, ids=[t for t, _ in UNKNOWN_CASES])
def test_unknown_values(text: str, expected: bool | None) -> None:
    world = make_world()
    rows: dict[str, dict[str, Any]] = {
        "a": {
            "facts": {"cpus": 4, "kind": "kvm"},
            "load": 0.9,
            "ram_free": 5,
            "domains": [{"name": "x", "state": "crash"}, {"mem": 2}],
        },
        "b": {"ram_free": 7},
        "c": {"load": 0.1},
    }
    fill(world, "host", rows)
    world.advance(5.0)
    assert Interpreter(world).truth(analyse(f"{{ {text} }}", SCHEMA, None), {}) is expected


def test_bounds() -> None:
    some = Between(2, 4)
    assert [compare(op, some, 3) for op in ("<", "<=", ">", ">=", "==", "!=")] == [None] * 6
    assert compare("<", some, 5) is True
    assert compare(">=", some, 2) is True
    assert compare("==", some, 5) is False
    assert compare("!=", 5, some) is True
    assert arith("*", some, -2) == Between(-8, -4)
    assert arith("-", 10, some) == Between(6, 8)
    assert arith("/", some, Between(-1, 1)) is None
    assert arith("+", Between(0, float("inf")), 1) == Between(1, float("inf"))
    assert between(3, 3) == 3
    assert truth(some) is True
    assert truth(Between(0, 1)) is None
    assert str(Between(1, float("inf"))) == "at least 1"


@given(st.data())
def test_bounds_are_right_for_every_value_within(data: st.DataObject) -> None:
    ends = st.integers(-4, 4)
    pairs = [sorted((data.draw(ends), data.draw(ends))) for _ in range(2)]
    inner = [data.draw(st.integers(*p)) for p in pairs]
    left, right = (between(*p) for p in pairs)
    op = data.draw(st.sampled_from(["+", "-", "*", "/"]))
    value, exact = arith(op, left, right), arith(op, *inner)
    if isinstance(value, Between):
        assert value.lo <= exact <= value.hi
    elif value is not None:
        assert value == exact
    relation = data.draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    decided = compare(relation, left, right)
    assert decided is None or decided is compare(relation, *inner)
