"""The field dictionary: one row for every field that a filter, a column, the JSON Schema or the docs name.

A path is the JSON path in a `lookup` (and `message`) record. Types are `string`, `int`, `double`, `bool`,
`list<string>` and `list<answer>`; `unit` is what a number counts. `values` lists what a closed set may hold
(open sets such as rcodes have none). `backends` says who fills the field; `directory` marks those that are
named from the Kubernetes API after the event was read. `ecs` is the name in Elastic Common Schema 8,
`otel` in OpenTelemetry's semantic conventions; "" where they have none.
"""

from __future__ import annotations

from dataclasses import dataclass

from kubectl_kdns import model

ALL = ("coredns", "hubble", "ebpf", "replay")


@dataclass(frozen=True, slots=True)
class Field:
    path: str
    type: str
    meaning: str
    unit: str = ""
    backends: tuple[str, ...] = ALL
    values: tuple[str, ...] = ()
    ecs: str = ""
    otel: str = ""
    directory: bool = False


def _endpoint(side: str, who: str) -> tuple[Field, ...]:
    return (
        Field(f"{side}.ip", "string", f"address of {who}, as seen there", ecs=f"{side}.ip", otel=f"{side}.address"),
        Field(f"{side}.port", "int", f"port of {who}", ecs=f"{side}.port", otel=f"{side}.port"),
        Field(f"{side}.kind", "string", f"what {who} is", values=model.ENDPOINT_KINDS, directory=True),
        Field(f"{side}.namespace", "string", f"namespace of {who}", ecs="orchestrator.namespace" if side == "client" else "", otel="k8s.namespace.name" if side == "client" else "", directory=True),
        Field(f"{side}.pod", "string", f"pod name of {who}", ecs="orchestrator.resource.name" if side == "client" else "", otel="k8s.pod.name" if side == "client" else "", directory=True),
    )  # fmt: skip


def _workload(side: str, who: str) -> tuple[Field, ...]:
    return (
        Field(f"{side}.workload.kind", "string", f"kind of what the pod of {who} belongs to: Deployment, not ReplicaSet", directory=True),
        Field(f"{side}.workload.name", "string", f"name of what the pod of {who} belongs to", directory=True),
        Field(f"{side}.node", "string", f"node of {who}", otel="k8s.node.name" if side == "client" else "", directory=True),
    )  # fmt: skip


