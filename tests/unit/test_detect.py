"""Every pattern: found where it is, with the right numbers, and not in what is like it but well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.detect import PATTERNS, Detector
from kubectl_kdns.model import Client, Dns, Error, Insight, Lookup, Server, Upstream
from kubectl_kdns.patterns.pattern import MAX_REMEMBERED, is_searched
from kubectl_kdns.times import format_time

START_NS = 1_770_000_000_000_000_000
DOCS = Path(__file__).resolve().parents[2] / "docs/insights.md"


def lookup(name: str = "a.example.com", type_: str = "A", rcode: str = "NOERROR", **more: Any) -> Lookup:
    at_ns = more.pop("at_ns", 0)
    dns = Dns(name=name, type=type_, rcode=rcode)
    for field in ("flags", "response_class"):
        if field in more:
            setattr(dns, field, more.pop(field))
    client = Client(ip="10.0.1.2", port=4000, kind="pod", namespace="shop", pod="web-1", node="n1")
    for field in ("port", "node"):
        if field in more:
            setattr(client, field, more.pop(field))
    record = Lookup(
        time=format_time(START_NS + at_ns),
        backend="ebpf",
        hop="client",
        status="answered",
        latency_ms=1.0,
        transport="udp",
        client=client,
        server=Server(ip="10.0.1.9", kind="coredns", pod="coredns-a"),
        dns=dns,
    )
    for field, value in more.items():
        setattr(record, field, value)
    return record


def lost(name: str = "a.example.com", **more: Any) -> Lookup:
    record = lookup(name, **{"status": "unanswered", **more})
    assert record.dns
    record.dns = Dns(name=record.dns.name, type=record.dns.type)
    return record


def found(lookups: list[Lookup]) -> dict[str, Insight]:
    detector = Detector()
    detector.add(lookups)
    return {insight.code: insight for insight in detector.insights("2026-11-27T00:00:00.000000000Z")}


def upstream(**more: Any) -> Lookup:
    return lookup(**{"hop": "coredns", "side": "client", "server": OUTSIDE, **more})


def cut(number: int) -> Lookup:
    return lookup(f"{number}.example.com", flags=["qr", "tc"])


OUTSIDE = Server(ip="8.8.8.8", port=53, kind="external")
OTHER = Server(ip="10.0.2.9", kind="coredns", pod="coredns-b")
CASES: dict[str, tuple[list[Lookup], int, str]] = {
    "search_list": (
        [lookup("www.example.com.shop.svc.cluster.local", rcode="NXDOMAIN")] * 20 + [lookup()] * 20,
        20,
        "20 of 40 lookups (50%)",
    ),
    "aaaa_waste": (
        [lookup(), lookup(type_="AAAA", response_class="denial")] * 25,
        25,
        "25 of 50 lookups (50%)",
    ),
    "port_race": (
        [each for i in range(3) for each in (lookup(at_ns=i * 10**10), lost(type_="AAAA", at_ns=i * 10**10))],
        3,
        "3 times one of the two",
    ),
    "bad_server": (
        [lookup(server=OTHER)] * 40 + [lookup()] * 15 + [lookup(rcode="SERVFAIL")] * 15,
        15,
        "coredns-a fails: 15 of 30 lookups (50%)",
    ),
    "one_node": ([lookup(node="n2")] * 30 + [lookup()] * 5 + [lost()] * 5, 5, "only node n1 loses"),
    "truncated": (
        [lookup(f"{i}.example.com", flags=["qr", "tc"]) for i in range(3)],
        3,
        "3 answers were cut",
    ),
    "upstream_timeouts": (
        [upstream()] * 5
        + [lost(hop="coredns", side="client", server=Server(ip="8.8.8.8", kind="external"))] * 4,
        4,
        "silent 4 times of 9: 8.8.8.8 (4)",
    ),
    "servfail": (
        [lookup(rcode="SERVFAIL", error=Error("timeout"), upstream=Upstream("1.1.1.1", 53))] * 3 + [lookup()],
        3,
        "timeout 1.1.1.1 3",
    ),
    "never_resolves": (
        [lookup("paymnets.shop.svc.cluster.local", rcode="NXDOMAIN")] * 6,
        6,
        "paymnets.shop.svc.cluster.local (6)",
    ),
    "by_pass": (
        [lookup(server=Server(ip="8.8.8.8", kind="external"))] * 5 + [lookup()] * 5,
        5,
        "8.8.8.8 (5)",
    ),
    "negative_misses": ([upstream(name="no.example.com", rcode="NXDOMAIN")] * 10, 10, "10 of 10 forwards"),
}


def test_every_pattern_has_a_case_and_a_place_in_the_docs() -> None:
    codes = [pattern.code for pattern in PATTERNS]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(CASES)
    text = DOCS.read_text()
    for pattern in PATTERNS:
        assert f"`{pattern.code}`" in text
        assert pattern.help in text


@pytest.mark.parametrize("code", CASES)
def test_it_is_found_with_its_numbers(code: str) -> None:
    lookups, count, words = CASES[code]
    insight = found(lookups)[code]
    assert insight.count == count
    assert words in insight.message
    assert insight.fix
    assert insight.time


@pytest.mark.parametrize("code", CASES)
def test_of_a_few_lookups_nothing_is_told(code: str) -> None:
    lookups, _, _ = CASES[code]
    few = [
        each for each in lookups if each.status != "answered" or (each.dns and each.dns.rcode != "NOERROR")
    ]
    assert code not in found(few[:1] or lookups[:2])


def test_of_a_healthy_stream_nothing_is_told() -> None:
    healthy = [
        each
        for i in range(200)
        for each in (
            lookup(
                f"s{i % 9}.shop.svc.cluster.local",
                at_ns=i * 10**9,
                server=OTHER if i % 2 else lookup().server,
            ),
            lookup("www.example.com", at_ns=i * 10**9, port=5000 + i, node=f"n{i % 3}"),
            upstream(name=f"h{i}.example.com"),
        )
    ]
    assert found(healthy) == {}


def test_a_truncated_answer_that_was_asked_for_over_tcp_is_well() -> None:
    first = [cut(i) for i in range(5)]
    again = [lookup(f"{i}.example.com", transport="tcp") for i in range(5)]
    assert found(first + again) == {}


OLD = range(MAX_REMEMBERED + 10)
"""What a long run has seen before."""


@pytest.mark.parametrize(
    ("code", "before", "times"),
    [
        ("aaaa_waste", [lookup(f"{i}.old.example.com") for i in OLD], 800),
        ("port_race", [lookup(f"{i}.old.example.com") for i in OLD], 1),
        ("never_resolves", [lookup(f"{i}.old.example.com", rcode="NXDOMAIN") for i in OLD], 1),
        ("negative_misses", [upstream(name=f"{i}.old.example.com", rcode="NXDOMAIN") for i in OLD], 1),
        ("by_pass", [lookup(server=Server(ip=f"9.9.{i >> 8}.{i & 255}", kind="external")) for i in OLD], 1),
    ],
)
def test_it_is_found_though_much_else_was_seen_before(code: str, before: list[Lookup], times: int) -> None:
    """A pattern remembers only so much: what is new takes the place of what is old."""
    lookups, count, _ = CASES[code]
    (pattern,) = (each() for each in PATTERNS if each.code == code)
    for each in before:
        pattern.see(each)
    known = pattern.count
    for each in lookups * times:
        pattern.see(each)
    insight = pattern.find()
    assert insight
    assert insight.count == known + count * times


def test_truncated_answers_are_counted_however_many_there_are() -> None:
    (pattern,) = (each() for each in PATTERNS if each.code == "truncated")
    for i in OLD:
        pattern.see(cut(i))
    insight = pattern.find()
    assert insight
    assert insight.count == len(OLD)


@pytest.mark.parametrize(
    ("name", "is_made"),
    [
        ("www.example.com.shop.svc.cluster.local", True),
        ("www.example.com.svc.cluster.local", True),
        ("www.example.com.cluster.local", True),
        ("cart.svc.cluster.local", True),
        ("cart.shop.svc.cluster.local", False),
        ("www.example.com", False),
        ("cart", False),
    ],
)
def test_names_that_only_a_search_list_makes(name: str, is_made: bool) -> None:
    assert is_searched(name) is is_made
