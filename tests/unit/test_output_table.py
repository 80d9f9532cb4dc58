"""The table's parts: columns that fit, texts that are cut, clocks, colours, and the words for a lookup."""

from __future__ import annotations

import io
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.model import (
    Answer,
    Client,
    Dns,
    Error,
    Lookup,
    Loss,
    Message,
    Policy,
    Server,
    ServerBackend,
    Upstream,
)
from kubectl_kdns.output.clock import RelativeClock, WallClock
from kubectl_kdns.output.columns import (
    Column,
    cut_end,
    cut_middle,
    display_width,
    fit,
    shorten_name,
    shorten_pod,
)
from kubectl_kdns.output.options import RED, OutputOptions
from kubectl_kdns.output.phrases import address, client_name, detail, latency, loss_line, result, server_name
from kubectl_kdns.output.table import REMEMBERED, Finished, Table, latency_color, result_color
from kubectl_kdns.times import NS_PER_S, format_duration, format_time, parse_duration
from support import records as make


def table(width: int | None, **options: Any) -> tuple[Table, io.BytesIO]:
    out = io.BytesIO()
    return Table(out, io.StringIO(), OutputOptions(width=width, now_ns=make.START_NS, **options)), out


@given(
    st.lists(
        st.builds(
            lambda width, least, rank: Column("T", lambda _: "", width, min(width, least), rank),
            st.integers(1, 60),
            st.integers(1, 60),
            st.integers(1, 9),
        ),
        min_size=1,
        max_size=9,
    ),
    st.integers(1, 250),
    st.integers(1, 2),
)
def test_fitted_columns_fill_the_width_and_none_gets_less_than_it_needs(
    columns: list[Column], width: int, gap: int
) -> None:
    needed = Column("N", lambda _: "", 5)
    fitted = fit([needed, *columns], width, gap)
    if fitted is None:
        assert width < 5
        return
    assert sum(share for _, share in fitted) + gap * (len(fitted) - 1) == width
    assert all(share >= (column.least or column.width) for column, share in fitted)
    assert fitted[0][0] is needed
    kept = [column.rank for column, _ in fitted]
    gone = [column.rank for column in columns if all(column is not k for k, _ in fitted)]
    assert max(kept) <= min(gone, default=9), "the least important ones go first"


@settings(deadline=None, max_examples=40)
@given(st.lists(make.lookups(), min_size=1, max_size=3), st.integers(10, 250), st.booleans())
def test_no_line_is_wider_than_the_terminal(lookups: list[Lookup], width: int, color: bool) -> None:
    output, out = table(width, color=color)
    output.write(lookups)
    lines = out.getvalue().decode().replace("\x1b[0m", "").splitlines()
    for code in ("1", "31", "33"):
        lines = [line.replace(f"\x1b[{code}m", "") for line in lines]
    assert len(lines) == len(lookups) + 1
    assert max(map(display_width, lines)) <= width


def test_columns_that_were_asked_for_are_all_there_however_narrow_the_terminal_is() -> None:
    output, out = table(30, columns=("dns.name", "client.pod", "server.pod", "dns.rcode"))
    output.write([Lookup(client=Client(pod="p" * 40), dns=Dns(name="n" * 60))])
    assert [line.split() for line in out.getvalue().decode().splitlines()] == [
        ["DNS.NAME", "CLIENT.POD", "SERVER.POD", "DNS.RCODE"],
        ["n" * 60, "p" * 40, "-", "-"],
    ]


@pytest.mark.parametrize(
    ("text", "width", "middle", "end"),
    [
        ("abcdefghij", 10, "abcd…fghij", "abcdefghij"),
        ("abcdefghij", 7, "abcd…ij", "abcdef…"),
        ("abcdefghij", 3, "ab…", "ab…"),
        ("abcdefghij", 2, "ab", "a…"),
        ("abcdefghij", 1, "a", "…"),
    ],
)
def test_how_a_text_is_cut(text: str, width: int, middle: str, end: str) -> None:
    assert cut_end(text, width, "…") == end
    if width < len(text):
        assert cut_middle(text, width, "…") == middle


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), st.integers(1, 40))
def test_cutting_keeps_to_the_width(text: str, width: int) -> None:
    for ellipsis in ("…", "..."):
        assert len(cut_end(text, width, ellipsis)) <= width
        if len(text) > width:
            assert len(cut_middle(text, width, ellipsis)) == width


