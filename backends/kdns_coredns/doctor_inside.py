"""Asks DNS servers and upstreams from within pods and nodes that agents have entered (`doctor --active`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from random import SystemRandom
from typing import Any, TypeVar

from msgspec import Struct

from kdns_coredns.doctor_facts import (
    LARGE_TCP,
    LARGE_UDP,
    NODELOCAL,
    TCP,
    UDP,
    CorefileFacts,
    InsideFacts,
    PathFacts,
    UpstreamFacts,
    dns_ports,
    pod_target,
)
from kdns_coredns.forwards import forwards_of
from kdns_coredns.pods import CorednsPod
from kubectl_kdns.backend import Forward
from kubectl_kdns.doctor import ClusterFacts, Target, Unread
from kubectl_kdns.doctor.facts import dns_service
from kubectl_kdns.doctor.inside import Inside
from kubectl_kdns.doctor.parallel import each
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.resolver import DNS_PORT, Question, Reply, ResolvConf, Transport, question

MAX_NODES, MAX_SERVERS, MAX_UPSTREAMS = 10, 20, 30
TIMEOUT_S, TRIES = 2.0, 2
CONNECT_S = 3.0
"""The agent's: connections are made one after the other."""
PADDED_UDP_BYTES, PADDED_TCP_BYTES = 512, 1700
"""CoreDNS returns the padding of a question, and reads no longer one by UDP."""
RESOLV_CONF = "/etc/resolv.conf"


T = TypeVar("T")


class Server(Struct, frozen=True):
    target: Target
    address: str
    port: int
    node: str = ""
    """Only from there."""


class Asker(Struct, frozen=True):
    """A pod that serves DNS, or a node."""

    target: Target
    node: str
    pod: CorednsPod | None = None


def nodes_of(pods: Sequence[CorednsPod], facts: ClusterFacts, options: Mapping[str, Any]) -> list[str]:
    """Those of CoreDNS pods and, up to MAX_NODES, others; with --agent-node only what it names."""
    ready = [] if isinstance(facts.nodes, Unread) else sorted(n.name for n in facts.nodes if n.ready)
    own = sorted({pod.node for pod in pods if pod.ready and pod.kind != NODELOCAL})
    globs: Sequence[str] = options.get("agent_node") or ()
    if globs:
        names = dict.fromkeys([*own, *ready])
        return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]
    return list(dict.fromkeys([*own, *ready]))[:MAX_NODES]


def ask_inside(
    inside: Inside,
    nodes: Sequence[str],
    pods: Sequence[CorednsPod],
    corefiles: Sequence[CorefileFacts],
    facts: ClusterFacts,
    name: str,
    type_: str,
) -> InsideFacts:
    """From every DNS pod on `nodes`, and from each of these without NodeLocal DNSCache, all servers and
    upstreams. The agents watch already."""
    pods = [pod for pod in pods if pod.ready]
    servers = _servers(pods, corefiles, facts)
    forwards = {
        pod.uid: forwards_of(one.corefile, pod.kind, str(one.target))
        for one in corefiles
        if not isinstance(one.corefile, Unread)
        for pod in one.pods
    }

    def ask(asker: Asker) -> list[PathFacts] | Unread:
        return _inside(inside, asker, lambda way, _: _ask_servers(asker, way, servers, name, type_))

    def ask_upstreams(asker: Asker) -> list[UpstreamFacts] | Unread:
        pod = asker.pod
        own = forwards.get(pod.uid) if pod else None
        if not pod or not own:
            return []
        return _inside(inside, asker, lambda way, conf: _ask_upstreams(pod, way, own, conf))

    askers = _askers(nodes, pods)
    paths = each(ask, askers)
    # From sockets of their own: an agent has so many, and each keeps its server.
    upstreams = each(ask_upstreams, askers)
    return InsideFacts(
        paths=tuple(path for found in paths if isinstance(found, list) for path in found),
        upstreams=tuple(one for found in upstreams if isinstance(found, list) for one in found),
        not_entered=tuple(
            {
                asker.target: (asker.target, why)
                for asker, why in zip([*askers, *askers], [*paths, *upstreams], strict=True)
                if isinstance(why, Unread)
            }.values()
        ),
        nodes=len(nodes),
        all_nodes=len(nodes) if isinstance(facts.nodes, Unread) else len(facts.nodes),
    )


