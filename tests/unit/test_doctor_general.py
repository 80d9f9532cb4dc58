"""The doctor's general checks, pure: facts in, findings out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_kdns.backend import Probe
from kubectl_kdns.doctor import Check, Target, Unread
from kubectl_kdns.doctor.dns_settings import (
    pods_dns_policy,
    pods_host_network,
    pods_name_servers,
    pods_ndots,
    pods_search_domains,
)
from kubectl_kdns.doctor.examination import GENERAL
from kubectl_kdns.doctor.facts import EndpointFacts, KubeletFacts, dns_service
from kubectl_kdns.doctor.finding import judge
from kubectl_kdns.doctor.service import service_address, service_endpoints, service_exists, service_ports
from kubectl_kdns.doctor.sight import backend_rights, backend_usable
from support.doctor_facts import SERVICE, app, cluster, said

KUBE_DNS = "service kube-system/kube-dns"
ALL = "cluster cluster"
RULED = Target("daemonset", "exporter", "monitoring")


@pytest.mark.parametrize("check", GENERAL, ids=lambda check: check.id)
def test_a_healthy_cluster_is_ok(check: Check[Any]) -> None:
    found = said(check, cluster())
    assert [severity for severity, _, _ in found] == ["ok"]


@pytest.mark.parametrize("check", GENERAL, ids=lambda check: check.id)
def test_what_could_not_be_read_is_unknown(check: Check[Any]) -> None:
    unread = {name: Unread("not allowed to look", "kubectl auth can-i") for name in check.needs}
    findings = judge([check], cluster(**unread))
    assert [(each.severity, each.evidence, each.fix) for each in findings] == [
        ("unknown", "not allowed to look", "kubectl auth can-i")
    ]


CASES: list[tuple[Check[Any], dict[str, Any], tuple[str, str, str]]] = [
    (
        service_exists,
        {"services": ()},
        (
            "failure",
            KUBE_DNS,
            "no Service of a cluster DNS in kube-system or openshift-dns, while kubelets tell pods to ask "
            "10.96.0.10",
        ),
    ),
    (
        service_exists,
        {"services": (replace(SERVICE, ips=()),)},
        (
            "failure",
            KUBE_DNS,
            "it has no cluster IP (headless), so there is no address that pods could be given",
        ),
    ),
    (
        service_ports,
        {"services": (replace(SERVICE, ports=(("TCP", 53),)),)},
        ("failure", KUBE_DNS, "port 53 UDP is not among its ports: no lookup gets through"),
    ),
    (
        service_ports,
        {"services": (replace(SERVICE, ports=(("UDP", 53),)),)},
        ("failure", KUBE_DNS, "port 53 TCP is not among its ports: answers too long for UDP are lost"),
    ),
    (
        service_address,
        {"kubelets": (KubeletFacts("n1", ("10.96.0.99",), ""),)},
        (
            "failure",
            "node n1",
            "its kubelet tells pods to ask 10.96.0.99; the Service kube-system/kube-dns has 10.96.0.10",
        ),
    ),
    (
        service_address,
        {"kubelets": (KubeletFacts("n1", (), ""),)},
        (
            "failure",
            "node n1",
            "its kubelet gives pods no name server; the Service kube-system/kube-dns has 10.96.0.10",
        ),
    ),
    (
        service_address,
        {"kubelets": ()},
        ("unknown", ALL, "there is no ready node whose kubelet says what it hands out"),
    ),
    (
        service_endpoints,
        {"endpoints": ()},
        (
            "failure",
            KUBE_DNS,
            "no ready endpoint, but no pod has the labels k8s-app=kube-dns: every lookup is refused",
        ),
    ),
    (
        service_endpoints,
        {"endpoints": (EndpointFacts("kube-system", "kube-dns", frozenset(), frozenset({"a", "b"})),)},
        ("failure", KUBE_DNS, "no ready endpoint, but 2 that are not ready: every lookup is refused"),
    ),
    (
        service_endpoints,
        {"endpoints": (EndpointFacts("kube-system", "kube-dns", frozenset({"10.244.1.2"})),)},
        (
            "warning",
            "pod kube-system/coredns-b",
            "ready, but not among the 1 ready endpoints of kube-dns: it gets no lookups",
        ),
    ),
    (
        service_endpoints,
        {"pods": Unread("not allowed")},
        ("unknown", KUBE_DNS, "2 ready endpoints; whether that is every ready pod is not known: not allowed"),
    ),
    (
        pods_host_network,
        {"pods": tuple(app(owner=RULED, host_network=True) for _ in range(3))},
        (
            "warning",
            "daemonset monitoring/exporter",
            "3 pods cannot resolve names of Services: in the node's network dnsPolicy ClusterFirst means the "
            "node's resolv.conf",
        ),
    ),
    (
        pods_host_network,
        {"pods": (app(static=True, host_network=True), app("proxy", "kube-system", host_network=True))},
        (
            "info",
            ALL,
            "in the node's network dnsPolicy ClusterFirst means the node's resolv.conf: 2 pods (deployment "
            "kube-system/proxy, deployment shop/web) of the system",
        ),
    ),
    (
        pods_dns_policy,
        {"pods": (app(dns_policy="Default"),)},
        (
            "info",
            ALL,
            "dnsPolicy Default, so the servers of their node: 1 pod (deployment shop/web)",
        ),
    ),
    (
        pods_dns_policy,
        {"pods": tuple(app(f"w{number}", dns_policy="None") for number in range(5))},
        (
            "info",
            ALL,
            "dnsPolicy None, so only the servers that they name: 5 pods (deployment shop/w0, "
            "deployment shop/w1, deployment shop/w2 and 2 more)",
        ),
    ),
    (
        pods_ndots,
        {"pods": (app(ndots=7), app("b", ndots=9), app("c", ndots=5), app("d", ndots=1))},
        (
            "info",
            ALL,
            "ndots above 5, up to 9, so names with fewer dots go through the whole search list first: 2 pods "
            "(deployment shop/b, deployment shop/web)",
        ),
    ),
    (
        pods_search_domains,
        {"pods": (app(searches=6), app("b", searches=8))},
        (
            "info",
            ALL,
            "up to 8 search domains of their own, and each may cost a lookup; old resolvers take 6 in all: "
            "1 pod (deployment shop/b)",
        ),
    ),
    (
        pods_name_servers,
        {"pods": (app(nameservers=("10.96.0.10",)), app("b", nameservers=("9.9.9.9", "10.96.0.10")))},
        (
            "info",
            ALL,
            "servers that are not the cluster's (9.9.9.9): 1 pod (deployment shop/b)",
        ),
    ),
    (
        backend_usable,
        {"probes": {"ebpf": Probe(False, "no Linux node", "another node")}},
        ("info", "backend ebpf", "cannot work here: no Linux node"),
    ),
    (
        backend_usable,
        {"probes": {"ebpf": Probe(False, "would create 2 Jobs", "ask", creates=True)}},
        ("info", "backend ebpf", "works on request: would create 2 Jobs"),
    ),
    (
        backend_rights,
        {"rights": {"ebpf": ("list a", "list b", "list c", "list d", "list e", "list f")}},
        ("info", "backend ebpf", "this user may not list a, list b, list c, list d and 2 more"),
    ),
]


@pytest.mark.parametrize(("check", "changes", "expected"), CASES)
def test_what_is_broken_is_said(
    check: Check[Any], changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(check, cluster(**changes)) == [expected]


def test_every_check_has_a_case() -> None:
    of_policies = {check.id for check in GENERAL if check.topic == "Network policies"}  # test_doctor_policy
    assert {check.id for check, _, _ in CASES} == {check.id for check in GENERAL} - of_policies


def test_a_cache_on_the_node_is_no_wrong_address() -> None:
    kubelets = (KubeletFacts("n1", ("169.254.20.10",), ""),)
    assert said(service_address, cluster(kubelets=kubelets))[0][0] == "ok"


def test_endpoints_of_a_service_without_a_selector_need_be_no_pods() -> None:
    facts = cluster(services=(replace(SERVICE, selector={}),))
    assert [severity for severity, _, _ in said(service_endpoints, facts)] == ["ok"]


def test_without_a_service_nothing_is_said_of_it() -> None:
    facts = cluster(services=())
    assert [said(check, facts) for check in (service_ports, service_address, service_endpoints)] == [[]] * 3


def test_which_service_is_the_clusters() -> None:
    tool = replace(SERVICE, namespace="tools", name="coredns", ips=("10.96.0.77",))
    asked = replace(SERVICE, namespace="kube-system", name="dns", ips=("10.96.0.10",))
    usual = replace(SERVICE, ips=("10.96.0.11",))
    assert dns_service(cluster(), (tool, asked, usual)) == asked
    assert dns_service(cluster(kubelets=Unread("no")), (tool, asked, usual)) == usual
    # Whoever is in no usual place must be handed out.
    assert dns_service(cluster(), (tool,)) is None
    handed = cluster(kubelets=(KubeletFacts("n1", ("10.96.0.77",), ""),))
    assert dns_service(handed, (tool, usual)) == tool
