"""Hubble's responses from the wire and from JSON: the same flows, whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from kdns_hubble.flows import Flow, Lost, NodeStatus, Peer, Unread
from kdns_hubble.json_flows import read_line
from kdns_hubble.wire_flows import read_response
from kubectl_kdns.model import Answer, Workload
from support.hubble_flows import (
    CLIENT,
    COREDNS,
    NO_TTL,
    START_NS,
    dropped_packet,
    enveloped,
    json_line,
    lost,
    of_the_future,
    request,
    response,
    unknown_response,
)
from support.hubble_reading import ASK, MESSAGES, of_json, of_wire, policy_denied

SERVER_PEER = Peer(COREDNS.namespace, COREDNS.name)
CLIENT_PEER = Peer(CLIENT.namespace, CLIENT.name, Workload("DaemonSet", "client"))


@pytest.mark.parametrize("case", MESSAGES)
def test_both_readers_agree(case: str) -> None:
    message = MESSAGES[case]()
    read = of_wire(message)
    assert not isinstance(read, Unread)
    assert of_json(message) == (msgspec.structs.replace(read, raw="") if isinstance(read, Flow) else read)


@pytest.mark.parametrize("case", [case for case in MESSAGES if "lost" not in case and "status" not in case])
def test_a_bare_flow_is_read_as_one_in_an_envelope(case: str) -> None:
    flow = MESSAGES[case]()
    assert read_line(json_line(flow).encode()) == of_json(flow)


def test_a_request() -> None:
    read = of_wire(ASK)
    assert isinstance(read, Flow)
    assert (read.time_ns, read.node, read.uuid, read.verdict, read.drop) == (
        START_NS,
        "kdns-n1",
        ASK.uuid,
        "FORWARDED",
        None,
    )
    assert (read.transport, read.client_ip, read.client_port, read.client) == (
        "udp",
        CLIENT.ip,
        40000,
        CLIENT_PEER,
    )
    assert (read.server_ip, read.server_port, read.server) == (COREDNS.ip, 53, SERVER_PEER)
    assert read.dns
    assert (read.dns.name, read.dns.type, read.dns.is_response) == ("a.example.com", "AAAA", False)
    assert (read.dns.rcode, read.dns.answers, read.raw) == (UNSET, UNSET, b"")


def test_a_response_is_turned_round() -> None:
    asked, answered = of_wire(ASK), of_wire(response(ASK, ips=["2001:db8::1"]))
    ends = ("client_ip", "client_port", "client", "server_ip", "server_port", "server", "transport")
    assert [getattr(asked, end) for end in ends] == [getattr(answered, end) for end in ends]


ANSWERS: dict[str, tuple[Callable[[], Any], Any, Any, str]] = {
    "addresses": (
        lambda: response(ASK, ips=["2001:db8::1", "2001:db8::2"], ttl=5),
        [
            Answer("a.example.com", "AAAA", 5, "2001:db8::1"),
            Answer("a.example.com", "AAAA", 5, "2001:db8::2"),
        ],
        ["2001:db8::1", "2001:db8::2"],
        "success",
    ),
    "a chain of names": (
        lambda: response(ASK, cnames=["B.example.com.", "c."], ips=["192.0.2.1"], ttl=7),
        [
            Answer("a.example.com", "CNAME", 7, "b.example.com"),
            Answer("b.example.com", "CNAME", 7, "c"),
            Answer("c", "A", 7, "192.0.2.1"),
        ],
        ["192.0.2.1"],
        "success",
    ),
    "an IPv4 address in IPv6, which Go prints as IPv4": (
        lambda: response(ASK, ips=["192.0.2.1"], rrtypes=["AAAA"]),
        [Answer("a.example.com", "AAAA", 30, "192.0.2.1")],
        ["192.0.2.1"],
        "success",
    ),
    "no TTL": (
        lambda: response(ASK, ips=["2001:db8::1"], ttl=NO_TTL),
        [Answer("a.example.com", "AAAA", UNSET, "2001:db8::1")],
        ["2001:db8::1"],
        "success",
    ),
    "a TTL of 0": (
        lambda: response(ASK, ips=["2001:db8::1"], ttl=0),
        [Answer("a.example.com", "AAAA", 0, "2001:db8::1")],
        ["2001:db8::1"],
        "success",
    ),
    "a chain that ends in nothing": (
        lambda: response(ASK, cnames=["b."], rcode=3),
        [Answer("a.example.com", "CNAME", 30, "b")],
        [],
        "denial",
    ),
    "known to be empty": (lambda: response(ASK), [], [], "denial"),
    "NXDOMAIN": (lambda: response(ASK, rcode=3), [], [], "denial"),
    "SERVFAIL": (lambda: response(ASK, rcode=2), [], [], "error"),
    "records that Hubble does not tell": (lambda: response(ASK, rrtypes=["MX"]), UNSET, UNSET, "success"),
    "some that it tells": (
        lambda: response(ASK, ips=["192.0.2.1"], rrtypes=["RRSIG", "A"]),
        UNSET,
        ["192.0.2.1"],
        "success",
    ),
    "types that do not fit": (
        lambda: response(ASK, ips=["192.0.2.1"], rrtypes=["A", "A"]),
        UNSET,
        ["192.0.2.1"],
        "success",
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers(case: str) -> None:
    make, answers, resolved_ips, response_class = ANSWERS[case]
    read = of_wire(make())
    assert isinstance(read, Flow)
    assert read.dns
    assert (read.dns.answers, read.dns.resolved_ips, read.dns.response_class) == (
        answers,
        resolved_ips,
        response_class,
    )


def test_what_is_not_told_is_absent() -> None:
    read = of_wire(request("", "Unknown"))
    assert isinstance(read, Flow)
    assert read.dns
    assert (read.dns.name, read.dns.type) == (UNSET, UNSET)
    bare = read_response(b"\x0a\x00")
    assert isinstance(bare, Flow)
    assert read_line(b'{"flow":{}}') == msgspec.structs.replace(bare, raw="")
    assert (bare.time_ns, bare.node, bare.transport, bare.client, bare.dns) == (0, "", "", Peer(), None)


def test_a_drop() -> None:
    read = of_wire(policy_denied())
    assert isinstance(read, Flow)
    assert read.drop
    assert (read.drop.reason, read.drop.policy) == ("POLICY_DENY", "no-dns")
    assert (read.drop.is_verdict, read.drop.at_server) == (True, True)
    read = of_wire(dropped_packet())
    assert isinstance(read, Flow)
    assert read.drop
    assert (read.drop.reason, read.drop.policy) == ("POLICY_DENIED", UNSET)
    assert (read.drop.is_verdict, read.drop.at_server) == (False, False)


def test_the_future() -> None:
    flow = of_the_future(dropped_packet())
    read = of_wire(flow)
    assert isinstance(read, Flow)
    assert (read.verdict, read.drop) == ("42", None)
    flow.verdict = 2
    read = of_wire(flow)
    assert isinstance(read, Flow)
    assert read.drop
    assert read.drop.reason == "250"
    assert read_response(unknown_response()) == read_line(b'{"new":{},"node_name":"n1"}')
    assert isinstance(read_response(unknown_response()), Unread)
    assert of_json(lost(9)) == Lost(START_NS, "kdns-n1", "9", 1)  # type: ignore[arg-type]
    assert of_wire(lost(9)) == of_json(lost(9))  # type: ignore[arg-type]
    assert read_line(b'{"node_status":{"state_change":77,"node_names":["a/b"]}}') == NodeStatus(
        0, "77", ("b",), ""
    )


def test_the_response_itself_is_kept_if_wanted() -> None:
    raw = enveloped(ASK).SerializeToString()
    read = read_response(raw, keep_raw=True)
    assert isinstance(read, Flow)
    assert read.raw == raw
    line = json_line(request("\x1b[2J.")).encode()
    read = read_line(b" " + line + b"\r\n", keep_raw=True)
    assert isinstance(read, Flow)
    assert json.loads(str(read.raw))["l7"]["dns"]["query"] == "\x1b[2J."