def _inside(
    inside: Inside, asker: Asker, ask: Callable[[Transport, ResolvConf], list[T]]
) -> list[T] | Unread:
    """What is asked from there, or why nothing could be."""
    try:
        with inside.enter(asker.node, asker.pod.uid if asker.pod else "") as (transport, conf):
            return ask(transport, conf)
    except KdnsError as error:
        return Unread.of(error)


def _servers(
    pods: Sequence[CorednsPod], corefiles: Sequence[CorefileFacts], facts: ClusterFacts
) -> list[Server]:
    ports = dns_ports(corefiles)
    found = [
        Server(pod_target(pod), address, ports[pod.uid], pod.node if pod.kind == NODELOCAL else "")
        for pod in pods
        for address in (pod.addresses if pod.kind == NODELOCAL else (pod.ip,))
        if address
    ]
    service = None if isinstance(facts.services, Unread) else dns_service(facts, facts.services)
    by_service = [Server(service.target, ip, DNS_PORT) for ip in service.ips] if service else []
    return [*by_service, *found][:MAX_SERVERS]


def _askers(nodes: Sequence[str], pods: Sequence[CorednsPod]) -> list[Asker]:
    own = [pod for pod in pods if pod.node in nodes]
    cached = {pod.node for pod in own if pod.kind == NODELOCAL}
    return [
        *(Asker(pod_target(pod), pod.node, pod) for pod in own),
        *(Asker(Target("node", node), node) for node in nodes if node not in cached),
    ]


def _ask_servers(
    asker: Asker, transport: Transport, servers: Sequence[Server], name: str, type_: str
) -> list[PathFacts]:
    paths: list[PathFacts] = []
    mine = [server for server in servers if server.node in ("", asker.node)]
    for ways in (((UDP, 0), (LARGE_UDP, PADDED_UDP_BYTES)), ((TCP, 0), (LARGE_TCP, PADDED_TCP_BYTES))):
        over_tcp = ways[0][0] == TCP
        asked = [(server, way, padded) for server in mine for way, padded in ways]
        ids = SystemRandom().sample(range(65536), len(asked))
        questions = [
            question(
                name,
                type_,
                id_,
                server.address,
                port=server.port,
                over_tcp=over_tcp,
                edns=True,
                padded_to=padded,
            )
            for id_, (server, _, padded) in zip(ids, asked, strict=True)
        ]
        replies = _exchange(transport, questions)
        paths += [
            PathFacts(asker.target, server.target, way, reply)
            for (server, way, _), reply in zip(asked, replies, strict=True)
        ]
    return paths


def _ask_upstreams(
    pod: CorednsPod, transport: Transport, forwards: Sequence[Forward], conf: ResolvConf
) -> list[UpstreamFacts]:
    told: list[UpstreamFacts] = []
    asked: list[tuple[Forward, str]] = []
    for forward in forwards:
        for address in conf.nameservers if forward.to == RESOLV_CONF else (forward.to,):
            problem = _not_asked(forward, address)
            if not problem and len(asked) == MAX_UPSTREAMS:
                problem = f"{MAX_UPSTREAMS} others were"
            if problem:
                told.append(UpstreamFacts(pod, forward, address, problem=problem))
            else:
                asked.append((forward, address))
    ids = SystemRandom().sample(range(65536), len(asked))
    by_way: list[list[Reply]] = []
    for over_tcp in (False, True):
        questions = [
            # What CoreDNS itself asks for to learn whether an upstream is well (plugin/forward, health.go).
            question(forward.zone, "NS", id_, address, port=forward.port, over_tcp=over_tcp)
            for id_, (forward, address) in zip(ids, asked, strict=True)
        ]
        by_way.append(_exchange(transport, questions))
    told += [
        UpstreamFacts(pod, forward, address, udp, tcp)
        for (forward, address), udp, tcp in zip(asked, *by_way, strict=True)
    ]
    return told


def _not_asked(forward: Forward, address: str) -> str:
    if forward.scheme != "dns":
        return f"it is asked over {forward.scheme}"
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an address"
    return ""


def _exchange(transport: Transport, questions: Sequence[Question]) -> list[Reply]:
    """What is lost once is asked for again: one lost packet is no broken way."""
    replies = [Reply(problem="timed out")] * len(questions)
    for _ in range(TRIES):
        left = [i for i, reply in enumerate(replies) if not reply.rcode]
        if not left:
            break
        again = [questions[i] for i in left]
        connecting = CONNECT_S * len({(q.server, q.port) for q in again if q.over_tcp})
        for i, reply in zip(left, transport.exchange(again, TIMEOUT_S + connecting), strict=True):
            replies[i] = reply
    return replies
