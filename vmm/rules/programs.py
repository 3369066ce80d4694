"""Values kept for every row of a table as its columns change, and the aggregates that follow from them.

A program is an expression over the columns of one subject. When a column changes, the program of that row
alone is worked out again, and each aggregate takes in the difference: the cost of an update does not depend
on the number of subjects. Sums are exact (integers), so that they never drift and do not depend on history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from heapq import nlargest, nsmallest
from math import inf
from operator import gt, lt
from typing import Any

from vmm.rules import nodes as n
from vmm.rules.bounds import Between, between, extreme

SUBJECT = "$"
"""The variable of every program, so that equal expressions of different rules are one program."""

ABSENT = ...
"""A program's value for a row without a subject, or one that the condition leaves out."""

_MAX_FACTORS = 8
_SHIFT = 100
_DEEP_SHIFT = 1074
_HUGE = 1e290
"""A scaled float beyond this could make a sum of many overflow."""


_POOL = 64
_FAR = {"min": -inf, "max": inf}
"""A bound that no value is nearer than: the pool takes nothing in until it is filled."""


class Possible(float):
    """A number that is in only if a condition, now unknown, is true."""

    __slots__ = ()


def rename(node: n.Node, old: str, new: str) -> n.Node:
    """The node with a variable renamed; texts, which are for people, stay."""
    if isinstance(node, n.Var) and node.name == old:
        return replace(node, name=new)
    changes: dict[str, Any] = {}
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, n.Node):
            changes[f.name] = rename(value, old, new)
        elif isinstance(value, tuple) and value and isinstance(value[0], n.Node):
            changes[f.name] = tuple(rename(item, old, new) for item in value)
    return replace(node, **changes) if changes else node


def is_local(node: n.Node, variable: str) -> bool:
    """Whether the value depends on columns of this one subject only, and not on time."""
    factors = 0
    for part in n.walk(node):
        match part:
            case n.Now() | n.Age() | n.Lookup() | n.Size() | n.HasSubject() | n.Loop(source=None):
                return False
            case n.Var(name=name) if name != variable:
                return False
            case n.Arith(op="*"):
                factors += 1
    return factors <= _MAX_FACTORS


class Program:
    """`values[row]` is the expression's value now; `listeners` are told (row, old, new) when it differs.

    Without a condition the value is the node's truth, else its number while the condition holds.
    """

    def __init__(self, kind: str, node: n.Node, condition: n.Node | None) -> None:
        self.kind = kind
        self.node = node
        self.condition = condition
        self.values: list[Any] = []
        self.listeners: list[Callable[[int, Any, Any], None]] = []
        self.total: Total | None = None
        """The listener that is a sum, if there is one."""
        self.extreme: Extreme | None = None

    def change(self, row: int, value: Any) -> None:
        """Store the row's value and tell the listeners."""
        old = self.values[row]
        self.values[row] = value
        for listener in self.listeners:
            listener(row, old, value)

    def grow(self, rows: int) -> None:
        self.values += [ABSENT] * (rows - len(self.values))


class Tally:
    """any, all, count: how many rows are true, false, unknown. `value` is always up to date."""

    def __init__(self, fn: str, program: Program) -> None:
        self.fn = fn
        self.true = self.false = self.unknown = 0
        self.value: Any = {"any": False, "all": True}.get(fn, 0)
        self.dependents: list[Callable[[], None]] = []
        program.listeners.append(self.change)

    def change(self, _row: int, old: Any, new: Any) -> None:
        if old is True:
            self.true -= 1
        elif old is False:
            self.false -= 1
        elif old is None:
            self.unknown -= 1
        if new is True:
            self.true += 1
        elif new is False:
            self.false += 1
        elif new is None:
            self.unknown += 1
        before = self.value
        if self.fn == "any":
            self.value = True if self.true else None if self.unknown else False
        elif self.fn == "all":
            self.value = False if self.false else None if self.unknown else True
        else:
            self.value = between(self.true, self.true + self.unknown) if self.unknown else self.true
        if self.value != before or type(self.value) is not type(before):
            for dependent in self.dependents:
                dependent()


