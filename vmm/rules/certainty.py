"""Conditions about a whole table, bounded at every moment of a flow.

A truth is a set of possible truths, a number a span that holds it: sums are followed in floating point, whose
error is bounded, and what cannot be told is left open. A single truth in the set is certain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmm.rules import nodes as n
from vmm.rules.bounds import Between, truth

Array = NDArray[Any]
FALSE, TRUE, NONE, ANY = 1, 2, 4, 7
"""Bits of a set of possible truths; two bits at once: one of them."""


class Truths(NamedTuple):
    """Sets of possible truths, an array or one for all moments."""

    bits: Any


class Span(NamedTuple):
    """`lo` to `hi`. `loose`: a value that rules know only within these bounds (Between), where they differ;
    `fuzzy`: some one value within them; `none`: where it is unknown."""

    lo: Any
    hi: Any
    none: Any = False
    loose: bool = False
    fuzzy: bool = False


class Open(Exception):
    """The condition has a part that is not followed."""


def bit_of(value: bool | None) -> int:
    return NONE if value is None else TRUE if value else FALSE


def truths_of_codes(codes: NDArray[np.int8]) -> Truths:
    """From 0 false, 1 true, 2 unknown."""
    return Truths(np.array([FALSE, TRUE, NONE], np.uint8)[codes])


Leaf = Callable[[n.Node], Any]
"""Truths or Span of a node that is followed, `Open` raised for others; see `bound`."""


def bound(node: n.Node, leaf: Leaf) -> Truths:
    """The possible truths of a condition. `leaf` is asked for everything that is not logic or arithmetic."""
    match node:
        case n.Not(operand=operand):
            bits = bound(operand, leaf).bits
            return Truths((bits & NONE) | (bits & FALSE) << 1 | (bits & TRUE) >> 1)
        case n.And(operands=operands):
            return _junction([bound(o, leaf).bits for o in operands], FALSE, TRUE)
        case n.Or(operands=operands):
            return _junction([bound(o, leaf).bits for o in operands], TRUE, FALSE)
        case n.Compare(op=op, left=left, right=right) if _numbers(left, right):
            return _compare(op, _number(left, leaf), _number(right, leaf))
    found = leaf(node)
    if isinstance(found, Truths):
        return found
    if isinstance(found, Span):
        return _compare("!=", found, Span(0.0, 0.0))
    return Truths(bit_of(truth(found)))


def _numbers(*nodes: n.Node) -> bool:
    return all(node.type in n.NUMERIC for node in nodes)


def _junction(parts: list[Any], decides: int, other: int) -> Truths:
    first = parts[0]
    for second in parts[1:]:
        either = (first | second) & decides
        both = first & second & other
        open_ = ((first & NONE != 0) & (second & (NONE | other) != 0)) | (
            (second & NONE != 0) & (first & (NONE | other) != 0)
        )
        first = either | both | np.where(open_, NONE, 0)
    return Truths(first)


def _number(node: n.Node, leaf: Leaf) -> Span:
    match node:
        case n.Const(value=value):
            return Span(float(value), float(value))
        case n.Neg(operand=operand):
            span = _number(operand, leaf)
            return Span(-span.hi, -span.lo, span.none, span.loose, span.fuzzy)
        case n.Arith(op=op, left=left, right=right) if op in ("+", "-", "*") and _numbers(left, right):
            return _arith(op, _number(left, leaf), _number(right, leaf))
    found = leaf(node)
    if isinstance(found, Span):
        return found
    if found is None:
        return Span(0.0, 0.0, True)
    if type(found) is Between:
        return Span(float(found.lo), float(found.hi), False, True)
    if isinstance(found, bool | int | float) and abs(found) < 2.0**53:
        return Span(float(found), float(found))
    raise Open(node.text)


def _arith(op: str, left: Span, right: Span) -> Span:
    """Rounded outward, as the exact result may lie between two floats."""
    if op == "+":
        corners = [left.lo + right.lo, left.hi + right.hi]
    elif op == "-":
        corners = [left.lo - right.hi, left.hi - right.lo]
    else:
        corners = [a * b for a in (left.lo, left.hi) for b in (right.lo, right.hi)]
    lo, hi = corners[0], corners[0]
    for corner in corners[1:]:
        lo, hi = np.minimum(lo, corner), np.maximum(hi, corner)
    none = left.none | right.none
    return Span(np.nextafter(lo, -np.inf), np.nextafter(hi, np.inf), none, left.loose | right.loose, True)


def _compare(op: str, left: Span, right: Span) -> Truths:
    undecided = 0
    if left.fuzzy or right.fuzzy:
        undecided |= TRUE | FALSE
    if left.loose or right.loose:
        undecided |= NONE
    match op:
        case "<":
            yes, no = left.hi < right.lo, left.lo >= right.hi
        case "<=":
            yes, no = left.hi <= right.lo, left.lo > right.hi
        case ">":
            yes, no = left.lo > right.hi, left.hi <= right.lo
        case ">=":
            yes, no = left.lo >= right.hi, left.hi < right.lo
        case _:
            apart = (left.hi < right.lo) | (right.hi < left.lo)
            met = (left.lo == left.hi) & (right.lo == right.hi) & (left.lo == right.lo)
            yes, no = (apart, met) if op == "!=" else (met, apart)
    # Not a number on either side leaves everything open.
    odd = (left.lo != left.lo) | (left.hi != left.hi) | (right.lo != right.lo) | (right.hi != right.hi)
    bits = np.where(yes, TRUE, np.where(no, FALSE, undecided or ANY))
    bits = np.where(odd, ANY, bits)
    return Truths(np.where(left.none | right.none, NONE, bits).astype(np.uint8))
