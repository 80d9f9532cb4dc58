"""Reads Hubble's responses from the wire (protobuf), fast: what repeats from flow to flow is decoded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from msgspec import UNSET

from kdns_hubble import hubble_pb2 as pb
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
from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Maybe, Workload
from kubectl_kdns.times import NS_PER_S

K = TypeVar("K", bytes, str)
V = TypeVar("V")
Addresses = tuple[str, str]
Ports = tuple[str, int, int]


def _cost(key: bytes | str, _value: object) -> int:
    """About what an entry takes, in bytes."""
    return 400 + 3 * len(key)


_addresses: Cache[bytes, Addresses] = Cache(2 << 20, _cost)
_ports: Cache[bytes, Ports] = Cache(2 << 20, _cost)
_peers: Cache[bytes, Peer] = Cache(2 << 20, _cost)
_messages: Cache[bytes, DecodedMessage] = Cache(8 << 20, _cost)
_nodes: Cache[str, str] = Cache(1 << 20, _cost)

_VERDICTS = dict(zip(pb.Verdict.values(), pb.Verdict.keys(), strict=True))
_REASONS = dict(zip(pb.DropReason.values(), pb.DropReason.keys(), strict=True))
_STATES = dict(zip(pb.NodeState.values(), pb.NodeState.keys(), strict=True))
_LOST_SOURCES = dict(zip(pb.LostEventSource.values(), pb.LostEventSource.keys(), strict=True))


def read_response(raw: bytes, *, keep_raw: bool = False) -> Response:
    """One GetFlowsResponse. Never raises on content; enums from the future become their number."""
    try:
        answer = pb.GetFlowsResponse.FromString(raw)
        kind = answer.WhichOneof("response_types")
        if kind == "flow":
            return _flow(answer.flow, answer.node_name, raw if keep_raw else b"")
    except (DecodeError, UnicodeDecodeError) as error:
        return Unread(f"broken: {safe_text(str(error))[:200]}")
    time_ns = answer.time.seconds * NS_PER_S + answer.time.nanos
    if kind == "node_status":
        status = answer.node_status
        state = _STATES.get(status.state_change, str(status.state_change))
        nodes = tuple(map(node_name, status.node_names))
        return NodeStatus(time_ns, state, nodes, safe_text(status.message))
    if kind == "lost_events":
        lost = answer.lost_events
        source = _LOST_SOURCES.get(lost.source, str(lost.source))
        return Lost(time_ns, node_name(answer.node_name), source, lost.num_events_lost)
    return Unread("of a kind that this kdns does not know")


def _flow(flow: pb.Flow, envelope_node: str, raw: bytes) -> Flow:
    time = flow.time
    ip, l4, source, destination, l7 = flow.IP, flow.l4, flow.source, flow.destination, flow.l7
    # What is in the recent half of a cache is taken without a call.
    source_ip, destination_ip = _addresses.recent.get(ip) or _found(_addresses, ip, _read_addresses)
    transport, source_port, destination_port = _ports.recent.get(l4) or _found(_ports, l4, _read_ports)
    node = flow.node_name or envelope_node
    verdict = flow.verdict
    dropped = flow.drop_reason_desc if verdict == pb.DROPPED else 0
    return Flow(
        time.seconds * NS_PER_S + time.nanos,
        _nodes.recent.get(node) or _found(_nodes, node, node_name),
        flow.uuid,
        _VERDICTS.get(verdict) or str(verdict),
        _REASONS.get(dropped, str(dropped)) if dropped else "",
        transport,
        source_ip,
        source_port,
        _peers.recent.get(source) or _found(_peers, source, _read_peer),
        destination_ip,
        destination_port,
        _peers.recent.get(destination) or _found(_peers, destination, _read_peer),
        _messages.recent.get(l7) or _message(l7),
        _policy(flow) if verdict == pb.DROPPED else UNSET,
        raw,
    )


def _found(cache: Cache[K, V], key: K, read: Callable[[K], V]) -> V:
    value = cache.get(key)
    if value is None:
        value = read(key)
        cache.put(key, value)
    return value


def _read_addresses(raw: bytes) -> Addresses:
    ip = pb.IP.FromString(raw)
    return safe_text(ip.source), safe_text(ip.destination)


def _read_ports(raw: bytes) -> Ports:
    l4 = pb.Layer4.FromString(raw)
    transport = (l4.WhichOneof("protocol") or "").lower()
    ports = l4.TCP if transport == "tcp" else l4.UDP
    return transport, ports.source_port, ports.destination_port


def _read_peer(raw: bytes) -> Peer:
    end = pb.Endpoint.FromString(raw)
    workload: Maybe[Workload] = UNSET
    if end.workloads:
        workload = Workload(safe_text(end.workloads[0].kind), safe_text(end.workloads[0].name))
    return Peer(safe_text(end.namespace) or UNSET, safe_text(end.pod_name) or UNSET, workload)


def _message(raw: bytes) -> DecodedMessage | None:
    """The DNS content; None for a flow without any."""
    known = _messages.get(raw)
    if known is not None or not raw:
        return known
    l7 = pb.Layer7.FromString(raw)
    if not l7.HasField("dns"):
        return None
    dns = l7.dns
    type_ = dns.qtypes[0] if dns.qtypes else ""
    if l7.type == pb.RESPONSE:
        message = response(
            dns.query,
            type_,
            rcode=dns.rcode,
            ips=tuple(dns.ips),
            cnames=tuple(dns.cnames),
            ttl=dns.ttl,
            rrtypes=tuple(dns.rrtypes),
        )
    else:
        message = question(dns.query, type_)
    _messages.put(raw, message)
    return message


def _policy(flow: pb.Flow) -> Maybe[str]:
    for policy in flow.egress_denied_by:
        return policy_name(policy.namespace, policy.name)
    return UNSET
