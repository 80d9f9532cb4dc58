"""Times, leads and places of log lines, as kubelets, kubectl, stern and old versions of CoreDNS give them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kdns_coredns import lines as lines_module
from kdns_coredns.corefile import COMMON
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.formats import LEGACY
from kdns_coredns.lead import Lead, lead_of, utc_second, when_second
from kubectl_kdns.model import Client, Lookup, Server
from kubectl_kdns.times import NS_PER_S, format_time, parse_time
from support.coredns_log import START_NS, Query, body, go_seconds, query_line, stamped

STAMP = "2026-11-23T10:00:00.204000000Z"


def read(text: str, *formats: str, timestamps: bool = False) -> list[Lookup]:
    decoder = LogDecoder(None, None, formats or (COMMON,), timestamps=timestamps)
    return [record for record in decoder.feed(text.encode()) if isinstance(record, Lookup)]


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("", Lead()),
        (f"{STAMP} ", Lead("2026-11-23T10:00:00", 204_000_000)),
        ("2026-11-23T11:00:00.2+01:00 ", Lead("2026-11-23T10:00:00", 200_000_000)),
        ("2026-11-23T10:00:00Z ", Lead("2026-11-23T10:00:00", 0)),
        (f"{STAMP} stdout F ", Lead("2026-11-23T10:00:00", 204_000_000)),
        ("[pod/coredns-a/coredns] ", Lead(pod="coredns-a")),
        (f"[pod/coredns-a/coredns] {STAMP} ", Lead("2026-11-23T10:00:00", 204_000_000, pod="coredns-a")),
        ("coredns-a coredns ", Lead(pod="coredns-a")),
        (f"coredns-a coredns {STAMP} ", Lead("2026-11-23T10:00:00", 204_000_000, pod="coredns-a")),
        ("kube-system coredns-a coredns ", Lead(namespace="kube-system", pod="coredns-a")),
        ("2019-01-14T17:57:42.000Z ", Lead("2019-01-14T17:57:42", 0)),
        ("2018/11/08 10:03:28 ", Lead("2018-11-08T10:03:28", 0)),
        (f"{STAMP} 2019-01-14T17:57:42.000Z ", Lead("2026-11-23T10:00:00", 204_000_000)),
        ("2026-13-23T10:00:00Z ", Lead()),
        ("2026-11-23T10:00:00+99:00 ", Lead()),
        ("0001-01-01T00:00:00Z ", Lead()),
        ("Jun 05 16:41:03 router coredns[10786]: ", Lead()),
        ("\ufeff", Lead()),
    ],
)
def test_leads(text: str, lead: Lead) -> None:
    assert lead_of(text) == lead


@given(st.text(alphabet="0123456789-:TZ.+/ []podabc", max_size=60) | st.text())
def test_any_lead(text: str) -> None:
    lead = lead_of(text)
    assert (lead.time_ns is None) is (lead.second == "")


@pytest.mark.parametrize(
    ("second", "zone", "utc"),
    [
        ("2026-11-23T10:00:00", "Z", "2026-11-23T10:00:00"),
        ("2026-11-23T00:30:00", "+01:00", "2026-11-22T23:30:00"),
        ("2026-11-23T00:30:00", "-0530", "2026-11-23T06:00:00"),
        ("2026-02-30T00:00:00", "Z", ""),
        ("x", "Z", ""),
    ],
)
def test_seconds_in_utc(second: str, zone: str, utc: str) -> None:
    assert utc_second(second, zone) == utc


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("11/Jan/2019:19:59:01 +0000", "2019-01-11T19:59:01"),
        ("11/Jan/2019:19:59:01 +0200", "2019-01-11T17:59:01"),
        ("{when}", ""),
        ("32/Jan/2019:19:59:01 +0000", ""),
    ],
)
def test_times_of_1_2(text: str, second: str) -> None:
    assert when_second(text) == second


@pytest.mark.parametrize(
    ("prefix", "time", "server"),
    [
        (f"{STAMP} [INFO] ", "2026-11-23T10:00:00.203854830Z", UNSET),
        ("[INFO] ", UNSET, UNSET),
        ("2019-01-14T17:57:42.000Z [INFO] ", "2019-01-14T17:57:41.999854830Z", UNSET),
        (f"{STAMP} 2018/11/08 10:03:28 [INFO] ", "2026-11-23T10:00:00.203854830Z", UNSET),
        (
            f"[pod/coredns-a/coredns] {STAMP} [INFO] ",
            "2026-11-23T10:00:00.203854830Z",
            Server(kind="coredns", pod="coredns-a"),
        ),
        (
            "kube-system node-local-dns-x node-cache [INFO] ",
            UNSET,
            Server(kind="nodelocal", namespace="kube-system", pod="node-local-dns-x"),
        ),
        ("Jun 05 16:41:03 router coredns[10786]: [INFO] ", UNSET, UNSET),
    ],
)
@pytest.mark.parametrize("timestamps", [True, False])
def test_whole_lines(prefix: str, time: Any, server: Any, timestamps: bool) -> None:
    [lookup] = read(prefix + body(COMMON, Query()) + "\n", timestamps=timestamps)
    assert (lookup.time, lookup.server, lookup.latency_ms) == (time, server, 0.14517)


@pytest.mark.parametrize("prefix", ["", f"{STAMP} "])
def test_lines_of_1_2_have_no_level(prefix: str) -> None:
    line = body(LEGACY, Query(duration_ns=0)).replace("{when}", "11/Jan/2019:19:59:01 +0000")
    [lookup] = read(prefix + line, timestamps=True)
    assert lookup.time == (STAMP if prefix else "2019-01-11T19:59:01.000000000Z")
    assert lookup.dns
    assert (lookup.dns.id, lookup.dns.name) == (4660, "cart.shop.svc.cluster.local")


def test_a_format_without_duration_has_the_time_of_the_line() -> None:
    [lookup] = read(stamped(START_NS, query_line(Query(), "{name} {type}")), "{name} {type}", timestamps=True)
    assert (lookup.time, lookup.latency_ms, lookup.inferred, lookup.client) == (STAMP, UNSET, ["time"], UNSET)
    assert lookup.status is UNSET


def test_a_format_without_duration_and_time() -> None:
    [lookup] = read(query_line(Query(), "{name} {type} {rcode}"), "{name} {type} {rcode}")
    assert (lookup.time, lookup.inferred) == (UNSET, ["dns.response_class"])


@pytest.mark.parametrize(
    ("remote", "ip"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::1%\x1b", r"::1%\027"),
    ],
)
def test_clients(remote: str, ip: str) -> None:
    [lookup] = read(query_line(Query(remote=remote)))
    assert lookup.client == Client(ip=ip, port=40001)


def test_addresses_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "_MAX_ADDRESSES", 2)
    addresses = lines_module._Addresses()
    assert [addresses[f"[fd00::{n}]"] for n in range(5)] == [f"fd00::{n}" for n in range(5)]
    assert len(addresses) <= 2


def test_metadata_of_client_and_local_address() -> None:
    template = COMMON + " {/kubernetes/client-namespace} {/kubernetes/client-pod-name} {local}"
    labels = {"kubernetes/client-namespace": "shop", "kubernetes/client-pod-name": "cart-1"}
    server = Server(kind="coredns", pod="a")
    decoder = LogDecoder(server, None, (template,), timestamps=False)
    [lookup] = decoder.feed(query_line(Query(labels=labels), template).encode())
    assert isinstance(lookup, Lookup)
    assert lookup.client == Client(ip="10.244.1.17", port=40001, namespace="shop", pod="cart-1")
    assert lookup.server == Server(ip="10.244.0.3", kind="coredns", pod="a")
    assert server.ip is UNSET


@given(
    st.lists(
        st.tuples(
            st.integers(START_NS, START_NS + 3 * NS_PER_S),
            st.one_of(st.integers(0, 2 * NS_PER_S), st.integers(0, 999_999 * NS_PER_S)),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([("Z", 0), ("+00:00", 0), ("+01:00", 60), ("-05:30", -330)]),
)
def test_times_are_exact(moments: list[tuple[int, int]], zone: tuple[str, int]) -> None:
    """A line's time less its duration, to the nanosecond, over seconds and zones (name, minutes)."""
    name, offset_ns = zone[0], zone[1] * 60 * NS_PER_S
    text = "".join(
        stamped(at + offset_ns, query_line(Query(duration_ns=duration))).replace("Z ", f"{name} ", 1)
        for at, duration in moments
    )
    found = [(lookup.time, lookup.latency_ms) for lookup in read(text, timestamps=True)]
    assert found == [(format_time(at - duration), duration / 1e6) for at, duration in moments]


