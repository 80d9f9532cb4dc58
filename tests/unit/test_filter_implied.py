"""What a filter implies for push-down: the cases that backends rely on, and soundness for all others."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.filter import Needle, implied_minimum, implied_needles, implied_values, parse_filter
from kubectl_kdns.filter.compile import attribute_of
from kubectl_kdns.filter.implied import Value
from kubectl_kdns.filter.nodes import Expr, to_text
from kubectl_kdns.filter.regex import mistake_in, needle_of, search_function
from support.filter_strategies import LISTS, NUMBERS, STRINGS, expressions, random_record

INF = float("inf")


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ('dns.rcode == "SERVFAIL"', "dns.rcode", {"SERVFAIL"}),
        ('"SERVFAIL" == dns.rcode', "dns.rcode", {"SERVFAIL"}),
        ('dns.rcode in ["SERVFAIL", "REFUSED"] && latency_ms > 100', "dns.rcode", {"SERVFAIL", "REFUSED"}),
        ('dns.rcode == "SERVFAIL" && dns.rcode != "REFUSED"', "dns.rcode", {"SERVFAIL"}),
        ('dns.type in ["A", "AAAA"] && dns.type in ["AAAA", "MX"]', "dns.type", {"AAAA"}),
        ('dns.rcode == "SERVFAIL" || dns.rcode == "REFUSED"', "dns.rcode", {"SERVFAIL", "REFUSED"}),
        ('dns.rcode == "SERVFAIL" || late', "dns.rcode", None),
        ('dns.rcode == "A" || latency_ms > 5', "dns.type", None),
        ('dns.rcode == "SERVFAIL" && dns.rcode == "NXDOMAIN"', "dns.rcode", set()),
        ('!(dns.rcode == "SERVFAIL")', "dns.rcode", None),
        ('!!(dns.rcode == "SERVFAIL")', "dns.rcode", {"SERVFAIL"}),
        ('!(late || !(dns.rcode == "SERVFAIL"))', "dns.rcode", {"SERVFAIL"}),
        ('!(late && !(dns.rcode == "SERVFAIL"))', "dns.rcode", None),
        ('!(!(dns.rcode == "SERVFAIL") && !(dns.rcode == "REFUSED"))', "dns.rcode", {"SERVFAIL", "REFUSED"}),
        ('dns.rcode != "SERVFAIL"', "dns.rcode", None),
        ('dns.rcode.startsWith("S")', "dns.rcode", None),
        ("dns.rcode == status", "dns.rcode", None),
        ("late", "late", {True}),
        ("late != true", "late", {False}),
        ("!late", "late", None),
        ("dns.id in [1, 2.5]", "dns.id", {1, 2.5}),
        ("false", "dns.rcode", set()),
        ('true || dns.rcode == "SERVFAIL"', "dns.rcode", None),
        ('false || dns.rcode == "SERVFAIL"', "dns.rcode", {"SERVFAIL"}),
        ('!true || dns.rcode == "SERVFAIL"', "dns.rcode", {"SERVFAIL"}),
        ('(dns.rcode == "SERVFAIL") == true', "dns.rcode", None),
        ("", "dns.rcode", None),
    ],
)  # fmt: skip
def test_values(source: str, path: str, expected: set[Value] | None) -> None:
    source = source.replace('dns.rcode == "A"', 'dns.type == "A"')
    assert implied_values(parse_filter(source).expr, path) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("latency_ms > 100", 100),
        ("latency_ms >= 100.5", 100.5),
        ("100 < latency_ms", 100),
        ("latency_ms < 100", None),
        ("100 > latency_ms", None),
        ("latency_ms != 100", None),
        ("latency_ms == 7", 7),
        ("latency_ms in [5, 3.5]", 3.5),
        ("latency_ms > 100 && late", 100),
        ("latency_ms > 100 && latency_ms > 200", 200),
        ("latency_ms > 100 || latency_ms > 200", 100),
        ("latency_ms > 100 || late", None),
        ("!(latency_ms > 100)", None),
        ("!(latency_ms <= 100)", None),
        ("latency_ms > tries", None),
        ("tries > 100", None),
        ("false", INF),
        ("", None),
    ],
)
def test_minimum(source: str, expected: float | None) -> None:
    assert implied_minimum(parse_filter(source).expr, "latency_ms") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('dns.name == "a.b"', {("exact", "a.b")}),
        ('dns.name in ["a", "b"]', {("exact", "a"), ("exact", "b")}),
        ('dns.name.startsWith("a")', {("prefix", "a")}),
        ('dns.name.endsWith("a")', {("suffix", "a")}),
        ('dns.name.contains("a")', {("substring", "a")}),
        ('dns.name.contains("")', None),
        ('"abc".contains(dns.name)', None),
        ("dns.name.contains(dns.type)", None),
        ('dns.type.contains("A")', None),
        (r'dns.name.matches("^api-.*\\.example\\.com$")', {("suffix", ".example.com")}),
        (r'dns.name.matches("^a\\.b$")', {("exact", "a.b")}),
        (r'dns.name.matches("cart")', {("substring", "cart")}),
        (r'dns.name.matches("(?i)cart")', None),
        (r'dns.name.matches("cart|web")', None),
        (r'dns.name.matches(".*")', None),
        ('dns.name.endsWith(".local") && dns.name.contains("kube")', {("suffix", ".local")}),
        ('dns.name.endsWith(".a") && dns.name == "b"', {("exact", "b")}),
        ('dns.name.endsWith(".a") || dns.name == "b"', {("suffix", ".a"), ("exact", "b")}),
        ('dns.name.endsWith(".a") || late', None),
        ('late && dns.name.endsWith(".a")', {("suffix", ".a")}),
        ('!dns.name.endsWith(".a")', None),
        ('!(!dns.name.endsWith(".a") || late)', {("suffix", ".a")}),
        ("has(dns.name)", None),
        ('size(dns.name) == 5', None),
        ('dns.name == "a" && false', set()),
        ("late", None),
        ("", None),
    ],
)  # fmt: skip
def test_needles(source: str, expected: set[tuple[str, str]] | None) -> None:
    needles = implied_needles(parse_filter(source).expr, "dns.name")
    assert (None if needles is None else {(needle.kind, needle.text) for needle in needles}) == expected


def field_value(record: Any, path: str) -> Any:
    for part in path.split("."):
        record = getattr(record, attribute_of(part), UNSET)
    return record


def fits(needle: Needle, text: str) -> bool:
    return {
        "exact": text == needle.text,
        "prefix": text.startswith(needle.text),
        "suffix": text.endswith(needle.text),
        "substring": needle.text in text,
    }[needle.kind]


@settings(max_examples=200, deadline=None)
@given(expressions, st.integers(0, 1 << 32))
def test_whatever_passes_fits_what_is_implied(expr: Expr, seed: int) -> None:
    accept = parse_filter(to_text(expr)).compile()
    random = Random(seed)
    passed = [record for record in [random_record(random) for _ in range(10)] if accept(record)]
    for path in (*STRINGS, *NUMBERS, "late", "dns.edns.do"):
        present = [field_value(record, path) for record in passed]
        allowed = implied_values(expr, path)
        assert allowed is None or allowed.issuperset(present)
        least = implied_minimum(expr, path)
        assert least is None or all(value >= least for value in present)
        needles = implied_needles(expr, path)
        assert needles is None or all(any(fits(needle, value) for needle in needles) for value in present)
    for path in LISTS:
        assert implied_values(expr, path) in (None, frozenset())


PATTERN_PIECES = [
    "a",
    "b",
    ".",
    "\\.",
    "*",
    "+",
    "?",
    "^",
    "$",
    "\\$",
    "\\\\",
    "(",
    ")",
    "|",
    "[ab]",
    "{2}",
    "\\d",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PATTERN_PIECES), max_size=8).map("".join),
    st.lists(st.text("ab.$\\x", max_size=8), min_size=3, max_size=3),
)
def test_needles_of_regexes_are_sound(pattern: str, texts: list[str]) -> None:
    found = needle_of(pattern)
    if found is None:
        return
    needle, complete = found
    assert mistake_in(pattern) == ""
    search = search_function(pattern)
    for text in [*texts, needle.text, f"x{needle.text}", f"{needle.text}x"]:
        assert fits(needle, text) or not search(text)
        assert not complete or search(text) == fits(needle, text)
