"""What a record says in a few words: who asked whom, what came back, why it failed, what was lost."""

from __future__ import annotations

from functools import lru_cache

from msgspec import UNSET, UnsetType

from kubectl_kdns.model import (
    Answer,
    Client,
    Error,
    Insight,
    Lookup,
    Loss,
    Maybe,
    Message,
    Notice,
    Server,
    Upstream,
)
from kubectl_kdns.output.clock import Clock
from kubectl_kdns.times import format_duration

ABSENT = "-"
INFERRED = "~"  # behind a value that was concluded, not seen
DNS_PORT = 53
_MINUTE_MS = 60_000

_RCODE_TELLS_MORE = ("answered", "unwritten", ABSENT)  # than these words
_LOSS_REASONS = {
    "ring_full": "the agent's buffer was full",
    "log_rotated": "the log was rotated",
    "hubble_ring": "Hubble's ring buffer was overwritten",
    "queue": "the receiver's queue was full",
    "pairing_evicted": "too many queries were open at once",
    "rate_cap": "more than --max-rate",
    "disconnected": "the connection was down",
    "truncated": "cut off when it was recorded",
    "fragment": "IP fragments",
}

# Which ring, which queue: the backends' messages say it all.
_TOLD_IN_FULL = ("ring_full", "hubble_ring", "queue")


def address(ip: Maybe[str], port: Maybe[int]) -> str:
    """`10.0.0.10`, `10.0.0.10:5353`, `[fd00::a]:5353`: the port only where it is not DNS's own."""
    if ip is UNSET:
        return ABSENT
    if port is UNSET or port == DNS_PORT:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def client_name(client: Maybe[Client]) -> str:
    """`namespace/pod`, `node/NAME` and `nodelocal/NAME` for what is no pod or hides one, else the address."""
    if client is UNSET:
        return ABSENT
    if client.pod is not UNSET:
        return client.pod if client.namespace is UNSET else f"{client.namespace}/{client.pod}"
    if client.kind in ("node", "nodelocal"):
        return f"{client.kind}/{client.node or client.ip or ABSENT}"
    return client.ip or ABSENT


def server_name(server: Maybe[Server]) -> str:
    """The pod that answered where it is known, else the Service, else the address."""
    if server is UNSET:
        return ABSENT
    pod = server.pod if server.backend is UNSET else server.backend.pod or server.pod
    name = pod or server.service
    if not name:
        return address(server.ip, server.port)
    if server.namespace is UNSET or (pod and server.kind != "pod"):
        return name  # of CoreDNS, NodeLocal and what stands behind a Service the pod says enough
    return f"{server.namespace}/{name}"


def workload_name(client: Maybe[Client]) -> str:
    """`Deployment/cart`."""
    if client is UNSET or client.workload is UNSET:
        return ABSENT
    return f"{client.workload.kind}/{client.workload.name}"


def process_name(client: Maybe[Client]) -> str:
    """`python3[4711]`."""
    if client is UNSET or client.process is UNSET:
        return ABSENT
    process = client.process
    return (process.name or ABSENT) + ("" if process.pid is UNSET else f"[{process.pid}]")


@lru_cache(maxsize=8192)
def _duration(milliseconds: str) -> str:
    return format_duration(round(float(milliseconds) * 1_000_000))


def result(record: Lookup | Message) -> str:
    """The rcode of what was answered, else the status; a message is a `query` or has an rcode."""
    dns = record.dns
    rcode = UNSET if dns is UNSET else dns.rcode
    if isinstance(record, Message):
        word = record.direction or ABSENT
        shows_rcode = word == "response"
    else:
        word = record.status or ABSENT
        # An unwritten answer whose rcode was concluded, as from CoreDNS's error line, has one to show.
        shows_rcode = word in _RCODE_TELLS_MORE
    if shows_rcode and rcode:
        word, path = rcode, "dns.rcode"
    else:
        path = "status"
    return word + INFERRED if record.inferred and path in record.inferred else word


def latency(record: Lookup | Message) -> str:
    """`1.23ms`."""
    latency_ms = UNSET if isinstance(record, Message) else record.latency_ms
    if latency_ms is UNSET:
        return ABSENT
    # Three digits are what the text has; beyond a minute it has more.
    text = _duration(f"{latency_ms:.3g}" if latency_ms < _MINUTE_MS else str(latency_ms))
    return text + INFERRED if record.inferred and "latency_ms" in record.inferred else text