class Total:
    """sum and mean. The sum is kept as an integer, so adding and taking away leave nothing behind.

    A float counts as `value * unit`; `unit` is a power of two for which that is a whole number.
    """

    def __init__(self, program: Program, floats: bool) -> None:
        self.floats = floats
        self.count = self.unknown = self.total = 0
        self.unit = 1 << _SHIFT if floats else 1
        self.scale = 2.0**_SHIFT
        """For values of the usual size; not in use (0.0) once a smaller one was met."""
        self.parts: list[int] = []
        self.dependents: list[Callable[[], None]] = []
        self.ranges: dict[object, tuple[int, int]] = {}
        self.low, self.high = 1, 0
        """The dependents need not be told while the sum is from `low` to `high`; see settled.py."""
        self.program = program
        program.listeners.append(self.change)
        program.total = self

    def change(self, row: int, old: Any, new: Any) -> None:
        parts = self.parts
        if not (type(old) is float and type(new) is float):
            self._unsettle()
        if row >= len(parts):
            parts += [0] * (len(self.program.values) - len(parts))
        if type(old) is float or type(old) is int or type(old) is bool:
            self.count -= 1
        elif old is not ABSENT:
            self.unknown -= 1
        kind = type(new)
        part = 0
        if kind is float or kind is int or kind is bool:
            part = self.part(new)
            self.count += 1
        elif new is not ABSENT:
            self.unknown += 1
        self.total += part - parts[row]
        parts[row] = part
        if not self.low <= self.total <= self.high:
            for dependent in self.dependents:
                dependent()

    def _unsettle(self) -> None:
        self.ranges.clear()
        self.low, self.high = 1, 0

    def part(self, value: Any) -> int:
        """The value times the unit, exactly."""
        if type(value) is not float:
            return int(value) * self.unit
        scaled = value * self.scale
        if self.scale and scaled.is_integer() and abs(scaled) < _HUGE:
            return int(scaled)
        if self.scale:
            self._deepen()
        above, below = value.as_integer_ratio()
        return above * self.unit // below

    def _deepen(self) -> None:
        """Some value is too small (or too large) for the usual unit: go to one that fits every float."""
        more = 1 << (_DEEP_SHIFT - _SHIFT)
        self._unsettle()
        self.scale = 0.0
        self.unit *= more
        self.parts[:] = [part * more for part in self.parts]
        self.total *= more

    def value(self, fn: str) -> Any:
        """`sum` or `mean`; None when a member is unknown, for the mean of none, beyond a float's range."""
        if self.unknown:
            return None
        try:
            total = self.total / self.unit if self.floats else self.total
            if fn == "sum":
                return total
            return total / self.count if self.count else None
        except OverflowError:
            return None

    def source(self, fn: str, name: str) -> str:
        """The same as an expression, which may raise OverflowError."""
        total = f"{name}.total"
        if self.floats:  # scaling by a power of two is exact, and quicker than dividing integers
            total = f"(float({total}) * {2.0**-_SHIFT!r} if {name}.scale else {total} / {name}.unit)"
        if fn == "sum":
            return f"None if {name}.unknown else {total}"
        return f"None if {name}.unknown or not {name}.count else {total} / {name}.count"


class Extreme:
    """min and max, by a small pool of candidates.

    Every row outside the pool is at `bound` or on its far side, so only changes of candidates, and of rows
    that come nearer than `bound`, matter. When the pool runs empty the rows are looked through once.
    """

    def __init__(self, fn: str, program: Program) -> None:
        self.fn = fn
        self.unknown = self.possible = self.count = 0
        self.dependents: list[Callable[[], None]] = []
        self.pool: set[int] = set()
        self.bound: Any = _FAR[fn]
        self.program = program
        self._nearer = lt if fn == "min" else gt
        self._best: Any = None
        self._fresh = True
        program.listeners.append(self.change)
        program.extreme = self

    def change(self, row: int, old: Any, new: Any) -> None:
        self._count(old, -1)
        self._count(new, 1)
        known = type(new) is int or type(new) is float or type(new) is bool
        if known and self._nearer(new, self.bound):
            self.pool.add(row)
            if len(self.pool) > 4 * _POOL:
                self._refill()
        elif row in self.pool:
            self.pool.discard(row)
        elif known and type(old) is type(new):
            return
        self._fresh = False
        for dependent in self.dependents:
            dependent()

    def _count(self, value: Any, by: int) -> None:
        if value is None:
            self.unknown += by
        elif type(value) is Possible:
            self.possible += by
        elif value is not ABSENT:
            self.count += by

    def _refill(self) -> None:
        known = [
            (value, row)
            for row, value in enumerate(self.program.values)
            if value is not None and value is not ABSENT and type(value) is not Possible
        ]
        pick = nsmallest if self.fn == "min" else nlargest
        best = pick(_POOL, known)
        self.pool.clear()
        self.pool.update(row for _, row in best)
        # With all rows in the pool every known value is nearer than the bound; else ties may be outside.
        self.bound = _FAR["max" if self.fn == "min" else "min"] if len(best) == len(known) else best[-1][0]

    @property
    def value(self) -> Any:
        """The extreme, bounds for it, or None."""
        if not self._fresh:
            self._fresh = True
            self._best = self._work_out()
        return self._best

    def _work_out(self) -> Any:
        if not self.pool and self.count:
            self._refill()
        if not self.pool:
            return None
        values = self.program.values
        pick = min if self.fn == "min" else max
        best = pick(values[row] for row in self.pool)
        if not self.unknown and not self.possible:
            return best
        perhaps = [float(v) for v in values if type(v) is Possible] if self.possible else []
        return extreme(self.fn, [best], perhaps, self.unknown > 0, True)


Kept = Tally | Total | Extreme


def truth_of(node: n.Aggregate) -> n.Node:
    """The condition that any, all or count looks at in each row."""
    condition, element = node.loops[0].condition, node.element
    if condition is None:
        return element
    if node.fn == "all":
        return n.Or(type="bool", operands=(n.Not(type="bool", operand=condition), element))
    if isinstance(element, n.Const) and element.value is True:
        return condition
    return n.And(type="bool", operands=(condition, element))


def can_be_kept(node: n.Aggregate) -> bool:
    """Whether the aggregate runs over all subjects of a kind by expressions that look at one at a time."""
    if len(node.loops) != 1 or node.loops[0].source is not None:
        return False
    variable = node.loops[0].var.name
    if node.fn in ("any", "all", "count"):
        return is_local(truth_of(node), variable)
    if node.element.type not in n.NUMERIC:
        return False
    condition = node.loops[0].condition
    return is_local(node.element, variable) and (condition is None or is_local(condition, variable))


def number_in(kept: bool | None, value: Any) -> Any:
    """A numeric program's value from the condition's truth and the element."""
    if kept is False:
        return ABSENT
    if value is None or type(value) is Between or value - value != 0:
        return None
    return value if kept else Possible(value)
