"""What commands do to the quantities that rules read: whether one rule feeds the condition of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vmm.rules import nodes as n
from vmm.rules.ranges import OWN_SHARE, Demands, Range, conjuncts, demands, named, own_share
from vmm.rules.rule import Rule
from vmm.rules.schema import default_schema

_RISE = {
    ("share", "guests"), ("share", "guests_ready"), ("share", "guests_idle"), ("share", "guests_coming"),
    ("host", "guests"),
}  # fmt: skip
_FALL = {("share", "room")}
_READY = frozenset({"ready"})
_WAITING = {"jobs_waiting", "guests_wanted"}
_SUPPLY = {
    "share": {
        "name", "queue", "profile", "guests", "guests_coming", "guests_ready", "guests_idle", "guaranteed",
        "max_guests", "room", "reclaimable", "failures", "can_grow", "gave_up", "jobs_waiting",
    },
    "guest": {"share", "state", "idle", "jobs"},
    "host": {"state", "memory_free_mib", "vcpus_free"},
}  # fmt: skip
"""What tells nothing of a need for guests but their own number."""
_ANY_GUEST = {
    "share": {"jobs_waiting", "guests_wanted", "can_grow", "gave_up"},
    "guest": {"idle", "state", "jobs", "share"},
}


def rise(quantity: n.Node) -> int:
    """1: one more guest makes it larger by one; -1: smaller; 0: neither, or who knows."""
    match quantity:
        case n.ColumnRead(kind=kind, column=column):
            return ((kind, column) in _RISE) - ((kind, column) in _FALL)
        case n.Size(kind="guest"):
            return 1
        case n.Aggregate(fn="count", loops=(n.Loop(var=n.Var(kind="guest"), source=None),)):
            return 1
        case n.Aggregate(fn="sum", element=element, loops=(n.Loop(source=None),)):
            return rise(element)
        case n.Arith(op="+", left=left, right=right):
            return rise(left) + rise(right)
        case n.Arith(op="-", left=left, right=right):
            return rise(left) - rise(right)
    return 0


def implied(maker: Rule, wanted: Demands, unmaker: Rule) -> Demands:
    """What is true of a maker's quantities wherever the other rule, which takes guests away, finds one.

    A rule that finds an idle guest finds at least one idle guest in the share. Nothing where more than the
    number of guests decides: then nobody can tell from the text what a new guest leads to.
    """
    if unmaker.each != "guest" or takes_a_job(maker, unmaker):
        return {}
    if not (_reads_only(maker.expr, _SUPPLY) and any_guest(unmaker, wanted)):
        return {}
    own, idle = demands(unmaker.expr), takes_idle(unmaker)
    ready = idle or _guest_demand(own, "state", Range(texts=_READY))
    found: Demands = {}
    for quantity in wanted:
        match quantity:
            case n.ColumnRead(kind="share", column=column):
                living = {"guests_idle": idle, "guests_ready": ready, "guests": ready}.get(column, False)
                allowed = Range(low=1.0)
            case n.Size(kind="guest"):
                living, allowed = ready, Range(low=1.0)
            case n.Aggregate(fn="count", loops=(n.Loop(var=n.Var(kind="guest")),)):
                living, allowed = _holds_for(own, quantity.element), Range(low=1.0)
            case n.Arith():
                living, allowed = idle and rise(quantity) != 0, Range()
            case _:
                continue
        if living:
            found[quantity] = allowed
    return found


def takes_a_job(maker: Rule, unmaker: Rule) -> bool:
    """Whether guests are made for jobs that wait, and only idle ones are taken away."""
    return takes_idle(unmaker) and any(_waits(q, allowed) for q, allowed in demands(maker.expr).items())


def takes_idle(rule: Rule) -> bool:
    """Whether the rule asks that its guest is idle."""
    return _guest_demand(demands(rule.expr), "idle", Range(1.0, 1.0))


def any_guest(rule: Rule, wanted: Demands) -> bool:
    """Whether, but for the wanted quantities, it takes any guest that is idle or ready: no special ones."""
    return all(
        _reads_only(part, _ANY_GUEST) or any(quantity in wanted for quantity in demands(part))
        for part in conjuncts(rule.expr)
    )


def of_one_share(maker: Rule, wanted: Demands, unmaker: Rule, unwanted: Demands) -> tuple[Demands, Demands]:
    """The share that a maker names, and what an `each = guest` rule says of its guest's own share, as one."""
    shares = [
        arg
        for call in maker.cmd
        if call.operation == "create_guest"
        for arg in (*call.args[:1], *(value for key, value in call.kwargs if key == "share"))
    ]
    keys = {arg.value for arg in shares if isinstance(arg, n.Const)}
    if unmaker.each != "guest" or len(keys) != 1:
        return wanted, unwanted
    share = n.Const(type="str", value=keys.pop())
    name = n.ColumnRead(type="str", subject=OWN_SHARE, kind="share", column="name")
    wanted = {**_owned(wanted, share), named(name): Range(texts=frozenset({str(share.value)}))}
    return wanted, _owned(unwanted, share)


def _owned(found: Demands, share: n.Const) -> Demands:
    return {named(own_share(quantity, share)): allowed for quantity, allowed in found.items()}


def _reads_only(node: n.Node, columns: Mapping[str, Collection[str]]) -> bool:
    for part in n.walk(node):
        match part:
            case n.ColumnRead(kind=kind, column=column) if column not in columns.get(kind, ()):
                return False
            case n.Aggregate() | n.Size() if "share" in columns and columns is _ANY_GUEST:
                return False
            case n.Now() | n.Age() | n.RowField() | n.HasSubject():
                return False
    return True


def _waits(quantity: n.Node, allowed: Range) -> bool:
    """Whether it demands jobs that wait: then a new guest does not stay idle."""
    if isinstance(quantity, n.ColumnRead):
        return quantity.column in _WAITING and allowed.low > 0
    return any(isinstance(part, n.ColumnRead) and part.column in _WAITING for part in n.walk(quantity))


def _guest_demand(own: Demands, column: str, demanded: Range) -> bool:
    return any(
        isinstance(q, n.ColumnRead) and q.kind == "guest" and q.column == column and allowed == demanded
        for q, allowed in own.items()
    )


def _holds_for(own: Demands, element: n.Node) -> bool:
    """Whether all that is demanded of a counted guest is demanded of the rule's own."""
    if isinstance(element, n.Const):
        return bool(element.value)
    counted = demands(element)
    parts = element.operands if isinstance(element, n.And) else (element,)
    return len(counted) == len(parts) and all(
        quantity in own and own[quantity].meet(allowed) == own[quantity]
        for quantity, allowed in ((named(q), allowed) for q, allowed in counted.items())
    )


def never_negative(quantity: n.Node) -> bool:
    """Counts, sizes, times, and what is made of these."""
    match quantity:
        case n.Size() | n.Age() | n.Now() | n.Aggregate(fn="count") | n.Func(name="len" | "abs"):
            return True
        case n.ColumnRead(kind=kind, column=column, type="int"):
            return column in default_schema().kinds[kind] and not column.endswith("_free_mib")
        case n.Aggregate(fn="sum" | "mean" | "min" | "max", element=element):
            return never_negative(element)
        case n.Arith(op="+" | "*" | "/", left=left, right=right):
            return never_negative(left) and never_negative(right)
        case n.Const(value=value):
            return not isinstance(value, str) and value >= 0
    return False
