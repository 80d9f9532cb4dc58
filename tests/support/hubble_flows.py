"""Flows as Cilium 1.17.4 makes them of DNS, and what else a relay sends; to bytes, and to lines of JSON.

Builders give messages of `hubble_schema`, which are mutable: `flow.l7.dns.rcode = 3`. An answered query is
`ask = request("example.com.")`, `response(ask, ips=["192.0.2.1"])`.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from support.hubble_schema import Flow, GetFlowsResponse, as_schema

START_NS = 1_795_000_000_123_456_789  # 2026-11-18
NO_TTL = 4_294_967_295
ACCESS_LOG, DROP, POLICY_VERDICT = 129, 1, 5
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Pod:
    """One end of a flow. `workload` (name, kind) is written only by the pod's own node, as Cilium does."""

    name: str
    ip: str
    namespace: str = "default"
    app: str = "k8s:app=client"
    node: str = "kdns-n1"
    workload: tuple[str, str] | None = None
    identity: int = 0

    def endpoint(self, observer: str) -> dict[str, Any]:
        """Keyword arguments of Endpoint, as the node `observer` knows this pod."""
        labels = [
            self.app,
            f"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={self.namespace}",
            "k8s:io.cilium.k8s.policy.cluster=default",
            "k8s:io.cilium.k8s.policy.serviceaccount=default",
            f"k8s:io.kubernetes.pod.namespace={self.namespace}",
        ]
        known: dict[str, Any] = {
            "identity": self.identity,
            "cluster_name": "default",
            "namespace": self.namespace,
            "labels": sorted(labels),
            "pod_name": self.name,
        }
        if observer == self.node:
            known["ID"] = 1000 + self.identity % 1000
            if self.workload:
                known["workloads"] = [{"name": self.workload[0], "kind": self.workload[1]}]
        return known


CLIENT = Pod("client-w4q7t", "10.244.1.93", "lab", workload=("client", "DaemonSet"), identity=5308)
COREDNS = Pod(
    "coredns-66bc5c9577-2lnp7",
    "10.244.2.41",
    "kube-system",
    app="k8s:k8s-app=kube-dns",
    node="kdns-n2",
    workload=("coredns", "Deployment"),
    identity=34227,
)


def request(
    query: str = "example.com.",
    qtype: str = "A",
    *,
    client: Pod = CLIENT,
    server: Pod = COREDNS,
    port: int = 40000,
    protocol: str = "UDP",
    verdict: str = "FORWARDED",
    time_ns: int = START_NS,
) -> Any:
    """The client's query as the DNS proxy saw it. A real `query` is in lower case and ends in a dot."""
    flow = _flow(client, server, port, protocol, verdict, time_ns)
    flow.Type, flow.event_type.type = 2, ACCESS_LOG
    flow.is_reply.value = False
    flow.l7.type = 1
    dns = flow.l7.dns
    dns.query, dns.observation_source = query, "proxy"
    dns.qtypes.append(qtype)
    flow.Summary = f"DNS Query {query} {qtype}"
    return flow


def response(
    ask: Any,
    *,
    rcode: int = 0,
    ips: Sequence[str] = (),
    cnames: Sequence[str] = (),
    rrtypes: Sequence[str] | None = None,
    ttl: int | None = None,
    after_ns: int = 1_800_000,
) -> Any:
    """The answer to `ask`, `after_ns` later; `ttl` and `rrtypes` as Cilium derives them unless given."""
    flow = Flow()
    flow.CopyFrom(ask)
    _stamp(flow, seen_ns(ask) + after_ns)
    flow.verdict = 1
    flow.IP.source, flow.IP.destination = ask.IP.destination, ask.IP.source
    ports, asked = ports_of(flow), ports_of(ask)
    ports.source_port, ports.destination_port = asked.destination_port, asked.source_port
    flow.source.CopyFrom(ask.destination)
    flow.destination.CopyFrom(ask.source)
    flow.reply = flow.is_reply.value = True
    flow.l7.type = 2
    dns = flow.l7.dns
    dns.rcode = rcode
    dns.ips.extend(ips)
    dns.cnames.extend(cnames)
    if rrtypes is None:
        rrtypes = ["CNAME"] * len(cnames) + ["AAAA" if ":" in ip else "A" for ip in ips]
    dns.rrtypes.extend(rrtypes)
    if ttl is None:
        ttl = 30 if ips or cnames else NO_TTL
    dns.ttl = ttl
    answer = '"' + ",".join(ips) + '"' if rcode == 0 else f"RCode: {rcode}"
    flow.Summary = f"DNS Answer {answer} TTL: {ttl} (Proxy {dns.query} {dns.qtypes[0]})"
    return flow


def refused(ask: Any, *, after_ns: int = 400_000) -> Any:
    """The second REQUEST that Cilium writes when the server's port is closed: the client got REFUSED."""
    flow = Flow()
    flow.CopyFrom(ask)
    _stamp(flow, seen_ns(ask) + after_ns)
    flow.verdict = 3
    return flow


def denied(query: str = "example.com.", qtype: str = "A", **more: Any) -> Any:
    """A query that the DNS policy does not allow: no drop reason, no RESPONSE, the client got REFUSED."""
    return request(query, qtype, verdict="DROPPED", **more)


