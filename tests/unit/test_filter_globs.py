"""Globs: what they become, and that it matches what a glob matches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubectl_kdns.dns.names import name_of_text
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.globs import glob_condition, name_condition, name_regex_condition
from kubectl_kdns.filter.nodes import Compare, Field, Literal, to_text
from kubectl_kdns.model import Client, Dns, Lookup


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("cart", 'client.pod == "cart"'),
        ("cart-*", 'client.pod.startsWith("cart-")'),
        ("*-x", 'client.pod.endsWith("-x")'),
        ("*art*", 'client.pod.contains("art")'),
        ("*", "has(client.pod)"),
        ("***", "has(client.pod)"),
        ("a**", 'client.pod.startsWith("a")'),
        ("a*b", 'client.pod.matches("^a.*b$")'),
        ("*a*b", 'client.pod.matches("a.*b$")'),
        ("a*b*", 'client.pod.matches("^a.*b")'),
        ("a.b?", r'client.pod.matches(r"^a\.b.$")'),
        ("?", 'client.pod.matches("^.$")'),
        ("?*", 'client.pod.matches("^.")'),
        ("*?*a", 'client.pod.matches("^..*a$")'),
        (r"a\*b", 'client.pod == "a*b"'),
        (r"\?*", 'client.pod.startsWith("?")'),
        ("a\\", 'client.pod == "a\\\\"'),
        ("a+(b)*c$", r'client.pod.matches(r"^a\+\(b\).*c\$$")'),
    ],
)
def test_globs(glob: str, expected: str) -> None:
    assert to_text(glob_condition("client.pod", glob)) == expected


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("Example.COM", 'dns.name == "example.com"'),
        ("example.com.", 'dns.name == "example.com"'),
        (".", 'dns.name == "."'),
        ("*.", "has(dns.name)"),
        ("*.svc.Cluster.local.", 'dns.name.endsWith(".svc.cluster.local")'),
        ("_http._tcp.*", 'dns.name.startsWith("_http._tcp.")'),
        ("*kube*", 'dns.name.contains("kube")'),
        ("api-*.example.com.", r'dns.name.matches(r"^api-.*\.example\.com$")'),
        (r"my\ host.*", r'dns.name.startsWith(r"my\032host.")'),
        ("my host.*", r'dns.name.startsWith(r"my\032host.")'),
        ("bücher.*", r'dns.name.startsWith(r"b\195\188cher.")'),
        (r"b\195\188cher.de", r'dns.name == r"b\195\188cher.de"'),
        (r"\065\066.x", 'dns.name == "ab.x"'),
        (r"a\.b.x", r'dns.name == r"a\.b.x"'),
        (r"x.a\.", r'dns.name == r"x.a\."'),
        (r"x.a\\.", 'dns.name == "x.a\\\\\\\\"'),
        (r"\*.example.com", 'dns.name == "*.example.com"'),
        (r"\042.example.com", 'dns.name == "*.example.com"'),
        ("a?.x.", r'dns.name.matches(r"^a.\.x$")'),
        ("\udcff*", r'dns.name.startsWith(r"\255")'),
        (r"\033*", 'dns.name.startsWith("!")'),
    ],
)
def test_name_globs(glob: str, expected: str) -> None:
    text = to_text(name_condition(glob))
    assert text == expected
    assert parse_filter(text).source == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^api", 'dns.name.matches("^api")'),
        ("^API", 'dns.name.matches("^api")'),
        (r"^api\.", r'dns.name.matches(r"^api\.")'),
        (r"\.COM\.$", r'dns.name.matches(r"\.com\.?$")'),
        ("com[.]$", r'dns.name.matches(r"com\.?$")'),
        (r"com\\.$", r'dns.name.matches(r"com\\.$")'),
        (r"(A|b)\D", r'dns.name.matches(r"(?i)(A|b)\D")'),
    ],
)
def test_name_regexes(pattern: str, expected: str) -> None:
    assert to_text(name_regex_condition(pattern)) == expected


def glob_matches(glob: str, text: str) -> bool:
    """The meaning of a glob without escapes, by definition."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(glob_matches(glob[1:], text[i:]) for i in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and glob_matches(glob[1:], text[1:])


@settings(max_examples=300, deadline=None)
@given(
    st.text("ab.*?+", min_size=1, max_size=6), st.lists(st.text("ab.+", max_size=6), min_size=4, max_size=4)
)
def test_globs_match_what_globs_match(glob: str, texts: list[str]) -> None:
    accept = parse_filter(to_text(glob_condition("client.pod", glob))).compile()
    texts += [glob.replace("*", ""), glob.replace("?", "a").replace("*", "b.")]
    for text in texts:
        assert accept(Lookup(client=Client(pod=text))) is glob_matches(glob, text)


labels = st.text(st.characters(exclude_characters="*?\\."), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(labels, min_size=1, max_size=3), st.sampled_from(["", "."]), st.booleans())
def test_a_name_finds_itself(parts: list[str], dot: str, upper: bool) -> None:
    name = ".".join(parts).encode("utf-8", "replace").decode()
    record = Lookup(dns=Dns(name=name_of_text(name)))
    asked = name.upper() if upper and name.isascii() else name
    for glob in (asked + dot, f"*{asked}{dot}", f"{asked}*", f"*{asked}*", f"{asked[:1]}*{asked[1:]}{dot}"):
        assert parse_filter(to_text(name_condition(glob))).compile()(record)


@settings(max_examples=200, deadline=None)
@given(st.text('aB.\\012 ü"', min_size=1, max_size=8))
def test_without_wildcards_a_glob_is_the_name_of_its_text(text: str) -> None:
    assert name_condition(text) == Compare("==", Field("dns.name"), Literal(name_of_text(text)))
