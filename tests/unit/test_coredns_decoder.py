"""Whole logs to whole records: goldens of real CoreDNS versions, and what must hold of any log."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Golden
from hypothesis import given, settings
from hypothesis import strategies as st

from kdns_coredns.corefile import COMBINED, COMMON, parse_corefile
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.log_settings import log_settings
from kdns_coredns.selection import Selection
from kubectl_kdns.model import Lookup, Notice, Record, Server
from support.coredns_log import CAUSES, START_NS, Query, error_line, logs, query_line, stamped

HERE = Path(__file__).parent.parent / "golden" / "coredns"
SERVER = Server(ip="10.244.2.2", port=53, kind="coredns", namespace="kube-system", pod="coredns-a", node="n2")


def decoder(*formats: str, **more: Any) -> LogDecoder:
    return LogDecoder(SERVER, "n2", formats or (COMMON,), **more)


def decode(log: bytes, *formats: str, **more: Any) -> list[Record]:
    source = decoder(*formats, **more)
    return source.feed(log) + source.flush()


def lines_of(records: list[Record]) -> str:
    return msgspec.json.Encoder().encode_lines(records).decode()


def lookups(records: list[Record]) -> list[Lookup]:
    return [record for record in records if isinstance(record, Lookup)]


def test_golden_of_1_14(golden: Golden) -> None:
    """Every kind of line that CoreDNS 1.14.7 wrote for 1.14.7.Corefile, without times."""
    corefile = parse_corefile((HERE / "1.14.7.Corefile").read_text())
    log = LogDecoder(None, None, log_settings(corefile).formats, timestamps=False)
    records = log.feed((HERE / "1.14.7.log").read_bytes()) + log.flush()
    golden("coredns/1.14.7.jsonl", lines_of(records))
    assert log.counters == {
        "lines_read": 56,
        "lines_skipped": 0,
        "lines_queries": 41,
        "lines_hidden": 0,
        "lines_errors": 2,
        "lines_other": 12,
        "lines_unreadable": 1,
        "errors_joined": 2,
        "errors_alone": 0,
    }


def test_golden_of_1_12(golden: Golden) -> None:
    """What 1.12.1 says about failures: `- - 0` with and without an error; with the kubelet's times."""
    log = decoder()
    records = log.feed((HERE / "1.12.1.log").read_bytes()) + log.flush()
    golden("coredns/1.12.1.jsonl", lines_of(records))
    assert log.counters == {
        "lines_read": 19,
        "lines_skipped": 0,
        "lines_queries": 8,
        "lines_hidden": 1,
        "lines_errors": 4,
        "lines_other": 6,
        "lines_unreadable": 0,
        "errors_consolidated": 13,
        "errors_joined": 3,
        "errors_alone": 0,
    }


def test_a_silent_failure_is_a_servfail_with_its_cause() -> None:
    failed = Query(rcode="-", duration_ns=2_000_000_000)
    log = stamped(START_NS, query_line(failed)) + stamped(START_NS + 20_000, error_line(failed))
    [lookup] = lookups(decode(log.encode()))
    assert json.loads(msgspec.json.encode(lookup)) == {
        "apiVersion": "kdns/v1",
        "kind": "lookup",
        "time": "2026-11-23T09:59:58.204000000Z",
        "backend": "coredns",
        "node": "n2",
        "hop": "client",
        "side": "server",
        "status": "answered",
        "latency_ms": 2000.0,
        "transport": "udp",
        "inferred": ["status", "dns.rcode"],
        "client": {"ip": "10.244.1.17", "port": 40001},
        "server": json.loads(msgspec.json.encode(SERVER)),
        "dns": {
            "id": 4660,
            "name": "cart.shop.svc.cluster.local",
            "type": "A",
            "class": "IN",
            "rcode": "SERVFAIL",
            "response_class": "error",
            "query_bytes": 45,
        },
        "upstream": {"ip": "192.168.233.53", "port": 53},
        "error": {"type": "timeout", "message": CAUSES[0]},
    }


