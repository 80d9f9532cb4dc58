"""What to look at, or to change, after a conclusion: a short line each, with a command where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from msgspec import UNSET, Struct

from kubectl_kdns.model import Attempt, Journey

SYSTEM = "kube-system"


class Surroundings(Struct, frozen=True):
    """What is known of the place that asked: its namespace, and the Services of the cluster as
    (namespace, name)."""

    namespace: str = ""
    services: tuple[tuple[str, str], ...] = ()


def advise(journey: Journey, where: Surroundings) -> list[str]:
    """For a request that failed, or that took more lookups than it needs."""
    last = journey.attempts[-1] if journey.attempts else None
    lines = list(_for_code(journey, last))
    if journey.rcode == "NXDOMAIN":
        lines += _typos(str(journey.name), where)
    lines += _search_list(journey)
    return list(dict.fromkeys(lines))


def _for_code(journey: Journey, last: Attempt | None) -> Iterable[str]:
    code = journey.code
    if code in ("upstream_silent", "upstream_failed"):
        yield "which upstreams are well: kubectl kdns upstreams --for 30s"
        yield "where they are configured: `forward` in the Corefile, or the node's /etc/resolv.conf"
    elif code in ("dropped", "server_silent", "server_failed", "failed", "too_late"):
        for namespace, pod in _asked_pods(last):
            yield f"what it says itself: kubectl -n {namespace} logs {pod}"
        yield "whether its configuration is sound: kubectl kdns doctor"
    elif code in ("lost_before_server", "not_seen", "answer_lost"):
        slices = f"kubectl -n {SYSTEM} get endpointslices -l k8s-app=kube-dns"
        yield f"whether pods are behind the Service: {slices}"
        yield "which policies may block port 53: kubectl get networkpolicies -A; kubectl kdns doctor"
    elif code == "outside_silent":
        yield "its resolv.conf names a server that does not answer: see the pod's dnsPolicy and dnsConfig"
    elif code == "denied":
        yield "allow UDP and TCP 53 to the DNS pods in that policy"


def _asked_pods(attempt: Attempt | None) -> list[tuple[str, str]]:
    """Namespace and name of those that the application asked."""
    pods = []
    for hop in attempt.hops if attempt else ():
        server = hop.server
        pod = server and ((server.backend.pod if server.backend else UNSET) or server.pod)
        if hop.depth == 0 and pod:
            pods.append((str((server and server.namespace) or SYSTEM), str(pod)))
    return pods


def _typos(name: str, where: Surroundings) -> list[str]:
    """The Services whose names are nearest, those of the own namespace as the short name."""
    labels = name.split(".")
    known = {service: f"{service}.{namespace}" for namespace, service in where.services}
    near: Sequence[str] = get_close_matches(labels[0], list(known), n=1, cutoff=0.75)
    if len(labels) > 1 and labels[0] in known:
        namespaces = [namespace for namespace, service in where.services if service == labels[0]]
        if labels[1] not in namespaces:
            return [
                f"Service {labels[0]} is in namespace {', '.join(sorted(namespaces))}, not in {labels[1]}"
            ]
    if near and near[0] != labels[0]:
        return [f"there is no {labels[0]}; the nearest name of a Service is {known[near[0]]}"]
    if labels[0] in known and len(labels) == 1 and where.namespace:
        return [f"Service {labels[0]} is not in namespace {where.namespace}: ask for {known[labels[0]]}"]
    return []


def _search_list(journey: Journey) -> list[str]:
    names = {attempt.name for attempt in journey.attempts}
    if len(names) < 3 or journey.rcode != "NOERROR":
        return []
    found = str(journey.attempts[-1].name)
    if found != journey.name:
        return []
    wasted = sum(attempt.name != found for attempt in journey.attempts)
    return [
        f"{wasted} of {len(journey.attempts)} lookups were for the search list: ask for {found}. with a dot "
        "at its end, or set ndots to 2 in the pod's dnsConfig"
    ]
