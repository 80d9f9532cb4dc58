"""Flows of a few words each, and records as a few words, for tables of what comes of what Hubble tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from kdns_hubble.flows import Response
from kdns_hubble.wire_flows import read_response
from kubectl_kdns.model import Lookup, Loss, Message, Notice, Record
from support.hubble_flows import (
    CLIENT,
    COREDNS,
    DROP,
    POLICY_VERDICT,
    START_NS,
    denied,
    dropped_packet,
    enveloped,
    lost,
    node_status,
    refused,
    request,
    response,
)

MS = 1_000_000
Words = dict[str, str]


def _ask(words: Words, **more: Any) -> Any:
    client = replace(CLIENT, node=words.get("node", CLIENT.node), ip=words.get("client", CLIENT.ip))
    server = replace(COREDNS, ip=words.get("server", COREDNS.ip))
    return request(
        words.get("name", "a.b."),
        words.get("type", "A"),
        client=client,
        server=server,
        port=int(words.get("port", 40001)),
        protocol="TCP" if "tcp" in words else "UDP",
        **more,
    )


def _answer(words: Words, **content: Any) -> Any:
    return response(_ask(words), after_ns=0, **content)


def _undelivered(words: Words) -> Any:
    flow = _answer(words, ips=["192.0.2.1"])
    flow.verdict = 3
    return flow


def _dropped(words: Words, event_type: int) -> Any:
    flow = dropped_packet(
        client=replace(CLIENT, node=words.get("node", CLIENT.node)),
        port=int(words.get("port", 40001)),
        protocol="TCP" if "tcp" in words else "UDP",
        event_type=event_type,
    )
    if "to" in words:
        getattr(flow.l4, "TCP" if "tcp" in words else "UDP").destination_port = int(words["to"])
    if "reason" in words:
        flow.drop_reason_desc = int(words["reason"])
    if "policy" in words:
        flow.drop_reason_desc = 181
        flow.egress_denied_by.add(name=words["policy"], namespace="lab")
    if "ingress" in words:
        flow.traffic_direction = 1
    return flow


KINDS: dict[str, Callable[[Words], Any]] = {
    "ask": _ask,
    "answer": lambda words: _answer(words, ips=["192.0.2.1"]),
    "empty": _answer,
    "nxdomain": lambda words: _answer(words, rcode=3),
    "servfail": lambda words: _answer(words, rcode=2),
    "undelivered": _undelivered,
    "refuse": lambda words: refused(_ask(words), after_ns=0),
    "deny": lambda words: denied(words.get("name", "a.b."), port=int(words.get("port", 40001))),
    "drop": lambda words: _dropped(words, DROP),
    "verdict": lambda words: _dropped(words, POLICY_VERDICT),
    "lost": lambda words: lost(
        words.get("of", "OBSERVER_EVENTS_QUEUE"),
        int(words.get("count", 1)),
        node=words.get("node", "kdns-n1"),
    ),
    "state": lambda words: node_status(words["is"], words.get("node", "kdns-n1")),
}


def flow(at_ms: float, kind: str, words: Words) -> bytes:
    """The response on the wire, at `at_ms` after START_NS."""
    made = KINDS[kind](words)
    made.time.FromNanoseconds(START_NS + round(at_ms * MS))
    if "uuid" in words:
        made.uuid = "" if words["uuid"] == "none" else words["uuid"]
    message = made if kind in ("lost", "state") else enveloped(made)
    return bytes(message.SerializeToString())


def script(text: str, *, numbered: bool = False, keep_raw: bool = False) -> list[Response]:
    """`0 ask; 5 answer name=c.d. type=AAAA port=40002 tcp=1 node=n2`: when (ms) and what.

    `numbered`: uuids are those of the places in the text, and not new ones each time.
    """
    responses = []
    for number, event in enumerate(text.split(";")):
        at_ms, kind, *words = event.split()
        known = dict(word.split("=", 1) for word in words)
        if numbered and kind not in ("lost", "state"):
            known["uuid"] = str(number)
        responses.append(read_response(flow(float(at_ms), kind, known), keep_raw=keep_raw))
    return responses


def told(record: Record) -> str:
    """`a.b answered 1.5ms tries=2 late`: what matters of a record, in one line."""
    if isinstance(record, Notice):
        return f"notice {record.code}"
    if isinstance(record, Loss):
        return f"loss {record.reason}" + (f" {record.count}" if record.count else "")
    if isinstance(record, Message):
        return f"message {record.direction}" + (
            f" {record.dns.rcode}" if record.dns and record.dns.rcode else ""
        )
    assert isinstance(record, Lookup)
    line = f"{(record.dns and record.dns.name) or '?'} {record.status}"
    line += f" {record.latency_ms:g}ms" if record.latency_ms is not UNSET else ""
    line += f" tries={record.tries}" if record.tries else ""
    line += " late" if record.late else ""
    if record.dns:
        line += f" {record.dns.rcode}" if record.dns.rcode not in (UNSET, "NOERROR") else ""
        line += " NODATA" if record.dns.rcode == "NOERROR" and record.dns.response_class == "denial" else ""
        line += f" {','.join(record.dns.flags)}" if record.dns.flags else ""
    return line + (f" {record.error.type}" if record.error else "")


def told_all(records: list[Record]) -> str:
    return "; ".join(map(told, records))
