"""The syntax tree of the filter language, and its canonical text.

The nodes are frozen msgspec Structs, not dataclasses, because eleven dataclasses cost 13 ms at start-up and
these 0.4. `position` is where a node begins in the source, for the caret; it takes no part in equality, so
that `parse(to_text(expr)) == expr`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct


class Node(Struct, frozen=True, eq=False, kw_only=True):
    position: int = 0

    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__struct_fields__ if name != "position")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))


class Field(Node, frozen=True, eq=False):
    """A path into the record; also `client`, as the receiver of its own methods."""

    path: str


class Literal(Node, frozen=True, eq=False):
    value: str | bool | int | float

    @property
    def type(self) -> str:
        return _TYPE_NAMES[type(self.value)]

    def _key(self) -> tuple[Any, ...]:
        return self.type, self.value


class ListOf(Node, frozen=True, eq=False):
    items: tuple[Literal, ...]


class Has(Node, frozen=True, eq=False):
    field: Field


class Size(Node, frozen=True, eq=False):
    operand: Expr


class Call(Node, frozen=True, eq=False):
    """A method with one argument: those of strings, and `hasLabels` and `backs` of `client`."""

    method: str
    receiver: Expr
    argument: Expr


class Compare(Node, frozen=True, eq=False):
    """`op` is one of == != < <= > >=."""

    op: str
    left: Expr
    right: Expr


class In(Node, frozen=True, eq=False):
    item: Expr
    container: Expr


class Not(Node, frozen=True, eq=False):
    operand: Expr


class And(Node, frozen=True, eq=False):
    operands: tuple[Expr, ...]


class Or(Node, frozen=True, eq=False):
    operands: tuple[Expr, ...]


DIRECTORY_METHODS = ("hasLabels", "backs")
"""Methods of `client` that ask the Environment."""

Expr = Field | Literal | ListOf | Has | Size | Call | Compare | In | Not | And | Or

_TYPE_NAMES: dict[type, str] = {str: "string", bool: "bool", int: "int", float: "double"}


def conjunction(operands: Iterable[Expr | None]) -> Expr | None:
    """All of them hold; None is no condition."""
    return _flat(And, operands)


def disjunction(operands: Iterable[Expr]) -> Expr | None:
    """At least one of them holds; None when there is none to choose from."""
    return _flat(Or, operands)


def _flat(kind: type[And | Or], operands: Iterable[Expr | None]) -> Expr | None:
    flat: dict[Expr, None] = {}  # in their order, each once
    for operand in operands:
        if isinstance(operand, kind):
            flat.update(dict.fromkeys(operand.operands))
        elif operand is not None:
            flat[operand] = None
    return kind(tuple(flat)) if len(flat) > 1 else next(iter(flat), None)


def walk(expr: Expr | None) -> Iterator[Expr]:
    """The expression and everything in it, from left to right."""
    stack = [] if expr is None else [expr]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(_children(node))


def _children(node: Expr) -> tuple[Expr, ...]:
    match node:
        case And() | Or():
            return node.operands
        case Not() | Size():
            return (node.operand,)
        case Compare():
            return node.left, node.right
        case In():
            return node.item, node.container
        case Call():
            return node.receiver, node.argument
        case Has():
            return (node.field,)
        case ListOf():
            return node.items
        case _:
            return ()


def to_text(expr: Expr) -> str:
    """The canonical text: CEL that parses to an equal tree."""
    match expr:
        case Or():
            return " || ".join(operand_texts(expr))
        case And():
            return " && ".join(operand_texts(expr))
        case Compare():
            return f"{_operand(expr.left, _UNARY)} {expr.op} {_operand(expr.right, _UNARY)}"
        case In():
            return f"{_operand(expr.item, _UNARY)} in {_operand(expr.container, _UNARY)}"
        case Not():
            return f"!{_operand(expr.operand, _UNARY)}"
        case Has():
            return f"has({expr.field.path})"
        case Size():
            return f"size({to_text(expr.operand)})"
        case Call():
            return f"{_operand(expr.receiver, _PRIMARY)}.{expr.method}({to_text(expr.argument)})"
        case ListOf():
            return f"[{', '.join(map(to_text, expr.items))}]"
        case Literal():
            return _literal_text(expr.value)
        case Field():
            return expr.path


def operand_texts(expr: And | Or) -> list[str]:
    """The canonical texts of its operands, in parentheses where they need them."""
    return [_operand(item, _RELATION if isinstance(expr, And) else _AND) for item in expr.operands]


_OR, _AND, _RELATION, _UNARY, _PRIMARY = range(5)
_BINDING: dict[type, int] = {Or: _OR, And: _AND, Compare: _RELATION, In: _RELATION, Not: _UNARY}


def _operand(expr: Expr, least: int) -> str:
    """The text, in parentheses if it binds less tightly than `least`."""
    text = to_text(expr)
    return text if _BINDING.get(type(expr), _PRIMARY) >= least else f"({text})"


def _literal_text(value: str | bool | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int) and value >= 1 << 63:
        return f"{value}u"
    return repr(value)


def _quoted(text: str) -> str:
    if "\\" in text and '"' not in text and text.isprintable() and not text.endswith("\\"):
        return f'r"{text}"'  # a regex stays readable; CEL's implementations differ on a last backslash
    return '"' + re.sub(r'["\\]|[^\x20-\x7e]', _escape, text) + '"'


_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT or char.isprintable():
        return _SHORT.get(char, char)
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
