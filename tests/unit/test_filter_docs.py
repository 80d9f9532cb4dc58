"""docs/filter.md is true: examples compile, flags give the expression below them; and --explain-filter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubectl_kdns.cli.groups import SelectionOptions
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.explain import explain
from kubectl_kdns.filter.flags import flags_expression
from kubectl_kdns.filter.parser import METHODS
from support.filter_flags import flags_of

DOC = (Path(__file__).parents[2] / "docs" / "filter.md").read_text()


def blocks(kind: str) -> list[str]:
    """The paragraphs of all code blocks of this kind."""
    found = re.findall(rf"^```{kind}\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE)
    return [paragraph.strip("\n") for block in found for paragraph in block.split("\n\n")]


@pytest.mark.parametrize("example", blocks("flags"))
def test_flags_become_what_the_manual_says(example: str) -> None:
    line, expression = example.split("\n")
    assert flags_expression(flags_of(line)) == expression.strip()


@pytest.mark.parametrize("example", blocks("cel"))
def test_examples_compile(example: str) -> None:
    comment, expression = example.split("\n")
    assert comment.startswith("// ")
    filter_ = parse_filter(example)
    assert filter_.source == parse_filter(expression).source
    assert filter_.fields or filter_.asks_directory


def test_there_are_enough_examples() -> None:
    assert len(blocks("cel")) >= 20
    assert len(blocks("flags")) >= 8


def test_inline_expressions_are_valid() -> None:
    language = DOC[DOC.index("## The language") : DOC.index("## Examples")]
    wrong = ('dns.name == "Example.com."', "dns.rcode == 3")
    codes = re.findall(r"`([^`\n]+)`", language)
    expressions = [code for code in codes if re.search(r"\w\.\w+(\(.+\)$| [!=<>i])|latency_ms >", code)]
    assert set(wrong) < set(expressions)
    assert len(expressions) >= 8
    for code in set(expressions) - set(wrong):
        assert parse_filter(code).fields or parse_filter(code).asks_directory


def test_every_flag_and_method_is_in_the_manual() -> None:
    for flag in SelectionOptions.FLAGS.values():
        assert all(name in DOC for name in flag.names if name not in ("-A", "--all-namespaces", "-c"))
    assert all(method in DOC for method in METHODS)


def test_explain() -> None:
    text = explain(parse_filter('dns.class == "IN" && latency_ms > 100 && client.namespace == "shop"'))
    assert text.split("\n") == [
        'filter     dns.class == "IN" && latency_ms > 100 && client.namespace == "shop"',
        "fields     latency_ms        double: from the (first) query to the response, at this side (ms)",
        "           client.namespace  string: namespace of who asked",
        "           dns.class         string: class asked for: IN, CH, ...; unknown ones are CLASS77",
        "directory  needed for client.namespace: it waits until pods are listed",
    ]


def test_explain_breaks_long_filters() -> None:
    names = " || ".join(f'dns.name == "{letter * 20}.example.com"' for letter in "abc")
    text = explain(parse_filter(f'({names}) && late && client.backs("cart")'))
    assert text.split("\n") == [
        f"filter     ({names})",
        "           && late",
        '           && client.backs("cart")',
        "fields     late      bool: the response came after the client had given up",
        '           dns.name  string: name asked for, lower case, no trailing dot; the root is "."',
        "directory  needed for labels or Services: it waits until pods are listed",
    ]
    assert explain(parse_filter(names)).split("\n")[:2] == [
        f'filter     dns.name == "{"a" * 20}.example.com"',
        f'           || dns.name == "{"b" * 20}.example.com"',
    ]


def test_explain_of_little() -> None:
    assert explain(parse_filter("")) == "filter     none: everything is shown"
    assert explain(parse_filter("true")) == "filter     true\ndirectory  not needed: it starts at once"
