"""What kdns reads of one Hubble response, the same for protobuf and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import UNSET, Struct

from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import name_of_text, safe_text
from kubectl_kdns.dns.tables import rcode_name
from kubectl_kdns.model import Answer, Maybe, Workload

MAX_BYTES = 1 << 20
"""No response is larger: a DNS message has 64 KiB, and Hubble tells its answers twice."""

NO_TTL = 0xFFFFFFFF
"""What Hubble gives as `ttl` of an answer without A, AAAA and CNAME."""

UNKNOWN_TYPE = "Unknown"
"""What Hubble calls the types that its DNS library has no name for: CAA, TLSA, DS, NAPTR, ANY."""

POLICY_VERDICT = 5
"""The event type of a policy's verdict on a packet; the drop that may follow is an event of its own."""

_MAX_TIME_NS = 253_402_300_799_999_999_999  # the year 9999
_IN_FULL = frozenset({"A", "AAAA", "CNAME"})


class Peer(Struct, gc=False, frozen=True):
    """One end of a flow, as far as Hubble knows it."""

    namespace: Maybe[str] = UNSET
    pod: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET


class Drop(Struct, gc=False, frozen=True):
    """What Cilium tells of a drop. `reason` is the enum's name, "" of what the DNS proxy rejects itself;
    `policy` is named only where one denies explicitly. `at_server`: it happened at the destination's end."""

    reason: str
    policy: Maybe[str]
    is_verdict: bool
    at_server: bool


class Flow(Struct, gc=False):
    """One flow. `verdict` is the enum's name; `dns` is absent for packets.

    A response's source is the server, so its ends are turned round: `client` is who asked. Addresses and
    ports are "" and 0 where the flow has none. `raw` is the response as it came, if wanted.
    """

    time_ns: int
    node: str
    uuid: str
    verdict: str
    transport: str
    client_ip: str
    client_port: int
    client: Peer
    server_ip: str
    server_port: int
    server: Peer
    dns: DecodedMessage | None
    drop: Drop | None
    raw: bytes | str


class NodeStatus(Struct):
    """A change of what the relay is connected to; `state` is the enum's name."""

    time_ns: int
    state: str
    nodes: tuple[str, ...]
    message: str


class Lost(Struct):
    """Flows that a node lost; `source` is the enum's name."""

    time_ns: int
    node: str
    source: str
    count: int


class Unread(Struct):
    """A response that is none of these (a newer server), or is broken: `reason` says which."""

    reason: str


Response: TypeAlias = Flow | NodeStatus | Lost | Unread

TOO_LARGE = Unread(f"larger than {MAX_BYTES} bytes")
UNKNOWN = Unread("of a kind that this kdns does not know")


def broken(error: Exception) -> Unread:
    return Unread(f"broken: {safe_text(str(error)[:200])}")


def known_time(time_ns: int) -> int:
    """0, that is unknown, for what is no time since 1970 with a year of four digits."""
    return time_ns if 0 <= time_ns <= _MAX_TIME_NS else 0


def node_name(text: str) -> str:
    """A node's own name: Hubble puts its cluster's before it ("default/worker-1")."""
    return safe_text(text.rpartition("/")[2])


def policy_name(namespace: str, name: str) -> Maybe[str]:
    """A policy as kubectl would be asked for it; one for the whole cluster has no namespace."""
    return safe_text(f"{namespace}/{name}" if namespace else name) or UNSET


def peer(namespace: str, pod: str, workload: tuple[str, str] | None) -> Peer:
    """`workload` is kind and name."""
    return Peer(
        safe_text(namespace) or UNSET,
        safe_text(pod) or UNSET,
        Workload(safe_text(workload[0]), safe_text(workload[1])) if workload else UNSET,
    )


def question(query: str, types: Sequence[str]) -> DecodedMessage:
    """A request's content. No id, class, flags or sizes are known."""
    return DecodedMessage(0, name=_name(query), type=_type(types))


def response(
    query: str,
    types: Sequence[str],
    *,
    rcode: int,
    ips: Sequence[str],
    cnames: Sequence[str],
    ttl: int,
    rrtypes: Sequence[str],
) -> DecodedMessage:
    """A response's content, with the answers where Hubble tells them in full (A, AAAA and CNAME)."""
    message = DecodedMessage(
        0, is_response=True, rcode=rcode_name(rcode), name=_name(query), type=_type(types)
    )
    if rcode:
        message.response_class = "denial" if message.rcode == "NXDOMAIN" else "error"
    else:
        message.response_class = "success" if rrtypes else "denial"
    addresses = [safe_text(ip) for ip in ips]
    message.answers = _answers(message.name, addresses, cnames, UNSET if ttl == NO_TTL else ttl, rrtypes)
    if message.answers is not UNSET or addresses:
        message.resolved_ips = addresses
    return message


def refused(query: DecodedMessage) -> DecodedMessage:
    """The response that Cilium's proxy makes itself, and Hubble does not show."""
    return DecodedMessage(
        0, is_response=True, rcode="REFUSED", response_class="error", name=query.name, type=query.type
    )


def _name(text: str) -> Maybe[str]:
    return name_of_text(text) if text else UNSET


def _type(texts: Sequence[str]) -> Maybe[str]:
    return safe_text(texts[0]) if texts and texts[0] != UNKNOWN_TYPE and texts[0] else UNSET


def _answers(
    name: Maybe[str], ips: Sequence[str], cnames: Sequence[str], ttl: Maybe[int], rrtypes: Sequence[str]
) -> Maybe[list[Answer]]:
    """The chain of names and the addresses of its end: Cilium lets pass only answers in this order, each of
    the name before. Of the TTLs it tells the lowest."""
    if name is UNSET or not _IN_FULL.issuperset(rrtypes):
        return UNSET
    if rrtypes.count("CNAME") != len(cnames) or len(rrtypes) != len(cnames) + len(ips):
        return UNSET
    answers = []
    next_ip, next_cname = iter(ips), iter(cnames)
    for type_ in rrtypes:
        if type_ == "CNAME":
            target = name_of_text(next(next_cname))
            answers.append(Answer(name, type_, ttl, target))
            name = target
        else:
            answers.append(Answer(name, type_, ttl, next(next_ip)))
    return answers
