"""Which pods an agent is told of, and which nodes need one: never too few."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kdns_ebpf import wire
from kdns_ebpf.clients import MAX_PODS, Clients, clients_of, narrows
from kubectl_kdns.directory import Directory
from kubectl_kdns.endpoints import Node, Pod
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.compile import compile_filter
from kubectl_kdns.model import Client, Lookup, Workload


def make_directory() -> Directory:
    directory = Directory()
    for name in ("n1", "n2", "n3"):
        directory.put_node(Node(name, (f"192.168.0.{name[1]}",)))
    for uid, namespace, name, node, ip in (
        ("u1", "shop", "web-1", "n1", "10.1.0.1"),
        ("u2", "shop", "db-0", "n2", "10.1.0.2"),
        ("u3", "blog", "web-1", "n2", "10.1.0.3"),
        ("u4", "kube-system", "agent", "n3", ""),
    ):
        kind = Workload("StatefulSet", "db") if name == "db-0" else Workload("Deployment", "web")
        labels = directory.labels({"app": name.partition("-")[0]})
        ips = (ip,) if ip else ()
        directory.put_pod(Pod(namespace, name, uid, labels, node, kind, ips), 1)
    return directory


def chosen(source: str) -> tuple[set[str] | None, set[str] | None]:
    """UIDs of the pods, and nodes; None for all."""
    found = clients_of(parse_filter(source), make_directory())
    uids = {text.decode() for kind, text in found.listed if kind == wire.CLIENT_POD_UID}
    return uids or None, None if found.nodes is None else set(found.nodes)


@pytest.mark.parametrize(
    ("source", "uids", "nodes"),
    [
        ("", None, None),
        ('dns.rcode == "SERVFAIL"', None, None),
        ('client.namespace == "shop"', {"u1", "u2"}, {"n1", "n2"}),
        ('client.namespace == "shop" && client.pod.startsWith("web")', {"u1"}, {"n1"}),
        ('client.workload.kind == "StatefulSet"', {"u2"}, {"n2"}),
        ('client.hasLabels("app=db")', {"u2"}, {"n2"}),
        ('client.namespace == "nowhere"', {"none"}, set()),
        ('client.namespace != "shop"', {"u3", "u4"}, {"n2", "n3"}),
        ('!(client.namespace == "shop")', None, None),  # true of a client that is no pod
        ('client.namespace == "shop" || dns.rcode == "SERVFAIL"', None, None),
        ('client.node == "n2"', None, {"n2"}),  # a process of the node itself, too
        ('client.kind == "external" && client.node == "n1"', None, {"n1"}),
        ('client.ip == "10.1.0.1"', None, None),
    ],
)
def test_who_is_meant(source: str, uids: set[str] | None, nodes: set[str] | None) -> None:
    assert chosen(source) == (uids, nodes)


def test_addresses_are_told_with_the_pods() -> None:
    found = clients_of(parse_filter('client.pod == "db-0"'), make_directory())
    assert found.listed == ((wire.CLIENT_POD_UID, b"u2"), (wire.CLIENT_IP, bytes((10, 1, 0, 2))))


def test_too_many_pods_are_not_told_but_their_nodes_are() -> None:
    directory = Directory()
    labels = directory.labels({})
    for number in range(MAX_PODS + 1):
        directory.put_pod(Pod("shop", f"p{number}", f"u{number}", labels, f"n{number % 3}"), 1)
    found = clients_of(parse_filter('client.namespace == "shop"'), directory)
    assert found == Clients(nodes=frozenset({"n0", "n1", "n2"}))


def test_what_says_nothing_of_clients_waits_for_no_names() -> None:
    assert not narrows(parse_filter("latency_ms > 5"))
    assert narrows(parse_filter('client.namespace == "shop" && latency_ms > 5'))


CONDITIONS = (
    'client.namespace == "shop"',
    'client.namespace in ["blog", "kube-system"]',
    'client.pod.startsWith("web")',
    'client.node == "n2"',
    'client.workload.name == "web"',
    "has(client.pod_uid)",
    'client.kind == "external"',
    'client.hasLabels("app=web")',
    'dns.type == "A"',
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_who_is_accepted_is_told(conditions: list[str], seed: int) -> None:
    random = Random(seed)
    parts = [f"!({text})" if random.random() < 0.3 else text for text in conditions]
    source = parts[0]
    for part in parts[1:]:
        source = f"({source}) {random.choice(('&&', '||'))} ({part})"
    directory = make_directory()
    filter_ = parse_filter(source)
    assert filter_.expr is not None
    accept = compile_filter(filter_.expr, directory)
    found = clients_of(filter_, directory)
    told = {text.decode() for kind, text in found.listed if kind == wire.CLIENT_POD_UID}
    for pod in directory.pods():
        client = Client(pod_uid=pod.uid, ip=pod.ips[0] if pod.ips else UNSET)
        lookup = Lookup(client=client, side="client")
        directory.name(lookup)
        if accept(lookup):
            assert not told or pod.uid in told
            assert found.nodes is None or pod.node in found.nodes
    outside = Lookup(client=Client(ip="203.0.113.9"))
    directory.name(outside)
    if accept(outside):
        assert not told
