"""Asking Hubble for less never loses a flow of a lookup that the filter wants."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.requests import flows_request
from kdns_hubble.selection import MAX_VALUES, select
from kubectl_kdns.dns.names import name_of_text
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.expression import Filter
from kubectl_kdns.filter.flags import FilterFlags, flags_expression
from kubectl_kdns.filter.nodes import Expr
from kubectl_kdns.model import Client, Dns, Lookup, Server, Workload
from support.filter_strategies import expressions
from support.hubble_filters import matches
from support.hubble_flows import Pod, denied, dropped_packet, refused, request, response

CLIENTS = (
    Pod("web-1", "10.0.1.1", "shop", workload=("web", "StatefulSet")),
    Pod("web-12", "fd00::12", "shop", node="kdns-n2", workload=("web", "StatefulSet")),
    Pod("cart-5d8f-x2x9z", "10.0.1.12", "shop", workload=("cart", "Deployment")),
    Pod("web-1", "10.0.2.1", "shop-test", node="kdns-n2"),
)
SERVERS = (
    Pod("coredns-1", "10.0.0.53", "kube-system", node="kdns-n2"),
    Pod("web-12", "fd00::12", "shop", node="kdns-n2"),  # a DNS server of its own
)
QUERIES = (
    "example.com.",
    "a.example.com.",
    "cart.shop.svc.cluster.local.",
    ".",
    r"a\.b.",
    r"it\'s.",
    r"2\ 2.",
)
ENDINGS = (
    "answered",
    "nxdomain",
    "unanswered",
    "refused",
    "retried",
    "denied",
    "dropped",
    "lost",
    "kept out",
)
DENIED = ("denied", "dropped", "kept out")

ATOMS = (
    'client.namespace == "shop"',
    'client.namespace in ["shop", "shop-test"]',
    'client.namespace == "kube-system"',
    'client.namespace.startsWith("shop")',
    'client.pod == "web-1"',
    'client.pod.startsWith("web-")',
    'client.pod.contains("b-1")',
    'client.pod.matches("^cart-.*z$")',
    'client.workload.kind == "StatefulSet"',
    'client.workload.name == "web"',
    'client.ip == "10.0.1.1"',
    'client.ip in ["fd00::12", "10.0.2.1"]',
    'client.node == "kdns-n1"',
    'node == "kdns-n2"',
    'node in ["kdns-n1", "kdns-n2"]',
    'server.ip == "10.0.0.53"',
    'server.pod == "web-12"',
    'dns.name == "example.com"',
    'dns.name == "."',
    'dns.name in ["a.example.com", "it\'s"]',
    'dns.name.endsWith(".com")',
    'dns.name.startsWith("cart.")',
    'dns.name.contains("example")',
    'dns.name.contains("2")',
    r'dns.name == "a\\.b"',
    'dns.name.matches("^a.*com$")',
    'dns.type == "A"',
    'dns.rcode == "NXDOMAIN"',
    'dns.rcode != "NOERROR"',
    'status == "denied"',
    'status in ["denied", "answered"]',
    'status == "unanswered"',
    "latency_ms > 1",
    "has(dns.name)",
)


@st.composite
def filters(draw: st.DrawFn) -> str:
    def expression(depth: int) -> str:
        kind = draw(st.sampled_from(["atom", "and", "and", "or", "not"])) if depth else "atom"
        if kind == "atom":
            return draw(st.sampled_from(ATOMS))
        if kind == "not":
            return f"!({expression(depth - 1)})"
        return f"({expression(depth - 1)}) {'&&' if kind == 'and' else '||'} ({expression(depth - 1)})"

    return expression(3)


def lookup_with_flows(random: Random) -> tuple[Lookup, list[Any]]:
    """A lookup of the traffic, and the flows that Hubble has of it."""
    client, server, query = random.choice(CLIENTS), random.choice(SERVERS), random.choice(QUERIES)
    qtype, ending = random.choice(("A", "AAAA")), random.choice(ENDINGS)
    ends: dict[str, Any] = {"client": client, "server": server}
    ask, packet = request(query, qtype, **ends), dropped_packet(**ends)
    packet.node_name = server.node if ending == "kept out" else client.node
    flows = {
        "answered": lambda: [ask, response(ask)],
        "nxdomain": lambda: [ask, response(ask, rcode=3)],
        "unanswered": lambda: [ask],
        "refused": lambda: [ask, refused(ask)],
        "retried": lambda: [ask, request(query, qtype, **ends), response(ask)],
        "denied": lambda: [denied(query, qtype, **ends)],
        "dropped": lambda: [dropped_packet(**ends), dropped_packet(**ends, event_type=5)],
        "lost": lambda: [packet],  # dropped, but not by a policy
        "kept out": lambda: [packet],  # by the server's node
    }[ending]()
    statuses = {"unanswered": "unanswered", "lost": "unanswered"} | dict.fromkeys(DENIED, "denied")
    rcodes = {"nxdomain": "NXDOMAIN", "refused": "REFUSED", "denied": "REFUSED", "unanswered": UNSET}
    record = Lookup(
        backend="hubble",
        node=flows[0].node_name,
        side="proxy",
        status=statuses.get(ending, "answered"),
        latency_ms=1.8 if ending in ("answered", "nxdomain", "retried") else UNSET,
        client=Client(
            ip=client.ip,
            namespace=client.namespace,
            pod=client.name,
            workload=Workload(client.workload[1], client.workload[0]) if client.workload else UNSET,
            node=client.node,
        ),
        server=Server(ip=server.ip, namespace=server.namespace, pod=server.name),
    )
    if flows[0].HasField("l7"):
        record.dns = Dns(name=name_of_text(query), type=qtype, rcode=rcodes.get(ending, "NOERROR"))
    return record, flows


TRAFFIC = [lookup_with_flows(Random(seed)) for seed in range(600)]


def taken(whitelist: tuple[FlowFilter, ...], flow: Any) -> bool:
    return any(matches(filter_, flow) for filter_ in flows_request(whitelist).whitelist)


def check_push_down(source: str, traffic: list[tuple[Lookup, list[Any]]]) -> None:
    filter_ = parse_filter(source)
    wants, selection = filter_.compile(), select(filter_)
    assert selection.filters
    for record, flows in traffic:
        if wants(record):
            assert all(taken(selection.filters, flow) for flow in flows), record
        elif selection.exact:
            assert not any(taken(selection.filters, flow) for flow in flows), record


@settings(max_examples=300, deadline=None)
@given(filters(), st.integers(0, 1 << 32))
def test_all_flows_of_what_is_wanted_come(source: str, seed: int) -> None:
    check_push_down(source, Random(seed).sample(TRAFFIC, 20))


@pytest.mark.parametrize("source", ["", *ATOMS])
def test_a_single_condition_loses_nothing(source: str) -> None:
    check_push_down(source, TRAFFIC)


@settings(max_examples=100, deadline=None)
@given(expressions)
def test_hubble_accepts_what_any_filter_becomes(expr: Expr) -> None:
    flow = request()
    for filter_ in flows_request(select(Filter("", expr)).filters).whitelist:
        assert matches(filter_, flow) in (True, False)  # and no FilterError


def filters_of(source: str) -> list[dict[str, Any]]:
    """The whitelist without fields that are empty."""
    return [
        {name: list(values) for name, values in structs.asdict(filter_).items() if values}
        for filter_ in select(parse_filter(source)).filters
    ]


DNS: dict[str, Any] = {"protocol": ["dns"]}
REQUESTS: dict[str, Any] = {**DNS, "reply": [False]}
RESPONSES: dict[str, Any] = {**DNS, "reply": [True]}
PACKETS: dict[str, Any] = {"destination_port": ["53"], "verdict": ["DROPPED"]}


@pytest.mark.parametrize(
    ("source", "whitelist"),
    [
        ("", [DNS, PACKETS]),
        ("dns.type == 'A' || client.namespace == 'shop'", [DNS, PACKETS]),
        ("dns.type == 'A'", [DNS]),
        ("dns.rcode == 'REFUSED'", [DNS]),
        ("status == 'answered'", [DNS]),
        ("status == 'unanswered'", [DNS, PACKETS]),
        ("status == 'denied'", [{**DNS, "verdict": ["DROPPED"]}, PACKETS]),
        (
            "client.ip in ['10.0.0.1', 'fd00::1'] && client.namespace == 'shop'",
            [
                {**REQUESTS, "source_ip": ["10.0.0.1", "fd00::1"]},
                {**RESPONSES, "destination_ip": ["10.0.0.1", "fd00::1"]},
                {**PACKETS, "source_ip": ["10.0.0.1", "fd00::1"]},
            ],
        ),
        (
            "client.namespace == 'shop' && dns.name.endsWith('.example.com')",
            [
                {**REQUESTS, "source_pod": ["shop/"], "dns_query": [r"\.example\.com\.?$"]},
                {
                    **REQUESTS,
                    "source_label": ["k8s:io.kubernetes.pod.namespace=shop"],
                    "dns_query": [r"\.example\.com\.?$"],
                },
                {**RESPONSES, "destination_pod": ["shop/"], "dns_query": [r"\.example\.com\.?$"]},
                {
                    **RESPONSES,
                    "destination_label": ["k8s:io.kubernetes.pod.namespace=shop"],
                    "dns_query": [r"\.example\.com\.?$"],
                },
            ],
        ),
        (
            "client.namespace in ['a', 'b'] && client.pod.startsWith('web-') && status == 'denied'",
            [
                {**REQUESTS, "source_pod": ["a/web-", "b/web-"], "verdict": ["DROPPED"]},
                {**PACKETS, "source_pod": ["a/web-", "b/web-"]},
            ],
        ),
        (
            "client.namespace == 'shop' && dns.type == 'A'"
            " && client.workload.kind == 'StatefulSet' && client.workload.name == 'db'",
            [
                {**REQUESTS, "source_pod": ["shop/db-"]},
                {**RESPONSES, "destination_pod": ["shop/db-"]},
            ],
        ),
        ("client.pod == 'web-1' && dns.type == 'A'", [DNS]),
        ("node == 'n1'", [{**DNS, "node_name": ["n1"]}, {**PACKETS, "node_name": ["n1"]}]),
        ("client.node == 'n1'", [{**DNS, "node_name": ["n1"]}, PACKETS]),
        ("node == 'a/b' && dns.type == 'A'", [DNS]),
        ("server.ip == '10.96.0.10' && server.namespace == 'kube-system'", [DNS, PACKETS]),
        ("client.hasLabels('app=web')", [DNS, PACKETS]),
        ("client.namespace == 'a' && client.namespace == 'b'", [DNS, PACKETS]),
    ],
)
def test_what_is_asked_for(source: str, whitelist: list[dict[str, Any]]) -> None:
    assert filters_of(source) == whitelist


@pytest.mark.parametrize(
    ("source", "exact"),
    [
        ("", True),
        ("client.namespace == 'shop'", True),
        ("client.namespace in ['shop', 'web'] && dns.name.endsWith('.com') && node == 'n1'", True),
        ("client.ip == '10.0.0.1' || client.ip == '10.0.0.2'", True),
        ("dns.name == 'a' || dns.name.startsWith('b') || dns.name.matches('c$')", True),
        ("dns.name.matches('^a.*c$')", False),
        ("dns.name.contains('com.')", False),
        ("dns.name.contains('a') && dns.name.contains('b')", False),
        ("client.namespace == 'shop' && client.pod == 'web-1'", False),
        ("client.namespace == 'shop' && client.ip == '10.0.0.1'", False),
        ("client.namespace != 'shop'", False),
        ("client.namespace == 'shop' || node == 'n1'", False),
        ("client.namespace == 'shop' && latency_ms > 5", False),
        ("client.node == 'n1'", False),
        ("status == 'denied'", False),
        ("dns.type == 'A'", False),
    ],
)
def test_the_whitelist_decides_alone(source: str, exact: bool) -> None:
    assert select(parse_filter(source)).exact is exact


@pytest.mark.parametrize("kind", ["deploy", "ds", "job", "rs", "sts"])
def test_a_workload_is_asked_for_by_its_namespace_at_least(kind: str) -> None:
    source = flags_expression(FilterFlags(targets=(f"{kind}/cart",), namespace=("shop",)))
    pods = {pod for filter_ in select(parse_filter(source)).filters for pod in filter_.source_pod}
    # What adopts pods of any name can be asked for by namespace only.
    assert pods == {"shop/cart-" if kind == "sts" else "shop/"}


def test_a_client_that_hubble_does_not_know_yet_is_found_by_the_labels_of_its_identity() -> None:
    ask = request(client=CLIENTS[0])
    answer = response(ask)
    for endpoint in (ask.source, answer.destination):
        endpoint.ClearField("namespace")
        endpoint.ClearField("pod_name")
    whitelist = select(parse_filter('client.namespace == "shop"')).filters
    assert taken(whitelist, ask)
    assert taken(whitelist, answer)
    assert not taken(select(parse_filter('client.namespace == "other"')).filters, ask)


def test_a_server_in_the_namespace_is_no_client_of_it() -> None:
    ask = request(client=CLIENTS[0], server=SERVERS[0])
    whitelist = select(parse_filter('client.namespace == "kube-system"')).filters
    assert not taken(whitelist, ask)
    assert not taken(whitelist, response(ask))


def test_many_values_are_not_asked_for() -> None:
    names = [f"ns-{number}" for number in range(MAX_VALUES + 1)]
    assert len(filters_of(f"client.namespace in {names}")) == 2
    assert len(filters_of(f"client.namespace in {names[1:]}")) == 6
    # Too many pairs, but not too many namespaces.
    pairs = f"client.namespace in {names[:40]} && client.pod in ['a', 'b']"
    assert len(filters_of(pairs)[0]["source_pod"]) == 40


@pytest.mark.parametrize(
    ("source", "takes"),
    [
        ("", ["asks only for DNS flows and dropped packets to port 53"]),
        (
            "client.namespace in ['web', 'shop'] && client.node == 'n1' && dns.name in ['b', 'a']",
            [
                "asks only for DNS flows",
                "only of clients in namespace shop or web",
                "only from node n1",
                "only for names that are a or are b",
            ],
        ),
        (
            "client.namespace == 'shop' && client.pod.startsWith('web-') && status == 'denied'",
            [
                "asks only for DNS flows and dropped packets to port 53",
                "only of pods shop/web-*",
                "only with verdict DROPPED",
            ],
        ),
        (
            "client.ip == '10.0.0.1' && dns.type == 'A'",
            ["asks only for DNS flows", "only of clients with address 10.0.0.1"],
        ),
    ],
)
def test_it_says_what_it_takes_over(source: str, takes: list[str]) -> None:
    assert list(select(parse_filter(source)).takes) == takes
