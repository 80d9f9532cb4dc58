"""The summary: its figures are those of a plain count, in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.model import (
    Client,
    Dns,
    Group,
    Lookup,
    Loss,
    Message,
    NameCount,
    Notice,
    SlowLookup,
    Summary,
)
from kubectl_kdns.output.clock import WallClock
from kubectl_kdns.output.options import OutputOptions
from kubectl_kdns.output.phrases import client_name
from kubectl_kdns.output.summary_text import _percent, summary_text
from kubectl_kdns.summary import TOP, Frequent, Histogram, Summarizer
from support import records as make


def finished(summarizer: Summarizer, **changes: Any) -> Summary:
    settings: dict[str, Any] = {
        "time": make.at(0),
        "duration_ms": 1.0,
        "seen": 0,
        "filtered": 0,
        "counters": {},
    }
    return summarizer.summary(**settings | changes)


def summary_of(*batches: list[Any]) -> Summary:
    summarizer = Summarizer()
    for batch in batches:
        summarizer.add(batch)
    return finished(summarizer)


@given(
    st.lists(st.floats(1e-6, 1e9, allow_nan=False), min_size=1, max_size=300),
    st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]),
    st.integers(1, 300),
)
def test_a_quantile_is_within_one_percent(values: list[float], share: float, batch: int) -> None:
    histogram = Histogram()
    for start in range(0, len(values), batch):
        histogram.add(values[start : start + batch])
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.005)
    assert histogram.maximum == max(values)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50))
def test_percentiles_have_three_digits_and_the_maximum_all(values: list[float]) -> None:
    histogram = Histogram()
    histogram.add(values)
    figures = histogram.figures()
    assert list(figures) == ["p50", "p95", "p99", "max"]
    assert figures["max"] == max(values)
    assert figures["p99"] == pytest.approx(sorted(values)[math.ceil(0.99 * len(values)) - 1], rel=0.01)


def test_zero_is_a_latency_and_nothing_is_none() -> None:
    histogram = Histogram()
    assert histogram.figures() == {}
    histogram.add([0.0, 0.0])
    assert histogram.figures() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}


@given(st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=30))
def test_the_most_frequent_of_too_many_keys_stay(batches: list[list[int]]) -> None:
    frequent, exact = Frequent(limit=20), Counter[int]()
    for batch in batches:
        frequent.add(batch)
        exact.update(batch)
    kept = frequent.items()
    assert len(kept) <= 20
    for key, n in exact.items():
        assert n - frequent.missed <= kept.get(key, 0) <= n
    assert frequent.distinct == (None if frequent.missed else len(exact))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(make.lookups(), max_size=6), max_size=4))
def test_figures_are_those_of_a_plain_count(batches: list[list[Lookup]]) -> None:
    summary = summary_of(*batches)
    lookups = [lookup for batch in batches for lookup in batch]
    assert summary.shown == len(lookups) == sum(group.lookups for group in summary.groups)
    assert summary.pending == sum(lookup.status == "pending" for lookup in lookups)
    places = {(lookup.backend, lookup.hop, lookup.side) for lookup in lookups}
    assert {(group.backend, group.hop, group.side) for group in summary.groups} == places
    for group in summary.groups:
        own = [r for r in lookups if (r.backend, r.hop, r.side) == (group.backend, group.hop, group.side)]
        contents = [lookup.dns for lookup in own if lookup.dns]
        names = Counter(dns.name for dns in contents if dns.name is not UNSET)
        clients = Counter(name for lookup in own if (name := client_name(lookup.client)) != "-")
        slowest = sorted((r.latency_ms for r in own if r.latency_ms is not UNSET), reverse=True)[:TOP]
        assert group.statuses == Counter(r.status for r in own if r.status)
        assert group.rcodes == Counter(dns.rcode for dns in contents if dns.rcode)
        assert group.distinct_names == len(names)
        assert {item.name: item.count for item in group.top_names}.items() <= names.items()
        assert [item.count for item in group.top_names] == sorted(names.values(), reverse=True)[:TOP]
        assert [item.count for item in group.top_clients] == sorted(clients.values(), reverse=True)[:TOP]
        assert [slow.latency_ms for slow in group.slowest] == slowest


def test_one_group_as_a_whole() -> None:
    cart, gone = Client(ip="10.0.0.1", namespace="shop", pod="cart"), Client(ip="10.0.0.9")
    place = {"backend": "ebpf", "hop": "client", "side": "client"}
    batch = [
        Lookup(**place, status="answered", latency_ms=2.0, client=cart, dns=Dns(name="a", type="A")),
        Lookup(**place, status="answered", latency_ms=4.0, client=cart, dns=Dns(name="b", rcode="NXDOMAIN")),
        Lookup(**place, status="unanswered", time="T", client=gone, dns=Dns(name="a")),
        Lookup(**place),
        Message(dns=Dns(name="m")),
        Notice(message="n"),
    ]  # fmt: skip
    assert summary_of(batch).groups == [
        Group(
            backend="ebpf",
            hop="client",
            side="client",
            lookups=4,
            statuses={"answered": 2, "unanswered": 1},
            rcodes={"NXDOMAIN": 1},
            latency_ms={"p50": 2.01, "p95": 4.0, "p99": 4.0, "max": 4.0},
            top_names=[NameCount("a", 2), NameCount("b", 1)],
            top_clients=[NameCount("shop/cart", 2), NameCount("10.0.0.9", 1)],
            slowest=[
                SlowLookup(name="b", latency_ms=4.0, client="shop/cart"),
                SlowLookup(name="a", type="A", latency_ms=2.0, client="shop/cart"),
            ],
            distinct_names=2,
        )
    ]


def test_a_pod_with_two_addresses_is_one_client() -> None:
    batch = [
        Lookup(client=Client(ip=ip, namespace="shop", pod="cart", kind="pod"), dns=Dns(name="a"))
        for ip in ("10.0.0.1", "fd00::1")
    ]
    (group,) = summary_of(batch).groups
    assert group.top_clients == [NameCount("shop/cart", 2)]


def test_the_older_of_equally_slow_lookups_stays() -> None:
    batch = [Lookup(latency_ms=5.0, time=make.at(n), dns=Dns(name=f"n{n}")) for n in range(2 * TOP)]
    (group,) = summary_of(batch[:TOP], batch[TOP:]).groups
    assert [slow.name for slow in group.slowest] == [f"n{n}" for n in range(TOP)]


def test_losses_are_added_up_by_backend_and_reason() -> None:
    def loss(node: str, count: Any, start: float, end: float) -> Loss:
        span = {"from_": make.at(start), "until": make.at(end)}
        return Loss(backend="coredns", node=node, reason="log_rotated", unit="lines", count=count, **span)

    batches: list[list[Any]] = [
        [loss("n1", 5, 3, 4)],
        [loss("n2", 7, 1, 2), loss("n1", UNSET, 8, 9)],
        [Loss(backend="ebpf", count=1)],
    ]
    added = {"backend": "coredns", "reason": "log_rotated", "unit": "lines"}
    assert summary_of(*batches).loss == [
        Loss(**added, count=12, from_=make.at(1), until=make.at(4)),
        Loss(**added, from_=make.at(8), until=make.at(9)),
        Loss(backend="ebpf", count=1),
    ]


def test_memory_is_bounded_when_every_name_is_new() -> None:
    summarizer = Summarizer()
    for start in range(0, 60_000, 1000):
        batch = [Lookup(dns=Dns(name=f"r{n}.example")) for n in range(start, start + 1000)]
        summarizer.add([*batch, *[Lookup(dns=Dns(name="flood.example"))] * 3])
    (group,) = finished(summarizer).groups
    assert (group.lookups, group.distinct_names) == (60_180, UNSET)
    assert group.top_names[0].name == "flood.example"
    assert 177 <= group.top_names[0].count <= 180
    (tally,) = summarizer._tallies.values()
    assert len(tally.names.items()) <= 17_000


@pytest.mark.parametrize(
    ("n", "total", "expected"),
    [
        (0, 10, "0.0%"),
        (10, 10, "100.0%"),
        (1, 3, "33.3%"),
        (1, 100_000, "<0.1%"),
        (99_999, 100_000, ">99.9%"),
        (0, 0, "0.0%"),
    ],
)
def test_what_is_there_is_never_zero_percent(n: int, total: int, expected: str) -> None:
    assert _percent(n, total) == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(make.records(), max_size=5), st.sampled_from([None, 20, 80]))
def test_the_text_of_any_summary_keeps_to_the_width(records: list[Any], width: int | None) -> None:
    options = OutputOptions(width=width)
    lines = summary_text(summary_of(records), options, WallClock(options)).splitlines()
    assert lines
    assert width is None or max(map(len, lines)) <= width


def test_the_text_of_a_quiet_run_tells_what_to_do() -> None:
    options = OutputOptions()
    summarizer = Summarizer()
    quiet = summary_text(finished(summarizer, duration_ms=10_000.0), options, WallClock(options))
    filtered = summary_text(finished(summarizer, seen=5, filtered=5), options, WallClock(options))
    assert (
        quiet
        == "No lookups in 10s\nTry: kubectl kdns backends (says whether each backend can see DNS here)\n"
    )
    assert filtered == "No lookups in 1ms; 5 did not match the filter\n"
    older = finished(Summarizer(), seen=9, filtered=5, counters={"older_than_last": 3})
    (line, *_) = summary_text(older, options, WallClock(options)).splitlines()
    assert line.endswith("; 2 did not match the filter; 3 more were left out by --last")