@given(st.integers(0, 999_999 * NS_PER_S))
def test_durations_are_exact(duration_ns: int) -> None:
    [lookup] = read(query_line(Query(duration_ns=duration_ns)))
    assert lookup.latency_ms == duration_ns / 1e6
    assert go_seconds(duration_ns).endswith("s")


def test_impossible_times_are_left_out() -> None:
    lines = [
        stamped(START_NS, query_line(Query())),
        f"2026-99-23T10:00:00.204000000Z {query_line(Query())}\n",
    ]
    assert [lookup.time is UNSET for lookup in read("".join(lines), timestamps=True)] == [False, True]
    assert parse_time(STAMP) == START_NS


@pytest.mark.parametrize(
    ("duration_ns", "logged"),
    [
        (0, "0s"),
        (1, "0.000000001s"),
        (145_170, "0.00014517s"),
        (NS_PER_S, "1s"),
        # Go adds seconds and nanoseconds as floats: a sixth of what takes one to two seconds looks like this.
        (1_350_135_639, "1.3501356389999999s"),
        (1_955_393_051, "1.9553930510000002s"),
        (6_976_359_795, "6.9763597950000005s"),
    ],
)
@pytest.mark.parametrize("timestamps", [False, True])
def test_durations_as_go_writes_them(duration_ns: int, logged: str, *, timestamps: bool) -> None:
    query = Query(duration_ns=duration_ns)
    assert go_seconds(duration_ns) == logged
    line = query_line(query)
    assert line.endswith(f" {logged}")
    text = stamped(START_NS, line) if timestamps else f"{line}\n"
    assert [lookup.latency_ms for lookup in read(text, timestamps=timestamps)] == [duration_ns / 1e6]
