"""A grammar of random expressions over the schema of worlds.py, as text."""

from __future__ import annotations

from hypothesis import strategies as st

_FLOATS = ["load", "temp", "fresh"]
_INTS = ["ram_free", "disks"]


def _number(var: str) -> st.SearchStrategy[str]:
    leaf = st.one_of(
        st.sampled_from([f"{var}.{c}" for c in _FLOATS + _INTS] + [f"{var}['ram_free']"]),
        st.sampled_from(["0", "1", "2.5", "-1", "0.5"]),
    )
    return st.recursive(
        leaf,
        lambda x: st.one_of(
            st.builds("({} {} {})".format, x, st.sampled_from(["+", "-", "*", "/", "//", "%"]), x),
            st.builds("abs({})".format, x),
            st.builds("min({}, {})".format, x, x),
            st.builds("-({})".format, x),
        ),
        max_leaves=3,
    )


def condition(var: str) -> st.SearchStrategy[str]:
    """A condition over one subject."""
    leaf = st.one_of(
        st.builds(
            "({} {} {})".format,
            _number(var),
            st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
            _number(var),
        ),
        st.sampled_from(
            [
                f"{var}.ok",
                f"{var}.mode == 'up'",
                f"{var}.mode in ('a', 'b')",
                f"{var}.mode.startswith('u')",
                f"known({var}.load)",
                f"{var}.ram_free",
                f"{var}.name != 'n1'",
                f"any(d.state == 'crash' for d in {var}.domains)",
                f"count(d.mem > 2 for d in {var}.domains) >= 1",
                f"len({var}.domains) > 1",
                f"{var}.facts.cpus > 2",
                f"{var}.facts.kind == {var}.mode",
                f"(1 if {var}.ok else 2) > 1",
                f"0 < {var}.disks < 3",
            ]
        ),
    )
    return st.recursive(
        leaf,
        lambda x: st.one_of(
            st.builds("({} and {})".format, x, x),
            st.builds("({} or {})".format, x, x),
            st.builds("(not {})".format, x),
        ),
        max_leaves=3,
    )


def timed(var: str) -> st.SearchStrategy[str]:
    """A condition that reads the time or other subjects too."""
    return st.one_of(
        st.sampled_from(
            [
                f"age({var}.load) > 5",
                f"age({var}.load) + {var}.temp < manager.now",
                f"{var}.load > mean(x.load for x in manager.clients.values() if known(x.load))",
                f"{var}.ram_free < max(x.ram_free for x in manager.clients.values())",
                f"{var}.load * 2 > len(manager.clients)",
                f"{var}.name in manager.hosts",
                f"manager.hosts[{var}.name].load > {var}.load",
                f"{var}.temp >= manager.hosts['n2'].temp",
                f"count(x.mode == {var}.mode for x in manager.hosts.values()) > 1",
            ]
        ),
    )


@st.composite
def aggregate(draw: st.DrawFn, inner: st.SearchStrategy[str] | None = None) -> str:
    """A condition over all clients or hosts."""
    kind = draw(st.sampled_from(["clients", "hosts"]))
    test = (
        condition("c")
        if inner is None
        else st.one_of(inner, st.builds("({} and {})".format, inner, condition("c")))
    )
    head = f"for c in manager.{kind}.values()"
    tail = draw(st.one_of(st.just(""), st.builds(" if {}".format, test)))
    fn = draw(st.sampled_from(["any", "all", "count", "sum", "mean", "min", "max", "len", "sum1"]))
    if fn in ("any", "all"):
        return f"{fn}({draw(test)} {head}{tail})"
    limit = draw(st.sampled_from(["0", "1", "2", "0.5", "-1"]))
    op = draw(st.sampled_from(["<", ">", ">=", "==", "!="]))
    if fn == "len":
        return f"len([c {head}{tail}]) {op} {limit}"
    if fn == "sum1":
        return f"sum(1 {head}{tail}) {op} {limit}"
    if fn == "count":
        return f"count({draw(test)} {head}{tail}) {op} {limit}"
    return f"{fn}({draw(_number('c'))} {head}{tail}) {op} {limit}"


