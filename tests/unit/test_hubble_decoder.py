"""What Hubble tells of lookups, and the records that come of it, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Golden
from msgspec import UNSET, json, to_builtins

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flows import Unread
from kdns_hubble.wire_flows import read_response
from kubectl_kdns.model import Lookup
from support.hubble_flows import START_NS, enveloped, request, response
from support.hubble_script import MS, script, told, told_all

S = 1000 * MS


def decoder(**more: Any) -> FlowDecoder:
    return FlowDecoder(timeout_ns=5 * S, **more)


def run(text: str, **more: Any) -> str:
    source = decoder(**more)
    return told_all(source.feed(script(text)) + source.finish())


CASES = {
    "answered": ("0 ask; 1.5 answer", "a.b answered 1.5ms tries=1"),
    "NXDOMAIN": ("0 ask; 1 nxdomain", "a.b answered 1ms tries=1 NXDOMAIN"),
    "SERVFAIL": ("0 ask; 1 servfail", "a.b answered 1ms tries=1 SERVFAIL"),
    "retransmitted": ("0 ask; 5000 ask; 5003 answer", "a.b answered 5003ms tries=2"),
    "retransmitted, and two answers": (
        "0 ask; 5000 ask; 5003 answer; 5004 answer",
        "a.b answered 5003ms tries=2",
    ),
    "unanswered": ("0 ask; 6000 ask name=c.d.", "a.b unanswered tries=1; c.d pending tries=1"),
    "late": ("0 ask; 5800 servfail", "a.b answered 5800ms tries=1 late SERVFAIL"),
    "later than the grace": (
        "0 ask; 6500 ask name=c.d.; 7000 answer",
        "a.b unanswered tries=1; notice late_responses; c.d pending tries=1",
    ),
    "denied by policy": ("0 deny", "a.b denied tries=1 REFUSED policy_denied"),
    "denied, and asked again": (
        "0 deny; 1 deny; 2 ask; 3 answer",
        "a.b denied tries=1 REFUSED policy_denied; a.b denied tries=1 REFUSED policy_denied; "
        "a.b answered 1ms tries=1",
    ),
    "the server is not there": ("0 ask; 0.4 refuse", "a.b answered 0.4ms tries=1 REFUSED refused"),
    "the proxy fails before it tells of the request": ("0 refuse", "a.b answered REFUSED refused"),
    "the client is gone when the answer comes": (
        "0 ask; 3 answer; 3.1 undelivered",
        "a.b answered 3ms tries=1",
    ),
    "what is not delivered answers no other lookup": (
        "0 ask; 1 ask; 3 answer; 3.1 undelivered; 5 answer",
        "a.b answered 3ms tries=1; a.b answered 4ms tries=1",
    ),
    "NODATA": ("0 ask; 1 empty", "a.b answered 1ms tries=1 NODATA"),
    "NODATA, and another one asks over TCP": (
        "0 ask; 1 empty; 2 ask tcp=1 client=10.244.1.94; 3 answer tcp=1 client=10.244.1.94",
        "a.b answered 1ms tries=1; a.b answered 1ms tries=1 NODATA",
    ),
    "NODATA, and another type over TCP": (
        "0 ask; 1 empty; 2 ask tcp=1 type=AAAA; 3 answer tcp=1 type=AAAA",
        "a.b answered 1ms tries=1; a.b answered 1ms tries=1 NODATA",
    ),
    "NODATA, and over TCP only much later": (
        "0 ask; 1 empty; 302 ask tcp=1; 303 answer tcp=1",
        "a.b answered 1ms tries=1; a.b answered 1ms tries=1 NODATA",
    ),
    "NODATA over TCP": ("0 ask tcp=1; 1 empty tcp=1", "a.b answered 1ms tries=1 NODATA"),
    "NODATA that was not asked for": ("0 empty", "a.b answered NODATA"),
    "truncated, then over TCP": (
        "0 ask; 1 empty; 1.4 ask tcp=1 port=40002; 3 answer tcp=1 port=40002; 400 ask name=c.d.",
        "a.b answered 1.6ms tries=1; a.b answered 1ms tries=1 tc; c.d pending tries=1",
    ),
    "truncated, asked for before the flows begin": (
        "1 empty; 1.4 ask tcp=1 port=40002; 3 answer tcp=1 port=40002",
        "a.b answered 1.6ms tries=1; a.b answered tc",
    ),
    "TCP keep-alive": (
        "0 ask tcp=1; 1 answer tcp=1; 2 ask tcp=1; 4 answer tcp=1",
        "a.b answered 1ms tries=1; a.b answered 2ms tries=1",
    ),
    "TCP, several under way in one connection": (
        "0 ask tcp=1; 1 ask tcp=1; 2 ask tcp=1 name=c.d.; 3 answer tcp=1 name=c.d.; 5 answer tcp=1; "
        "8 answer tcp=1",
        "c.d answered 1ms tries=1; a.b answered 5ms tries=1; a.b answered 7ms tries=1",
    ),
    "always the same source port": (
        "0 ask; 20 ask; 702 answer; 723 answer",
        "a.b answered 702ms tries=1; a.b answered 703ms tries=1",
    ),
    "UDP and TCP from the same port": (
        "0 ask; 1 ask tcp=1; 3 answer; 4 answer tcp=1",
        "a.b answered 3ms tries=1; a.b answered 3ms tries=1",
    ),
    "a Service's address asked, its pod answers": (
        "0 ask server=10.96.0.10; 1 answer",
        "a.b answered 1ms tries=1",
    ),
    "A and AAAA from one port": (
        "0 ask; 0.1 ask type=AAAA; 3 answer type=AAAA; 4 answer",
        "a.b answered 2.9ms tries=1; a.b answered 4ms tries=1",
    ),
    "two nodes, the same addresses": (
        "0 ask; 1 ask node=n2; 3 answer node=n2; 4 answer",
        "a.b answered 4ms tries=1; a.b answered 2ms tries=1",
    ),
    "two nodes whose clocks differ by 50 ms": (
        "0 ask; -49 ask node=n2; 3 answer; -47 answer node=n2",
        "a.b answered 3ms tries=1; a.b answered 2ms tries=1",
    ),
    "two nodes whose clocks differ by 5 min": (
        "0 ask; -300000 ask node=n2; 3 answer; -299998 answer node=n2; 4000 ask name=c.d.; "
        "8000 answer name=c.d.",
        "a.b answered 3ms tries=1; c.d answered 4000ms tries=1; a.b answered 2ms tries=1",
    ),
    "a clock that is set back by an hour": (
        "3600000 ask; 3600001 answer; 0 ask; 3 answer; 1 ask name=c.d.; 2 answer name=c.d.",
        "a.b answered 1ms tries=1; a.b answered 3ms tries=1; c.d answered 1ms tries=1",
    ),
    "a clock that is set back while an empty answer is held": (
        "3600000 ask; 3600001 empty; 0 ask name=c.d.; 3 answer name=c.d.",
        "c.d answered 3ms tries=1; a.b answered 1ms tries=1 NODATA",
    ),
    "out of order by a second": (
        "0 ask; 1000 answer name=c.d.; 3 answer; 2 ask name=c.d.",
        "a.b answered 3ms tries=1; c.d answered 998ms tries=1",
    ),
    "doubles": (
        "0 ask uuid=1; 0 ask uuid=1; 1 answer uuid=2; 1 answer uuid=2; 0 ask uuid=1",
        "a.b answered 1ms tries=1",
    ),
    "doubles without uuid": (
        "0 ask uuid=none; 0 ask uuid=none; 0 ask uuid=none type=AAAA; 1 answer uuid=none; 1 answer uuid=none",
        "a.b answered 1ms tries=1; a.b pending tries=1",
    ),
    "a packet dropped by policy is told twice by Cilium": (
        "0 verdict; 0.01 drop",
        "? denied tries=1 policy_denied",
    ),
    "two packets from one port": (
        "0 verdict; 0.01 drop; 0.02 verdict; 0.03 drop",
        "? denied tries=1 policy_denied; ? denied tries=1 policy_denied",
    ),
    "two verdicts, then their drops": (
        "0 verdict; 0.01 verdict; 0.02 drop; 0.03 drop",
        "? denied tries=1 policy_denied; ? denied tries=1 policy_denied",
    ),
    "only drops are told": (
        "0 drop; 1000 drop",
        "? denied tries=1 policy_denied; ? denied tries=1 policy_denied",
    ),
    "only verdicts are told": (
        "0 verdict; 0.1 verdict; 200 ask",
        "? denied tries=1 policy_denied; ? denied tries=1 policy_denied; a.b pending tries=1",
    ),
    "the drop comes before its verdict": ("0.01 drop; 0 verdict", "? denied tries=1 policy_denied"),
    "the drop comes when its verdict was told": (
        "0 verdict; 200 ask; 0.01 drop; 201 answer",
        "? denied tries=1 policy_denied; a.b answered 1ms tries=1",
    ),
    "a verdict is the last": ("0 verdict", "? denied tries=1 policy_denied"),
    "a packet dropped for another reason": ("0 drop reason=132", "? unanswered tries=1 network"),
    "a packet dropped for a reason of the future": ("0 drop reason=250", "? unanswered tries=1 network"),
    "packets of others": ("0 drop to=80; 0 verdict to=443; 0 drop tcp=1 to=8080", ""),
    "lost events": (
        "0 lost of=HUBBLE_RING_BUFFER; 0 lost of=HUBBLE_RING_BUFFER; 1 lost count=7; 2 lost node=n2 count=3",
        "loss hubble_ring 2; loss queue 7; loss queue 3",
    ),
    "lost events that come again with each request": (
        "0 lost count=7; 1 lost; 0 lost count=7; 1 lost",
        "loss queue 8",
    ),
    "lost events of an unknown number": ("0 lost count=0 of=PERF_EVENT_RING_BUFFER", "loss ring_full"),
    "nodes as they are at first": ("0 state is=NODE_CONNECTED", ""),
    "a node goes and comes": (
        "0 state is=NODE_CONNECTED; 1 state is=NODE_UNAVAILABLE; 1 state is=NODE_UNAVAILABLE; "
        "2 state is=NODE_GONE; 3 state is=NODE_CONNECTED; 3 state is=NODE_CONNECTED",
        "notice node_unavailable; notice node_gone; notice node_connected",
    ),
    "a node that is not there": (
        "0 state is=NODE_ERROR; 0 state is=NODE_ERROR node=n2",
        "notice node_error; notice node_error",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_records(case: str) -> None:
    text, expected = CASES[case]
    assert run(text) == expected


@pytest.mark.parametrize("case", CASES)
def test_records_do_not_depend_on_how_flows_are_cut_into_batches(case: str) -> None:
    text, expected = CASES[case]
    source = decoder()
    records = [record for one in script(text) for record in source.feed([one])] + source.finish()
    assert sorted(map(told, records)) == sorted(expected.split("; ") if expected else [])


def only(text: str, **more: Any) -> dict[str, Any]:
    source = decoder(**more)
    [record] = source.feed(script(text)) + source.finish()
    made: dict[str, Any] = to_builtins(record)
    return made


def test_a_service_answers_by_its_pod() -> None:
    record = only("0 ask server=10.96.0.10; 1 answer")
    assert record["server"]["ip"] == "10.96.0.10"
    assert record["server"]["backend"] == {
        "ip": "10.244.2.41",
        "port": 53,
        "pod": "coredns-66bc5c9577-2lnp7",
    }


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("0 verdict policy=no-dns; 0.01 drop reason=181", {"verdict": "DROPPED", "name": "lab/no-dns"}),
        ("0 verdict policy=no-dns", {"verdict": "DROPPED", "name": "lab/no-dns"}),
        ("0 drop policy=no-dns", {"verdict": "DROPPED", "name": "lab/no-dns"}),
        ("0 drop", {"verdict": "DROPPED"}),
        ("0 deny", {"verdict": "DROPPED"}),
    ],
)
def test_the_policy_that_denies(text: str, policy: dict[str, str]) -> None:
    record = only(text)
    assert (record["status"], record["policy"]) == ("denied", policy)


def test_where_a_packet_was_dropped() -> None:
    """At the client's end, or at the server's: on the node of either."""
    out, into = only("0 drop"), only("0 drop ingress=1 node=n2")
    assert (out["side"], out["node"], out["client"]["node"]) == ("client", "kdns-n1", "kdns-n1")
    assert (into["side"], into["node"], into["server"]["node"]) == ("server", "n2", "n2")
    assert "node" not in into["client"]
    assert "node" not in out["server"]


def test_verdicts_without_drops_are_bounded() -> None:
    source = decoder()
    records = source.feed(script("; ".join(f"0 verdict port={port}" for port in range(1, 4200))))
    assert len(records) == 4199 - 4096
    assert len(source.finish()) == 4096
    assert source.counters["packets_dropped"] == 4199


def test_what_has_no_time_is_not_held() -> None:
    ask = request("a.b.", "A")
    flows = [ask, response(ask)]
    for flow in flows:
        flow.ClearField("time")
    [record] = decoder().feed(read_response(enveloped(flow).SerializeToString()) for flow in flows)
    assert isinstance(record, Lookup)
    assert (record.time, record.latency_ms, record.status) == (UNSET, UNSET, "answered")


def test_messages() -> None:
    text = "0 ask; 1 answer; 2 ask; 2.4 refuse; 3 deny; 4 ask; 5 answer; 5.1 undelivered"
    assert run(text, messages=True) == (
        "message query; a.b denied tries=1 REFUSED policy_denied; "
        "message query; message response NOERROR; a.b answered 1ms tries=1; "
        "message query; message response REFUSED; a.b answered 0.4ms tries=1 REFUSED refused; "
        "message query; message response NOERROR; a.b answered 1ms tries=1"
    )


def test_counters_add_up() -> None:
    text = (
        "0 ask uuid=1; 0 ask uuid=1; 1 answer; 2 deny; 3 verdict; 3.01 drop; 4 drop to=80; 5 ask; "
        "5.4 refuse; 6 undelivered; 5000 ask name=c.d.; 5001 ask name=c.d.; 10200 ask name=c.d."
    )
    source = decoder()
    source.feed([*script(text), Unread("odd"), Unread("odd")])
    source.finish()
    assert source.counters == {
        "flows": 13,
        "flows_seen_before": 1,
        "unread": 2,
        "queries": 5,
        "retries": 1,
        "duplicate_queries": 0,
        "evicted": 0,
        "responses": 2,
        "responses_without_query": 0,
        "duplicate_responses": 0,
        "late_responses": 0,
        "queries_denied": 1,
        "packets_dropped": 1,
        "responses_undelivered": 1,
        "flows_other": 1,
    }
    assert source.new_flows == 12


GOLDEN = """
0 ask server=10.96.0.10; 1.8 answer server=10.244.2.41;
10 ask name=x.b. type=AAAA port=40003; 12 nxdomain name=x.b. type=AAAA port=40003;
20 ask name=big.b. type=TXT port=40004; 21 empty name=big.b. type=TXT port=40004;
22 ask name=big.b. type=TXT port=40005 tcp=1; 24 empty name=big.b. type=TXT port=40005 tcp=1;
30 ask name=none.b. port=40006; 31 empty name=none.b. port=40006;
40 ask name=down.b. port=40007; 40.4 refuse name=down.b. port=40007;
50 deny name=no.b. port=40008; 60 verdict policy=no-dns port=40009; 60.01 drop policy=no-dns port=40009;
70 drop ingress=1 port=40010 node=kdns-n2; 80 answer name=unasked.b. port=40011;
90 ask name=never.b. port=40012; 100 ask name=slow.b. port=40013; 5800 servfail name=slow.b. port=40013;
5900 lost count=5; 5950 state is=NODE_GONE node=default/kdns-n3; 7000 ask name=end.b. port=40014
""".replace("\n", " ").strip()


@pytest.mark.parametrize("options", [{}, {"messages": True}, {"raw": True}])
def test_golden(golden: Golden, options: dict[str, bool]) -> None:
    """Whole records, one of each kind at least."""
    flows = script(GOLDEN, numbered=True, keep_raw="raw" in options)
    source = decoder(**options)
    records = [*source.feed(flows), *source.feed([Unread("of a kind that this kdns does not know")])]
    records += source.finish()
    golden(f"hubble/{'-'.join(['records', *options])}.jsonl", json.Encoder().encode_lines(records).decode())


def test_time_goes_on_while_nothing_comes() -> None:
    """By this machine's clock, which need not be the node's: here it is an hour ahead."""
    source = decoder()
    here_ns = START_NS + 3600 * S
    assert source.feed(script("0 ask; 10 ask name=c.d.; 11 empty name=c.d."), here_ns + 40 * MS) == []
    assert source.advance(here_ns + 300 * MS) == []
    assert told_all(source.advance(here_ns + 340 * MS)) == "c.d answered 1ms tries=1 NODATA"
    assert source.advance(here_ns + 6000 * MS) == []
    assert told_all(source.advance(here_ns + 6030 * MS)) == "a.b unanswered tries=1"


def test_time_goes_on_for_a_quiet_node_while_another_is_busy() -> None:
    source = decoder()
    records = source.feed(script("0 ask node=quiet"), START_NS)
    for at_ms in range(100, 7000, 100):
        records += source.feed(
            script(f"{at_ms} ask name=n{at_ms}.; {at_ms} answer name=n{at_ms}."), START_NS + at_ms * MS
        )
    assert told(records[-1]) == "n6900 answered 0ms tries=1"
    assert [told(record) for record in records if "answered 0ms" not in told(record)] == [
        "a.b unanswered tries=1"
    ]


def test_a_clock_that_is_set_back_makes_nothing_unanswered() -> None:
    source = decoder()
    source.feed(script("3600000 ask; 3600001 answer"), START_NS)
    assert source.feed(script("10 ask name=c.d."), START_NS + 1010 * MS) == []
    assert source.high_ns == START_NS + 10 * MS
    assert source.advance(START_NS + 1500 * MS) == []
    assert (
        told_all(source.feed(script("700 answer name=c.d."), START_NS + 1700 * MS))
        == "c.d answered 690ms tries=1"
    )


def test_a_node_of_which_nothing_came_live_waits() -> None:
    """After a history: what is due there only shows when the node's clock is known."""
    source = decoder()
    source.feed(script("0 ask"))
    assert source.advance(START_NS + 3600 * S) == []
    assert told_all(source.finish()) == "a.b pending tries=1"
