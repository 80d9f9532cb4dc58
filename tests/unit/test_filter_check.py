"""The check against the field dictionary: what fits, and what each mistake is told."""

from __future__ import annotations

import pytest

from kubectl_kdns.errors import FilterError
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.nodes import And, Compare, Field, Has, ListOf, Literal, Not, Size
from support.filter_flags import golden_cases


def test_a_filter_knows_itself() -> None:
    filter_ = parse_filter(' dns.rcode in ["SERVFAIL","REFUSED"]&&latency_ms>100 ')
    assert filter_.source == 'dns.rcode in ["SERVFAIL", "REFUSED"] && latency_ms > 100'
    assert filter_.fields == {"dns.rcode", "latency_ms"}
    assert not filter_.needs_directory
    assert parse_filter(filter_.source) == filter_


@pytest.mark.parametrize("source", ["", "  \n"])
def test_blank_is_everything(source: str) -> None:
    filter_ = parse_filter(source)
    assert (filter_.source, filter_.expr, filter_.fields, filter_.needs_directory) == (
        "",
        None,
        frozenset(),
        False,
    )


@pytest.mark.parametrize(
    ("source", "needed", "asked"),
    [
        ('client.namespace == "shop"', True, False),
        ("has(server.workload.name)", True, False),
        ('late || client.hasLabels("app=web")', True, True),
        ('!client.backs("cart")', True, True),
        ('client.ip == "10.0.0.1" && dns.type == "A"', False, False),
    ],
)
def test_who_needs_the_directory(source: str, needed: bool, asked: bool) -> None:
    filter_ = parse_filter(source)
    assert (filter_.needs_directory, filter_.asks_directory) == (needed, asked)


def test_has_takes_every_field() -> None:
    for path, row in BY_PATH.items():
        filter_ = parse_filter(f"has({path})")
        assert (filter_.fields, filter_.needs_directory) == ({path}, row.directory)


@pytest.mark.parametrize(
    "source",
    [
        "late",
        "late != true",
        "true",
        "1 == 1.0 && 2 >= 0x1",
        "late == (dns.rcode == \"SERVFAIL\")",
        "has(late) != has(tries)",
        "latency_ms > 100",
        "100.5 > tries",
        "latency_ms in [1, 2.5]",
        "dns.id == socket.cookie",
        "late in [true]",
        'dns.name < "b"',
        "client.node != server.node",
        "client.ip in dns.resolved_ips",
        '"tc" in dns.flags',
        'dns.flags == ["qr", "rd"]',
        "dns.resolved_ips == []",
        "[] != dns.flags",
        "size(dns.answers) >= 3",
        "dns.name.size() > dns.query_bytes",
        'size("abc") == 3 && size([1, 2]) == 2',
        'dns.name == "." && dns.name != "a.example.com"',
        r'dns.name == r"my\032host\.x.example.com"',
        r'dns.name.endsWith(r"x\.")',
        'dns.name.endsWith(".")',
        'dns.name.startsWith("_") && dns.name.contains("")',
        'dns.name.contains(client.namespace)',
        'dns.name.matches("(?i)^A{2,3}[^.]+$")',
        'dns.type in ["TYPE65280", "AAAA"]',
        'dns.rcode == "RCODE24"',
        'dns.class == "CH" && dns.opcode == "OPCODE7"',
        'dns.rcode.startsWith("NX")',
        'dns.rcode < "o"',
        'client.ip == "fd00::1"',
        'client.ip.startsWith("10.96.")',
        'policy.verdict == "whatever"',
        'client.workload.kind == "CloneSet"',
        'client.workload.kind != "Deployment"',
        'time >= "2026-01-31T09:00:00.000000000Z"',
        'time < "2026-01-31T09:00" && time > "2026"',
        'time.startsWith("2026-01-31T09")',
        '"dns.rcode" in inferred',
        'client.hasLabels("")',
        'client.hasLabels("app in (a, b),!c")',
        'client.backs("shop/cart")',
    ],
)  # fmt: skip
def test_fits(source: str) -> None:
    assert parse_filter(parse_filter(source).source).source == parse_filter(source).source


def outcome(source: str) -> str:
    try:
        return f"no mistake: {parse_filter(source).source}"
    except FilterError as error:
        return str(error)


def test_mistakes() -> None:
    cases = golden_cases("filter_mistakes.txt")
    assert len(cases) > 80
    assert {source: outcome(source) for source in cases} == cases


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (r'client.ip == "\u0000"', "is not an IP address"),
        ('client.pod == "\udcff"', "this text is not valid UTF-8"),
        ('client.pod in ["a", "\udcff"]', "this text is not valid UTF-8"),
        ('dns.name.matches("[\udcff]")', "this text is not valid UTF-8"),
        ('client.hasLabels("a=\udcff")', "is not the value of a label"),
        ('client.backs("\udcff")', "not the name of a Service"),
    ],
)
def test_bytes_that_are_no_text(source: str, what: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(source)
    assert what in caught.value.what


def test_closed_sets_take_all_their_values() -> None:
    for path, row in BY_PATH.items():
        choices = ", ".join(f'"{value}"' for value in row.values) or '"NOERROR"'
        if row.values or path == "dns.rcode":
            assert parse_filter(f"{path} in [{choices}]").source == f"{path} in [{choices}]"


def test_nodes_are_told_apart() -> None:
    parsed = parse_filter("has(late) && !(size(dns.flags) == 2) && dns.flags == []").expr
    assert parsed == And(
        (
            Has(Field("late")),
            Not(Compare("==", Size(Field("dns.flags")), Literal(2))),
            Compare("==", Field("dns.flags"), ListOf(())),
        )
    )
