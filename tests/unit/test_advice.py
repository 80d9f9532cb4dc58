"""What to try after a conclusion: the right place, and the nearest name."""

from __future__ import annotations

import pytest

from kubectl_kdns.advice import Surroundings, advise
from kubectl_kdns.model import Attempt, Journey, JourneyHop, Server, ServerBackend
from kubectl_kdns.paths import paths_text

WHERE = Surroundings("shop", (("shop", "payments"), ("shop", "cart"), ("bank", "ledger")))


def journey(name: str, rcode: str = "NXDOMAIN", code: str = "own", asked: int = 1) -> Journey:
    server = Server(ip="10.96.0.10", namespace="kube-system", backend=ServerBackend(pod="coredns-a"))
    hops = [JourneyHop(0, server=server)]
    names = [f"{name}.{i}" for i in range(asked - 1)] + [name]
    attempts = [Attempt(name=each, type="A", status="answered", rcode=rcode, hops=hops) for each in names]
    return Journey(name=name, status="answered", rcode=rcode, code=code, attempts=attempts)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("paymnets", "there is no paymnets; the nearest name of a Service is payments.shop"),
        ("ledger", "Service ledger is not in namespace shop: ask for ledger.bank"),
        ("ledger.shop", "Service ledger is in namespace bank, not in shop"),
    ],
)
def test_a_name_that_is_not_there(name: str, words: str) -> None:
    assert words in advise(journey(name), WHERE)


def test_a_name_like_no_service_gets_no_guess() -> None:
    assert advise(journey("www.example.com"), WHERE) == []


def test_a_search_list_in_vain() -> None:
    (line,) = advise(journey("www.example.com", "NOERROR", asked=4), WHERE)
    assert line.startswith("3 of 4 lookups were for the search list: ask for www.example.com. with a dot")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("upstream_silent", "kubectl kdns upstreams"),
        ("dropped", "kubectl -n kube-system logs coredns-a"),
        ("lost_before_server", "get endpointslices"),
        ("outside_silent", "dnsPolicy"),
        ("denied", "UDP and TCP 53"),
    ],
)
def test_each_conclusion_says_where_to_look(code: str, words: str) -> None:
    assert any(words in line for line in advise(journey("x.example.com", "SERVFAIL", code), WHERE))


def test_ways_are_counted_the_worst_first() -> None:
    fine, bad = journey("a.example.com", "NOERROR"), journey("a.example.com", "SERVFAIL")
    for hop in bad.attempts[0].hops:
        hop.server = Server(ip="10.1.2.3", kind="coredns", pod="coredns-b")
    fine.attempts[0].latency_ms = 2.0
    assert paths_text([fine, fine, bad]).splitlines() == [
        "lookups by their way:",
        "  0 of 1 fine: coredns-b",
        "  2 of 2 fine, p50 2ms, p95 2ms: coredns-a",
    ]
