"""The sentence about a request, for each way to end, with and without proof that nothing was missed."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_kdns.coverage import Coverage
from kubectl_kdns.journeys import Journeys
from kubectl_kdns.model import (
    Client,
    Dns,
    Error,
    Journey,
    Lookup,
    Loss,
    Notice,
    Policy,
    Record,
    Server,
    ServerBackend,
    Upstream,
)
from kubectl_kdns.times import NS_PER_S, format_time

T = 1_770_000_000 * NS_PER_S
MS = 1_000_000
NAME = "www.example.com"
COVERED: tuple[Record, ...] = (
    Notice(time=format_time(T - NS_PER_S), node="n1", code="watching", ports=[53]),
    Notice(time=format_time(T - NS_PER_S), node="n2", code="watching", ports=[53]),
    Notice(time=format_time(T - NS_PER_S), code="forwards", ports=[53]),
)
POD = ServerBackend(ip="10.1.2.3", pod="coredns-b", node="n2")


def seen(
    side: str = "client", rcode: str = "NOERROR", *, at_ms: float = 0, took_ms: float = 1, **more: Any
) -> Lookup:
    """A lookup of the application, at its own socket or at the server's."""
    dns = Dns(id=7, name=more.pop("name", NAME), type=more.pop("type", "A"), rcode=rcode)
    for part in ("flags", "resolved_ips", "answers"):
        if part in more:
            setattr(dns, part, more.pop(part))
    service = Server(ip="10.96.0.10", kind="service", backend=POD)
    server = service if side == "client" else Server(ip="10.1.2.3", kind="coredns", pod="coredns-b")
    record = Lookup(
        time=format_time(T + round(at_ms * MS)),
        backend="ebpf",
        node="n1" if side == "client" else "n2",
        hop="client",
        side=side,
        status="answered",
        latency_ms=took_ms,
        transport="udp",
        client=Client(ip="10.1.1.1", port=4000, kind="pod", pod="web-1"),
        server=server,
        dns=dns,
    )
    for field, value in more.items():
        setattr(record, field, value)
    return record


def lost(side: str = "client", **more: Any) -> Lookup:
    record = seen(side, **more)
    assert record.dns
    record.dns = Dns(id=7, name=record.dns.name, type=record.dns.type)
    record.status = "unanswered"
    return Lookup(
        **{f: getattr(record, f) for f in record.__struct_fields__ if f not in ("latency_ms", "kind")}
    )


def forwarded(record: Lookup, *, id_: int = 99) -> Lookup:
    """The same as what the CoreDNS pod asks its upstream."""
    assert record.dns
    record.hop, record.node, record.side = "coredns", "n2", "client"
    record.client = Client(ip="10.1.2.3", port=5000 + id_, kind="coredns", pod="coredns-b")
    record.server = Server(ip="8.8.8.8", port=53, kind="external")
    record.dns.id = id_
    return record


def journeys_of(*records: Record) -> list[Journey]:
    stage = Journeys(5 * NS_PER_S)
    out = stage.add(records) + stage.rest(at_end=True)
    return [record for record in out if isinstance(record, Journey)]


def conclusion(*records: Record) -> tuple[str, str]:
    (journey,) = journeys_of(*records)
    return str(journey.code), str(journey.conclusion)