@given(st.text(), st.integers(1, 20))
def test_cutting_counts_wide_letters_twice(text: str, width: int) -> None:
    assert display_width(cut_end(text, width, "…")) <= width
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1


def test_what_tells_least_is_left_out_first() -> None:
    assert shorten_pod("shop/cart-7d9f8b6c5-x2x4v", "…") == "shop/cart…x2x4v"
    assert shorten_pod("shop/kafka-0", "…") == "shop/kafka-0"
    assert shorten_pod("kube-system/node-local-dns-8kq2m", "…") == "kube-system/node-local-dns-8kq2m"
    assert shorten_pod("shop/cart-7d9f8b6c5-x2x4v-0", "…") == "shop/cart-7d9f8b6c5-x2x4v-0"
    assert shorten_name("cart.shop.svc.cluster.local", "…") == "cart.shop.svc…"
    assert shorten_name("www.example.com", "…") == "www.example.com"


def test_a_wall_clock_shows_the_date_from_the_first_other_day_on() -> None:
    clock = WallClock(OutputOptions(now_ns=make.START_NS))
    assert (clock.text(make.at(0)), clock.width, clock.dated) == ("10:00:00.204", 12, False)
    assert clock.text(make.at(86_400)) == "2026-11-24T10:00:00.204"
    assert (clock.text(make.at(0)), clock.width, clock.dated) == ("2026-11-23T10:00:00.204", 23, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"zone": ZoneInfo("Europe/Berlin")}, "11:00:00.204"),
        ({"zone": ZoneInfo("Europe/Berlin"), "time": "utc"}, "10:00:00.204"),
        ({"zone": UTC, "now_ns": None}, "2026-11-23T10:00:00.204"),
        ({"zone": ZoneInfo("Pacific/Kiritimati")}, "00:00:00.204"),
        # A second before it is another day in Kiritimati (UTC+14), though not in UTC.
        (
            {"zone": ZoneInfo("Pacific/Kiritimati"), "now_ns": make.START_NS - NS_PER_S},
            "2026-11-24T00:00:00.204",
        ),
    ],
)  # fmt: skip
def test_a_wall_clock_knows_its_zone(options: dict[str, Any], expected: str) -> None:
    assert WallClock(OutputOptions(**{"now_ns": make.START_NS, **options})).text(make.at(0)) == expected


def test_a_short_wall_clock_leaves_out_the_year_and_milliseconds() -> None:
    clock = WallClock(OutputOptions(now_ns=make.START_NS), short=True)
    assert (clock.text(make.at(0)), clock.width) == ("10:00:00", 8)
    assert (clock.text(make.at(-86_400)), clock.width) == ("11-22T10:00:00", 14)


@pytest.mark.parametrize("clock", [WallClock(OutputOptions(now_ns=make.START_NS)), RelativeClock()])
@pytest.mark.parametrize(
    "time", ["", "noon", "2026-99-99T99:99:99.000000000Z", "0000-01-01T00:00:00.000000000Z", "x" * 30]
)
def test_what_is_no_time_is_shown_as_it_came(clock: WallClock, time: str) -> None:
    assert clock.text(UNSET) == "-"
    assert time.startswith(clock.text(time)[:19])


@given(st.integers(0, 4_000_000_000 * NS_PER_S))
def test_a_wall_clock_shows_the_millisecond_of_any_time(time_ns: int) -> None:
    clock = WallClock(OutputOptions())
    assert clock.text(format_time(time_ns)) == format_time(time_ns)[:23]


def test_a_time_of_another_writer_is_understood() -> None:
    assert WallClock(OutputOptions()).text("2026-11-23T12:00:00.5+02:00") == "2026-11-23T10:00:00.500"


def test_a_relative_clock_counts_from_the_first_time() -> None:
    clock = RelativeClock()
    texts = [clock.text(make.at(seconds)) for seconds in (0, 1.204, -0.1, 90_000)]
    assert texts == ["+0.000s", "+1.204s", "-0.100s", "+90000.000s"]


