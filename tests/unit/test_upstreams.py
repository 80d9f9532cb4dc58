"""What DNS servers ask in turn, added up; and where each upstream is configured."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_kdns.backend import Forward
from kubectl_kdns.model import Client, Dns, Error, Lookup, Server, Upstream
from kubectl_kdns.upstreams import Upstreams, configured

TIME = "2026-11-27T05:00:00.000000000Z"


def asked(rcode: str = "NOERROR", took_ms: float = 1.0, **more: Any) -> Lookup:
    record = Lookup(
        time=TIME,
        backend="ebpf",
        hop="coredns",
        side="client",
        status="answered",
        latency_ms=took_ms,
        tries=1,
        transport="udp",
        client=Client(ip="10.1.2.3", kind="coredns", pod="coredns-a"),
        server=Server(ip="8.8.8.8", port=53, kind="external"),
        dns=Dns(name=more.pop("name", "www.example.com"), type=more.pop("type", "A"), rcode=rcode),
    )
    for field, value in more.items():
        setattr(record, field, value)
    return record


def record_of(*lookups: Lookup) -> Any:
    upstreams = Upstreams()
    upstreams.add(lookups)
    (pair,) = upstreams.all
    return pair.record(TIME, 1000.0, [])


def test_queries_codes_times_and_the_last_failure() -> None:
    lookups = [asked(took_ms=float(i)) for i in range(1, 101)]
    lookups += [asked("NXDOMAIN", transport="tcp"), asked("SERVFAIL", name="bad.example.com")]
    lookups += [asked(status="unanswered", tries=2, name="gone.example.com")]
    record = record_of(*lookups)
    assert (record.queries, record.tries, record.unanswered, record.tcp) == (103, 104, 1, 1)
    assert record.rcodes == {"NOERROR": 100, "NXDOMAIN": 1, "SERVFAIL": 1}
    assert record.latency_ms["p50"] == pytest.approx(49, rel=0.004)
    assert record.latency_ms["max"] == 100
    assert 98 <= record.latency_ms["p99"] <= 100
    assert record.last_error.message == "no answer (gone.example.com A)"


def test_an_upstream_that_becomes_slow_after_a_long_time_is_shown_as_slow() -> None:
    record = record_of(*[asked()] * 100_000, *[asked(took_ms=900.0)] * 20_000)
    assert record.latency_ms["p50"] == pytest.approx(1, rel=0.01)
    assert record.latency_ms["p95"] == pytest.approx(900, rel=0.01)


def test_health_checks_are_no_queries() -> None:
    record = record_of(asked(), asked("NXDOMAIN", name=".", type="NS"))
    assert (record.queries, record.checks) == (1, 1)


def test_what_is_no_upstream_does_not_count() -> None:
    upstreams = Upstreams()
    upstreams.add(
        [
            asked(hop="client"),
            asked(side="server"),
            asked(hop="nodelocal", server=Server(ip="10.96.0.10", kind="service")),
            asked(hop="nodelocal", server=Server(ip="10.1.2.3", kind="coredns")),
        ]
    )
    assert upstreams.all == []


def test_a_log_tells_of_the_upstream_that_it_names() -> None:
    server = Server(kind="coredns", pod="coredns-b")
    logged = asked(hop="client", side="server", server=server, upstream=Upstream("1.1.1.1", 53))
    failed = asked(
        "SERVFAIL", hop="client", side="server", server=server, upstream=Upstream("1.1.1.1", 53),
        error=Error("timeout", "i/o timeout"),
    )  # fmt: skip
    record = record_of(logged, failed)
    assert (record.server, record.queries, record.unanswered) == ("coredns-b", 2, 1)
    assert record.rcodes == {"NOERROR": 1}
    assert record.last_error.message == "i/o timeout (www.example.com A)"


def test_where_it_is_configured() -> None:
    forwards = [
        Forward("coredns", "configmap kube-system/coredns:9", "corp.test", "10.0.0.53", 53),
        Forward("coredns", "configmap kube-system/coredns:12", ".", "/etc/resolv.conf", 53),
        Forward("nodelocal", "configmap kube-system/node-local-dns:3", ".", "8.8.8.8", 53),
    ]
    assert (
        configured(forwards, "coredns", "10.0.0.53", 53) == "configmap kube-system/coredns:9 (zone corp.test)"
    )
    assert "/etc/resolv.conf of the node" in configured(forwards, "coredns", "192.0.2.1", 53)
    assert configured(forwards, "nodelocal", "192.0.2.1", 53) == ""
