"""The records that are made of flows: a lookup of a request and its response, or of one that Cilium ended.

Seen at the DNS proxy of the client's node, between the client and the server: latency is the proxy's, from
the request to the response, so the way to the client is not in it.
"""

from __future__ import annotations

from msgspec import UNSET

from kdns_hubble.flows import Flow, Peer
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.messages import Asked, Exchange, Sighting, Vantage
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
)
from kubectl_kdns.times import format_time, ms

NAME = "hubble"
POLICY_REASONS = frozenset({"POLICY_DENIED", "POLICY_DENY", "AUTH_REQUIRED"})
_UNREACHED = "Cilium's proxy could not ask the server (refused, or no connection), and answered itself"
_DENIED = "Cilium's proxy answered itself: no policy allows this name for this pod"


def exchange_of(flow: Flow) -> Exchange:
    """What a request and its response share. The server is left out: it may be a Service's address in the one
    and the pod's behind it in the other. Hubble shows no id."""
    if flow.dns and flow.dns.is_response:
        return flow.destination_ip, flow.destination_port, UNSET, UNSET, flow.transport, -1
    return flow.source_ip, flow.source_port, UNSET, UNSET, flow.transport, -1


class FlowRecords:
    """Fulfils kubectl_kdns.messages.RecordMaker; the origin of a sighting is its flow."""

    def __init__(self, node: str, *, raw: bool = False) -> None:
        self.vantage = Vantage(NAME, node or UNSET, "client", "proxy")
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
            self.vantage.node,
            "client",
            "proxy",
            status,
            latency_ms,
            asked.tries,
            True if late else UNSET,
            flow.transport or UNSET,
            _inferred(answer),
            self._client(flow.source_ip, flow.source_port, flow.source),
            _server(flow.destination_ip, flow.destination_port, flow.destination),
            _dns(query, answer),
        )
        if response is not None and not response[4].dns.is_response:
            record.inferred = ["dns.rcode"]
            record.error = Error("refused", _UNREACHED)
        if self._raw:
            record.raw = _raw(flow) if response is None else f"{_raw(flow)} {_raw(response[4])}"
        return record

    def response(self, response: Sighting) -> Lookup:
        time_ns, _, message, _, flow = response
        client, server = self._ends(flow)
        record = Lookup(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=NAME,
            node=self.vantage.node,
            hop="client",
            side="proxy",
            status="answered",
            transport=flow.transport or UNSET,
            client=client,
            server=server,
            dns=_dns(message, message),
            raw=_raw(flow) if self._raw else UNSET,
        )
        if flow.dns.is_response:
            record.inferred = ["time", *(_inferred(message) or ())] if time_ns else _inferred(message)
        else:  # the proxy failed before it told of the request
            record.inferred = ["dns.rcode"]
            record.error = Error("refused", _UNREACHED)
        return record

    def message(self, sighting: Sighting) -> Message:
        time_ns, _, message, _, flow = sighting
        client, server = self._ends(flow)
        record = Message(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=NAME,
            node=self.vantage.node,
            hop="client",
            side="proxy",
            direction="response" if message.is_response else "query",
            transport=flow.transport or UNSET,
            client=client,
            server=server,
            dns=_dns(message, message),
            raw=_raw(flow) if self._raw else UNSET,
        )
        if message.is_response:
            record.inferred = _inferred(message) if flow.dns.is_response else ["dns.rcode"]
        return record

    def denied(self, flow: Flow) -> Lookup:
        """A request that a policy did not let pass: the proxy answered it with REFUSED."""
        record = self._ended(flow, "denied")
        if flow.dns:
            record.dns = _dns(flow.dns, refused(flow.dns))
        record.inferred = ["dns.rcode"]
        record.error = Error("policy_denied", _DENIED)
        return record

    def dropped(self, flow: Flow) -> Lookup:
        """A packet to a DNS server that Cilium dropped, before anybody looked into it."""
        by_policy = flow.reason in POLICY_REASONS
        record = self._ended(flow, "denied" if by_policy else "unanswered")
        reason = flow.reason or "no reason given"
        record.error = Error(
            "policy_denied" if by_policy else "network", f"Cilium dropped the packet: {reason}"
        )
        return record

    def _ended(self, flow: Flow, status: str) -> Lookup:
        client, server = self._ends(flow)
        return Lookup(
            time=format_time(flow.time_ns) if flow.time_ns else UNSET,
            backend=NAME,
            node=self.vantage.node,
            hop="client",
            side="proxy",
            status=status,
            tries=1,
            transport=flow.transport or UNSET,
            client=client,
            server=server,
            policy=Policy(flow.verdict, flow.policy),
            raw=_raw(flow) if self._raw else UNSET,
        )

    def _ends(self, flow: Flow) -> tuple[Client, Server]:
        """Who asked and who was asked: a response goes from the server to the client."""
        source = flow.source_ip, flow.source_port, flow.source
        destination = flow.destination_ip, flow.destination_port, flow.destination
        if flow.dns and flow.dns.is_response:
            source, destination = destination, source
        return self._client(*source), _server(*destination)

    def _client(self, ip: str, port: int, peer: Peer) -> Client:
        return Client(
            ip or UNSET,
            port or UNSET,
            UNSET,
            peer.namespace,
            peer.pod,
            UNSET,
            UNSET,
            UNSET,
            peer.workload,
            self.vantage.node,
        )


def refused(query: DecodedMessage) -> DecodedMessage:
    """The response that Cilium's proxy makes itself, and Hubble does not show."""
    return DecodedMessage(
        0, is_response=True, rcode="REFUSED", response_class="error", name=query.name, type=query.type
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


def _inferred(answer: DecodedMessage) -> Maybe[list[str]]:
    """NODATA is concluded from no records; of several records Hubble tells the lowest TTL, and no owners."""
    if answer.answers:
        return ["dns.answers"] if len(answer.answers) > 1 else UNSET
    return (
        ["dns.response_class"] if answer.rcode == "NOERROR" and answer.response_class == "denial" else UNSET
    )


def _raw(flow: Flow) -> str:
    """Protobuf in hex, for `protoc --decode_raw`; or the line of JSON."""
    raw = flow.raw
    return raw.hex() if isinstance(raw, bytes) else raw
