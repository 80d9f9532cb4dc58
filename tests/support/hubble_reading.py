"""Responses of every kind, read by both of kdns's readers, and what must hold of all that is read."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kdns_hubble.flows import Response
from kdns_hubble.json_flows import read_line
from kdns_hubble.wire_flows import read_response
from support.hubble_flows import (
    POLICY_VERDICT,
    START_NS,
    denied,
    dropped_packet,
    enveloped,
    json_line,
    lost,
    node_status,
    of_the_future,
    refused,
    request,
    response,
)

ASK = request("a.example.com.", "AAAA", time_ns=START_NS)


def of_wire(message: Any) -> Response:
    message = enveloped(message) if message.DESCRIPTOR.name == "Flow" else message
    return read_response(message.SerializeToString())


def of_json(message: Any) -> Response:
    message = enveloped(message) if message.DESCRIPTOR.name == "Flow" else message
    return read_line(json_line(message).encode())


def policy_denied() -> Any:
    flow = dropped_packet(event_type=POLICY_VERDICT)
    flow.drop_reason_desc = 181
    flow.ingress_denied_by.add(name="b", namespace="lab")
    flow.egress_denied_by.add(name="no-dns")
    flow.traffic_direction = 1
    return flow


def http() -> Any:
    flow = request()
    flow.l7.ClearField("dns")
    flow.l7.http.url = "http://example.com/"
    return flow


def icmp() -> Any:
    flow = dropped_packet()
    flow.ClearField("l4")
    flow.l4.ICMPv4.type = 8
    return flow


MESSAGES: dict[str, Callable[[], Any]] = {
    "request": lambda: ASK,
    "request over TCP": lambda: request(protocol="TCP"),
    "request of a type without a name": lambda: request("a.", "Unknown"),
    "request from a low port": lambda: request(port=1024),
    "response": lambda: response(ASK, ips=["2001:db8::1", "2001:db8::2"], cnames=["B.example.com."], ttl=5),
    "response over TCP": lambda: response(request(protocol="TCP"), ips=["192.0.2.1"]),
    "NXDOMAIN": lambda: response(ASK, rcode=3),
    "rcode of the future": lambda: response(ASK, rcode=4001),
    "NODATA": lambda: response(ASK),
    "MX": lambda: response(request("a.", "MX"), rrtypes=["MX", "MX"]),
    "refused": lambda: refused(ASK),
    "denied": lambda: denied("x.test."),
    "dropped packet": dropped_packet,
    "dropped SYN": lambda: dropped_packet(protocol="TCP"),
    "verdict on a packet": policy_denied,
    "of the future": lambda: of_the_future(response(ASK)),
    "HTTP": http,
    "ICMP": icmp,
    "root": lambda: request(".", "NS"),
    "lost": lambda: lost(count=3),
    "lost of the ring": lambda: lost("HUBBLE_RING_BUFFER"),
    "node status": lambda: node_status("NODE_GONE", "default/n1", "n2", message="why"),
}


def all_texts(value: Any) -> Iterator[str]:
    """Every text that can get into a record; not what only tells flows apart."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from all_texts(one)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            if field != "uuid":
                yield from all_texts(getattr(value, field))


def check_texts(response: Response) -> None:
    unsafe = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    assert not [text for text in all_texts(response) if {unicodedata.category(c) for c in text} & set(unsafe)]
