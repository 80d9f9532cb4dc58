"""Reads Hubble's responses as JSON lines: what `hubble observe -o jsonpb` and Cilium's exporter write.

It is protojson with the fields' names of the .proto: absent is the default, 64-bit integers are strings,
enums are names, or numbers where the writer did not know the name. A line is a GetFlowsResponse, or, from
older versions, a Flow alone. Fields that kdns does not know are skipped.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, field

from kdns_hubble.flows import (
    MAX_BYTES,
    POLICY_VERDICT,
    TOO_LARGE,
    UNKNOWN,
    Drop,
    Flow,
    Lost,
    NodeStatus,
    Peer,
    Response,
    broken,
    known_time,
    node_name,
    peer,
    policy_name,
    question,
    response,
)
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.times import parse_time

Enum = str | int
Uint32 = Annotated[int, Meta(ge=0, lt=1 << 32)]
Uint64 = Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")] | Annotated[int, Meta(ge=0)]


class _Ip(Struct):
    source: str = ""
    destination: str = ""


class _Ports(Struct):
    source_port: Uint32 = 0
    destination_port: Uint32 = 0


class _Layer4(Struct):
    tcp: _Ports | None = field(name="TCP", default=None)
    udp: _Ports | None = field(name="UDP", default=None)


class _Named(Struct):
    name: str = ""
    kind: str = ""
    namespace: str = ""


class _Endpoint(Struct):
    namespace: str = ""
    pod_name: str = ""
    workloads: list[_Named] = []


class _Dns(Struct):
    query: str = ""
    ips: list[str] = []
    ttl: Uint32 = 0
    cnames: list[str] = []
    rcode: Uint32 = 0
    qtypes: list[str] = []
    rrtypes: list[str] = []


class _Layer7(Struct):
    type: Enum = ""
    dns: _Dns | None = None


class _EventType(Struct):
    type: int = 0


class _Flow(Struct):
    time: str = ""
    uuid: str = ""
    verdict: Enum = "VERDICT_UNKNOWN"
    drop_reason_desc: Enum = ""
    ip: _Ip = field(name="IP", default_factory=_Ip)
    l4: _Layer4 = field(default_factory=_Layer4)
    source: _Endpoint = field(default_factory=_Endpoint)
    destination: _Endpoint = field(default_factory=_Endpoint)
    node_name: str = ""
    l7: _Layer7 | None = None
    event_type: _EventType = field(default_factory=_EventType)
    traffic_direction: Enum = ""
    egress_denied_by: list[_Named] = []
    ingress_denied_by: list[_Named] = []


class _NodeStatus(Struct):
    state_change: Enum = "UNKNOWN_NODE_STATE"
    node_names: list[str] = []
    message: str = ""


class _Lost(Struct):
    source: Enum = "UNKNOWN_LOST_EVENT_SOURCE"
    num_events_lost: Uint64 = 0


class _Line(_Flow):
    """A response, or, when none of its three is there, perhaps a flow alone."""

    flow: _Flow | None = None
    node_status: _NodeStatus | None = None
    lost_events: _Lost | None = None


_decode = msgspec.json.Decoder(_Line).decode


def read_line(line: bytes, *, keep_raw: bool = False) -> Response:
    """One line. Never raises on content."""
    if len(line) > MAX_BYTES:
        return TOO_LARGE
    raw = safe_text(line.decode("utf-8", "replace").strip()) if keep_raw else ""
    try:
        answer = _decode(line)
        if answer.flow is not None:
            return _flow(answer.flow, answer.node_name, raw)
        if answer.node_status is not None:
            status = answer.node_status
            return NodeStatus(
                _time_ns(answer.time),
                _enum(status.state_change),
                tuple(map(node_name, status.node_names)),
                safe_text(status.message),
            )
        if answer.lost_events is not None:
            lost = answer.lost_events
            node = node_name(answer.node_name)
            return Lost(_time_ns(answer.time), node, _enum(lost.source), int(lost.num_events_lost))
        if answer.verdict != "VERDICT_UNKNOWN" or answer.l7:
            return _flow(answer, "", raw)
    # Brackets deeper than msgspec goes are a RecursionError.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return broken(error)
    return UNKNOWN


def _time_ns(text: str) -> int:
    return known_time(parse_time(text)) if text else 0


def _enum(value: Enum) -> str:
    return safe_text(str(value))


def _flow(flow: _Flow, envelope_node: str, raw: str) -> Flow:
    transport, ports = ("tcp", flow.l4.tcp) if flow.l4.tcp else ("udp", flow.l4.udp)
    source = flow.ip.source, ports.source_port if ports else 0, flow.source
    destination = flow.ip.destination, ports.destination_port if ports else 0, flow.destination
    message = _message(flow.l7)
    is_response = message is not None and message.is_response
    client, server = (destination, source) if is_response else (source, destination)
    return Flow(
        _time_ns(flow.time),
        node_name(flow.node_name or envelope_node),
        flow.uuid,
        _enum(flow.verdict),
        transport if ports else "",
        safe_text(client[0]),
        client[1],
        _peer(client[2]),
        safe_text(server[0]),
        server[1],
        _peer(server[2]),
        message,
        _drop(flow) if flow.verdict == "DROPPED" else None,
        raw,
    )


def _peer(end: _Endpoint) -> Peer:
    workload = (end.workloads[0].kind, end.workloads[0].name) if end.workloads else None
    return peer(end.namespace, end.pod_name, workload)


def _message(l7: _Layer7 | None) -> DecodedMessage | None:
    if l7 is None or l7.dns is None:
        return None
    dns = l7.dns
    if l7.type != "RESPONSE":
        return question(dns.query, dns.qtypes)
    return response(
        dns.query,
        dns.qtypes,
        rcode=dns.rcode,
        ips=dns.ips,
        cnames=dns.cnames,
        ttl=dns.ttl,
        rrtypes=dns.rrtypes,
    )


def _drop(flow: _Flow) -> Drop:
    denying = (*flow.egress_denied_by, *flow.ingress_denied_by)[:1]
    return Drop(
        _enum(flow.drop_reason_desc) if flow.drop_reason_desc != "DROP_REASON_UNKNOWN" else "",
        policy_name(denying[0].namespace, denying[0].name) if denying else UNSET,
        flow.event_type.type == POLICY_VERDICT,
        flow.traffic_direction == "INGRESS",
    )