whole = st.one_of(
    aggregate(),
    aggregate(timed("c")),
    st.builds("({}) and ({})".format, aggregate(), aggregate()),
    st.builds("({}) or not ({})".format, aggregate(), aggregate(timed("c"))),
    st.builds(
        "any({} and {} for c in manager.clients.values() for d in manager.hosts.values() if {})".format,
        condition("c"), condition("d"), condition("d"),
    ),
    st.builds(
        "count({} for c in manager.clients.values() if {} for d in c.domains if d.mem {} 1) > 1".format,
        condition("c"), condition("c"), st.sampled_from([">", "<"]),
    ),
    st.builds("sum({} for c in manager.clients.values()) / len(manager.clients) > 1".format, _number("c")),
)  # fmt: skip
"""A condition for a rule without `each`."""

own = st.one_of(
    condition("host"), timed("host"), st.builds("({}) and ({})".format, condition("host"), aggregate())
)
"""A condition for a rule with `each = host`."""


def on_arrays(var: str) -> st.SearchStrategy[str]:
    """A condition that has an array form and cannot be kept: numbers, the time, and other aggregates."""
    scalar = st.sampled_from(
        [
            "mean(x.load for x in manager.clients.values() if known(x.load))",
            "max(x.ram_free for x in manager.hosts.values())",
            "manager.hosts['n2'].temp",
            "manager.now",
            "len(manager.clients)",
            "count(x.ok for x in manager.hosts.values())",
        ]
    )
    left = st.one_of(_number(var), st.just(f"age({var}.load)"), st.just(f"age({var}.fresh)"))
    leaf = st.one_of(
        st.builds("({} {} {})".format, left, st.sampled_from(["<", ">", ">=", "==", "!="]), scalar),
        st.builds("({} > {} * {})".format, left, scalar, _number(var)),
        st.sampled_from([f"{var}.ok", f"known({var}.load)", f"{var}.ram_free"]),
        st.sampled_from([f"{var}.mode == 'up'", f"{var}.name != 'n2'", f"{var}.mode.startswith({var}.name)"]),
    )
    return st.recursive(
        leaf,
        lambda x: st.one_of(
            st.builds("({} and {})".format, x, x),
            st.builds("({} or {})".format, x, x),
            st.builds("(not {})".format, x),
        ),
        max_leaves=3,
    )


def _timed_number(var: str) -> st.SearchStrategy[str]:
    """A number that changes with time."""
    return st.one_of(
        st.sampled_from([f"age({var}.load)", f"age({var}.fresh) / 3"]),
        st.builds("({} * manager.now)".format, _number(var)),
        st.builds("({} / (manager.now - 3) - {})".format, _number(var), _number(var)),
        st.builds("(manager.now + {})".format, _number(var)),
        st.builds("(-abs({} - manager.now))".format, _number(var)),
    )


@st.composite
def whole_on_arrays(draw: st.DrawFn) -> str:
    """An aggregate of such conditions, or a comparison with one of such numbers."""
    fn = draw(st.sampled_from(["any", "all", "count", "min", "max", "sum", "mean"]))
    decides = fn in ("any", "all", "count")
    element = draw(on_arrays("c") if decides else st.one_of(_number("c"), _timed_number("c")))
    tail = draw(st.one_of(st.just(""), st.builds(" if {}".format, st.one_of(on_arrays("c"), condition("c")))))
    text = f"{fn}({element} for c in manager.clients.values(){tail})"
    if fn in ("any", "all"):
        return text
    if draw(st.booleans()):
        by = draw(st.sampled_from(["2", "manager.now", "-max(x.load for x in manager.clients.values())"]))
        text = f"{by} * {text}"
    if draw(st.booleans()):
        text = f"{text} / len(manager.clients)"
    limit = draw(st.sampled_from(["1", "0", "2.5e9"]))
    return f"{text} {draw(st.sampled_from(['>', '<=', '==', '!=']))} {limit}"