def detail(record: Lookup | Message) -> str:
    """Why it failed or what was answered, the most telling first: `2 tries, timeout 8.8.8.8: i/o timeout`."""
    parts: list[str] = []
    if type(record) is Lookup:
        if record.tries is not UNSET and record.tries > 1:
            parts.append(f"{record.tries} tries")
        if record.late is True:
            parts.append("late")
    if record.error is not UNSET:
        parts.append(_cause(record))
    elif type(record) is Lookup and record.status == "unwritten":
        parts.append("SERVFAIL or dropped")  # all that CoreDNS's `- - 0` says
    elif record.policy is not UNSET and record.policy.verdict not in (UNSET, "FORWARDED"):
        words = (record.policy.name, record.policy.verdict)
        parts.append(" ".join(["policy", *[word for word in words if word]]))
    dns = record.dns
    if dns is not UNSET:
        if dns.answers:
            parts.append(dns.answers[0].data if len(dns.answers) == 1 else _answers(dns.answers))
        elif dns.resolved_ips:
            parts.append(", ".join(dns.resolved_ips))
        elif dns.rcode == "NOERROR" and (
            dns.response_class == "denial" or (dns.answers == [] and dns.response_class is UNSET)
        ):
            parts.append("no data")
        if dns.flags and "tc" in dns.flags:
            parts.append("truncated")
    if record.error is UNSET and record.upstream is not UNSET:
        parts.append(f"via {address(record.upstream.ip, record.upstream.port)}")
    return ", ".join(parts)


def _answers(answers: list[Answer]) -> str:
    """The data, addresses before the aliases that lead to them."""
    data = [answer.data for answer in answers if answer.type != "CNAME"]
    return ", ".join(data + [f"CNAME {answer.data}" for answer in answers if answer.type == "CNAME"])


def _cause(record: Lookup | Message) -> str:
    error, upstream = record.error, record.upstream
    assert not isinstance(error, UnsetType)
    words = [] if error.type == "other" and error.message else [error.type.replace("_", " ")]
    if upstream is not UNSET:
        words.append(address(upstream.ip, upstream.port))
    if record.policy is not UNSET and record.policy.name:
        words.append(f"by {record.policy.name}")
    text = " ".join(words)
    if not error.message:
        return text
    return f"{text}: {error.message}" if text else error.message


def loss_line(loss: Loss, clock: Clock) -> str:
    """`lost: 12 lines of coredns on n1: the log was rotated, between 10:00:01.200 and 10:00:04.900`."""
    return f"lost: {loss_amount(loss)}{_where(loss)}{_why(loss)}{_when(loss, clock)}"


def loss_amount(loss: Loss) -> str:
    unit = loss.unit or "events"
    if loss.count is UNSET:
        return f"an unknown number of {unit}"
    return f"{loss.count:,} {unit.removesuffix('s') if loss.count == 1 else unit}"


def _where(record: Loss | Notice) -> str:
    return (f" of {record.backend}" if record.backend else "") + (f" on {record.node}" if record.node else "")


def _why(loss: Loss) -> str:
    reason = _LOSS_REASONS.get(loss.reason, loss.reason.replace("_", " ")) if loss.reason else ""
    if loss.message and loss.reason in _TOLD_IN_FULL:
        reason = ""
    return "".join(f": {words}" for words in (reason, loss.message) if words)


def _when(loss: Loss, clock: Clock) -> str:
    if loss.from_ and loss.from_ == loss.until:
        return f", at {clock.text(loss.from_)}"
    if loss.from_ and loss.until:
        return f", between {clock.text(loss.from_)} and {clock.text(loss.until)}"
    if loss.from_:
        return f", from {clock.text(loss.from_)} on"
    return f", until {clock.text(loss.until)}" if loss.until else ""


def error_text(error: Maybe[Error], upstream: Maybe[Upstream]) -> str:
    """`timeout 8.8.8.8: i/o timeout`; "" where there was none."""
    if not error:
        return ""
    to = f" {address(upstream.ip, upstream.port)}" if upstream else ""
    message = f": {error.message}" if error.message else ""
    return f"{error.type.replace('_', ' ')}{to}{message}"


def insight_text(insight: Insight) -> str:
    """`insight: never found: paymnets (12)`, with an example, and below it what to do."""
    example = f" (such as {insight.example})" if insight.example else ""
    fix = f"\n  try: {insight.fix}" if insight.fix else ""
    return f"insight: {insight.message}{example}{fix}"


def notice_line(notice: Notice) -> str:
    """`notice: coredns-5d78c9869d-x2x4v restarted`; the code where there are no words."""
    return f"notice: {notice.message or notice.code or ABSENT}"
