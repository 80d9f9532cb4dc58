"""Names and free text: one form, safe, whatever goes in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.dns.names import label_text, name_of_labels, name_of_text, safe_text

SAFE_NAME = re.compile(r"[!-~]+")
UNSAFE_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ([], "."),
        ([b"WWW", b"Example", b"ORG"], "www.example.org"),
        ([b"_http", b"_tcp", b"svc-1"], "_http._tcp.svc-1"),
        ([b"a.b", b"c"], r"a\.b.c"),
        ([b"a\\b"], r"a\\b"),
        ([b"my host"], r"my\032host"),
        ([b"a\x1b[31mX\n\x00"], r"a\027[31mx\010\000"),
        ([b"b\xc3\xbccher", b"de"], r"b\195\188cher.de"),
        ([b"\x7f\xff"], r"\127\255"),
        ([b"a;b@c(d)'e\"f$"], "a;b@c(d)'e\"f$"),
    ],
)
def test_labels_become_a_name(labels: list[bytes], name: str) -> None:
    assert name_of_labels(labels) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "."),
        (".", "."),
        ("example.org", "example.org"),
        ("Example.ORG.", "example.org"),
        # As CoreDNS logs them (facts/coredns.md, golden lines).
        (r"my\ host.example.org.", r"my\032host.example.org"),
        (r"a\"b.example.org.", 'a"b.example.org'),
        (r"a\027[31mx\010\000.example.org.", r"a\027[31mx\010\000.example.org"),
        (r"b\195\188cher.example.org.", r"b\195\188cher.example.org"),
        (r"a\.b.", r"a\.b"),
        (r"a\\b.", r"a\\b"),
        (r"a\;b\@c\(d\)\'e.", "a;b@c(d)'e"),
        ("100%s.", "100%s"),
        # Not as RFC 1035 writes it, and yet something.
        ("bücher.de", r"b\195\188cher.de"),
        (r"\065\066", "ab"),
        (r"\300", "300"),
        ("a\\", r"a\\"),
        ("a b\tc", r"a\032b\009c"),
        (r"a\.", r"a\."),
        ("\\٠٠١", r"\217\160\217\160\217\161"),
        ("\udcff", r"\255"),
        ("\ud800", r"\237\160\128"),
    ],
)
def test_text_becomes_a_name(text: str, name: str) -> None:
    assert name_of_text(text) == name


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4))
def test_a_name_is_its_labels_and_safe(labels: list[bytes]) -> None:
    name = name_of_labels(labels)
    assert name == (".".join(label_text(label) for label in labels) or ".")
    assert SAFE_NAME.fullmatch(name)
    assert name == name.lower()


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4))
def test_a_name_read_back_is_itself(labels: list[bytes]) -> None:
    name = name_of_labels(labels)
    assert name_of_text(name) == name
    assert name_of_text(name.upper() + ("." if labels else "")) == name


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_a_safe_name(text: str) -> None:
    name = name_of_text(text)
    assert SAFE_NAME.fullmatch(name)
    assert name == name.lower()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("", ""),
        ("i/o timeout: 10.0.0.1:53", "i/o timeout: 10.0.0.1:53"),
        ("a\x1b[31mb\r\n", r"a\027[31mb\013\010"),
        ("\x7f\x9b", r"\127\194\155"),
        ("user\u202egpj.exe", r"user\226\128\174gpj.exe"),
        ("a\u2028b\ufeff", r"a\226\128\168b\239\187\191"),
        ("bücher, 世界", "bücher, 世界"),
        ("\udcff", r"\255"),
        ("\ud800", r"\237\160\128"),
    ],
)
def test_free_text_is_made_safe(text: str, safe: str) -> None:
    assert safe_text(text) == safe


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_stays_unsafe(text: str) -> None:
    import unicodedata

    safe = safe_text(text)
    assert not [c for c in safe if unicodedata.category(c) in UNSAFE_CATEGORIES]
    assert safe_text(safe) == safe
    safe.encode("utf-8")
