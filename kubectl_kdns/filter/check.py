"""Checks a syntax tree against the field dictionary: fields, types, and literals that could never match."""

from __future__ import annotations

import re

from kubectl_kdns.errors import FilterError, did_you_mean
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter import literals
from kubectl_kdns.filter.nodes import (
    DIRECTORY_METHODS,
    And,
    Call,
    Compare,
    Expr,
    Field,
    Has,
    In,
    ListOf,
    Literal,
    Node,
    Not,
    Or,
    Size,
    to_text,
)
from kubectl_kdns.filter.regex import mistake_in, needle_of
from kubectl_kdns.filter.selector import parse_selector

_GROUPS = tuple(dict.fromkeys(p.rpartition(".")[0] for p in BY_PATH if "." in p))
_SERVICE = r"(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?/)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NUMBERS = ("int", "double")


def check(expr: Expr, source: str) -> None:
    """Raises FilterError with the position in `source` of the first mistake."""
    _Checker(source).condition(expr, "a filter")


class _Checker:
    def __init__(self, source: str) -> None:
        self._source = source

    def _error(self, what: str, node: Node, hint: str = "") -> FilterError:
        return FilterError(what, source=self._source, position=node.position, hint=hint)

    def condition(self, expr: Expr, where: str) -> None:
        """Raises unless the expression is true or false."""
        type_ = self._type(expr)
        if type_ != "bool":
            hint = ""
            if isinstance(expr, Field):
                hint = f"compare it, or ask whether it is known: has({expr.path})"
                if where == "!":
                    hint = "! binds tighter than a comparison: write !(a == b), or a != b"
            raise self._error(f"{where} needs a condition, and this is {_a(type_)}", expr, hint)

    def _type(self, expr: Expr) -> str:
        match expr:
            case Literal():
                if isinstance(expr.value, str) and any("\ud800" <= c <= "\udfff" for c in expr.value):
                    raise self._error("this text is not valid UTF-8", expr)
                return expr.type
            case Field():
                return self._field_type(expr)
            case ListOf():
                return self._list_type(expr)
            case And() | Or():
                for operand in expr.operands:
                    self.condition(operand, "&&" if isinstance(expr, And) else "||")
            case Not():
                self.condition(expr.operand, "!")
            case Has():
                self._field_type(expr.field)
            case Size():
                return self._size(expr)
            case Call():
                self._call(expr)
            case Compare():
                self._compare(expr)
            case In():
                self._in(expr)
        return "bool"

    def _field_type(self, field: Field) -> str:
        row = BY_PATH.get(field.path)
        if row is None:
            raise self._unknown(field)
        return row.type

    def _unknown(self, field: Field) -> FilterError:
        path = field.path
        below = [name for name in BY_PATH if name.startswith(path + ".")]
        if below:
            return self._error(f"{path} is not a field but a group", field, f"it has: {', '.join(below)}")
        near = did_you_mean(path, list(BY_PATH))
        same_leaf = [name for name in BY_PATH if name.rpartition(".")[2] == path]
        group = path.rpartition(".")[0]
        if same_leaf:
            hint = f"did you mean {' or '.join(same_leaf)}?"
        elif near:
            hint = near.replace('"', "")
        elif group in _GROUPS:
            hint = f"{group} has: {', '.join(name for name in BY_PATH if name.startswith(group + '.'))}"
        else:
            hint = "all fields: kubectl kdns fields"
        if "." not in path:
            hint += f' (a text needs quotes: "{path}")'
        return self._error(f"there is no field {path}", field, hint)

    def _list_type(self, expr: ListOf) -> str:
        """`list<...>` of the common type; "list<>" when empty. Int and double go together."""
        types = {self._type(item) for item in expr.items}
        if not types:
            return "list<>"
        if types <= set(_NUMBERS):
            return "list<double>" if "double" in types else "list<int>"
        if len(types) > 1:
            first = expr.items[0].type
            odd = next(item for item in expr.items if item.type != first)
            raise self._error(f"a list of {first}s cannot hold {_a(odd.type)}", odd)
        return f"list<{types.pop()}>"

    def _size(self, expr: Size) -> str:
        type_ = self._type(expr.operand)
        if type_ != "string" and not type_.startswith("list<"):
            raise self._error(f"size() is of strings and lists, and this is {_a(type_)}", expr.operand)
        return "int"

    def _call(self, call: Call) -> None:
        if call.method in DIRECTORY_METHODS:
            self._directory_call(call)
            return
        receiver = self._type(call.receiver)
        if receiver != "string":
            hint = ""
            if receiver == "list<string>" and call.method == "contains":
                hint = f'for a list write "..." in {to_text(call.receiver)}'
            what = f"{call.method}() is of strings, and this is {_a(receiver)}"
            raise self._error(what, call.receiver, hint)
        argument = self._type(call.argument)
        if argument != "string":
            raise self._error(f"{call.method}() takes a string, and this is {_a(argument)}", call.argument)
        if call.method == "matches":
            self._regex(call.argument)
        elif isinstance(call.receiver, Field) and isinstance(call.argument, Literal):
            complaint = literals.never_part(call.receiver.path, call.method, str(call.argument.value))
            if complaint:
                raise self._error(complaint[0], call.argument, complaint[1])

    def _regex(self, argument: Expr) -> None:
        if not isinstance(argument, Literal):
            raise self._error("matches() takes a regex that is known beforehand: a text in quotes", argument)
        pattern = str(argument.value)
        plain = needle_of(pattern)
        mistake = "" if plain and plain[1] else mistake_in(pattern)
        if mistake:
            foreign = "perl operator" in mistake or "escape sequence" in mistake
            hint = "the dialect is RE2's: no look-around, no back-references" if foreign else ""
            raise self._error(f"not a regex: {mistake}", argument, hint)

    def _directory_call(self, call: Call) -> None:
        example = 'client.hasLabels("app=web")' if call.method == "hasLabels" else 'client.backs("cart")'
        if not isinstance(call.receiver, Field) or call.receiver.path != "client":
            raise self._error(f"{call.method}() is of the client only", call.receiver, f"write {example}")
        argument = call.argument
        if not isinstance(argument, Literal) or not isinstance(argument.value, str):
            raise self._error(f"{call.method}() takes a text in quotes", argument, f"write {example}")
        if call.method == "hasLabels":
            try:
                parse_selector(argument.value)
            except FilterError as error:
                raise FilterError(
                    error.what,
                    source=self._source,
                    position=self._inside(argument, error.position),
                    hint=error.hint,
                ) from None
        elif not re.fullmatch(_SERVICE, argument.value):
            raise self._error("not the name of a Service", argument, 'write "cart" or "namespace/cart"')

    def _inside(self, literal: Literal, offset: int) -> int:
        """The position of a character of a string literal; its beginning when it has escapes."""
        for opening in (1, 2):
            start = literal.position + opening
            if self._source.startswith(str(literal.value), start):
                return start + offset
        return literal.position

    def _compare(self, expr: Compare) -> None:
        left, right = self._type(expr.left), self._type(expr.right)
        for operand, type_ in ((expr.left, left), (expr.right, right)):
            if type_ == "list<answer>":
                raise self._answers(operand)
        if not _comparable(left, right):
            raise self._mismatch(expr.left, left, expr.right, right)
        if expr.op not in ("==", "!=") and (left == "bool" or left.startswith("list<")):
            raise self._error(f"{_a(left)} can only be compared by == and !=", expr)
        for field, literal in ((expr.left, expr.right), (expr.right, expr.left)):
            if isinstance(field, Field):
                self._possible(field, literal, expr.op in ("==", "!="))

    def _answers(self, operand: Node) -> FilterError:
        return self._error(
            "dns.answers is a list of records: it has only has() and size()",
            operand,
            'for addresses write "10.0.0.1" in dns.resolved_ips',
        )

    def _in(self, expr: In) -> None:
        item, container = self._type(expr.item), self._type(expr.container)
        if container == "list<answer>":
            raise self._answers(expr.container)
        if not container.startswith("list<"):
            hint = "for a part of a string write .contains(...)" if container == "string" else ""
            what = f"in needs a list on its right, and this is {_a(container)}"
            raise self._error(what, expr.container, hint)
        if container == "list<>":
            raise self._error("nothing is in an empty list", expr.container)
        if isinstance(expr.container, ListOf):
            for literal in expr.container.items:
                if not _comparable(item, literal.type):
                    raise self._mismatch(expr.item, item, literal, literal.type)
            if isinstance(expr.item, Field):
                self._possible(expr.item, expr.container, True)
        elif item != container[5:-1]:
            raise self._mismatch(expr.container, container, expr.item, item)
        elif isinstance(expr.container, Field):
            self._possible(expr.container, expr.item, True)

    def _possible(self, field: Field, other: Expr, equal: bool) -> None:
        """Raises for a literal that the field can never hold."""
        judge = literals.never_equal if equal else literals.never_ordered
        for literal in other.items if isinstance(other, ListOf) else (other,):
            if isinstance(literal, Literal) and isinstance(literal.value, str):
                complaint = judge(field.path, literal.value)
                if complaint:
                    raise self._error(complaint[0], literal, complaint[1])

    def _mismatch(self, left: Expr, left_type: str, right: Expr, right_type: str) -> FilterError:
        """Points at the literal if there is one: the field is most likely what was meant."""
        if isinstance(left, Literal) and not isinstance(right, Literal):
            left, left_type, right, right_type = right, right_type, left, left_type
        subject = left.path if isinstance(left, Field) else "the left side"
        hint = ""
        if isinstance(left, Field) and isinstance(right, Literal):
            hint = _type_hint(left.path, left_type, right.value)
        return self._error(f"{subject} is {_a(left_type)}, and this is {_a(right_type)}", right, hint)


def _type_hint(path: str, type_: str, value: object) -> str:
    if type_ == "string":
        number = value if isinstance(value, int) and not isinstance(value, bool) else -1
        return literals.number_hint(path, number) or "a text needs quotes"
    if type_ == "list<string>":
        return f'write "..." in {path}, or size({path})'
    if type_ in _NUMBERS and isinstance(value, str):
        unit = BY_PATH[path].unit
        return "write the number without quotes" + (f", in {unit}" if unit else "")
    return "write true or false, without quotes" if type_ == "bool" else ""


def _comparable(left: str, right: str) -> bool:
    if left in _NUMBERS and right in _NUMBERS:
        return True
    if left.startswith("list<") and right.startswith("list<"):
        return left == right or "list<>" in (left, right) or {left, right} == {"list<int>", "list<double>"}
    return left == right


def _a(type_: str) -> str:
    """A type for people."""
    words = {
        "int": "an int",
        "list<answer>": "a list of records",
        "list<string>": "a list of strings",
        "list<>": "an empty list",
        "bool": "true or false",
    }
    return words.get(type_, f"a {type_}")
