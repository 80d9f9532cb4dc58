"""Label selectors mean what they mean to Kubernetes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_kdns.errors import FilterError
from kubectl_kdns.filter import Selector, parse_selector
from kubectl_kdns.filter.selector import Requirement


def requirement(key: str, values: str | None, wanted: bool) -> Requirement:
    return Requirement(key, None if values is None else frozenset(values.split(",")), wanted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("a", [("a", None, True)]),
        ("!a", [("a", None, False)]),
        (" ! a ", [("a", None, False)]),
        ("a=b", [("a", "b", True)]),
        ("a==b", [("a", "b", True)]),
        ("a = b", [("a", "b", True)]),
        ("a!=b", [("a", "b", False)]),
        ("a=", [("a", "", True)]),
        ("a!=,b", [("a", "", False), ("b", None, True)]),
        ("a in (b)", [("a", "b", True)]),
        ("a in(b,c)", [("a", "b,c", True)]),
        ("a notin ( b , c )", [("a", "b,c", False)]),
        ("a in (b,)", [("a", "b,", True)]),
        ("a in (,b)", [("a", ",b", True)]),
        ("in in (in,notin)", [("in", "in,notin", True)]),
        ("notin", [("notin", None, True)]),
        ("app.kubernetes.io/name=web_1.x-Y", [("app.kubernetes.io/name", "web_1.x-Y", True)]),
        ("b in (x,y),!c,d", [("b", "x,y", True), ("c", None, False), ("d", None, True)]),
        (f"{'a' * 63}={'b' * 63}", [("a" * 63, "b" * 63, True)]),
    ],
)  # fmt: skip
def test_parses(text: str, expected: list[tuple[str, str | None, bool]]) -> None:
    assert parse_selector(text) == Selector(tuple(requirement(*row) for row in expected))


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        (",", 0, ", is not the key of a label"),
        ("a,", 2, "a key is missing"),
        ("a,,b", 2, ", is not the key of a label"),
        ("!", 1, "a key is missing"),
        ("!a=b", 2, "expected a comma, found ="),
        ("=a", 0, "= is not the key of a label"),
        ("a b", 2, "expected = == != in or notin, found b"),
        ("a=b c", 4, "expected a comma, found c"),
        ("a=b=c", 3, "expected a comma, found ="),
        ("a in b", 5, "the values stand in parentheses: in (a,b)"),
        ("a in ()", 6, "the list of values is empty"),
        ("a in (b", 7, "the list of values is not closed"),
        ("a in (b c)", 8, "expected a comma, found c"),
        ("a in (b))", 8, "expected a comma, found )"),
        ("a=(b)", 2, "( is not the value of a label"),
        ("a>1", 1, "> is not possible in a label selector"),
        ("a  <1", 3, "< is not possible in a label selector"),
        ("a=-b", 2, "-b is not the value of a label"),
        ("a=ü", 2, "ü is not the value of a label"),
        ("A.b/c=d", 0, "A.b/c is not the key of a label"),
        ("/a=b", 0, "/a is not the key of a label"),
        ("a/b/c", 0, "a/b/c is not the key of a label"),
        ("a/", 0, "a/ is not the key of a label"),
        ("a" * 64, 0, f"{'a' * 64} is not the key of a label"),
        ("a=" + "b" * 64, 2, f"{'b' * 64} is not the value of a label"),
        (f"{'a.' * 126}ab/c", 0, f"{'a.' * 126}ab/c is not the key of a label"),
    ],
)
def test_mistakes(text: str, position: int, what: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_selector(text)
    assert (caught.value.position, caught.value.what, caught.value.source) == (position, what, text)
    assert "KEY notin (A,B)" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("", [{}, {"a": "b"}], []),
        ("a", [{"a": ""}, {"a": "x", "b": "y"}], [{}, {"b": "a"}]),
        ("!a", [{}, {"b": "a"}], [{"a": ""}]),
        ("a=b", [{"a": "b"}], [{}, {"a": "c"}, {"b": "b"}]),
        ("a=", [{"a": ""}], [{}, {"a": "b"}]),
        ("a!=b", [{}, {"a": "c"}], [{"a": "b"}]),
        ("a in (b,c)", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
        ("a notin (b,c)", [{}, {"a": "d"}], [{"a": "b"}, {"a": "c"}]),
        ("a=1,b!=2", [{"a": "1"}, {"a": "1", "b": "3"}], [{"a": "1", "b": "2"}, {"b": "3"}]),
        ("a,!a", [], [{}, {"a": "b"}]),
    ],
)
def test_matches(text: str, matching: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    selector = parse_selector(text)
    assert [selector.matches(labels) for labels in matching + other] == [True] * len(matching) + [
        False
    ] * len(other)


words = st.sampled_from(["a", "b", "in", "x.io/y"])
values = st.sampled_from(["", "a", "b", "in"])
rows = st.one_of(
    st.tuples(words, st.none(), st.booleans()),
    st.tuples(words, st.frozensets(values, min_size=1), st.booleans()),
)


def row_text(row: tuple[str, frozenset[str] | None, bool]) -> str:
    key, choices, wanted = row
    if choices is None:
        return key if wanted else f"!{key}"
    return f"{key} {'in' if wanted else 'notin'} ({','.join(sorted(choices))})"


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), st.dictionaries(words, values))
def test_every_requirement_counts(
    given_rows: list[tuple[str, frozenset[str] | None, bool]], labels: dict[str, str]
) -> None:
    # "in ()" cannot be written, so a set of the empty value alone needs its comma.
    text = ",".join(map(row_text, given_rows)).replace("()", "(,)")
    selector = parse_selector(text)
    assert selector == Selector(tuple(Requirement(*row) for row in given_rows))
    expected = all(
        (key in labels and (choices is None or labels[key] in choices)) is wanted
        for key, choices, wanted in given_rows
    )
    assert selector.matches(labels) is expected


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text("ab=!,() in<>/.-", max_size=20)))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        selector = parse_selector(text)
    except FilterError as error:
        position = error.position
    else:
        position = len(selector.requirements)
        assert selector.matches({}) in (True, False)
    assert 0 <= position <= len(text)