ASKED = seen(at_ms=0.2, took_ms=0.5)
CASES: dict[str, tuple[list[Record], str, str]] = {
    "from the upstream": (
        [seen(took_ms=4, resolved_ips=["1.2.3.4"]), seen("server", at_ms=0.1, took_ms=3.8),
         forwarded(seen(at_ms=0.5, took_ms=3))],
        "upstream",
        "1.2.3.4 from 8.8.8.8, through coredns-b",
    ),
    "from the server itself": (
        [seen(), seen("server", at_ms=0.1, took_ms=0.5)],
        "own",
        "an answer from coredns-b itself (its zone or its cache)",
    ),
    "dropped at the server": (
        [lost(), lost("server", at_ms=0.1)],
        "dropped",
        "arrived at coredns-b on n2; neither forwarded nor answered: dropped at coredns-b",
    ),
    "an upstream that is silent": (
        [lost(), lost("server", at_ms=0.1), forwarded(lost(at_ms=0.4)), forwarded(lost(at_ms=2001), id_=98)],
        "upstream_silent",
        "arrived at coredns-b on n2, which asked 8.8.8.8 (twice) and got no answer",
    ),
    "SERVFAIL for a silent upstream": (
        [seen(rcode="SERVFAIL", took_ms=4002), seen("server", rcode="SERVFAIL", at_ms=0.1, took_ms=4001),
         forwarded(lost(at_ms=0.4)), forwarded(lost(at_ms=2001), id_=98)],
        "upstream_silent",
        "SERVFAIL from coredns-b, because 8.8.8.8 did not answer (twice asked)",
    ),
    "an upstream that fails": (
        [seen(rcode="SERVFAIL", took_ms=2), seen("server", rcode="SERVFAIL", at_ms=0.1, took_ms=1.8),
         forwarded(seen(rcode="SERVFAIL", at_ms=0.4))],
        "upstream_failed",
        "SERVFAIL came from 8.8.8.8; coredns-b passed it on",
    ),
    "SERVFAIL of the server's own": (
        [seen(rcode="SERVFAIL"), seen("server", rcode="SERVFAIL", at_ms=0.1, took_ms=0.5)],
        "server_failed",
        "SERVFAIL was made by coredns-b itself: it asked nobody for it",
    ),
    "lost before the server": (
        [lost()],
        "lost_before_server",
        "sent to 10.96.0.10, which became coredns-b on n2; it never arrived there: lost on the way "
        "(a network policy, the nodes' network, or a pod that does not listen)",
    ),
    "no pod behind the Service": (
        [lost(server=Server(ip="10.96.0.10", kind="service"))],
        "lost_before_server",
        "sent to 10.96.0.10, which became no pod's address: no DNS server is behind that Service (or this "
        "node's NodeLocal DNSCache is gone), or a policy on the client's node dropped it",
    ),
    "an answer that is lost": (
        [lost(), seen("server", at_ms=0.1, took_ms=0.5)],
        "answer_lost",
        "coredns-b answered NOERROR in 500µs, and that never reached the client: lost on the way back",
    ),
    "an answer after the client has gone": (
        [lost(), seen("server", rcode="SERVFAIL", at_ms=0.1, took_ms=5000)],
        "too_late",
        "coredns-b answered SERVFAIL after 5s, when the client had given up",
    ),
    "a wrong server": (
        [lost(server=Server(ip="10.9.9.9", kind="unknown"))],
        "outside_silent",
        "no answer from 10.9.9.9, which is not the cluster's DNS",
    ),
    "denied by a policy": (
        [seen(status="denied", policy=Policy("DROPPED", "shop/deny"))],
        "denied",
        "denied by shop/deny before any DNS server saw it",
    ),
    "too late": (
        [seen(took_ms=6000, late=True), seen("server", at_ms=0.1, took_ms=5999)],
        "own",
        "an answer from coredns-b itself (its zone or its cache), too late: the client had given up",
    ),
}  # fmt: skip
UNPROVEN = {
    "from the server itself": ("answered", "an answer from coredns-b; whether it asked others was not seen"),
    "dropped at the server": (
        "server_silent",
        "arrived at coredns-b on n2; no answer, and no forward was seen",
    ),
    "SERVFAIL of the server's own": ("failed", "SERVFAIL from coredns-b; why was not seen"),
    "lost before the server": (
        "not_seen",
        "sent to 10.96.0.10, which became coredns-b; it was not seen there, and got no answer",
    ),
    "no pod behind the Service": (
        "not_seen",
        "no answer from 10.96.0.10; it was not seen at any DNS server",
    ),
}
GAP = Loss(
    time=format_time(T), node="n2", reason="ring_full", from_=format_time(T), until=format_time(T + MS)
)
GONE = Notice(time=format_time(T), node="n2", code="agent_gone")
OTHER_PORT = Notice(time=format_time(T), code="forwards", ports=[53, 853])


