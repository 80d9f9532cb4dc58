"""What kdns reads of one Hubble response, the same for protobuf and for JSON."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import UNSET, Struct

from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.dns.names import name_of_text, safe_text
from kubectl_kdns.dns.tables import rcode_name
from kubectl_kdns.model import Answer, Maybe, Workload

NO_TTL = 0xFFFFFFFF
"""What Hubble gives as `ttl` of an answer without A, AAAA and CNAME."""

UNKNOWN_TYPE = "Unknown"
"""What Hubble calls the types that its DNS library has no name for: CAA, TLSA, DS, NAPTR, ANY."""

_IN_FULL = frozenset({"A", "AAAA", "CNAME"})


class Peer(Struct, gc=False, frozen=True):
    """One end of a flow, as far as Hubble knows it."""

    namespace: Maybe[str] = UNSET
    pod: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET


class Flow(Struct, gc=False):
    """One flow. `verdict` and `reason` (of a drop) are the enums' names; `dns` is absent for packets.

    Addresses and ports are "" and 0 where the flow has none. `raw` is the response as it came.
    """

    time_ns: int
    node: str
    uuid: str
    verdict: str
    reason: str
    transport: str
    source_ip: str
    source_port: int
    source: Peer
    destination_ip: str
    destination_port: int
    destination: Peer
    dns: DecodedMessage | None
    policy: Maybe[str]
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


def node_name(text: str) -> str:
    """A node's own name: Hubble puts its cluster's before it ("default/worker-1")."""
    return safe_text(text.rpartition("/")[2])


def policy_name(namespace: str, name: str) -> str:
    """A policy as kubectl would be asked for it; one for the whole cluster has no namespace."""
    return safe_text(f"{namespace}/{name}" if namespace else name)


def question(query: str, type_: str) -> DecodedMessage:
    """A request's content. No id, class, flags or sizes are known."""
    return DecodedMessage(0, name=name_of_text(query), type=_type(type_))


def response(
    query: str,
    type_: str,
    *,
    rcode: int,
    ips: tuple[str, ...],
    cnames: tuple[str, ...],
    ttl: int,
    rrtypes: tuple[str, ...],
) -> DecodedMessage:
    """A response's content, with the answers where Hubble tells them in full (A, AAAA and CNAME)."""
    name = name_of_text(query)
    message = DecodedMessage(0, is_response=True, rcode=rcode_name(rcode), name=name, type=_type(type_))
    if rcode:
        message.response_class = "denial" if message.rcode == "NXDOMAIN" else "error"
    else:
        message.response_class = "success" if rrtypes else "denial"
    if _IN_FULL.issuperset(rrtypes):
        message.answers = _answers(name, ips, cnames, UNSET if ttl == NO_TTL else ttl)
    if message.answers is not UNSET or ips:
        message.resolved_ips = [safe_text(ip) for ip in ips]
    return message


def _type(text: str) -> Maybe[str]:
    return safe_text(text) if text and text != UNKNOWN_TYPE else UNSET


def _answers(name: str, ips: tuple[str, ...], cnames: tuple[str, ...], ttl: Maybe[int]) -> list[Answer]:
    """The chain of names, then the addresses of its end; Hubble tells one TTL, the lowest."""
    answers = []
    for cname in cnames:
        target = name_of_text(cname)
        answers.append(Answer(name, "CNAME", ttl, target))
        name = target
    return answers + [Answer(name, "AAAA" if ":" in ip else "A", ttl, safe_text(ip)) for ip in ips]