def test_memory_for_finished_cells_is_bounded() -> None:
    finished = Finished(str.upper)
    assert [finished[f"a{n}"] for n in range(3 * REMEMBERED)] == [f"A{n}" for n in range(3 * REMEMBERED)]
    assert len(finished) <= REMEMBERED


def test_memory_for_seconds_is_bounded() -> None:
    clock = WallClock(OutputOptions())
    for second in range(10_000):
        clock.text(make.at(second))
    assert len(clock._seconds) <= 4096


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("NOERROR", ""), ("answered", ""), ("pending", ""), ("query", ""), ("-", ""), ("NXDOMAIN", "33"),
        ("NXDOMAIN~", "33"), ("SERVFAIL", "31"), ("SERVFAIL~", "31"), ("REFUSED", "31"), ("RCODE23", "31"),
        ("unanswered", "31"), ("unwritten", "31"), ("denied", "31"),
    ],
)  # fmt: skip
def test_the_color_of_a_result(text: str, color: str) -> None:
    assert result_color(text) == color


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("-", ""),
        ("41µs", ""),
        ("99.9ms", ""),
        ("100ms", "33"),
        ("999ms~", "33"),
        ("1s", "31"),
        ("1m2s", "31"),
    ],
)
def test_the_color_of_a_latency(text: str, color: str) -> None:
    assert latency_color(text) == color


@given(st.integers(0, 3_600 * NS_PER_S))
def test_a_latency_is_right_to_three_digits(latency_ns: int) -> None:
    shown_ns = parse_duration(latency(Lookup(latency_ms=latency_ns / 1e6)))
    assert shown_ns == pytest.approx(latency_ns, rel=0.01)
    if latency_ns >= 60 * NS_PER_S:
        assert shown_ns == parse_duration(format_duration(latency_ns))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Lookup(), "-"),
        (Lookup(status="answered"), "answered"),
        (Lookup(status="answered", dns=Dns(rcode="NOERROR")), "NOERROR"),
        (Lookup(dns=Dns(rcode="NOERROR")), "NOERROR"),
        (Lookup(status="unwritten", dns=Dns(rcode="SERVFAIL"), inferred=["dns.rcode"]), "SERVFAIL~"),
        (Lookup(status="answered", dns=Dns(rcode="SERVFAIL"), inferred=["status"]), "SERVFAIL"),
        (Lookup(status="unanswered", inferred=["status"]), "unanswered~"),
        (Lookup(status="unwritten", dns=Dns()), "unwritten"),
        (Lookup(status="denied", dns=Dns(rcode="REFUSED")), "denied"),
        (Message(direction="query", dns=Dns(rcode="NOERROR")), "query"),
        (Message(direction="response", dns=Dns(rcode="NXDOMAIN")), "NXDOMAIN"),
        (Message(direction="response"), "response"),
        (Message(), "-"),
    ],
)
def test_the_result_of_a_lookup(record: Lookup | Message, expected: str) -> None:
    assert result(record) == expected


def test_an_inferred_latency_is_marked() -> None:
    assert latency(Lookup(latency_ms=1.5, inferred=["latency_ms"])) == "1.5ms~"
    assert (latency(Lookup()), latency(Message())) == ("-", "-")


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (UNSET, "-"),
        (Client(), "-"),
        (Client(ip="10.0.0.1", namespace="shop"), "10.0.0.1"),
        (Client(ip="10.0.0.1", namespace="shop", pod="cart"), "shop/cart"),
        (Client(pod="cart"), "cart"),
        (Client(ip="10.0.0.1", kind="node", node="n1"), "node/n1"),
        (Client(ip="10.0.0.1", kind="node"), "node/10.0.0.1"),
        (Client(kind="nodelocal"), "nodelocal/-"),
        (Client(ip="10.0.0.1", kind="unknown", node="n1"), "10.0.0.1"),
    ],
)
def test_who_asked(client: Client, expected: str) -> None:
    assert client_name(client) == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (UNSET, "-"),
        (Server(), "-"),
        (Server(ip="10.0.0.10", port=53), "10.0.0.10"),
        (Server(ip="10.0.0.10", port=5353), "10.0.0.10:5353"),
        (Server(ip="fd00::a", port=53), "fd00::a"),
        (Server(ip="fd00::a", port=5353), "[fd00::a]:5353"),
        (Server(kind="service", namespace="kube-system", service="kube-dns"), "kube-system/kube-dns"),
        (
            Server(kind="service", namespace="k", service="d", backend=ServerBackend(pod="coredns-1")),
            "coredns-1",
        ),
        (Server(kind="service", namespace="k", service="d", backend=ServerBackend(ip="10.0.0.1")), "k/d"),
        (Server(kind="coredns", namespace="kube-system", pod="coredns-1"), "coredns-1"),
        (Server(kind="pod", namespace="infra", pod="bind-0"), "infra/bind-0"),
        (Server(pod="bind-0"), "bind-0"),
    ],
)
def test_who_was_asked(server: Server, expected: str) -> None:
    assert server_name(server) == expected


