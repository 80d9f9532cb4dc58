"""The records that are made of flows: a lookup of a request and its response, or of one that Cilium ended.

Seen at the DNS proxy of the client's node, between the client and the server: latency is the proxy's, from
the request to the response, so the way to the client is not in it.
"""

from __future__ import annotations

from msgspec import UNSET

from kdns_hubble.flows import Drop, Flow, Peer, refused
from kdns_hubble.truncation import TruncationCheck
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.messages import Asked, Sighting, Vantage
from kubectl_kdns.model import (
    API_VERSION,
    Client,
    Dns,
    Error,
    Lookup,
    Maybe,
    Message,
    Policy,
    Server,
    ServerBackend,
)
from kubectl_kdns.times import format_time, ms

NAME = "hubble"
POLICY_REASONS = frozenset({"POLICY_DENIED", "POLICY_DENY", "AUTH_REQUIRED"})
_UNREACHED = "Cilium's proxy could not ask the server (refused, or no connection), and answered itself"
_DENIED = "Cilium's proxy answered itself: no policy allows this name for this pod"


class FlowRecords:
    """Fulfils kubectl_kdns.messages.RecordMaker; the origin of a sighting is its flow."""

    def __init__(self, node: str, truncation: TruncationCheck, *, raw: bool = False) -> None:
        self.vantage = Vantage(NAME, node or UNSET, "client", "proxy")
        self._node = self.vantage.node
        self._truncation = truncation
        self._raw = raw

    def lookup(self, asked: Asked, status: str, response: Sighting | None, late: bool = False) -> Lookup:
        flow: Flow = asked.origin
        query = answer = asked.message
        time_ns = asked.time_ns
        latency_ms: Maybe[float] = UNSET
        if response is not None:
            answer = response[2]
            if response[0] >= time_ns > 0:
                latency_ms = ms(response[0] - time_ns)
        record = Lookup(
            API_VERSION,
            "lookup",
            format_time(time_ns) if time_ns else UNSET,
            NAME,
            self._node,
            "client",
            "proxy",
            status,
            latency_ms,
            asked.tries,
            True if late else UNSET,
            flow.transport or UNSET,
            UNSET,
            _client(flow, self._node),
            _server(flow.server_ip, flow.server_port, flow.server),
            _dns(query, answer),
        )
        if response is not None:
            self._add_response(record, flow, response)
        if self._raw:
            record.raw = _raw(flow) if response is None else f"{_raw(flow)} {_raw(response[4])}"
        # A pairing remembers for a while what was asked; the flow it needs no more.
        asked.origin = None
        return record

    def response(self, response: Sighting) -> Lookup:
        time_ns, _, message, _, flow = response
        record = Lookup(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=NAME,
            node=self._node,
            hop="client",
            side="proxy",
            status="answered",
            transport=flow.transport or UNSET,
            inferred=["time"] if time_ns else UNSET,
            client=_client(flow, self._node),
            server=_server(flow.server_ip, flow.server_port, flow.server),
            dns=_dns(message, message),
            raw=_raw(flow) if self._raw else UNSET,
        )
        self._add_response(record, flow, response)
        return record

    def message(self, sighting: Sighting) -> Message:
        time_ns, _, message, _, flow = sighting
        return Message(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=NAME,
            node=self._node,
            hop="client",
            side="proxy",
            direction="response" if message.is_response else "query",
            transport=flow.transport or UNSET,
            inferred=_inferred(flow, message) or UNSET,
            client=_client(flow, self._node),
            server=_server(flow.server_ip, flow.server_port, flow.server),
            dns=_dns(message, message),
            raw=_raw(flow) if self._raw else UNSET,
        )

    def denied(self, flow: Flow, query: DecodedMessage, policy: Maybe[str]) -> Lookup:
        """A request that a policy did not let pass: the proxy answered it with REFUSED."""
        record = self._ended(flow, "denied", policy)
        record.dns = _dns(query, refused(query))
        record.inferred = ["dns.rcode"]
        record.error = Error("policy_denied", _DENIED)
        return record

    def dropped(self, flow: Flow, drop: Drop, policy: Maybe[str]) -> Lookup:
        """A packet to a DNS server that Cilium dropped at the client's or at the server's end, before any
        DNS proxy looked into it."""
        by_policy = drop.reason in POLICY_REASONS
        record = self._ended(flow, "denied" if by_policy else "unanswered", policy)
        record.side = "server" if drop.at_server else "client"
        if drop.at_server and record.client and record.server:
            record.client.node, record.server.node = UNSET, self._node
        text = f"Cilium dropped the packet: {drop.reason or 'no reason given'}"
        record.error = Error("policy_denied" if by_policy else "network", text)
        return record

    def _ended(self, flow: Flow, status: str, policy: Maybe[str]) -> Lookup:
        return Lookup(
            time=format_time(flow.time_ns) if flow.time_ns else UNSET,
            backend=NAME,
            node=self._node,
            hop="client",
            side="proxy",
            status=status,
            tries=1,
            transport=flow.transport or UNSET,
            client=_client(flow, self._node),
            server=_server(flow.server_ip, flow.server_port, flow.server),
            policy=Policy(flow.verdict, policy),
            raw=_raw(flow) if self._raw else UNSET,
        )

    def _add_response(self, record: Lookup, asked: Flow, response: Sighting) -> None:
        """What is known by the response alone, and in which way."""
        time_ns, _, answer, _, flow = response
        if flow.server_ip != asked.server_ip and record.server:
            record.server.backend = ServerBackend(
                flow.server_ip or UNSET, flow.server_port or UNSET, flow.server.pod
            )
        inferred = _inferred(flow, answer)
        if inferred:
            record.inferred = [*(record.inferred or ()), *inferred]
        if not flow.dns.is_response:
            record.error = Error("refused", _UNREACHED)
        elif answer.response_class == "denial":
            self._truncation.answered(time_ns, flow, answer, record)


def _client(flow: Flow, node: Maybe[str]) -> Client:
    peer: Peer = flow.client
    return Client(
        flow.client_ip or UNSET,
        flow.client_port or UNSET,
        UNSET,
        peer.namespace,
        peer.pod,
        UNSET,
        UNSET,
        UNSET,
        peer.workload,
        node,
    )


def _server(ip: str, port: int, peer: Peer) -> Server:
    return Server(ip or UNSET, port or UNSET, UNSET, peer.namespace, peer.pod, UNSET, peer.workload)


def _dns(query: DecodedMessage, answer: DecodedMessage) -> Dns:
    return Dns(
        UNSET,
        UNSET,
        query.name,
        query.type,
        UNSET,
        answer.rcode,
        answer.response_class,
        UNSET,
        answer.answers,
        answer.resolved_ips,
    )


def _inferred(flow: Flow, message: DecodedMessage) -> list[str]:
    """What is concluded: the rcode of the proxy itself; NODATA, from no records; and of several records the
    TTLs, of which Hubble tells the lowest."""
    if not message.is_response:
        return []
    if flow.dns is None or not flow.dns.is_response:
        return ["dns.rcode"]
    if message.answers:
        return ["dns.answers"] if len(message.answers) > 1 else []
    nodata = message.rcode == "NOERROR" and message.response_class == "denial"
    return ["dns.response_class"] if nodata else []


def _raw(flow: Flow) -> str:
    """Protobuf in hex, for `protoc --decode_raw`; or the line of JSON."""
    raw = flow.raw
    return raw.hex() if isinstance(raw, bytes) else raw
