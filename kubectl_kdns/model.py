"""The schema kdns/v1: the records that every backend makes and every output prints (DESIGN section 4).

Absent means unknown and is `UNSET`: it is left out of every output. An empty list means known to be empty.
Times are RFC 3339 UTC with nine decimals, so that they compare as text. Durations are milliseconds made
from integer nanoseconds. Names are lower case, without the trailing dot; all text that came from a network
has been through `kubectl_kdns.dns.names.safe_text` before it gets here.

`fields.py` has one row for every leaf of these classes; a test holds the two together.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar

from msgspec import UNSET, Struct, UnsetType, field

API_VERSION = "kdns/v1"

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType

HOPS = ("client", "nodelocal", "coredns")
SERVERS = frozenset(HOPS[1:])
"""The hops, and kinds of endpoints, that are DNS servers of the cluster."""
SIDES = ("client", "server", "proxy")
STATUSES = ("answered", "unanswered", "unwritten", "denied", "pending")
TRANSPORTS = ("udp", "tcp", "tls", "https", "quic")
ENDPOINT_KINDS = ("pod", "service", "node", "nodelocal", "coredns", "external", "unknown")
RESPONSE_CLASSES = ("success", "denial", "error")
ERROR_TYPES = ("timeout", "refused", "network", "policy_denied", "malformed", "other")
LOSS_REASONS = (
    "ring_full",
    "log_rotated",
    "hubble_ring",
    "queue",
    "pairing_evicted",
    "rate_cap",
    "disconnected",
    "truncated",
    "malformed",
    "fragment",
    "tcp_gap",
    "capture_drop",
)
WATCHING, FORWARDS, PROGRESS = "watching", "forwards", "progress"
"""Codes of notices that are for programs: what is watched, where DNS servers forward to, and until when all
of a node has been told (coverage.py)."""
OLDER = "older_than_last"
"""Of the counters of a summary: lookups that --last left out."""
LOSS_UNITS = ("messages", "lines", "flows")


class Workload(Struct, gc=False, frozen=True):
    """What a pod belongs to, as a person would name it: the Deployment, not its ReplicaSet."""

    kind: str
    name: str


class Process(Struct, gc=False):
    pid: Maybe[int] = UNSET
    name: Maybe[str] = UNSET
    exe: Maybe[str] = UNSET


class Client(Struct, gc=False):
    """Who asked. `ip` and `port` are as seen at the vantage point."""

    ip: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    kind: Maybe[str] = UNSET
    namespace: Maybe[str] = UNSET
    pod: Maybe[str] = UNSET
    pod_uid: Maybe[str] = UNSET
    container: Maybe[str] = UNSET
    container_id: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET
    node: Maybe[str] = UNSET
    process: Maybe[Process] = UNSET


class ServerBackend(Struct, gc=False):
    """What a Service address became."""

    ip: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    pod: Maybe[str] = UNSET
    node: Maybe[str] = UNSET


class Server(Struct, gc=False):
    """Who was asked. `ip` and `port` are as addressed by the client."""

    ip: Maybe[str] = UNSET
    port: Maybe[int] = UNSET
    kind: Maybe[str] = UNSET
    namespace: Maybe[str] = UNSET
    pod: Maybe[str] = UNSET
    service: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET
    node: Maybe[str] = UNSET
    backend: Maybe[ServerBackend] = UNSET


class Answer(Struct, gc=False, frozen=True):
    """One record of the answer section; `data` is presentation form (RFC 1035, 3597, 9460)."""

    name: str
    type: str
    ttl: Maybe[int] = UNSET
    data: str = ""  # always given; it has a default only because ttl, before it, may be absent


class Edns(Struct, gc=False, frozen=True):
    udp_size: int
    do: bool


class Dns(Struct, gc=False):
    """The DNS content of a lookup or a message (RFC 1035, 6891)."""

    id: Maybe[int] = UNSET
    opcode: Maybe[str] = UNSET
    name: Maybe[str] = UNSET
    type: Maybe[str] = UNSET
    class_: Maybe[str] = field(name="class", default=UNSET)
    rcode: Maybe[str] = UNSET
    response_class: Maybe[str] = UNSET
    flags: Maybe[list[str]] = UNSET
    answers: Maybe[list[Answer]] = UNSET
    resolved_ips: Maybe[list[str]] = UNSET
    query_bytes: Maybe[int] = UNSET
    response_bytes: Maybe[int] = UNSET
    edns: Maybe[Edns] = UNSET


class Upstream(Struct, gc=False):
    """Whom the server asked to answer this lookup."""

    ip: Maybe[str] = UNSET
    port: Maybe[int] = UNSET


class Error(Struct, gc=False):
    """Why a lookup failed, or why a message could not be read. `type` is one of ERROR_TYPES."""

    type: str
    message: Maybe[str] = UNSET


class Policy(Struct, gc=False):
    verdict: Maybe[str] = UNSET
    name: Maybe[str] = UNSET


class Socket(Struct, gc=False):
    cookie: Maybe[int] = UNSET
    netns: Maybe[int] = UNSET


class Lookup(Struct, gc=False):
    """A query with its response, or without, seen at one vantage point."""

    apiVersion: str = API_VERSION
    kind: Literal["lookup"] = "lookup"
    time: Maybe[str] = UNSET
    backend: Maybe[str] = UNSET
    node: Maybe[str] = UNSET
    hop: Maybe[str] = UNSET
    side: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    latency_ms: Maybe[float] = UNSET
    tries: Maybe[int] = UNSET
    late: Maybe[bool] = UNSET
    transport: Maybe[str] = UNSET
    inferred: Maybe[list[str]] = UNSET
    client: Maybe[Client] = UNSET
    server: Maybe[Server] = UNSET
    dns: Maybe[Dns] = UNSET
    upstream: Maybe[Upstream] = UNSET
    error: Maybe[Error] = UNSET
    policy: Maybe[Policy] = UNSET
    socket: Maybe[Socket] = UNSET
    raw: Maybe[str] = UNSET


class Message(Struct, gc=False):
    """One DNS query or response seen at one place; made only with --messages."""

    apiVersion: str = API_VERSION
    kind: Literal["message"] = "message"
    time: Maybe[str] = UNSET
    backend: Maybe[str] = UNSET
    node: Maybe[str] = UNSET
    hop: Maybe[str] = UNSET
    side: Maybe[str] = UNSET
    direction: Maybe[str] = UNSET
    transport: Maybe[str] = UNSET
    inferred: Maybe[list[str]] = UNSET
    client: Maybe[Client] = UNSET
    server: Maybe[Server] = UNSET
    dns: Maybe[Dns] = UNSET
    upstream: Maybe[Upstream] = UNSET
    error: Maybe[Error] = UNSET
    policy: Maybe[Policy] = UNSET
    socket: Maybe[Socket] = UNSET
    raw: Maybe[str] = UNSET


class Loss(Struct, gc=False):
    """Events known to be missing: how many (absent = unknown), or in which span of time."""

    apiVersion: str = API_VERSION
    kind: Literal["loss"] = "loss"
    time: Maybe[str] = UNSET
    backend: Maybe[str] = UNSET
    node: Maybe[str] = UNSET
    reason: Maybe[str] = UNSET
    unit: Maybe[str] = UNSET
    count: Maybe[int] = UNSET
    from_: Maybe[str] = field(name="from", default=UNSET)
    until: Maybe[str] = UNSET
    message: Maybe[str] = UNSET


class Notice(Struct, gc=False):
    """Something a reader of the stream should know; `code` is stable, `message` is for people."""

    apiVersion: str = API_VERSION
    kind: Literal["notice"] = "notice"
    time: Maybe[str] = UNSET
    backend: Maybe[str] = UNSET
    node: Maybe[str] = UNSET
    code: Maybe[str] = UNSET
    message: Maybe[str] = UNSET
    ports: Maybe[list[int]] = UNSET


class Sight(Struct, gc=False, frozen=True):
    """One place where a hop of a journey was seen. `latency_ms` is what was measured there."""

    backend: Maybe[str] = UNSET
    node: Maybe[str] = UNSET
    side: Maybe[str] = UNSET
    latency_ms: Maybe[float] = UNSET


class JourneyHop(Struct, gc=False):
    """One asker and one server on the way; `depth` is 0 for what the application asked. `network_ms` is the
    latency at the asker minus that at the server, `server_ms` what the server needed besides waiting for
    others: each of clocks of one node. `sure` says how it was joined: exact, unique or likely."""

    depth: int
    hop: Maybe[str] = UNSET
    sure: Maybe[str] = UNSET
    time: Maybe[str] = UNSET
    client: Maybe[Client] = UNSET
    server: Maybe[Server] = UNSET
    transport: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    rcode: Maybe[str] = UNSET
    tries: Maybe[int] = UNSET
    latency_ms: Maybe[float] = UNSET
    network_ms: Maybe[float] = UNSET
    server_ms: Maybe[float] = UNSET
    upstream: Maybe[Upstream] = UNSET
    error: Maybe[Error] = UNSET
    seen: list[Sight] = []


class Attempt(Struct, gc=False):
    """One lookup of an application with all its hops. `apart` counts lookups that belong to this or to
    another one, which cannot be known."""

    time: Maybe[str] = UNSET
    name: Maybe[str] = UNSET
    type: Maybe[str] = UNSET
    status: Maybe[str] = UNSET
    rcode: Maybe[str] = UNSET
    latency_ms: Maybe[float] = UNSET
    resolved_ips: Maybe[list[str]] = UNSET
    code: Maybe[str] = UNSET
    conclusion: Maybe[str] = UNSET
    apart: int = 0
    hops: list[JourneyHop] = []


class Journey(Struct, gc=False):
    """A request as the application made it: one name, its types, its search list, and where each went.

    `code` is stable, `conclusion` is the sentence for people.
    """

    apiVersion: str = API_VERSION
    kind: Literal["journey"] = "journey"
    time: Maybe[str] = UNSET
    name: Maybe[str] = UNSET
    types: list[str] = []
    client: Maybe[Client] = UNSET
    status: Maybe[str] = UNSET
    rcode: Maybe[str] = UNSET
    latency_ms: Maybe[float] = UNSET
    resolved_ips: Maybe[list[str]] = UNSET
    code: Maybe[str] = UNSET
    conclusion: Maybe[str] = UNSET
    attempts: list[Attempt] = []


class LastError(Struct, gc=False, frozen=True):
    time: Maybe[str] = UNSET
    message: Maybe[str] = UNSET


class UpstreamHealth(Struct, gc=False, kw_only=True):
    """What one DNS server of the cluster asked one upstream in a span of time, and what came of it.

    `latency_ms` has p50, p95, p99 and max of what was answered.
    """

    apiVersion: str = API_VERSION
    kind: Literal["upstream"] = "upstream"
    time: Maybe[str] = UNSET
    duration_ms: Maybe[float] = UNSET
    server: Maybe[str] = UNSET
    hop: Maybe[str] = UNSET
    upstream: Maybe[Upstream] = UNSET
    configured: Maybe[str] = UNSET
    queries: int
    tries: int
    unanswered: int
    tcp: int
    checks: int
    rcodes: dict[str, int]
    latency_ms: dict[str, float]
    last_error: Maybe[LastError] = UNSET


class Insight(Struct, gc=False, kw_only=True):
    """A pattern in what was shown: `count` lookups of `total` have it; `code` is stable."""

    apiVersion: str = API_VERSION
    kind: Literal["insight"] = "insight"
    time: Maybe[str] = UNSET
    code: str
    message: str
    count: int
    total: int
    example: Maybe[str] = UNSET
    fix: Maybe[str] = UNSET


class NameCount(Struct, gc=False, frozen=True):
    name: str
    count: int


class SlowLookup(Struct, gc=False, frozen=True, kw_only=True):
    name: Maybe[str] = UNSET
    type: Maybe[str] = UNSET
    latency_ms: float
    client: Maybe[str] = UNSET
    time: Maybe[str] = UNSET


class Group(Struct, gc=False, kw_only=True):
    """The figures of one backend, hop and side: sightings of different places are never added up.

    `latency_ms` has p50, p95, p99 and max; `distinct_names` is absent when there were too many to remember.
    """

    backend: Maybe[str] = UNSET
    hop: Maybe[str] = UNSET
    side: Maybe[str] = UNSET
    lookups: int
    statuses: dict[str, int]
    rcodes: dict[str, int]
    latency_ms: dict[str, float]
    top_names: list[NameCount]
    top_clients: list[NameCount]
    slowest: list[SlowLookup]
    distinct_names: Maybe[int] = UNSET


class Summary(Struct, gc=False):
    """What a run saw, at its end: seen = shown + filtered; loss is counted by backend and reason."""

    apiVersion: str = API_VERSION
    kind: Literal["summary"] = "summary"
    time: Maybe[str] = UNSET
    duration_ms: Maybe[float] = UNSET
    seen: int = 0
    shown: int = 0
    filtered: int = 0
    pending: int = 0
    groups: list[Group] = []
    loss: list[Loss] = []
    counters: dict[str, int] = {}


Record = Lookup | Message | Loss | Notice | Journey | UpstreamHealth | Insight | Summary
RECORD_TYPES: dict[str, type[Record]] = {
    "lookup": Lookup,
    "message": Message,
    "loss": Loss,
    "notice": Notice,
    "journey": Journey,
    "upstream": UpstreamHealth,
    "insight": Insight,
    "summary": Summary,
}
