"""Whom a Corefile forwards to, in all ways to write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.corefile import parse_corefile
from kdns_coredns.forwards import forwards_of

IPV6 = "2001:db8::1"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("forward . 8.8.8.8", [(".", "8.8.8.8", 53, "dns")]),
        ("forward . 8.8.8.8:5300 [2001:db8::1]:54", [(".", "8.8.8.8", 5300, "dns"), (".", IPV6, 54, "dns")]),
        ("forward Corp.Test. 2001:db8::1", [("corp.test", "2001:db8::1", 53, "dns")]),
        ("forward . tls://9.9.9.9", [(".", "9.9.9.9", 853, "tls")]),
        ("forward . tls://1.1.1.1:8853", [(".", "1.1.1.1", 8853, "tls")]),
        ("forward . /etc/resolv.conf {\n max_concurrent 1000\n}", [(".", "/etc/resolv.conf", 53, "dns")]),
        ("grpc . 10.0.0.1", [(".", "10.0.0.1", 443, "grpc")]),
        ("cache 30", []),
    ],
)  # fmt: skip
def test_targets(text: str, wanted: list[tuple[str, str, int, str]]) -> None:
    found = forwards_of(parse_corefile(f".:53 {{\n{text}\n}}\n"), "coredns", "configmap a/b")
    assert [(each.zone, each.to, each.port, each.scheme) for each in found] == wanted
    assert all((each.server, each.where) == ("coredns", "configmap a/b:2") for each in found)


@given(st.from_regex(r"[ -z|~]{1,40}", fullmatch=True))
def test_no_word_breaks_it(word: str) -> None:
    corefile = parse_corefile('.:53 {\nforward . "x"\n}\n')
    block = corefile.blocks[0]
    (directive,) = block.named("forward")
    assert forwards_of(corefile, "coredns", "w")
    changed = type(directive)(directive.name, (".", word), directive.body, directive.line)
    made = type(block)(block.zones, (changed,), block.line, block.open_line)
    (forward,) = forwards_of(type(corefile)((made,)), "coredns", "w")
    assert forward.port >= 0