@pytest.mark.parametrize("case", CASES)
def test_with_proof(case: str) -> None:
    records, code, sentence = CASES[case]
    assert conclusion(*COVERED, *records) == (code, sentence)


@pytest.mark.parametrize("case", UNPROVEN)
def test_without_an_agent_nothing_is_denied(case: str) -> None:
    assert conclusion(*CASES[case][0]) == UNPROVEN[case]


@pytest.mark.parametrize("doubt", [GAP, OTHER_PORT, GONE])
def test_a_loss_a_port_or_an_agent_that_is_gone_takes_the_proof_away(doubt: Record) -> None:
    case = "dropped at the server"
    assert conclusion(*COVERED, doubt, *CASES[case][0]) == UNPROVEN[case]


def test_a_forward_that_belongs_to_none_for_sure_takes_the_proof_away() -> None:
    slow = [seen(took_ms=900), seen("server", at_ms=0.1, took_ms=899)]
    assert conclusion(*COVERED, *slow)[0] == "own"
    assert conclusion(*COVERED, *slow, forwarded(seen(at_ms=1, rcode="NXDOMAIN")))[0] == "answered"


def test_a_loss_on_another_node_takes_nothing_away() -> None:
    gap = Loss(time=format_time(T), node="n1", reason="ring_full")
    assert conclusion(*COVERED, gap, *CASES["dropped at the server"][0])[0] == "dropped"


def test_an_agent_that_came_later_proves_nothing() -> None:
    coverage = Coverage()
    coverage.add(COVERED)
    assert coverage.saw_all("n1", T, T + MS)
    assert not coverage.saw_all("n1", T - 2 * NS_PER_S, T)
    assert not coverage.saw_all("n3", T, T + MS)


def test_the_cause_in_the_log_is_named() -> None:
    logged = seen("server", rcode="SERVFAIL", at_ms=0.1, took_ms=0.5)
    logged.error, logged.upstream = Error("network", "no route to host"), Upstream("8.8.8.8", 53)
    code, sentence = conclusion(*COVERED, seen(rcode="SERVFAIL"), logged)
    assert (code, sentence) == ("server_failed", "SERVFAIL from coredns-b: network 8.8.8.8: no route to host")


def test_what_is_truncated_and_what_came_of_it() -> None:
    cut = [seen(flags=["qr", "tc"]), seen("server", at_ms=0.1, took_ms=0.5, flags=["qr", "tc"])]
    own = "an answer from coredns-b itself (its zone or its cache)"
    assert conclusion(*COVERED, *cut) == (
        "own", f"{own}, truncated; the application did not ask again over TCP",
    )  # fmt: skip
    again = [seen(at_ms=3, transport="tcp"), seen("server", at_ms=3.1, took_ms=0.5, transport="tcp")]
    assert conclusion(*COVERED, *cut, *again) == ("own", f"{own}; asked again over TCP")


