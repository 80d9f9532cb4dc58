"""Whose lookups a filter can want: the pods, by which agents choose, and the nodes that need an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from msgspec import Struct

from kdns_ebpf import wire
from kubectl_kdns.directory import Directory, Pod
from kubectl_kdns.filter import Filter
from kubectl_kdns.filter.nodes import Call, Expr, walk
from kubectl_kdns.filter.possible import fields_of, may_hold
from kubectl_kdns.model import Client, Lookup

MAX_PODS = 2000
"""More than that the agents are not told: then they send what all pods ask."""

_READERS: dict[str, Callable[[Pod], object]] = {
    "client.namespace": lambda pod: pod.namespace,
    "client.pod": lambda pod: pod.name,
    "client.pod_uid": lambda pod: pod.uid,
    "client.workload.kind": lambda pod: pod.workload.kind if pod.workload else None,
    "client.workload.name": lambda pod: pod.workload.name if pod.workload else None,
    "client.node": lambda pod: pod.node,
    "client": lambda pod: pod.uid,  # labels and Services can be anything
}
_KNOWN_OF_PODS = frozenset(_READERS)
# A client that is no pod has none of these.
_ABSENT_ELSEWHERE = frozenset(
    {"client.namespace", "client.pod", "client.pod_uid", "client.workload.kind", "client.workload.name"}
)
_OTHER_KINDS = ("node", "external", "unknown")


class Clients(Struct, frozen=True):
    """`listed` is for the agents, empty for all; `nodes` where agents are needed, None for all of them."""

    listed: tuple[tuple[int, bytes], ...] = ()
    nodes: frozenset[str] | None = None


def narrows(filter_: Filter) -> bool:
    """Whether a filter says anything about who asks."""
    expr = filter_.expr
    return expr is not None and not fields_of(expr).isdisjoint(_KNOWN_OF_PODS)


def clients_of(filter_: Filter, directory: Directory) -> Clients:
    """The clients that the filter can want, of those that there are now."""
    expr = filter_.expr
    if expr is None or not narrows(filter_):
        return Clients()
    known = _ABSENT_ELSEWHERE | {"client.kind"}
    if not any(isinstance(node, Call) and node.method == "backs" for node in walk(expr)):
        known |= {"client"}  # it has no labels; what is behind a Service may be listed by address
    may_be_others = any(
        may_hold(expr, Lookup(client=Client(kind=kind)), known, directory) for kind in _OTHER_KINDS
    )
    pods = [*_wanted(expr, directory)]
    if may_be_others:
        return Clients(nodes=_nodes_by_name(expr, directory))
    nodes = frozenset(pod.node for pod in pods if pod.node)
    if len(pods) > MAX_PODS:
        return Clients(nodes=nodes)
    listed = [(wire.CLIENT_POD_UID, (pod.static_uid or pod.uid).encode()) for pod in pods]
    listed += [(wire.CLIENT_IP, ip_address(ip).packed) for pod in pods for ip in pod.ips]
    # Nobody yet: an id that no pod has, because an empty list is everybody.
    return Clients(tuple(listed) or ((wire.CLIENT_POD_UID, b"none"),), nodes)


def _wanted(expr: Expr, directory: Directory) -> Iterable[Pod]:
    """Asked once for all pods that are alike in what the filter looks at."""
    readers = [read for path, read in _READERS.items() if path in fields_of(expr)]
    answers: dict[tuple[object, ...], bool] = {}
    for pod in directory.pods():
        key = tuple(read(pod) for read in readers)
        answer = answers.get(key)
        if answer is None:
            answer = answers[key] = may_hold(expr, Lookup(client=_client(pod)), _KNOWN_OF_PODS, directory)
        if answer:
            yield pod


def _client(pod: Pod) -> Client:
    return Client(
        namespace=pod.namespace,
        pod=pod.name,
        pod_uid=pod.uid,
        workload=pod.workload,
        node=pod.node,
    )


def _nodes_by_name(expr: Expr, directory: Directory) -> frozenset[str] | None:
    """The nodes whose clients can be meant, None when it can be any."""
    if "client.node" not in fields_of(expr):
        return None
    return frozenset(
        name
        for name in directory.node_names()
        if may_hold(expr, Lookup(client=Client(node=name)), {"client.node"}, directory)
    )