FIELDS: tuple[Field, ...] = (
    Field("time", "string", "when the query was seen", unit="RFC 3339 UTC, nanoseconds", ecs="@timestamp", otel="Timestamp"),
    Field("backend", "string", "the backend that saw it", ecs="event.provider"),
    Field("node", "string", "the node where it was seen", ecs="host.name", otel="k8s.node.name", directory=True),
    Field("hop", "string", "who asks: any program (client), NodeLocal DNSCache, or CoreDNS", values=model.HOPS, directory=True),
    Field("side", "string", "at which end it was seen; latency at the server excludes the network to the client", values=model.SIDES),
    Field("status", "string", "unwritten: the server wrote no answer that the log could see (SERVFAIL or dropped)", values=model.STATUSES),
    Field("latency_ms", "double", "from the (first) query to the response, at this side", unit="ms", ecs="event.duration"),
    Field("tries", "int", "transmissions of the query", unit="messages", backends=("hubble", "ebpf", "replay")),
    Field("late", "bool", "the response came after the client had given up", backends=("hubble", "ebpf", "replay")),
    Field("transport", "string", "what carried it", values=model.TRANSPORTS, ecs="network.transport", otel="network.transport"),
    Field("inferred", "list<string>", "paths of fields that were concluded, not seen"),
    *_endpoint("client", "who asked"),
    Field("client.pod_uid", "string", "UID of the pod that asked", otel="k8s.pod.uid", directory=True),
    Field("client.container", "string", "container that asked", backends=("ebpf",), ecs="container.name", otel="k8s.container.name"),
    Field("client.container_id", "string", "id of the container that asked", backends=("ebpf",), ecs="container.id", otel="container.id"),
    *_workload("client", "who asked"),
    Field("client.process.pid", "int", "process id on the node", backends=("ebpf",), ecs="process.pid", otel="process.pid"),
    Field("client.process.name", "string", "name of the process", backends=("ebpf",), ecs="process.name", otel="process.command"),
    Field("client.process.exe", "string", "path of the executable", backends=("ebpf",), ecs="process.executable", otel="process.executable.path"),
    *_endpoint("server", "who was asked"),
    Field("server.service", "string", "Service that the address belongs to", directory=True),
    *_workload("server", "who was asked"),
    Field("server.backend.ip", "string", "address that a Service address became", backends=("hubble", "ebpf")),
    Field("server.backend.port", "int", "port that a Service address became", backends=("hubble", "ebpf")),
    Field("server.backend.pod", "string", "pod that a Service address became", backends=("hubble", "ebpf"), directory=True),
    Field("server.backend.node", "string", "node of the pod that a Service address became", backends=("hubble", "ebpf"), directory=True),
    Field("dns.id", "int", "message id", backends=("coredns", "ebpf", "replay"), ecs="dns.id"),
    Field("dns.opcode", "string", "QUERY, NOTIFY, ... ; unknown ones are OPCODE7", backends=("coredns", "ebpf", "replay"), ecs="dns.op_code"),
    Field("dns.name", "string", "name asked for, lower case, no trailing dot; the root is \".\"", ecs="dns.question.name", otel="dns.question.name"),
    Field("dns.type", "string", "type asked for: A, AAAA, HTTPS, ...; unknown ones are TYPE65280", ecs="dns.question.type"),
    Field("dns.class", "string", "class asked for: IN, CH, ...; unknown ones are CLASS77", backends=("coredns", "ebpf", "replay"), ecs="dns.question.class"),
    Field("dns.rcode", "string", "response code: NOERROR, NXDOMAIN, SERVFAIL, ...; unknown ones are RCODE23", ecs="dns.response_code"),
    Field("dns.response_class", "string", "CoreDNS's class of the response: denial is NXDOMAIN or NODATA", values=model.RESPONSE_CLASSES),
    Field("dns.flags", "list<string>", "header flags of the response (of the query when there is none): qr aa tc rd ra z ad cd", backends=("coredns", "hubble", "ebpf", "replay"), ecs="dns.header_flags"),
    Field("dns.answers", "list<answer>", "answer section: name, type, ttl (s), data", backends=("hubble", "ebpf", "replay"), ecs="dns.answers", otel="dns.answers"),
    Field("dns.resolved_ips", "list<string>", "addresses in the answer", backends=("hubble", "ebpf", "replay"), ecs="dns.resolved_ip"),
    Field("dns.query_bytes", "int", "size of the query", unit="bytes", backends=("coredns", "ebpf", "replay"), ecs="source.bytes"),
    Field("dns.response_bytes", "int", "size of the response", unit="bytes", backends=("coredns", "ebpf", "replay"), ecs="destination.bytes"),
    Field("dns.edns.udp_size", "int", "UDP payload size that the client offers", unit="bytes", backends=("coredns", "ebpf", "replay")),
    Field("dns.edns.do", "bool", "the client wants DNSSEC records", backends=("coredns", "ebpf", "replay")),
    Field("upstream.ip", "string", "whom the server asked in turn", backends=("coredns",)),
    Field("upstream.port", "int", "port of whom the server asked in turn", backends=("coredns",)),
    Field("error.type", "string", "why it failed", values=model.ERROR_TYPES, ecs="error.type", otel="error.type"),
    Field("error.message", "string", "the cause in the words of who saw it", ecs="error.message", otel="error.message"),
    Field("policy.verdict", "string", "what a network policy decided", backends=("hubble",)),
    Field("policy.name", "string", "the policy that decided", backends=("hubble",)),
    Field("socket.cookie", "int", "the kernel's id of the socket", backends=("ebpf",)),
    Field("socket.netns", "int", "the kernel's id of the network namespace", backends=("ebpf",)),
    Field("raw", "string", "the line or message as it came (with --raw), made safe", ecs="event.original"),
)  # fmt: skip

MESSAGE_FIELDS: tuple[Field, ...] = (
    Field("direction", "string", "query or response (records of kind message)", values=("query", "response")),
)

BY_PATH: dict[str, Field] = {field.path: field for field in FIELDS + MESSAGE_FIELDS}