def dropped_packet(
    *,
    client: Pod = CLIENT,
    server: Pod = COREDNS,
    port: int = 40000,
    protocol: str = "UDP",
    event_type: int = DROP,
    time_ns: int = START_NS,
) -> Any:
    """A packet to port 53 that policy dropped before the proxy.

    Cilium 1.17 writes two flows of it, one with event type POLICY_VERDICT and one with DROP.
    """
    flow = _flow(client, server, port, protocol, "DROPPED", time_ns)
    flow.Type, flow.event_type.type = 1, event_type
    flow.drop_reason = flow.drop_reason_desc = 133
    flow.ethernet.source, flow.ethernet.destination = "46:ac:67:ca:b6:9a", "46:e6:58:61:a2:79"
    if event_type == DROP:
        flow.event_type.sub_type = 133
        flow.file.name, flow.file.line = "bpf_lxc.c", 1360
    if protocol == "TCP":
        flow.l4.TCP.flags.SYN = True
    flow.Summary = "TCP Flags: SYN" if protocol == "TCP" else "UDP"
    return flow


def lost(
    source: str = "OBSERVER_EVENTS_QUEUE", count: int = 1, *, node: str = "kdns-n1", time_ns: int = START_NS
) -> Any:
    """A lost_events message; HUBBLE_RING_BUFFER is made by the ring itself."""
    message = GetFlowsResponse(node_name=node, lost_events={"source": source, "num_events_lost": count})
    message.time.FromNanoseconds(time_ns)
    return message


def node_status(
    state: str, *nodes: str, message: str = "", relay: str = "hubble-relay-1", time_ns: int = START_NS
) -> Any:
    """What the relay says of its nodes; `state` is a name of NodeState."""
    status = {"state_change": state, "node_names": nodes, "message": message}
    made = GetFlowsResponse(node_name=relay, node_status=status)
    made.time.FromNanoseconds(time_ns)
    return made


def of_the_future(flow: Any) -> Any:
    """`flow` with enum values and fields that this version does not know."""
    flow.verdict, flow.drop_reason_desc, flow.traffic_direction = 42, 250, 9
    flow.MergeFromString(_bytes_field(4711, b"a field of later"))
    flow.l7.MergeFromString(_bytes_field(4712, b"another"))
    flow.l7.dns.MergeFromString(_bytes_field(4713, b"and another"))
    return flow


def unknown_response() -> bytes:
    """A GetFlowsResponse with a oneof member of a newer server: none that this version knows is set."""
    return _bytes_field(77, b"something new") + GetFlowsResponse(node_name="kdns-n1").SerializeToString()


def large(flow: Any, size_bytes: int) -> Any:
    """`flow` made `size_bytes` longer by a field that nobody knows."""
    flow.MergeFromString(_bytes_field(4711, b"x" * size_bytes))
    return flow


def enveloped(flow: Any) -> Any:
    """The GetFlowsResponse that an agent makes of a flow; node name and time are the flow's."""
    message = GetFlowsResponse(flow=flow, node_name=flow.node_name)
    if flow.HasField("time"):
        message.time.CopyFrom(flow.time)
    return message


def seen_ns(flow: Any) -> int:
    """When the flow was seen, in ns since 1970."""
    return int(flow.time.seconds * 1_000_000_000 + flow.time.nanos)


def ports_of(flow: Any) -> Any:
    """The message with source_port and destination_port."""
    return getattr(flow.l4, flow.l4.WhichOneof("protocol"))


def json_line(message: Message) -> str:
    """A GetFlowsResponse as `hubble observe -o jsonpb` prints it, or a bare Flow (legacy); no newline."""
    return json.dumps(json_fields(message), ensure_ascii=False, separators=(",", ":"))


def json_fields(message: Message) -> dict[str, Any]:
    """protojson with the names of the proto, of a message of this schema or of kdns's, or of a Flow."""
    if message.DESCRIPTOR.name == "GetFlowsResponse":
        message = as_schema(GetFlowsResponse, message)
    fields: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return fields


def json_lines(messages: Iterable[Any]) -> str:
    """Flows and other messages as the text of a file that `hubble observe -o jsonpb` wrote."""
    return "".join(json_line(enveloped(m) if isinstance(m, Flow) else m) + "\n" for m in messages)


def _flow(client: Pod, server: Pod, port: int, protocol: str, verdict: str, at_ns: int) -> Any:
    flow = Flow(
        verdict=verdict,
        IP={"source": client.ip, "destination": server.ip, "ipVersion": 2 if ":" in client.ip else 1},
        l4={protocol: {"source_port": port, "destination_port": 53}},
        source=client.endpoint(client.node),
        destination=server.endpoint(client.node),
        node_name=client.node,
        node_labels=[f"kubernetes.io/hostname={client.node}", "kubernetes.io/os=linux"],
        traffic_direction="EGRESS",
    )
    _stamp(flow, at_ns)
    return flow


def _stamp(flow: Any, at_ns: int) -> None:
    flow.time.FromNanoseconds(at_ns)
    flow.uuid = str(uuid.UUID(int=next(_numbers)))


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
