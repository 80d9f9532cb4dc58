"""Makes a Python function of a checked expression, through `ast` nodes: no text is ever pasted into code.

Constants are `ast.Constant`s or entries of the function's globals. A part of the record that is absent is
read through a stand-in whose every attribute is UNSET, `(record.client or ABSENT).pod`, so that reading a
path costs one jump a level and needs no variables. `==` and `in` need no more (UNSET equals nothing); what
would be true or raise for UNSET gets a guard, `(v0 := ...) is not UNSET and v0 > 100.0`.
"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from msgspec import UNSET, Struct

from kubectl_kdns.errors import UsageError
from kubectl_kdns.fields import BY_PATH
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
    Not,
    Or,
    Size,
    walk,
)
from kubectl_kdns.filter.regex import needle_of, search_function
from kubectl_kdns.model import Lookup, Message

if TYPE_CHECKING:
    from kubectl_kdns.filter.expression import Environment

Predicate = Callable[[Lookup | Message], bool]

_OPERATORS: dict[str, ast.cmpop] = {
    "==": ast.Eq(),
    "!=": ast.NotEq(),
    "<": ast.Lt(),
    "<=": ast.LtE(),
    ">": ast.Gt(),
    ">=": ast.GtE(),
}
_STRING_TESTS = {"startsWith": "startswith", "endsWith": "endswith"}


def attribute_of(part: str) -> str:
    """The attribute of the model that holds a part of a path: `class` is `class_`."""
    return f"{part}_" if keyword.iskeyword(part) else part


_ABSENT = type("Absent", (), {attribute_of(part): UNSET for path in BY_PATH for part in path.split(".")})()


def compile_filter(expr: Expr, env: Environment | None = None) -> Predicate:
    """Whether a record fits the (checked) expression. UsageError if that needs an `env` and there is none."""
    methods = {node.method for node in walk(expr) if isinstance(node, Call)}
    if env is None and not methods.isdisjoint(DIRECTORY_METHODS):
        raise UsageError(
            "only a cluster knows labels and what is behind a Service, and there is none here",
            hint="the same without --selector, svc/NAME, hasLabels() and backs()",
        )
    constants: dict[str, Any] = {"UNSET": UNSET, "ABSENT": _ABSENT, "Lookup": Lookup, "env": env}
    tops = {attribute_of(node.path.partition(".")[0]) for node in walk(expr) if isinstance(node, Field)}
    body = _Writer(Lookup, constants).truth(expr)
    if not tops <= set(Lookup.__struct_fields__) & set(Message.__struct_fields__):
        body = ast.IfExp(
            test=_compare(_call(_name("type"), _name("record")), ast.Is(), _name("Lookup")),
            body=body,
            orelse=_Writer(Message, constants).truth(expr),
        )
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg(arg="record")], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    tree = ast.fix_missing_locations(ast.Expression(body=ast.Lambda(args=arguments, body=body)))
    return cast(Predicate, eval(compile(tree, "<filter>", "eval"), constants))


class _Writer:
    """Writes the code for one type of record; fields that it does not have are absent."""

    def __init__(self, record_type: type[Struct], constants: dict[str, Any]) -> None:
        self._tops = frozenset(record_type.__struct_fields__)
        self._constants = constants
        self._variables = 0

    def truth(self, expr: Expr) -> ast.expr:
        """Code that is True or False."""
        match expr:
            case And() | Or():
                kind = ast.And() if isinstance(expr, And) else ast.Or()
                return ast.BoolOp(op=kind, values=[self.truth(operand) for operand in expr.operands])
            case Not():
                return ast.UnaryOp(op=ast.Not(), operand=self.truth(expr.operand))
            case Has():
                return _compare(self._read(expr.field), ast.IsNot(), _name("UNSET"))
            case Compare():
                return self._compare(expr)
            case In():
                return self._in(expr)
            case Call(method="hasLabels" | "backs"):
                return self._ask_directory(expr)
            case Call():
                return self._string_test(expr)
            case Field():
                return _compare(self._read(expr), ast.Is(), ast.Constant(True))
            case Literal():
                return ast.Constant(expr.value)
            case Size() | ListOf():
                raise TypeError(f"{type(expr).__name__} is no condition: check() comes before compile")

    def _read(self, field: Field) -> ast.expr:
        """Code for a field's value, UNSET when absent."""
        parts = [attribute_of(part) for part in field.path.split(".")]
        if parts[0] not in self._tops:
            return _name("UNSET")
        code: ast.expr = _attribute(_name("record"), parts[0])
        for part in parts[1:]:
            code = _attribute(ast.BoolOp(op=ast.Or(), values=[code, _name("ABSENT")]), part)
        return code

    def _value(self, expr: Expr, guards: list[ast.expr]) -> ast.expr:
        """Code for a value that is there; adds to `guards` the conditions for that, to be tested before."""
        match expr:
            case Literal():
                return ast.Constant(expr.value)
            case ListOf():
                return self._constant([item.value for item in expr.items])
            case Size():
                return _call(_name("len"), self._value(expr.operand, guards))
            case Field():
                return self._guarded(self._read(expr), guards)
            case _:
                return self.truth(expr)

    def _guarded(self, code: ast.expr, guards: list[ast.expr]) -> ast.expr:
        variable = f"v{self._variables}"
        self._variables += 1
        bound = ast.NamedExpr(target=ast.Name(id=variable, ctx=ast.Store()), value=code)
        guards.append(_compare(bound, ast.IsNot(), _name("UNSET")))
        return _name(variable)

    def _constant(self, value: Any) -> ast.expr:
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return _name(name)

    def _compare(self, expr: Compare) -> ast.expr:
        guards: list[ast.expr] = []
        # UNSET equals no value, so that one side of == needs no guard.
        if expr.op == "==" and isinstance(expr.left, Field):
            left, right = self._read(expr.left), self._value(expr.right, guards)
        elif expr.op == "==" and isinstance(expr.right, Field):
            left, right = self._value(expr.left, guards), self._read(expr.right)
        else:
            left, right = self._value(expr.left, guards), self._value(expr.right, guards)
        return _all([*guards, _compare(left, _OPERATORS[expr.op], right)])

    def _in(self, expr: In) -> ast.expr:
        guards: list[ast.expr] = []
        # UNSET is in no list.
        item = self._read(expr.item) if isinstance(expr.item, Field) else self._value(expr.item, guards)
        if isinstance(expr.container, ListOf):
            values: Any = frozenset(literal.value for literal in expr.container.items)
            container: ast.expr = ast.Constant(values)
        else:
            container = self._value(expr.container, guards)
        return _all([*guards, _compare(item, ast.In(), container)])

    def _string_test(self, expr: Call) -> ast.expr:
        guards: list[ast.expr] = []
        text = self._value(expr.receiver, guards)
        if expr.method == "matches":
            assert isinstance(expr.argument, Literal)
            return _all([*guards, self._match(text, str(expr.argument.value))])
        argument = self._value(expr.argument, guards)
        if expr.method == "contains":
            test = _compare(argument, ast.In(), text)
        else:
            test = _call(_attribute(text, _STRING_TESTS[expr.method]), argument)
        return _all([*guards, test])

    def _match(self, text: ast.expr, pattern: str) -> ast.expr:
        plain = needle_of(pattern)
        if plain is None or not plain[1]:
            return _call(self._constant(search_function(pattern)), text)
        needle = ast.Constant(plain[0].text)
        match plain[0].kind:
            case "exact":
                return _compare(text, ast.Eq(), needle)
            case "substring":
                return _compare(needle, ast.In(), text)
            case "prefix":
                return _call(_attribute(text, "startswith"), needle)
            case "suffix":
                return _call(_attribute(text, "endswith"), needle)

    def _ask_directory(self, expr: Call) -> ast.expr:
        assert isinstance(expr.argument, Literal)
        guards: list[ast.expr] = []
        client = self._guarded(self._read(Field("client")), guards)
        question = "labels_match" if expr.method == "hasLabels" else "backs_service"
        return _all(
            [*guards, _call(_attribute(_name("env"), question), ast.Constant(expr.argument.value), client)]
        )


def _name(name: str) -> ast.expr:
    return ast.Name(id=name, ctx=ast.Load())


def _attribute(value: ast.expr, name: str) -> ast.expr:
    return ast.Attribute(value=value, attr=name, ctx=ast.Load())


def _call(function: ast.expr, *arguments: ast.expr) -> ast.expr:
    return ast.Call(func=function, args=list(arguments), keywords=[])


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left=left, ops=[operator], comparators=[right])


def _all(conditions: list[ast.expr]) -> ast.expr:
    return conditions[0] if len(conditions) == 1 else ast.BoolOp(op=ast.And(), values=conditions)
