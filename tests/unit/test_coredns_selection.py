"""Searching a log before it is read never loses a lookup that the filter wants, and changes none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdns_coredns.corefile import COMBINED, COMMON
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.formats import template_of
from kdns_coredns.selection import ALWAYS, select
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.expression import Filter
from kubectl_kdns.filter.nodes import Compare, Field, Literal
from kubectl_kdns.model import Lookup
from support.coredns_log import START_NS, Query, error_line, logs, query_line, stamped

JSON = '{"n":"{name}","t":"{type}","r":"{rcode}","f":"{>rflags}","s":"{rsize}","d":"{duration}"}'
FORMATS = (COMMON, COMBINED, JSON, "{duration} {name} {type} {rcode}", COMBINED + " {/log/class} {/log/type}")

ATOMS = [
    'dns.rcode == "SERVFAIL"',
    'dns.rcode in ["SERVFAIL", "NXDOMAIN"]',
    'dns.rcode in ["REFUSED", "BADVERS", "RCODE24"]',
    'dns.rcode == "NOERROR"',
    'dns.rcode != "NOERROR"',
    'dns.type == "AAAA"',
    'dns.type in ["HTTPS", "SRV"]',
    'dns.type in ["TYPE0", "TYPE65280"]',
    'dns.type == "HINFO"',
    'dns.name == "cart.shop.svc.cluster.local"',
    'dns.name.endsWith(".example.com")',
    'dns.name.contains("shop")',
    'dns.name.startsWith("a.")',
    'dns.name.matches("^cart.*local$")',
    'dns.name == "."',
    r'dns.name == "a\\.b.example.com"',
    'status == "unwritten"',
    'status == "answered"',
    'status != "answered"',
    'dns.response_class == "error"',
    'dns.response_class == "denial"',
    'dns.response_class in ["denial", "error"]',
    'dns.response_class in ["success", "error"]',
    "latency_ms > 0.5",
    "latency_ms >= 1",
    "latency_ms > 12.5",
    "latency_ms >= 100",
    "latency_ms > 2500",
    'error.type == "timeout"',
    "has(upstream.ip)",
]


@st.composite
def filters(draw: st.DrawFn) -> str:
    def expression(depth: int) -> str:
        kind = draw(st.sampled_from(["atom", "atom", "and", "or", "not"])) if depth else "atom"
        if kind == "atom":
            return draw(st.sampled_from(ATOMS))
        if kind == "not":
            return f"!({expression(depth - 1)})"
        return f"({expression(depth - 1)}) {'&&' if kind == 'and' else '||'} ({expression(depth - 1)})"

    return expression(2)


def wanted(source: str, log: bytes, template: str, *, search: bool) -> list[bytes]:
    """The lookups that the filter lets through, of a log that was searched for them first, or not."""
    filter_ = parse_filter(source)
    decoder = LogDecoder(None, None, (template,), select(filter_))
    if not search:
        decoder._searches = ()
    accept = filter_.compile()
    records = decoder.feed(log) + decoder.flush()
    return sorted(msgspec.json.encode(r) for r in records if isinstance(r, Lookup) and accept(r))


@settings(max_examples=80, deadline=None)
@given(filters(), st.data())
def test_nothing_wanted_is_lost(source: str, data: st.DataObject) -> None:
    template = data.draw(st.sampled_from(FORMATS))
    log = data.draw(logs(template))
    assert wanted(source, log, template, search=True) == wanted(source, log, template, search=False)


def failures() -> bytes:
    """Two failed lookups of the same name, one logged with its code and one without; one error line each."""
    quick, slow = Query(rcode="SERVFAIL", duration_ns=200_000), Query(rcode="-", duration_ns=3_000_000_000)
    lines = [
        query_line(quick),
        query_line(slow),
        error_line(quick, "a: connection refused"),
        error_line(slow),
    ]
    return "".join(stamped(START_NS + number, line) for number, line in enumerate(lines)).encode()


@pytest.mark.parametrize("source", ATOMS)
def test_pairs_of_lookup_and_error_stay_together(source: str) -> None:
    log = failures()
    assert wanted(source, log, COMMON, search=True) == wanted(source, log, COMMON, search=False)


@pytest.mark.parametrize(
    ("source", "template", "searches"),
    [
        ("", COMMON, []),
        ('dns.type == "A"', COMMON, []),
        ('dns.name == "."', COMMON, []),
        ('dns.name == "cart.shop"', COMMON, [b"cart.shop."]),
        ('dns.name.startsWith("cart.")', JSON, [b"cart."]),
        (r'dns.name == "a\\.b.example.com"', COMMON, []),
        ('dns.type == "SRV"', COMMON, [b"SRV", b"TYPE33"]),
        ('dns.rcode == "NXDOMAIN"', COMMON, [b'" (?:NXDOMAIN|3)']),
        ('dns.rcode == "SERVFAIL"', COMMON, [b'" (?:SERVFAIL|2|SERVFAIL|-|NOERROR -)']),
        ('dns.rcode == "SERVFAIL"', JSON, [b'","r":"(?:SERVFAIL|2|SERVFAIL|-|NOERROR","f":"-)']),
        ('dns.rcode == "RCODE24"', COMMON, [b'" (?:RCODE24|24)']),
        ('dns.rcode == "SERVFAIL"', "{rcode}{name} {type}", []),
        ('status == "unwritten"', COMMON, [b'" (?:SERVFAIL|-|NOERROR -)']),
        ('dns.response_class == "error"', COMMON, [b'" (?!NXDOMAIN|NOERROR(?! -))']),
        ('dns.response_class == "error"', COMMON + " {/log/class}", []),
        ('dns.response_class == "error"', "{name} {type} ({rcode})", []),
        ("latency_ms > 99", "{name} {type} {duration}", []),
        (
            "latency_ms > 99",
            COMMON,
            [
                b'" (?:SERVFAIL|-|NOERROR -)',
                rb'" (?:[A-Z0-9]+|-) (?:[a-z,]*|-) (?:[0-9]{1,9}|-) (?!0\.00)[0-9]',
            ],
        ),
        ("latency_ms > 0.9", COMMON, []),
    ],
)
def test_what_is_searched_for(source: str, template: str, searches: list[bytes]) -> None:
    found = select(parse_filter(source)).searches([template_of(template)])
    texts = [
        search if isinstance(search, bytes) else search.pattern.replace(b"\\ ", b" ") for search in found
    ]
    texts = [text.replace(b"\\-", b"-") for text in texts]
    assert texts == ([*searches, *ALWAYS] if searches else [])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ""),
        ('dns.rcode in ["SERVFAIL", "REFUSED"]', "rcode REFUSED or SERVFAIL"),
        ('dns.name == "cart.shop"', "names with cart.shop."),
        ('status == "unwritten"', "queries without an answer"),
        ('dns.response_class == "error"', "responses of class error"),
        ('dns.type == "SRV"', "type SRV"),
        ("latency_ms > 250", "durations of at least 100 ms"),
    ],
)
def test_words_for_explain_filter(source: str, words: str) -> None:
    said = f"searches the log for {words}, and reads only those lines"
    assert select(parse_filter(source)).takes([template_of(COMMON)]) == ((said,) if words else ())


@example("\ud800")
@example("(")
@given(st.text())
def test_any_text_can_be_asked_for(text: str) -> None:
    for path in ("dns.name", "dns.rcode", "dns.type", "status", "dns.response_class"):
        selection = select(Filter("", Compare("==", Field(path), Literal(text))))
        selection.searches([template_of(COMMON)])
        assert all(words.isprintable() for words in selection.takes([template_of(COMMON)]))
