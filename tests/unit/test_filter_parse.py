"""Lexer, parser and printer: what is accepted, how it prints, and where the caret of a mistake stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_kdns.errors import FilterError
from kubectl_kdns.filter.lexer import MAX_LENGTH
from kubectl_kdns.filter.nodes import And, Compare, Expr, Field, Has, ListOf, Literal, Not, Or, Size, to_text
from kubectl_kdns.filter.parser import MAX_DEPTH, parse
from support.filter_strategies import expressions

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    ("source", "canonical"),
    [
        ('a.b == "x"', 'a.b == "x"'),
        ("a=='x'", 'a == "x"'),
        ("1<a", "1 < a"),
        ("a . b <= - 5", "a.b <= -5"),
        ("a>=0x1F", "a >= 31"),
        ("a != 5u", "a != 5"),
        ("a == 18446744073709551615u", "a == 18446744073709551615u"),
        ("a == -9223372036854775808", "a == -9223372036854775808"),
        ("a == .5 || a == 1e3 || a == 1.5E-3", "a == 0.5 || a == 1000.0 || a == 0.0015"),
        ("a in['x','y',]", 'a in ["x", "y"]'),
        ("a in []", "a in []"),
        ("a || b && c", "a || b && c"),
        ("(a || b) && c", "(a || b) && c"),
        ("a && (b && c)", "a && (b && c)"),
        ("((a))", "a"),
        ("!a", "!a"),
        ("!!a", "!!a"),
        ("!(a == b)", "!(a == b)"),
        ("!a == b", "!a == b"),
        ("(a == b) == (c in d)", "(a == b) == (c in d)"),
        ("has(a.b)", "has(a.b)"),
        ("size(a) > 1", "size(a) > 1"),
        ("a.size() > 1", "size(a) > 1"),
        ('a.b.startsWith("x")', 'a.b.startsWith("x")'),
        ('(a).endsWith("x")', 'a.endsWith("x")'),
        ('"abc".contains(a.b)', '"abc".contains(a.b)'),
        ('client.hasLabels("a=b")', 'client.hasLabels("a=b")'),
        ("true || false", "true || false"),
        ("a // comment && b\n && c", "a && c"),
        ("a\t&&\r\n\fb", "a && b"),
        (r'a == "\x41\101\u0042\U00000043\?\`\'\""', r"""a == "AABC?`'\"" """.strip()),
        (r'a == "\a\b\f\n\r\t\v\\"', r'a == "\u0007\u0008\u000c\n\r\t\u000b\\"'),
        (r"""a == R'\d"x'""", r"""a == "\\d\"x" """.strip()),
        (r'a.matches("\\.x$")', r'a.matches(r"\.x$")'),
        (r'a == r"\"', r'a == "\\"'),
        ('a == "ünï\\u200b\\U000e0001"', 'a == "ünï\\u200b\\U000e0001"'),
        ("in_ == r && r == R", "in_ == r && r == R"),
    ],
)
def test_canonical_text(source: str, canonical: str) -> None:
    expr = parse(source)
    assert to_text(expr) == canonical
    assert parse(canonical) == expr


def test_tree_and_positions() -> None:
    expr = parse('late && !(dns.id in [1, 2.5]) || size(a.b) != "x"')
    assert isinstance(expr, Or)
    conjunction, comparison = expr.operands
    assert isinstance(conjunction, And)
    assert isinstance(comparison, Compare)
    assert conjunction.operands[0] == Field("late")
    assert isinstance(conjunction.operands[1], Not)
    assert comparison == Compare("!=", Size(Field("a.b")), Literal("x"))
    assert [expr.position, comparison.position, comparison.left.position] == [0, 43, 33]
    assert [comparison.right.position, conjunction.operands[1].position] == [46, 8]


def test_equality_knows_types() -> None:
    assert Literal(1) != Literal(1.0)
    assert Literal(1) != Literal(True)
    assert Literal("a", position=3) == Literal("a", position=9)
    assert Field("a") != Literal("a")
    assert len({Literal(1), Literal(1.0), Literal(True), Literal(1, position=5)}) == 3
    assert Literal(0.0).type == "double"


@pytest.mark.parametrize(
    ("source", "position", "what", "hint"),
    [
        ("", 0, "the filter ends where a condition is expected", ""),
        ("a &&", 4, "the filter ends where a condition is expected", ""),
        ("a && ", 4, "the filter ends where a condition is expected", ""),
        ("== a", 0, "expected a field, a value or a condition, found ==", ""),
        ("in a", 0, "nothing to compare on the left of in", ""),
        ("a b", 2, "expected && or || or the end, found b", ""),
        ("a and b", 2, "expected && or || or the end, found and", "write && for and"),
        ("a OR b", 2, "expected && or || or the end, found OR", "write || for OR"),
        ("a)", 1, "expected && or || or the end, found )", ""),
        ("a == b == c", 7, "expected && or || or the end, found ==", "comparisons do not chain"),
        ("1 < a < 5", 6, "expected && or || or the end, found <", "comparisons do not chain"),
        ("a = b", 2, "a filter cannot have '=' here", "write =="),
        ("a & b", 2, "a filter cannot have '&' here", "write &&"),
        ("a | b", 2, "a filter cannot have '|' here", "write ||"),
        ("a ? b : c", 2, "a filter cannot have '?' here", "no a ? b : c"),
        ("a == \u201cx\u201d", 5, "a filter cannot have '\\u201c' here", "plain quotes"),
        ("a == \udcff", 5, "a filter cannot have '\\udcff' here", ""),
        ("(a", 0, "( is not closed", ""),
        ("(a b", 3, "expected ), found b", ""),
        ("a in [1, 2", 5, "[ is not closed", ""),
        ("a in [1 2]", 8, "expected ], found 2", ""),
        ("a in [b]", 6, "a list holds values only, no fields", "quotes"),
        ('a == "x', 5, "this text has no closing quote", ""),
        ('a == "x\ny"', 5, "this text has no closing quote", ""),
        (r'a == "x\d"', 7, r"\d is not an escape of a character", r'r"\d+'),
        (r'a == "\ud800"', 6, r"\ud800 is not an escape of a character", ""),
        (r'a == "\U00110000"', 6, r"\U00110000 is not an escape of a character", ""),
        ("a == 10.0.0.1", 5, "10.0.0.1 is not a number", "quotes"),
        ("a > 100ms", 4, "100ms is not a number", "milliseconds"),
        ("a > 1.", 4, "1. is not a number", ""),
        ("a == 9223372036854775808", 5, "9223372036854775808 is not a number of 64 bits", ""),
        ("a == 18446744073709551616u", 5, "18446744073709551616u is not a number of 64 bits", ""),
        ("a == 1e999", 5, "1e999 is not a number of 64 bits", ""),
        ("a == 1.5u", 5, "1.5u is not a number of 64 bits", ""),
        ("a == " + "9" * 5000, 5, "9" * 40 + " is not a number of 64 bits", ""),
        ("a == -5u", 5, "only a number can follow -", ""),
        ("a == -b", 5, "only a number can follow -", ""),
        ("a == null", 5, "there is no null", "has(field)"),
        ("a.", 1, "expected the name of a field or a method behind the dot", ""),
        ("(a).b", 4, "only a field has parts", ""),
        ('a.lower() == "b"', 2, "there is no method lower", "methods are: startsWith"),
        ('a.startswith("b")', 2, "there is no method startswith", 'did you mean "startsWith"?'),
        ('contains("b")', 0, "there is no function contains", "it is a method: dns.name.contains(...)"),
        ('backs("b")', 0, "there is no function backs", "it is a method: client.backs(...)"),
        ("exists(a)", 0, "there is no function exists", "functions are: has, size"),
        ("has()", 4, "has() needs an argument", ""),
        ("has(1)", 4, "has() takes a field", "has(dns.rcode)"),
        ('a.contains("b", "c")', 14, "contains() takes one argument", ""),
        ("a.size(b) == 1", 7, "expected ), found b", ""),
        ("a.size().size() == 1", 8, "expected && or || or the end, found .", "nothing can follow"),
        ('"""a"""', 2, 'expected && or || or the end, found "a"', ""),
    ],
)
def test_mistakes(source: str, position: int, what: str, hint: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(source)
    assert (caught.value.what, caught.value.position, caught.value.source) == (what, position, source)
    assert hint in caught.value.hint
    assert bool(hint) == bool(caught.value.hint) or hint == ""


def test_a_mistake_shows_its_line() -> None:
    with pytest.raises(FilterError) as caught:
        parse("late &&\n\ttries = 2 &&\ndns.id == 5")
    assert str(caught.value) == (
        "a filter cannot have '=' here\n   tries = 2 &&\n         ^\nto compare, write =="
    )


def test_a_mistake_far_to_the_right_is_still_seen() -> None:
    source = "late || " * 1000 + "late = true" + " || late" * 1000
    with pytest.raises(FilterError) as caught:
        parse(source)
    _what, line, caret, _hint = str(caught.value).split("\n")
    assert len(line) <= 122
    assert line[caret.index("^")] == "="


@pytest.mark.parametrize(
    "opening", ["(", "!", "[", "has(", "size(", "!(", "a.contains(", "((a)==", "-", "a == ("]
)
def test_endless_nesting_is_an_error(opening: str) -> None:
    with pytest.raises(FilterError):
        parse(opening * (100_000 // len(opening)))


@pytest.mark.parametrize("left", ["(", "!(", "true == (", "has(a) && ("])
def test_depth_up_to_the_limit_works(left: str) -> None:
    levels = MAX_DEPTH // (2 if left == "!(" else 1) - 1
    expr = parse(left * levels + "a" + ")" * levels)
    assert parse(to_text(expr)) == expr
    with pytest.raises(FilterError, match="more than 50 levels"):
        parse(left * MAX_DEPTH + "a" + ")" * MAX_DEPTH)


def test_length_is_limited_but_long_chains_are_not() -> None:
    chain = " || ".join(["a"] * 5000)
    expr = parse(chain)
    assert isinstance(expr, Or)
    assert len(expr.operands) == 5000
    assert to_text(expr) == chain
    with pytest.raises(FilterError, match="longer than"):
        parse("a" * (MAX_LENGTH + 1))


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_canonical_text_parses_to_the_same_tree(expr: Expr) -> None:
    assert parse(to_text(expr)) == expr
    assert to_text(parse(to_text(expr))) == to_text(expr)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        texts.map(Literal),
        st.integers(-(1 << 63), (1 << 64) - 1).map(Literal),
        st.floats(allow_nan=False, allow_infinity=False).map(Literal),
        st.lists(texts.map(Literal), max_size=3).map(lambda items: ListOf(tuple(items))),
    )
)
def test_every_literal_survives_printing(literal: Literal) -> None:
    expr = Compare("==", Field("a"), literal)
    assert parse(to_text(expr)) == expr
    assert to_text(expr).isprintable()


_FRAGMENTS = (
    *("a", "dns.name", "==", "in", "&&", "||", "!", "(", ")", "[", "]", ",", ".", '"x"', "'", '"', "\\", "r"),
    *("1", "1.5", "-", "has", "size(", "true", ".matches(", "\n", "//", "\u201c", "\x00", "0x"),
)


def parsed_or_refused(source: str) -> Expr | FilterError:
    try:
        return parse(source)
    except FilterError as error:
        return error


def assert_orderly(source: str) -> None:
    result = parsed_or_refused(source)
    if isinstance(result, FilterError):
        assert 0 <= result.position <= len(source)
        assert str(result).startswith(result.what)
    else:
        assert parse(to_text(result)) == result


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(_FRAGMENTS), max_size=15).map("".join)))
def test_any_text_is_parsed_or_refused(source: str) -> None:
    assert_orderly(source)


@settings(max_examples=200, deadline=None)
@given(expressions, st.integers(0, 1 << 16), st.integers(0, 3), st.sampled_from(_FRAGMENTS))
def test_mutated_expressions_are_parsed_or_refused(expr: Expr, at: int, removed: int, fragment: str) -> None:
    source = to_text(expr)
    at %= len(source) + 1
    assert_orderly(source[:at] + fragment + source[at + removed :])


def test_has_takes_a_path() -> None:
    assert parse("has(a.b.c)") == Has(Field("a.b.c"))
