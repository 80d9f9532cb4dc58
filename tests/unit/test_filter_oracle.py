"""The language means what CEL means: Google's implementation (cel-expr-python) is the oracle.

The record becomes one map `r` of dynamic values, and the three stated differences are written out:
`f op v` as `has(f) && f op v`, `has()` of a deep field as one has() for each level, literals as dyn()
so that int and double compare.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cel_expr_python import cel
from hypothesis import given, settings

from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.nodes import (
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
    to_text,
)
from kubectl_kdns.filter.parser import parse
from kubectl_kdns.model import Lookup, Message
from support.filter_strategies import expressions, records

ENV = cel.NewEnv(variables={"r": cel.Type.DYN})


def present(path: str) -> str:
    parts = path.split(".")
    return " && ".join(f"has(r.{'.'.join(parts[: i + 1])})" for i in range(len(parts)))


def value(expr: Expr, needed: list[str]) -> str:
    """The operand as CEL; adds what must be present for it."""
    match expr:
        case Field():
            needed.append(present(expr.path))
            return f"r.{expr.path}"
        case Size():
            return f"dyn(size({value(expr.operand, needed)}))"
        case Literal():
            return f"dyn({to_text(expr)})"
        case ListOf():
            return f"dyn([{', '.join(value(item, needed) for item in expr.items)}])"
        case _:
            return f"({condition(expr)})"


def condition(expr: Expr) -> str:
    needed: list[str] = []
    match expr:
        case And() | Or():
            sign = " && " if isinstance(expr, And) else " || "
            return sign.join(f"({condition(operand)})" for operand in expr.operands)
        case Not():
            return f"!({condition(expr.operand)})"
        case Has():
            return present(expr.field.path)
        case Compare():
            text = f"{value(expr.left, needed)} {expr.op} {value(expr.right, needed)}"
        case In():
            text = f"{value(expr.item, needed)} in {value(expr.container, needed)}"
        case Call():
            argument = expr.argument
            shown = to_text(argument) if isinstance(argument, Literal) else value(argument, needed)
            text = f"{value(expr.receiver, needed)}.{expr.method}({shown})"
        case Field():
            text = f"{value(expr, needed)} == true"
        case Literal():
            text = to_text(expr)
        case _:
            raise AssertionError(f"no condition: {expr}")
    return " && ".join([*needed, text])


def oracle(expr: Expr, record: Lookup | Message) -> Any:
    data = {"r": msgspec.to_builtins(record)}
    return ENV.compile(condition(expr)).eval(data=data).value()


@settings(max_examples=250, deadline=None)
@given(expressions, records, records)
def test_the_same_answer_as_cel(expr: Expr, one: Lookup | Message, another: Lookup | Message) -> None:
    accept = parse_filter(to_text(expr)).compile()
    assert [accept(one), accept(another)] == [oracle(expr, one), oracle(expr, another)]


@pytest.mark.parametrize(
    "source",
    [
        r'"\a\b\f\n\r\t\v\\\?\"\'\`" == "x"',
        r'"\x41\X42\103\u0044\U00000045" == "ABCDE"',
        r"r'\d\.' == '\\d\\.'",
        'R"a\'b" == "a\'b"',
        "0x1F == 31 && -5 == -5 && 5u == 5u",
        ".5 == 0.5 && 1e3 == 1000.0 && 1.5E-3 == 0.0015",
        "-9223372036854775808 < 9223372036854775807",
        "18446744073709551615u > 1u",
        '"ü" > "z" && size("ü😀") == 2',
        "!true == false",
        "true || false && false",
        "(true || false) && false",
        '"abc".matches("^b|c$") && "a.b".matches(r"a\\.b")',
        '"a" in ["b", "a"] && !(1 in [2, 3])',
        '// comment\n"a" // more\n== "a"',
        "!!true",
        '"abc".startsWith("ab") && "abc".endsWith("c") && "abc".contains("")',
        '[1, 2] == [1, 2] && ["a"] != []',
        '"abc".size() == 3',
    ],
)
def test_literals_and_precedence_as_in_cel(source: str) -> None:
    """These need no rewriting: the source itself goes to both."""
    expected = cel.NewEnv().compile(source).eval(data={}).value()
    assert parse_filter(source).compile()(Lookup()) is expected
    assert parse_filter(to_text(parse(source))).compile()(Lookup()) is expected