def test_lookups_that_may_fail_wait_for_the_next_lines_only() -> None:
    log = decoder()
    failed, fine = Query(rcode="SERVFAIL"), Query()
    assert log.feed(stamped(START_NS, query_line(failed)).encode()) == []
    late = START_NS + 60_000_000
    rest = "".join(stamped(late + i, query_line(fine)) for i in range(40))
    codes = [lookup.dns.rcode for lookup in lookups(log.feed(rest.encode())) if lookup.dns]
    assert sorted(set(codes)) == ["NOERROR", "SERVFAIL"]
    assert log.flush() == []


def test_lookups_that_may_fail_wait_in_a_quiet_log_for_two_flushes() -> None:
    log = decoder()
    line = stamped(START_NS, query_line(Query(rcode="SERVFAIL"))).encode()
    log.feed(line)
    assert log.flush(idle=True) == []
    log.feed(stamped(START_NS, query_line(Query())).encode())
    assert log.flush(idle=True) == []
    assert len(log.flush(idle=True)) == 1
    log.feed(line)
    assert len(log.flush()) == 1


def test_own_questions_of_coredns_are_shown_to_who_asks_for_their_type() -> None:
    log = stamped(START_NS, query_line(Query(name="4711.815.", type="HINFO"))).encode()
    assert decode(log) == []
    assert len(decode(log, plan_work=Selection(types=frozenset({"HINFO"})))) == 1


def test_several_formats_in_one_log() -> None:
    templates = [COMMON, COMBINED, '{"n":"{name}","t":"{type}","r":"{rcode}","x":"{/log/class}"}']
    log = "".join(
        stamped(
            START_NS + i, query_line(Query(name=f"n{i}.", labels={"log/class": "success"}), templates[i % 3])
        )
        for i in range(30)
    )
    found = [lookup.dns.name for lookup in lookups(decode(log.encode(), *templates)) if lookup.dns]
    assert found == [f"n{number}" for number in range(30)]


def test_a_format_may_change_on_the_way() -> None:
    """What the new Corefile says is asked for when CoreDNS has taken it; lines of before are still read."""
    log = decoder(COMMON, formats_now=lambda: ["{name}|{type}"])
    line = stamped(START_NS, query_line(Query(), "{name}|{type}")).encode()
    assert log.feed(line) == []
    reload = stamped(START_NS, "[INFO] Reloading complete").encode()
    records = log.feed(line + reload + line + stamped(START_NS, query_line(Query())).encode())
    assert [getattr(record, "code", record.kind) for record in records] == [
        "corefile_reloaded",
        "lookup",
        "lookup",
    ]


def test_a_query_in_no_known_format_is_told_once() -> None:
    log = decoder(COMMON)
    line = stamped(START_NS, query_line(Query(), COMMON + " (new)")).encode()
    [notice] = log.feed(line * 3)
    assert isinstance(notice, Notice)
    assert notice.code == "log_unreadable"
    assert log.counters["lines_unreadable"] == 3


def test_raw_lines() -> None:
    line = stamped(START_NS, query_line(Query(labels={"x": "\x1b[2J"}), COMMON + " {/x}")).encode()
    [lookup] = lookups(decode(line, COMMON + " {/x}", raw=True))
    assert lookup.raw == f"2026-11-23T10:00:00.204000000Z {query_line(Query())} \\027[2J"


@pytest.mark.parametrize(
    "entry",
    [
        {"time": "2026-11-23T10:00:00.1Z", "level": "INFO", "msg": None, "qname": "x", "rcode": None},
        {"level": "INFO", "msg": None},
    ],
)
def test_json_logs_hold_the_classic_line(entry: dict[str, Any]) -> None:
    """-log-format=json of coredns#8553: the kubelet's time counts, when there is one."""
    failed = Query(rcode="-", duration_ns=2_000_000_000)
    text = [
        json.dumps(entry | {"msg": query_line(failed).removeprefix("[INFO] ")}),
        json.dumps(
            {
                "level": "ERROR",
                "msg": error_line(failed)[len("[ERROR] plugin/errors: ") :],
                "plugin": "errors",
            }
        ),
    ]
    [lookup] = lookups(decode("".join(stamped(START_NS, line) for line in text).encode()))
    assert (lookup.time, lookup.status) == ("2026-11-23T09:59:58.204000000Z", "answered")
    assert lookup.error
    assert lookup.error.type == "timeout"


