"""Reads Hubble's responses as JSON lines: what `hubble observe -o jsonpb` and Cilium's exporter write.

It is protojson with the fields' names of the .proto: absent is the default, 64-bit integers are strings,
enums are names, or numbers where the writer did not know the name. A line is a GetFlowsResponse, or, from
older versions, a Flow alone. Fields that kdns does not know are skipped.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, field

from kdns_hubble.flows import (
    Flow,
    Lost,
    NodeStatus,
    Peer,
    Response,
    Unread,
    node_name,
    policy_name,
    question,
    response,
)
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Maybe, Workload
from kubectl_kdns.times import parse_time

Enum = str | int


class _Ip(Struct):
    source: str = ""
    destination: str = ""


class _Ports(Struct):
    source_port: int = 0
    destination_port: int = 0


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
    ttl: int = 0
    cnames: list[str] = []
    rcode: int = 0
    qtypes: list[str] = []
    rrtypes: list[str] = []


class _Layer7(Struct):
    type: Enum = ""
    dns: _Dns | None = None


class _Flow(Struct):
    time: str = ""
    uuid: str = ""
    verdict: Enum = ""
    drop_reason_desc: Enum = ""
    ip: _Ip = field(name="IP", default_factory=_Ip)
    l4: _Layer4 = field(default_factory=_Layer4)
    source: _Endpoint = field(default_factory=_Endpoint)
    destination: _Endpoint = field(default_factory=_Endpoint)
    node_name: str = ""
    l7: _Layer7 | None = None
    egress_denied_by: list[_Named] = []


class _NodeStatus(Struct):
    state_change: Enum = ""
    node_names: list[str] = []
    message: str = ""


class _Lost(Struct):
    source: Enum = ""
    num_events_lost: str | int = 0


class _Line(_Flow):
    """A response, or, when none of its three is there, perhaps a flow alone."""

    flow: _Flow | None = None
    node_status: _NodeStatus | None = None
    lost_events: _Lost | None = None


_decode = msgspec.json.Decoder(_Line).decode


def read_line(line: bytes, *, keep_raw: bool = False) -> Response:
    """One line. Never raises on content."""
    raw = safe_text(line.decode("utf-8", "replace").strip()) if keep_raw else ""
    try:
        answer = _decode(line)
        if answer.flow is not None:
            return _flow(answer.flow, answer.node_name, raw)
        if answer.lost_events is not None:
            lost = answer.lost_events
            node = node_name(answer.node_name)
            return Lost(_time_ns(answer.time), node, safe_text(str(lost.source)), int(lost.num_events_lost))
        if answer.node_status is not None:
            status = answer.node_status
            return NodeStatus(
                _time_ns(answer.time),
                safe_text(str(status.state_change)),
                tuple(map(node_name, status.node_names)),
                safe_text(status.message),
            )
        if answer.verdict or answer.l7:
            return _flow(answer, "", raw)
    except (msgspec.MsgspecError, ValueError) as error:
        return Unread(f"broken: {safe_text(str(error))[:200]}")
    return Unread("of a kind that this kdns does not know")


def _time_ns(text: str) -> int:
    return parse_time(text) if text else 0


def _flow(flow: _Flow, envelope_node: str, raw: str) -> Flow:
    transport, ports = ("tcp", flow.l4.tcp) if flow.l4.tcp else ("udp", flow.l4.udp)
    return Flow(
        _time_ns(flow.time),
        node_name(flow.node_name or envelope_node),
        flow.uuid,
        safe_text(str(flow.verdict)),
        safe_text(str(flow.drop_reason_desc)) if flow.verdict == "DROPPED" else "",
        transport if ports else "",
        safe_text(flow.ip.source),
        ports.source_port if ports else 0,
        _peer(flow.source),
        safe_text(flow.ip.destination),
        ports.destination_port if ports else 0,
        _peer(flow.destination),
        _message(flow.l7),
        _policy(flow.egress_denied_by),
        raw,
    )


def _peer(end: _Endpoint) -> Peer:
    workload: Maybe[Workload] = UNSET
    if end.workloads:
        workload = Workload(safe_text(end.workloads[0].kind), safe_text(end.workloads[0].name))
    return Peer(safe_text(end.namespace) or UNSET, safe_text(end.pod_name) or UNSET, workload)


def _message(l7: _Layer7 | None) -> DecodedMessage | None:
    if l7 is None or l7.dns is None:
        return None
    dns = l7.dns
    type_ = dns.qtypes[0] if dns.qtypes else ""
    if l7.type != "RESPONSE":
        return question(dns.query, type_)
    return response(
        dns.query,
        type_,
        rcode=dns.rcode,
        ips=tuple(dns.ips),
        cnames=tuple(dns.cnames),
        ttl=dns.ttl,
        rrtypes=tuple(dns.rrtypes),
    )


def _policy(denied_by: list[_Named]) -> Maybe[str]:
    return policy_name(denied_by[0].namespace, denied_by[0].name) if denied_by else UNSET