def test_a_search_list_is_one_journey() -> None:
    suffixes = [".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ""]
    records = [
        seen(name=NAME + suffix, type=type_, rcode="NOERROR" if not suffix else "NXDOMAIN", at_ms=2 * i)
        for i, suffix in enumerate(suffixes)
        for type_ in ("A", "AAAA")
    ]
    (journey,) = journeys_of(*records)
    assert (journey.name, journey.types, len(journey.attempts)) == (NAME, ["A", "AAAA"], 8)
    assert str(journey.conclusion).endswith("; name 4 of a search list, 6 lookups before it were in vain")


def test_a_pair_that_is_asked_again_is_another_request() -> None:
    records = []
    for number, at_ms in enumerate((0, 20, 40)):
        for type_ in ("A", "AAAA"):
            record = seen(type=type_, at_ms=at_ms, took_ms=1)
            assert record.dns
            record.dns.id = number * 2 + (type_ == "A")
            records.append(record)
    assert [journey.types for journey in journeys_of(*records)] == [["A", "AAAA"]] * 3


def test_an_own_retry_is_the_same_request_though_its_end_is_known_first() -> None:
    answered = seen(at_ms=2500, took_ms=1)
    assert answered.dns
    answered.dns.id = 8
    (journey,) = journeys_of(answered, lost())
    assert (journey.status, [attempt.status for attempt in journey.attempts]) == (
        "answered",
        ["unanswered", "answered"],
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (seen(), seen(at_ms=1.5)),  # the same again, though it was answered
        (seen(), seen(name="other.example.com", at_ms=1.5)),
        (seen(name="cart.a.test", rcode="NXDOMAIN"), seen(name="cart.b.test", at_ms=1.5)),
        (seen(name=f"{NAME}.svc.cluster.local", rcode="NXDOMAIN"), seen(at_ms=900)),  # a pause
    ],
)
def test_what_no_resolver_asks_together_stays_apart(first: Lookup, second: Lookup) -> None:
    assert second.dns
    second.dns.id = 8
    assert len(journeys_of(first, second)) == 2


def test_a_resolver_does_not_go_back_in_its_search_list() -> None:
    """It is the application that begins again."""
    suffixes = (".shop.svc.cluster.local", ".svc.cluster.local", "")
    records = [
        seen(name=NAME + suffix, type=type_, rcode="SERVFAIL", at_ms=6 * turn + 2 * i, client=socket(turn))
        for turn in range(3)
        for i, suffix in enumerate(suffixes)
        for type_ in ("A", "AAAA")
    ]
    assert [len(journey.attempts) for journey in journeys_of(*records)] == [6, 6, 6]


@pytest.mark.parametrize(("attempts", "tries"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5])])
def test_a_resolver_asks_as_often_as_its_resolv_conf_says(attempts: int, tries: list[int]) -> None:
    stage = Journeys(5 * NS_PER_S)
    stage.max_tries = attempts
    records = [seen(rcode="SERVFAIL", at_ms=2 * i, client=socket(i)) for i in range(5)]
    out = stage.add(records) + stage.rest(at_end=True)
    assert [len(record.attempts) for record in out if isinstance(record, Journey)] == tries


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_pairs_at_the_same_time_each_is_of_one_socket(order: tuple[int, int]) -> None:
    """glibc in two threads of a process: each asks for A and AAAA by a socket of its own."""
    records = [seen(type="A", at_ms=number / 10, client=socket(number)) for number in (1, 2)]
    records += [seen(type="AAAA", at_ms=0.3 + i / 10, client=socket(n)) for i, n in enumerate(order)]
    for journey in journeys_of(*records):
        ports = {attempt.hops[0].client.port for attempt in journey.attempts if attempt.hops[0].client}
        assert (journey.types, len(ports)) == (["A", "AAAA"], 1)


def socket(number: int) -> Client:
    return Client(ip="10.1.1.1", port=4000 + number, kind="pod", pod="web-1")


def test_only_failures_with_a_failed_end_are_failures() -> None:
    def is_failed(lookup: Lookup) -> bool:
        return lookup.status != "answered" or bool(lookup.dns and lookup.dns.rcode != "NOERROR")

    denied = seen(name=f"{NAME}.svc.cluster.local", rcode="NXDOMAIN")
    stage = Journeys(5 * NS_PER_S, is_failed)
    assert stage.add([denied, seen(at_ms=1.5)]) + stage.rest(at_end=True) == []
    assert stage.filtered == 2
