"""Reads Hubble's responses from the wire (protobuf), fast: what repeats from flow to flow is decoded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from msgspec import UNSET

from kdns_hubble import hubble_pb2 as pb
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
from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Maybe
from kubectl_kdns.times import NS_PER_S

K = TypeVar("K", bytes, str)
V = TypeVar("V")
Addresses = tuple[str, str]
Ports = tuple[str, int, int]


def _cost(key: bytes | str, _value: object) -> int:
    """About what an entry takes, in bytes."""
    return 400 + 3 * len(key)


_addresses: Cache[bytes, Addresses] = Cache(2 << 20, _cost)
_peers: Cache[bytes, Peer] = Cache(4 << 20, _cost)
_messages: Cache[bytes, DecodedMessage] = Cache(8 << 20, _cost)
_nodes: Cache[str, str] = Cache(1 << 20, _cost)

_VERDICTS = dict(zip(pb.Verdict.values(), pb.Verdict.keys(), strict=True))
_REASONS = dict(zip(pb.DropReason.values(), pb.DropReason.keys(), strict=True))
_STATES = dict(zip(pb.NodeState.values(), pb.NodeState.keys(), strict=True))
_LOST_SOURCES = dict(zip(pb.LostEventSource.values(), pb.LostEventSource.keys(), strict=True))


def read_response(raw: bytes, *, keep_raw: bool = False) -> Response:
    """One GetFlowsResponse. Never raises on content; enums from the future become their number."""
    if len(raw) > MAX_BYTES:
        return TOO_LARGE
    try:
        answer = pb.GetFlowsResponse.FromString(raw)
        flow = answer.flow
        # To look at the uuid is the faster way to know, if there is one.
        if flow.uuid or answer.HasField("flow"):
            return _flow(flow, flow.node_name or answer.node_name, raw if keep_raw else b"")
    except (DecodeError, UnicodeDecodeError) as error:
        return broken(error)
    time_ns = known_time(answer.time.seconds * NS_PER_S + answer.time.nanos)
    if answer.HasField("node_status"):
        status = answer.node_status
        state = _STATES.get(status.state_change) or str(status.state_change)
        nodes = tuple(map(node_name, status.node_names))
        return NodeStatus(time_ns, state, nodes, safe_text(status.message))
    if answer.HasField("lost_events"):
        lost = answer.lost_events
        source = _LOST_SOURCES.get(lost.source) or str(lost.source)
        return Lost(time_ns, node_name(answer.node_name), source, lost.num_events_lost)
    return UNKNOWN


def _flow(flow: pb.Flow, node: str, raw: bytes) -> Flow:
    time = flow.time
    ip, source, destination, l7 = flow.IP, flow.source, flow.destination, flow.l7
    # What is in the recent half of a cache is taken without a call.
    client_ip, server_ip = _addresses.recent.get(ip) or _found(_addresses, ip, _read_addresses)
    client = _peers.recent.get(source) or _found(_peers, source, _read_peer)
    server = _peers.recent.get(destination) or _found(_peers, destination, _read_peer)
    transport, client_port, server_port = _read_ports(flow.l4)
    message = _messages.recent.get(l7) or _message(l7)
    if message is not None and message.is_response:
        client_ip, server_ip = server_ip, client_ip
        client_port, server_port = server_port, client_port
        client, server = server, client
    verdict = flow.verdict
    return Flow(
        known_time(time.seconds * NS_PER_S + time.nanos),
        _nodes.recent.get(node) or _found(_nodes, node, node_name),
        flow.uuid,
        _VERDICTS.get(verdict) or str(verdict),
        transport,
        client_ip,
        client_port,
        client,
        server_ip,
        server_port,
        server,
        message,
        _drop(flow) if verdict == pb.DROPPED else None,
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
    """Transport, source and destination port: too many to be remembered.

    Nearly all are UDP, from or to port 53 (one byte) and a port from 16384 on (three bytes, seven bits each,
    the lowest first). For the rest there is protobuf.
    """
    if len(raw) == 8:
        bits = int.from_bytes(raw)
        if bits & 0xFFFFFF_8080FC_FFFF == 0x120608_808000_1035:
            return "udp", bits >> 32 & 0x7F | bits >> 17 & 0x3F80 | bits >> 2 & 0xC000, 53
        if bits & 0xFFFFFF_FFFF_8080FC == 0x120608_3510_808000:
            return "udp", 53, bits >> 16 & 0x7F | bits >> 1 & 0x3F80 | bits << 14 & 0xC000
    l4 = pb.Layer4.FromString(raw)
    transport = (l4.WhichOneof("protocol") or "").lower()
    ports = l4.TCP if transport == "tcp" else l4.UDP
    return transport, ports.source_port, ports.destination_port


def _read_peer(raw: bytes) -> Peer:
    end = pb.Endpoint.FromString(raw)
    workload = (end.workloads[0].kind, end.workloads[0].name) if end.workloads else None
    return peer(end.namespace, end.pod_name, workload)


def _message(raw: bytes) -> DecodedMessage | None:
    """The DNS content; None for a flow without any."""
    known = _messages.get(raw)
    if known is not None or not raw:
        return known
    l7 = pb.Layer7.FromString(raw)
    if not l7.HasField("dns"):
        return None
    dns = l7.dns
    if l7.type == pb.RESPONSE:
        # Protobuf's own lists are slow to look at more than once.
        message = response(
            dns.query,
            dns.qtypes[:1],
            rcode=dns.rcode,
            ips=dns.ips[:],
            cnames=dns.cnames[:],
            ttl=dns.ttl,
            rrtypes=dns.rrtypes[:],
        )
    else:
        message = question(dns.query, dns.qtypes[:1])
    _messages.put(raw, message)
    return message


def _drop(flow: pb.Flow) -> Drop:
    reason = flow.drop_reason_desc
    policy: Maybe[str] = UNSET
    for denying in (*flow.egress_denied_by, *flow.ingress_denied_by)[:1]:
        policy = policy_name(denying.namespace, denying.name)
    return Drop(
        (_REASONS.get(reason) or str(reason)) if reason else "",
        policy,
        flow.event_type.type == POLICY_VERDICT,
        flow.traffic_direction == pb.INGRESS,
    )
