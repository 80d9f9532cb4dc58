"""What must hold of one field whenever a filter is true, so that a backend can drop the rest early.

Sound, not complete: a constraint may be weaker than the filter, never stronger. The filter itself runs
again on what arrives. Negations imply nothing, because `!(field == x)` is true where the field is absent;
only `!!a`, `!(!a || ...)` and `!(!a && ...)` are looked through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kubectl_kdns.filter.nodes import And, Call, Compare, Expr, Field, In, ListOf, Literal, Not, Or
from kubectl_kdns.filter.regex import Needle, needle_of

Value = str | bool | int | float
C = TypeVar("C")

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def implied_values(expr: Expr | None, path: str) -> frozenset[Value] | None:
    """The only values that the field can have when the filter is true; None when it is not bound.

    The empty set: the filter is never true.
    """

    def leaf(node: Expr) -> frozenset[Value] | None:
        return _values(node, path)

    never: frozenset[Value] = frozenset()
    return _fold(expr, False, leaf, frozenset.intersection, frozenset.union, never)


def implied_minimum(expr: Expr | None, path: str) -> float | None:
    """The number that the field reaches at least when the filter is true; None when it is not bound.

    Infinity: the filter is never true.
    """

    def leaf(node: Expr) -> float | None:
        if isinstance(node, Compare):
            op, value = _comparison(node, path)
            if op in (">", ">=") and isinstance(value, int | float):
                return value
        numbers = [value for value in _values(node, path) or () if isinstance(value, int | float)]
        return min(numbers, default=None)

    return _fold(expr, False, leaf, max, min, float("inf"))


def implied_needles(expr: Expr | None, path: str) -> tuple[Needle, ...] | None:
    """Alternatives of which the text of the field fits at least one when the filter is true.

    None when it is not bound; no alternatives: the filter is never true.
    """

    def leaf(node: Expr) -> tuple[Needle, ...] | None:
        return _needles(node, path)

    never: tuple[Needle, ...] = ()
    return _fold(expr, False, leaf, _stronger, _united, never)


def _fold(
    expr: Expr | None,
    negated: bool,
    leaf: Callable[[Expr], C | None],
    both: Callable[[C, C], C],
    either: Callable[[C, C], C],
    never: C,
) -> C | None:
    """The constraint of `expr` (of its negation when `negated`); None is none."""
    if expr is None:
        return None
    if isinstance(expr, Not):
        return _fold(expr.operand, not negated, leaf, both, either, never)
    if isinstance(expr, And | Or):
        parts = [_fold(operand, negated, leaf, both, either, never) for operand in expr.operands]
        if isinstance(expr, And) is negated:  # of a negated && one operand is false, and so on (De Morgan)
            return _join(parts, either)
        return _join([part for part in parts if part is not None], both)
    if isinstance(expr, Literal):
        return never if expr.value is negated else None
    return None if negated else leaf(expr)


def _join(parts: list[C | None], combine: Callable[[C, C], C]) -> C | None:
    """All parts in one; None when there is none, or when one of them is no constraint."""
    if not parts or parts[0] is None:
        return None
    total = parts[0]
    for part in parts[1:]:
        if part is None:
            return None
        total = combine(total, part)
    return total


def _comparison(node: Compare, path: str) -> tuple[str, Value | None]:
    """`path op literal`, turned round if need be; ("", None) when the node is not of that kind."""
    for field, literal, op in (
        (node.left, node.right, node.op),
        (node.right, node.left, _MIRRORED[node.op]),
    ):
        if isinstance(field, Field) and field.path == path and isinstance(literal, Literal):
            return op, literal.value
    return "", None


def _values(node: Expr, path: str) -> frozenset[Value] | None:
    match node:
        case Field():
            return frozenset([True]) if node.path == path else None
        case Compare():
            op, value = _comparison(node, path)
            if op == "==" and value is not None:
                return frozenset([value])
            if op == "!=" and isinstance(value, bool):
                return frozenset([not value])
        case In(item=Field() as field, container=ListOf() as choices) if field.path == path:
            return frozenset(literal.value for literal in choices.items)
    return None


def _needles(node: Expr, path: str) -> tuple[Needle, ...] | None:
    if isinstance(node, Call) and isinstance(node.receiver, Field) and isinstance(node.argument, Literal):
        if node.receiver.path != path or not isinstance(node.argument.value, str):
            return None
        text = node.argument.value
        match node.method:
            case "startsWith":
                return _useful(Needle("prefix", text))
            case "endsWith":
                return _useful(Needle("suffix", text))
            case "contains":
                return _useful(Needle("substring", text))
            case "matches":
                found = needle_of(text)
                return _useful(found[0]) if found else None
        return None
    values = _values(node, path) or ()
    needles = tuple(Needle("exact", value) for value in values if isinstance(value, str))
    return needles or None  # no values, or those of a number


def _useful(needle: Needle) -> tuple[Needle, ...] | None:
    return (needle,) if needle.text or needle.kind == "exact" else None


def _stronger(a: tuple[Needle, ...], b: tuple[Needle, ...]) -> tuple[Needle, ...]:
    """One of two constraints that both hold: the one whose weakest alternative says more."""
    return max(a, b, key=lambda needles: min(map(_strength, needles), default=(True, float("inf"))))


def _strength(needle: Needle) -> tuple[bool, float]:
    return needle.kind == "exact", len(needle.text)


def _united(a: tuple[Needle, ...], b: tuple[Needle, ...]) -> tuple[Needle, ...]:
    return tuple(dict.fromkeys(a + b))