def test_an_address_without_ip_is_unknown() -> None:
    assert address(UNSET, 53) == "-"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Lookup(), ""),
        (Lookup(tries=1, late=False), ""),
        (Lookup(tries=3, late=True), "3 tries, late"),
        (Lookup(error=Error("timeout")), "timeout"),
        (Lookup(error=Error("timeout"), upstream=Upstream("8.8.8.8", 53)), "timeout 8.8.8.8"),
        (Lookup(error=Error("other", "odd")), "odd"),
        (Lookup(error=Error("other")), "other"),
        (Lookup(error=Error("other", "odd"), upstream=Upstream("8.8.8.8", 5353)), "8.8.8.8:5353: odd"),
        (Lookup(error=Error("policy_denied"), policy=Policy("DROPPED", "p")), "policy denied by p"),
        (Lookup(policy=Policy("DROPPED", "p")), "policy p DROPPED"),
        (Lookup(policy=Policy("FORWARDED", "p")), ""),
        (Lookup(status="unwritten", dns=Dns()), "SERVFAIL or dropped"),
        (Lookup(upstream=Upstream("8.8.8.8", 53)), "via 8.8.8.8"),
        (Lookup(dns=Dns(resolved_ips=["10.0.0.1", "10.0.0.2"])), "10.0.0.1, 10.0.0.2"),
        (
            Lookup(dns=Dns(answers=[Answer("a", "CNAME", 1, "b"), Answer("b", "A", 1, "10.0.0.1")])),
            "10.0.0.1, CNAME b",
        ),
        (Lookup(dns=Dns(rcode="NOERROR", answers=[])), "no data"),
        (Lookup(dns=Dns(rcode="NOERROR", answers=[], response_class="success")), ""),
        (Lookup(dns=Dns(rcode="NOERROR", response_class="denial")), "no data"),
        (Lookup(dns=Dns(rcode="NXDOMAIN", answers=[], response_class="denial")), ""),
        (Lookup(dns=Dns(rcode="NOERROR", flags=["qr", "tc"])), "truncated"),
        (Message(direction="query", dns=Dns(name="a")), ""),
    ],
)
def test_the_detail_of_a_lookup(record: Lookup | Message, expected: str) -> None:
    assert detail(record) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Loss(), "lost: an unknown number of events"),
        (Loss(count=1, unit="lines"), "lost: 1 line"),
        (Loss(count=0, unit="flows"), "lost: 0 flows"),
        (
            Loss(backend="ebpf", node="n1", count=12345, unit="messages", reason="ring_full"),
            "lost: 12,345 messages of ebpf on n1: the agent's buffer was full",
        ),
        (Loss(reason="brand_new", message="more"), "lost: an unknown number of events: brand new: more"),
        (
            Loss(from_=make.at(0), until=make.at(1)),
            "lost: an unknown number of events, between 10:00:00.204 and 10:00:01.204",
        ),
        (Loss(from_=make.at(0)), "lost: an unknown number of events, from 10:00:00.204 on"),
        (Loss(until=make.at(0)), "lost: an unknown number of events, until 10:00:00.204"),
    ],
)
def test_what_a_loss_says(loss: Loss, expected: str) -> None:
    assert loss_line(loss, WallClock(OutputOptions(now_ns=make.START_NS))) == expected


def test_a_latency_of_hours_is_cut_and_coloured() -> None:
    assert latency_color("1h23…0s") == latency_color("5s") == RED