def test_json_logs_without_the_kubelet() -> None:
    entry = {"time": "2026-11-23T10:00:00.204Z", "level": "INFO", "msg": query_line(Query(duration_ns=0))[7:]}
    log = LogDecoder(None, None, (COMMON,), timestamps=False)
    [lookup] = lookups(log.feed(json.dumps(entry).encode()))
    assert lookup.time == "2026-11-23T10:00:00.204000000Z"


def test_errors_of_two_pods_in_one_recorded_log_are_not_mixed() -> None:
    failed = Query(rcode="-", duration_ns=2_000_000_000)
    prefixes = ["[pod/coredns-a/coredns] ", "[pod/coredns-b/coredns] "]
    text = "".join(prefix + stamped(START_NS, query_line(failed)) for prefix in prefixes)
    text += prefixes[1] + stamped(START_NS + 1000, error_line(failed))
    log = LogDecoder(None, None, (COMMON,), timestamps=False)
    records = lookups(log.feed(text.encode()) + log.flush())
    assert {r.server.pod: r.status for r in records if r.server} == {
        "coredns-a": "unwritten",
        "coredns-b": "answered",
    }


def total(counters: Any) -> int:
    return sum(
        counters[f"lines_{kind}"]
        for kind in ("skipped", "queries", "hidden", "errors", "other", "unreadable")
    )


@settings(max_examples=30)
@given(logs(), st.lists(st.integers(0, 40), max_size=6))
def test_it_does_not_matter_how_a_log_is_cut(log: bytes, cuts: list[int]) -> None:
    """The same lookups, and every line accounted for, whatever lines come together."""
    lines = log.splitlines(keepends=True)
    whole, pieces = decoder(), decoder()
    expected = whole.feed(log) + whole.flush()
    edges = [0, *sorted(cut for cut in cuts if cut < len(lines)), len(lines)]
    found: list[Record] = []
    for start, end in pairwise(edges):
        found += pieces.feed(b"".join(lines[start:end]))
    found += pieces.flush()
    assert sorted(map(msgspec.json.encode, found)) == sorted(map(msgspec.json.encode, expected))
    assert whole.counters == pieces.counters
    assert whole.counters["lines_read"] == total(whole.counters) == len(lines)
    held = whole.counters["errors_joined"] + whole.counters["errors_alone"]
    assert held <= whole.counters["lines_errors"]


@settings(max_examples=30)
@given(logs())
def test_every_query_is_one_lookup(log: bytes) -> None:
    records = decode(log, plan_work=Selection(types=frozenset({"A", "HINFO"})))
    assert len(lookups(records)) == sum(b'" ' in line and b"[INFO] " in line for line in log.splitlines())


@settings(max_examples=40)
@given(
    logs(),
    st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6)), max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_fuzz(log: bytes, changes: list[tuple[int, bytes]], timestamps: bool, raw: bool) -> None:
    """Broken and invented bytes: every line is accounted for, every text is safe, nothing is raised."""
    for position, junk in changes:
        log = log[:position] + junk + log[position + len(junk) // 2 :]
    source = LogDecoder(None, None, (COMMON, COMBINED, "{name} {type} {/x}"), timestamps=timestamps, raw=raw)
    records = source.feed(log) + source.flush(idle=True) + source.flush()
    assert source.counters["lines_read"] == total(source.counters)
    text = lines_of(records)
    assert all(character.isprintable() or character == "\n" for character in text)


@settings(max_examples=40)
@given(st.binary(max_size=300), st.booleans())
def test_fuzz_of_bytes(log: bytes, timestamps: bool) -> None:
    source = LogDecoder(None, None, (COMMON,), timestamps=timestamps)
    source.feed(log)
    assert source.counters["lines_read"] == total(source.counters)


def test_a_hostile_line_costs_no_time() -> None:
    """Lines on which a careless regex would try for hours."""
    start = b'2026-11-23T10:00:00.204000000Z [INFO] 10.0.0.1:5 - 7 "'
    ends = (b' 1s "', b"[INFO] ", b"1", b"1.1", b"\\a", b"a ", b"2026-11-23T10:00:00 ", b"[", b":", b"qr,")
    source = decoder(COMBINED, COMBINED + " {/a} {/b} {/c}")
    for end in ends:
        assert lookups(source.feed(start + end * 20_000)) == []
        assert lookups(source.feed(end * 20_000)) == []
        assert lookups(source.feed(b"[ERROR] plugin/errors: 2 " + end * 20_000)) == []
